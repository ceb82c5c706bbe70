package task

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"tune/eval/textscore"
	"tune/internal/chat"
	"tune/internal/pyre"
)

// metric is a metric that task files may name.
type metric struct {
	aggregation string
	lower       bool // lower is better
	// text computes it for a text that the model wrote; nil where it is of log-probabilities.
	text func(golds, answers []string, o *chat.Dict) (any, error)
}

// metrics by name, lm-eval's.
var metrics = map[string]metric{
	"acc":             {aggregation: "mean"},
	"acc_norm":        {aggregation: "mean"},
	"acc_bytes":       {aggregation: "mean"},
	"acc_mutual_info": {aggregation: "mean"},
	"f1":              {aggregation: "f1"},
	"mcc":             {aggregation: "matthews_corrcoef"},
	"brier_score":     {aggregation: "brier_score", lower: true},
	"perplexity":      {aggregation: "perplexity", lower: true},
	"word_perplexity": {aggregation: "weighted_perplexity", lower: true},
	"byte_perplexity": {aggregation: "weighted_perplexity", lower: true},
	"bits_per_byte":   {aggregation: "bits_per_byte", lower: true},
	"exact_match":     {aggregation: "mean", text: exactMatchMetric},
	"bleu":            {aggregation: "bleu", text: textsMetric},
	"chrf":            {aggregation: "chrf", text: textsMetric},
	"chrf++":          {aggregation: "chrf++", text: textsMetric},
	"ter":             {aggregation: "ter", lower: true, text: textsMetric},
	"rouge1":          {aggregation: "mean", text: rougeMetric(textscore.Rouge1)},
	"rouge2":          {aggregation: "mean", text: rougeMetric(textscore.Rouge2)},
	"rougeL":          {aggregation: "mean", text: rougeMetric(textscore.RougeL)},
}

// defaultMetrics are those of a task that lists none.
var defaultMetrics = map[Output][]string{
	MultipleChoice: {"acc", "acc_norm"},
	LogLikelihood:  {"perplexity", "acc"},
	Rolling:        {"word_perplexity", "byte_perplexity", "bits_per_byte"},
	GenerateUntil:  {"exact_match"},
}

// exactOptions are those of exact_match.
type exactOptions struct {
	ignore                      []*pyre.Regexp
	noCase, noPunct, noNumerals bool
}

func (o exactOptions) plain(s string) (string, error) {
	for _, re := range o.ignore {
		var err error
		if s, err = re.Sub("", s, 0); err != nil {
			return "", err
		}
	}
	if o.noCase {
		s = chat.Lower(s)
	}
	if o.noPunct {
		s = without(s, punctuation)
	}
	if o.noNumerals {
		s = without(s, "0123456789")
	}
	return s, nil
}

func exactMatchMetric(golds, answers []string, d *chat.Dict) (any, error) {
	f := &fields{d: d, at: "options"}
	o := exactOptions{noCase: f.bool("ignore_case"), noPunct: f.bool("ignore_punctuation"), noNumerals: f.bool("ignore_numbers")}
	var err error
	if o.ignore, err = compileAll(f.texts("regexes_to_ignore")); err != nil {
		return nil, err
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return exactMatch(golds, answers, o)
}

func textsMetric(golds, answers []string, _ *chat.Dict) (any, error) {
	return Texts{golds, answers[0]}, nil
}

// rougeMetric is the best F-measure over the right texts.
func rougeMetric(score func(reference, prediction string) float64) func([]string, []string, *chat.Dict) (any, error) {
	return func(golds, answers []string, _ *chat.Dict) (any, error) {
		best := 0.0
		for _, g := range golds {
			best = max(best, score(g, answers[0]))
		}
		return best, nil
	}
}

// aggregation makes one number of the values of all documents.
type aggregation struct {
	of        func(values []any) (float64, error)
	bootstrap int // draws of the standard error at most; 0: it has none, or a formula of its own
}

// Bootstrap is how many draws a bootstrapped standard error takes; slow text metrics take slowBootstrap.
const (
	Bootstrap     = 100000
	slowBootstrap = 100
)

// aggregations by name.
var aggregations = map[string]aggregation{
	"mean":                {of: meanOf},
	"median":              {of: medianOf, bootstrap: Bootstrap},
	"nanmean":             {of: nanMeanOf, bootstrap: Bootstrap},
	"perplexity":          {of: func(v []any) (float64, error) { m, err := meanOf(v); return math.Exp(-m), err }, bootstrap: Bootstrap},
	"weighted_perplexity": {of: func(v []any) (float64, error) { m, err := weightedMean(v); return math.Exp(-m), err }},
	"bits_per_byte":       {of: func(v []any) (float64, error) { m, err := weightedMean(v); return -m / math.Ln2, err }},
	"f1":                  {of: f1Of, bootstrap: Bootstrap},
	"matthews_corrcoef":   {of: mccOf, bootstrap: Bootstrap},
	"brier_score":         {of: brierOf},
	"bleu":                {of: textsOf(textscore.BLEU), bootstrap: slowBootstrap},
	"chrf":                {of: textsOf(textscore.ChrF), bootstrap: slowBootstrap},
	"chrf++":              {of: textsOf(textscore.ChrFPlusPlus), bootstrap: slowBootstrap},
	"ter":                 {of: textsOf(textscore.TER), bootstrap: slowBootstrap},
}

func wrongValue(want string, v any) error {
	return fmt.Errorf("expected %s of every document, found %T", want, v)
}

func meanOf(values []any) (float64, error) {
	sum := 0.0
	for _, v := range values {
		f, ok := v.(float64)
		if !ok {
			return 0, wrongValue("a number", v)
		}
		sum += f
	}
	return sum / float64(len(values)), nil
}

func nanMeanOf(values []any) (float64, error) {
	var kept []any
	for _, v := range values {
		if f, ok := v.(float64); !ok || !math.IsNaN(f) {
			kept = append(kept, v)
		}
	}
	if kept == nil {
		return math.NaN(), nil
	}
	return meanOf(kept)
}

func medianOf(values []any) (float64, error) {
	list := make([]float64, len(values))
	for i, v := range values {
		var ok bool
		if list[i], ok = v.(float64); !ok {
			return 0, wrongValue("a number", v)
		}
	}
	slices.Sort(list)
	return list[len(list)/2], nil
}

func weightedMean(values []any) (float64, error) {
	a, b := 0.0, 0.0
	for _, v := range values {
		p, ok := v.(Pair)
		if !ok {
			return 0, wrongValue("two numbers", v)
		}
		a, b = a+p[0], b+p[1]
	}
	return a / b, nil
}

// confusion counts pairs of two classes: [gold][predicted].
func confusion(values []any) (c [2][2]float64, err error) {
	for _, v := range values {
		p, ok := v.(Pair)
		if !ok || p[0] != 0 && p[0] != 1 || p[1] != 0 && p[1] != 1 {
			return c, wrongValue("a right and a predicted class, 0 or 1,", v)
		}
		c[int(p[0])][int(p[1])]++
	}
	return c, nil
}

// f1Of is the F1 score of class 1; 0 when neither side has it.
func f1Of(values []any) (float64, error) {
	c, err := confusion(values)
	if d := 2*c[1][1] + c[0][1] + c[1][0]; d > 0 {
		return 2 * c[1][1] / d, err
	}
	return 0, err
}

// mccOf is Matthews' correlation coefficient, of any number of classes (Gorodkin 2004).
func mccOf(values []any) (float64, error) {
	var right float64
	golds, preds := map[float64]float64{}, map[float64]float64{}
	for _, v := range values {
		p, ok := v.(Pair)
		if !ok {
			return 0, wrongValue("a right and a predicted class", v)
		}
		golds[p[0]]++
		preds[p[1]]++
		if p[0] == p[1] {
			right++
		}
	}
	n := float64(len(values))
	var both, gold2, pred2 float64
	for k, g := range golds {
		both += g * preds[k]
		gold2 += g * g
	}
	for _, p := range preds {
		pred2 += p * p
	}
	d := math.Sqrt((n*n - pred2) * (n*n - gold2))
	if d == 0 {
		return 0, nil
	}
	return (right*n - both) / d, nil
}

// brierOf is the mean over documents of the squared distance between the probabilities and the right class.
func brierOf(values []any) (float64, error) {
	sum := 0.0
	for _, v := range values {
		b, ok := v.(Brier)
		if !ok {
			return 0, wrongValue("a class and probabilities", v)
		}
		for i, p := range b.Probs {
			d := p - float64(b2i(i == b.Gold))
			sum += d * d
		}
	}
	return sum / float64(len(values)), nil
}

func textsOf(score func(references [][]string, predictions []string) float64) func([]any) (float64, error) {
	return func(values []any) (float64, error) {
		references, predictions := make([][]string, len(values)), make([]string, len(values))
		for i, v := range values {
			x, ok := v.(Texts)
			if !ok {
				return 0, wrongValue("texts", v)
			}
			references[i], predictions[i] = x.References, x.Prediction
		}
		return score(references, predictions), nil
	}
}

// stderr is the standard error of an aggregation: the formula for a mean, otherwise bootstrapped with at most draws
// draws; NaN when there is none.
func (a aggregation) stderr(name string, values []any, draws int) (float64, error) {
	if len(values) < 2 || draws <= 0 {
		return math.NaN(), nil
	}
	if name == "mean" {
		list := make([]float64, len(values))
		for i, v := range values {
			list[i] = v.(float64)
		}
		return stddev(list) / math.Sqrt(float64(len(list))), nil
	}
	if a.bootstrap == 0 {
		return math.NaN(), nil
	}
	return bootstrap(a.of, values, min(draws, a.bootstrap))
}

// stddev is the standard deviation of a sample.
func stddev(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	mean := sum / float64(len(x))
	sum = 0
	for _, v := range x {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(len(x)-1))
}

// bootstrap is the standard deviation of an aggregation over documents drawn with replacement: chunks of 1000 draws,
// each with a generator of its own, seeded with its number.
func bootstrap(of func([]any) (float64, error), values []any, draws int) (float64, error) {
	chunk := min(1000, draws)
	chunks := draws / chunk
	out := make([]float64, chunks*chunk)
	errs := make([]error, chunks)
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for c := range chunks {
		wait.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wait.Done() }()
			rnd := NewRandom(uint64(c))
			drawn := make([]any, len(values))
			for k := range chunk {
				for i := range drawn {
					drawn[i] = values[rnd.Choice(len(values))]
				}
				if out[c*chunk+k], errs[c] = of(drawn); errs[c] != nil {
					return
				}
			}
		}()
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return stddev(out), nil
}

// Metric is a number of a task.
type Metric struct {
	Name, Filter string
	Value        float64
	Stderr       float64 // NaN: it has none
	Higher       bool    // higher is better
}

// Aggregate makes the numbers of a task of its scored documents. draws bounds the bootstrap of standard errors; 0: no
// standard errors.
func (t *Task) Aggregate(scored []Scored, draws int) ([]Metric, error) {
	var out []Metric
	values := map[[2]string][]any{}
	var order [][2]string
	for _, x := range scored {
		for _, v := range x.Values {
			key := [2]string{v.Metric, x.Filter}
			if values[key] == nil {
				order = append(order, key)
			}
			values[key] = append(values[key], v.Value)
		}
	}
	for _, key := range order {
		name, a, higher := t.aggregation(key[0])
		m := Metric{Name: key[0], Filter: key[1], Higher: higher}
		var err error
		if m.Value, err = a.of(values[key]); err != nil {
			return nil, fmt.Errorf("task %s: metric %s: %w", t.Name, key[0], err)
		}
		if m.Stderr, err = a.stderr(name, values[key], draws); err != nil {
			return nil, fmt.Errorf("task %s: metric %s: %w", t.Name, key[0], err)
		}
		out = append(out, m)
	}
	return out, nil
}

// aggregation of a metric: what the task says, else what the metric has, else the mean.
func (c *Config) aggregation(metric string) (name string, a aggregation, higher bool) {
	known := metrics[metric]
	name, higher = known.aggregation, !known.lower
	if name == "" {
		name = "mean"
	}
	for _, m := range c.Metrics {
		if m.Name != metric {
			continue
		}
		if m.Higher != nil {
			higher = *m.Higher
		}
		switch x := m.Aggregation.(type) {
		case string:
			name = x
		case Function:
			return x.String(), aggregation{of: functionTable[x.String()].aggregate}, higher
		}
	}
	return name, aggregations[name], higher
}
