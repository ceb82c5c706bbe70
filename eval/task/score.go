package task

import (
	"context"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"tune/eval/ask"
	"tune/internal/chat"
	"tune/internal/pyre"
)

// Named is the value of a metric for a document: a float64; a Pair, Texts, Brier or []bool where the aggregation needs
// more.
type Named struct {
	Metric string
	Value  any
}

// Pair is two numbers of a document: log-probability and weight, or the right and the predicted class.
type Pair [2]float64

// Texts are the right texts and what the model wrote.
type Texts struct {
	References []string
	Prediction string
}

// Brier is the right class and the probabilities of all classes.
type Brier struct {
	Gold  int
	Probs []float64
}

// Scored is a document under a filter.
type Scored struct {
	*Item
	Filter   string
	Target   any
	Answers  []ask.Answer // to the requests of the item
	Filtered []string     // generated texts after the filter
	Single   bool         // the filter ends with one text
	Values   []Named
}

// Env is what scoring may use beyond the answers.
type Env struct {
	// Run runs a Python program that the model wrote part of and says whether it ended well; nil: it may not.
	Run func(ctx context.Context, program string) (bool, error)
}

// results are the answers to a document as a process_results function gets them.
type results struct {
	answers []ask.Answer
	texts   []string // after the filter
}

// Score computes the metrics of all documents from the answers to their requests, in order: for each filter, for each
// document.
func (s *Set) Score(ctx context.Context, answers [][]ask.Answer, env Env) ([]Scored, error) {
	var out []Scored
	for _, p := range s.Filters {
		run, single, err := p.pipeline()
		if err != nil {
			return nil, err
		}
		for i := range s.Items {
			x := Scored{Item: &s.Items[i], Filter: p.Name, Answers: answers[i], Single: single}
			if len(x.Answers) < len(x.Requests) || s.Turns == nil && len(x.Answers) > len(x.Requests) {
				return nil, fmt.Errorf("task %s: document %d: expected %d answers, found %d", s.Name, x.ID, len(x.Requests), len(x.Answers))
			}
			if x.Requests[0].Kind == ask.Generate {
				for _, a := range x.Answers {
					x.Filtered = append(x.Filtered, a.Text)
				}
				if x.Filtered, err = run(x.Filtered, x.Doc); err != nil {
					return nil, fmt.Errorf("task %s: document %d: %w", s.Name, x.ID, err)
				}
			}
			if s.Target != nil {
				if x.Target, err = s.target(x.Doc, s.Config.Target); err != nil {
					return nil, err
				}
			}
			if x.Values, err = s.values(ctx, &x, env); err != nil {
				return nil, fmt.Errorf("task %s: document %d: %w", s.Name, x.ID, err)
			}
			out = append(out, x)
		}
	}
	return out, nil
}

// values of the metrics of a document.
func (s *Set) values(ctx context.Context, x *Scored, env Env) ([]Named, error) {
	if f, ok := s.Process.(Function); ok {
		apply := functionTable[f.String()].results
		if apply == nil {
			return nil, fmt.Errorf("process_results: %s is not a function of answers", f)
		}
		return apply(x.Doc, results{x.Answers, x.Filtered})
	}
	switch s.Output {
	case LogLikelihood:
		return s.only(map[string]any{"perplexity": x.Answers[0].LogProb, "acc": float64(b2i(x.Answers[0].Greedy))}), nil
	case Rolling:
		return s.only(rollingValues(x.Answers[0].LogProb, chat.Str(x.Target))), nil
	case MultipleChoice:
		all, err := s.choiceValues(x)
		return s.only(all), err
	}
	return s.generated(ctx, x, env)
}

// only keeps the metrics that the task reports, in its order.
func (s *Set) only(all map[string]any) (out []Named) {
	for _, m := range s.Metrics {
		if v, ok := all[m.Name]; ok {
			out = append(out, Named{m.Name, v})
		}
	}
	return out
}

// rollingValues weigh the log-probability of a text by its words and bytes.
func rollingValues(logProb float64, text string) map[string]any {
	bytes := Pair{logProb, float64(len(text))}
	return map[string]any{"word_perplexity": Pair{logProb, float64(pyre.Words(text))}, "byte_perplexity": bytes, "bits_per_byte": bytes}
}

// choiceValues are the metrics of multiple_choice.
func (s *Set) choiceValues(x *Scored) (map[string]any, error) {
	choices, err := s.choices(x.Doc, s.Choice)
	if err != nil {
		return nil, err
	}
	logProbs := make([]float64, len(x.Answers))
	for i, a := range x.Answers {
		logProbs[i] = a.LogProb
	}
	n := len(choices)
	if len(logProbs) != n && len(logProbs) != 2*n {
		return nil, fmt.Errorf("expected an answer to each of %d choices, found %d", n, len(logProbs))
	}
	scaled := func(by func(i int) float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = logProbs[i] / by(i)
		}
		return out
	}
	pred := argmax(logProbs[:n])
	byRunes := argmax(scaled(func(i int) float64 { return float64(utf8.RuneCountInString(choices[i])) }))
	byBytes := argmax(scaled(func(i int) float64 { return float64(len(choices[i])) }))
	golds, err := s.golds(x.Doc, choices)
	if err != nil {
		return nil, err
	}
	right := func(i int) float64 {
		for _, g := range golds {
			if g == i {
				return 1
			}
		}
		return 0
	}
	exact := 0.0
	for _, g := range golds {
		if g >= 0 && x.Answers[g].Greedy {
			exact = 1
		}
	}
	gold := golds[0]
	all := map[string]any{"acc": right(pred), "acc_norm": right(byRunes), "acc_bytes": right(byBytes), "exact_match": exact,
		"f1": Pair{float64(gold), float64(pred)}, "mcc": Pair{float64(gold), float64(pred)}, "brier_score": Brier{gold, softmax(logProbs[:n])}}
	if len(logProbs) == 2*n {
		gain := make([]float64, n)
		for i := range gain {
			gain[i] = logProbs[i] - logProbs[n+i]
		}
		all["acc_mutual_info"] = right(argmax(gain))
	}
	return all, nil
}

// golds are the indices of the right choices, -1 for one that does not exist.
func (s *Set) golds(doc Doc, choices []string) ([]int, error) {
	var v any
	var err error
	if s.multipleInput {
		v, err = s.text(doc, s.Text)
	} else {
		v, err = s.target(doc, s.Config.Target)
	}
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []int
	for _, x := range list {
		g := -1
		switch x := x.(type) {
		case int64:
			if x < int64(len(choices)) {
				g = int(x)
			}
		case bool:
			g = b2i(x)
		case string:
			for i, c := range choices {
				if c == x {
					g = i
					break
				}
			}
		default:
			return nil, s.failed("doc_to_target", fmt.Errorf("expected the number of a choice, found %s", chat.Repr(x)))
		}
		if g < 0 || g >= len(choices) {
			return nil, s.failed("doc_to_target", fmt.Errorf("expected one of %d choices, found %s", len(choices), chat.Repr(x)))
		}
		out = append(out, g)
	}
	if len(out) == 0 {
		return nil, s.failed("doc_to_target", fmt.Errorf("expected a right choice, found none"))
	}
	return out, nil
}

// argmax is the index of the largest value, the first of several.
func argmax(x []float64) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

func softmax(x []float64) []float64 {
	top := x[argmax(x)]
	out := make([]float64, len(x))
	sum := 0.0
	for i, v := range x {
		out[i] = math.Exp(v - top)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// generated are the metrics of a text that the model wrote.
func (s *Set) generated(ctx context.Context, x *Scored, env Env) ([]Named, error) {
	golds, err := s.goldTexts(x)
	if err != nil {
		return nil, err
	}
	var out []Named
	for _, m := range s.Metrics {
		var values []Named
		if f, ok := m.Metric.(Function); ok {
			run := functionTable[f.String()].code
			if run == nil {
				return nil, fmt.Errorf("metric %s is not a function of answers", f)
			}
			if env.Run == nil {
				return nil, fmt.Errorf("metric %s runs what the model wrote, which was not allowed", m.Name)
			}
			values, err = run(ctx, golds[0], x.Filtered, m.Options, env)
		} else {
			var v any
			v, err = metrics[m.Name].text(golds, x.Filtered, m.Options)
			values = []Named{{m.Name, v}}
		}
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", m.Name, err)
		}
		out = append(out, values...)
	}
	return out, nil
}

// goldTexts are the right answers as texts.
func (s *Set) goldTexts(x *Scored) ([]string, error) {
	if s.Choice != nil {
		choices, err := s.choices(x.Doc, s.Choice)
		if err != nil {
			return nil, err
		}
		golds, err := s.golds(x.Doc, choices)
		if err != nil {
			return nil, err
		}
		return []string{choices[golds[0]]}, nil
	}
	list, ok := x.Target.([]any)
	if !ok || !s.multipleTarget {
		return []string{chat.Str(x.Target)}, nil
	}
	var out []string
	for _, v := range list {
		out = append(out, chat.Str(v))
	}
	if len(out) == 0 {
		return nil, s.failed("doc_to_target", fmt.Errorf("expected right answers, found none"))
	}
	return out, nil
}

// exactMatch compares texts after taking out what the options name; with several right texts one must match.
func exactMatch(golds, answers []string, o exactOptions) (float64, error) {
	answer, err := o.plain(answers[0])
	if err != nil {
		return 0, err
	}
	for _, g := range golds {
		if g, err = o.plain(g); err != nil {
			return 0, err
		}
		if g == answer {
			return 1, nil
		}
	}
	return 0, nil
}

// punctuation is Python's string.punctuation.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

func without(s, chars string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(chars, r) {
			return -1
		}
		return r
	}, s)
}
