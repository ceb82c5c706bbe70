package eval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tune/eval/ask"
	"tune/eval/report"
	"tune/eval/task"
	"tune/internal/chat"
	"tune/internal/hint"
)

func errCode(name string) error {
	return hint.Errorf("--allow-code-execution runs it in a sandbox without network, files or other processes", "task %s runs code that the model writes, which was not allowed", name)
}

func errJudge(name string) error {
	return hint.Errorf("--judge names a model, local or an endpoint", "task %s needs a judge that reads the answers", name)
}

// builder puts the results of tasks together.
type builder struct {
	job     *Job
	model   ask.Model
	results *report.Results
	samples map[string][]report.Sample
}

func newBuilder(j *Job, m ask.Model, began time.Time) *builder {
	r := &report.Results{
		Results: map[string]report.Scores{}, Groups: map[string]report.Scores{}, GroupSubtasks: map[string][]string{}, Configs: map[string]json.RawMessage{},
		Versions: map[string]any{}, NumFewshot: map[string]int{}, HigherIsBetter: map[string]map[string]*bool{}, NumSamples: map[string]report.Count{},
		Config: j.Config, Date: float64(began.UnixNano()) / 1e9, LMEvalVersion: task.Compat, MaxLength: m.Context(),
		ModelSource: j.Config.Model, ModelName: m.Name(), NameSanitized: sanitize(m.Name()),
		Tune: &report.Extra{Version: j.Version, ModelSHA256: m.Identity(), Tasks: map[string]report.TaskFacts{}, Notes: j.notes},
	}
	if j.System != "" {
		r.System, r.SystemSHA256 = &j.System, hash(j.System)
	}
	if j.Chat {
		r.MultiTurn = &j.MultiTurn
		if j.Template != "" {
			r.Template, r.TemplateSHA256 = &j.Template, hash(j.Template)
		}
	}
	if j.Limit > 0 {
		r.Config.Limit = &j.Limit
	}
	seed := int(j.Seed)
	r.Config.FewshotSeed = &seed
	r.Config.Bootstrap = j.Bootstrap
	return &builder{j, m, r, map[string][]report.Sample{}}
}

// sanitize makes a name fit for file names, as lm-eval does.
func sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`"<>:/|\?*[]`, r) {
			return '_'
		}
		return r
	}, name)
}

func hash(s string) *string {
	h := sha256.Sum256([]byte(s))
	text := hex.EncodeToString(h[:])
	return &text
}

// add takes in a scored task.
func (b *builder) add(set *task.Set, scored []task.Scored, facts *report.TaskFacts) error {
	list, err := set.Aggregate(scored, b.job.Bootstrap)
	if err != nil {
		return err
	}
	r := b.results
	scores := report.Scores{Name: set.Name, Alias: set.Alias, Documents: len(set.Items)}
	r.HigherIsBetter[set.Name] = map[string]*bool{}
	for _, m := range list {
		scores.List = append(scores.List, report.Score{Metric: m.Name, Filter: m.Filter, Value: m.Value, Stderr: m.Stderr})
		r.HigherIsBetter[set.Name][m.Name] = &m.Higher
	}
	r.Results[set.Name] = scores
	config := resolved(set)
	r.Configs[set.Name] = json.RawMessage(config)
	if v, ok := set.Metadata.Get("version"); ok {
		r.Versions[set.Name] = version(v)
	}
	if set.Shots != nil {
		r.NumFewshot[set.Name] = *set.Shots
	} else {
		r.NumFewshot[set.Name] = 0
	}
	r.NumSamples[set.Name] = report.Count{Original: len(set.Docs), Effective: len(set.Items)}
	facts.Definition, facts.Data, facts.Prompts = *hash(config), set.Digest, set.Prompts
	facts.Unparsed = unparsed(scored)
	r.Tune.Tasks[set.Name] = *facts
	r.Tune.Notes = append(r.Tune.Notes, set.Notes...)
	if len(set.Items) < len(set.Docs) {
		r.Tune.Partial = append(r.Tune.Partial, set.Name)
	}
	b.samples[set.Name] = samplesOf(set, scored)
	return nil
}

// version keeps the digits of a version that is a number.
func version(v any) any {
	switch v.(type) {
	case int64, float64:
		return json.Number(chat.JSON(v, 0, false))
	}
	return v
}

// resolved is the definition of a task as JSON, with the number of examples.
func resolved(set *task.Set) string {
	d := chat.NewDict()
	d.Update(set.Raw)
	shots := 0
	if set.Shots != nil {
		shots = *set.Shots
	}
	d.Set("num_fewshot", int64(shots))
	return chat.JSON(d, 0, false)
}

// samplesOf makes the lines of a task's samples file.
func samplesOf(set *task.Set, scored []task.Scored) []report.Sample {
	var out []report.Sample
	for _, x := range scored {
		doc := chat.JSON(x.Doc, 0, false)
		s := report.Sample{DocID: x.ID, Doc: json.RawMessage(doc), Target: chat.Str(x.Target), Filter: x.Filter, Values: map[string]any{},
			DocHash: *hash(chat.JSON(x.Doc, 2, false)), PromptHash: *hash(x.Requests[0].Context), TargetHash: *hash(chat.Str(x.Target)), Cluster: set.Cluster(x.Doc)}
		var resps, filtered []any
		for i := 0; i < len(x.Requests); i += set.Repeats {
			r := x.Requests[i]
			args := []any{r.Context, r.Continuation}
			switch r.Kind {
			case ask.Rolling:
				args = args[:1]
			case ask.Generate:
				args[1] = json.RawMessage(chat.JSON(set.Generation, 0, false))
			}
			s.Arguments = append(s.Arguments, args)
			var all []any
			for _, a := range x.Answers[i : i+set.Repeats] {
				all = append(all, response(r.Kind, a))
			}
			resps = append(resps, all)
			if r.Kind != ask.Generate {
				filtered = append(filtered, all[0])
			}
		}
		for _, a := range x.Answers[len(x.Requests):] { // of later turns and of the judge
			resps = append(resps, []any{a.Text})
		}
		if x.Requests[0].Kind == ask.Generate {
			filtered = append(filtered, filteredTexts(x))
		}
		s.Resps, s.Filtered = resps, filtered
		for _, v := range x.Values {
			s.Metrics = append(s.Metrics, v.Metric)
			s.Values[v.Metric] = plainValue(v.Value)
		}
		out = append(out, s)
	}
	return out
}

// response is an answer as lm-eval writes it: everything as text.
func response(kind ask.Kind, a ask.Answer) any {
	switch kind {
	case ask.LogLikelihood:
		return []string{chat.Str(a.LogProb), chat.Str(a.Greedy)}
	case ask.Rolling:
		return chat.Str(a.LogProb)
	}
	return a.Text
}

func filteredTexts(x task.Scored) any {
	if x.Single && len(x.Filtered) == 1 {
		return x.Filtered[0]
	}
	return x.Filtered
}

// plainValue is the value of a metric as JSON has it.
func plainValue(v any) any {
	switch v := v.(type) {
	case task.Pair:
		return []any{v[0], v[1]}
	case task.Texts:
		if len(v.References) == 1 {
			return []any{v.References[0], v.Prediction}
		}
		return []any{v.References, v.Prediction}
	case task.Brier:
		return []any{v.Gold, v.Probs}
	}
	return v
}

// finish adds the groups.
func (b *builder) finish(took time.Duration) (*Outcome, error) {
	for _, g := range b.job.Selection.Groups {
		b.group(g)
	}
	b.results.Seconds = fmt.Sprint(took.Seconds())
	if b.results.Tune.Partial != nil {
		b.results.Tune.Notes = append(b.results.Tune.Notes, fmt.Sprintf("partial: only the first documents of %s were used", strings.Join(b.results.Tune.Partial, ", ")))
	}
	return &Outcome{b.results, b.samples}, nil
}

// leaves are the tasks below a group.
func (b *builder) leaves(g *task.Group) (out []string) {
	for _, m := range g.Members {
		i := slices.IndexFunc(b.job.Selection.Groups, func(x *task.Group) bool { return x.Name == m })
		if i < 0 {
			out = append(out, m)
			continue
		}
		out = append(out, b.leaves(b.job.Selection.Groups[i])...)
	}
	return out
}

// group computes the means of a group, as lm-eval's Group.aggregate does.
func (b *builder) group(g *task.Group) {
	r := b.results
	r.GroupSubtasks[g.Name] = g.Members
	r.Versions[g.Name] = g.Version
	leaves := b.leaves(g)
	scores := report.Scores{Name: g.Name, Alias: g.Alias}
	if len(g.Metrics) > 0 {
		scores.Counts = map[string]int{}
		for _, name := range leaves {
			scores.Documents += r.Results[name].Documents
		}
	}
	for _, m := range g.Metrics {
		for _, filter := range b.filtersOf(m, leaves) {
			s, count := b.mean(m, filter, leaves)
			if count > 0 {
				scores.List = append(scores.List, s)
				scores.Counts[s.Key()] = count
			}
		}
	}
	r.Results[g.Name] = scores
	if len(g.Metrics) > 0 {
		r.Groups[g.Name] = scores
	}
	b.inherit(g)
}

// filtersOf are the filters of a group's metric: those it names, or all that its tasks have, sorted.
func (b *builder) filtersOf(m task.GroupMetric, leaves []string) []string {
	if m.Filters != nil {
		return m.Filters
	}
	var out []string
	for _, name := range leaves {
		for _, s := range b.results.Results[name].List {
			if s.Metric == m.Metric && !slices.Contains(out, s.Filter) {
				out = append(out, s.Filter)
			}
		}
	}
	slices.Sort(out)
	return out
}

// mean of a metric over tasks, with the pooled standard error where documents weigh, else that of the plain mean.
func (b *builder) mean(m task.GroupMetric, filter string, leaves []string) (report.Score, int) {
	s := report.Score{Metric: m.Metric, Filter: filter}
	var sum, weights, pooled, plain float64
	count, tasks := 0, 0
	for _, name := range leaves {
		all := b.results.Results[name]
		x, ok := all.Find(m.Metric, filter)
		if !ok {
			continue
		}
		n, weight := float64(all.Documents), 1.0
		if m.BySize {
			weight = n
		}
		sum, weights = sum+x.Value*weight, weights+weight
		pooled += (n - 1) * x.Stderr * x.Stderr * n
		plain += x.Stderr * x.Stderr
		count += all.Documents
		tasks++
	}
	s.Value = sum / weights
	if m.BySize {
		s.Stderr = math.Sqrt(pooled / float64(count-tasks) / float64(count))
	} else {
		s.Stderr = math.Sqrt(plain) / float64(tasks)
	}
	return s, count
}

// inherit gives a group what all its members agree on.
func (b *builder) inherit(g *task.Group) {
	r := b.results
	higher := map[string]*bool{}
	shots := map[int]bool{}
	for _, name := range g.Members {
		for metric, h := range r.HigherIsBetter[name] {
			if was, ok := higher[metric]; ok && (was == nil || h == nil || *was != *h) {
				h = nil
			}
			higher[metric] = h
		}
		if n, ok := r.NumFewshot[name]; ok {
			shots[n] = true
		}
	}
	r.HigherIsBetter[g.Name] = higher
	if len(shots) == 1 {
		for n := range shots {
			r.NumFewshot[g.Name] = n
		}
	}
}
