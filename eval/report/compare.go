package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"tune/eval/stats"
	"tune/internal/hint"
)

// Options of a comparison.
type Options struct {
	Level      float64           // of confidence intervals; 1 minus it is the level of tests
	Correction string            // for many comparisons: a name of stats.Corrections
	Clusters   map[string]string // by task: the column whose equal values make documents dependent; "-" for none
}

// DefaultOptions are 95 % and Holm's correction.
func DefaultOptions() Options { return Options{Level: 0.95, Correction: "holm"} }

// Comparison is what changed between two runs of the same tasks.
type Comparison struct {
	Before     Side     `json:"before"`
	After      Side     `json:"after"`
	Level      float64  `json:"level"`
	Correction string   `json:"correction"`
	Rows       []Row    `json:"rows"`
	Notes      []string `json:"notes,omitempty"`
}

// Side is one of the two runs.
type Side struct {
	Path  string `json:"path"`
	Model string `json:"model"`
}

// Row is one metric of one task or group, over the documents that both runs have.
type Row struct {
	Task      string `json:"task"`
	Metric    string `json:"metric"`
	Filter    string `json:"filter"`
	Group     bool   `json:"group,omitempty"`
	Higher    *bool  `json:"higher_is_better"`
	Share     bool   `json:"share"` // a mean of values between 0 and 1: differences are percentage points
	Documents int    `json:"documents"`
	Before    Real   `json:"before"`
	After     Real   `json:"after"`
	Better    int    `json:"better"` // documents with a better value than before
	Worse     int    `json:"worse"`
	Paired    bool   `json:"paired"`            // the documents of both runs were compared one by one
	Partial   bool   `json:"partial,omitempty"` // a limit cut documents off
	Test      *Test  `json:"test,omitempty"`
	Untested  string `json:"untested,omitempty"` // why there is no test
}

// Test is the statistics of a row.
type Test struct {
	Method     string         `json:"method"`
	Interval   stats.Interval `json:"interval"` // of the difference, after minus before
	P          float64        `json:"p"`
	Adjusted   float64        `json:"p_adjusted"` // for all comparisons of tasks, or of groups
	Detectable float64        `json:"detectable"` // smallest difference that these documents show with 80 % probability
	Clusters   int            `json:"clusters,omitempty"`
	Discordant float64        `json:"discordant"` // share of documents whose value changed
	Alpha      float64        `json:"alpha"`
}

// Difference is after minus before.
func (r *Row) Difference() float64 { return float64(r.After - r.Before) }

// Noise tells whether the difference may be chance: it is not significant after correction, or was not tested.
func (r *Row) Noise() bool { return r.Test == nil || r.Test.Adjusted >= r.Test.Alpha }

// Key is "metric" or "metric,filter".
func (r *Row) Key() string {
	if r.Filter == "none" {
		return r.Metric
	}
	return r.Metric + "," + r.Filter
}

// Real is a number that JSON writes as a text when it has no other word for it.
type Real float64

// MarshalJSON writes NaN and infinities as Python's words, quoted.
func (x Real) MarshalJSON() ([]byte, error) { return json.Marshal(number(float64(x))) }

// UnmarshalJSON reads what MarshalJSON writes.
func (x *Real) UnmarshalJSON(b []byte) error {
	v, err := parseNumber(b)
	*x = Real(v)
	return err
}

// Compare compares two runs, document by document. Tasks that only one has are noted; other versions of a task and other
// documents are an error, because then the difference is not the model's.
func Compare(before, after *Run, o Options) (*Comparison, error) {
	c := &Comparison{Before: Side{before.Path, before.ModelName}, After: Side{after.Path, after.ModelName}, Level: o.Level, Correction: o.Correction}
	correct := stats.Corrections[o.Correction]
	if correct == nil {
		return nil, fmt.Errorf("correction %q: expected one of %v", o.Correction, slices.Sorted(maps.Keys(stats.Corrections)))
	}
	x := &comparer{before, after, o, c}
	common := 0
	for _, task := range slices.Sorted(maps.Keys(before.Results.Results)) {
		if _, ok := after.Results.Results[task]; !ok {
			c.note("%s: only in %s", task, before.Path)
			continue
		}
		common++
		if err := x.task(task); err != nil {
			return nil, err
		}
	}
	for _, task := range slices.Sorted(maps.Keys(after.Results.Results)) {
		if _, ok := before.Results.Results[task]; !ok {
			c.note("%s: only in %s", task, after.Path)
		}
	}
	if common == 0 {
		return nil, hint.Errorf("run the same tasks on both models", "%s and %s have no task in common", before.Path, after.Path)
	}
	for _, group := range []bool{false, true} {
		var tested []*Test
		var p []float64
		for i := range c.Rows {
			if t := c.Rows[i].Test; t != nil && c.Rows[i].Group == group {
				tested, p = append(tested, t), append(p, t.P)
			}
		}
		for i, adjusted := range correct(p) {
			tested[i].Adjusted = adjusted
		}
	}
	return c, nil
}

func (c *Comparison) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Find returns a row.
func (c *Comparison) Find(task, metric, filter string) *Row {
	i := slices.IndexFunc(c.Rows, func(r Row) bool { return r.Task == task && r.Metric == metric && r.Filter == filter })
	if i < 0 {
		return nil
	}
	return &c.Rows[i]
}

type comparer struct {
	before, after *Run
	Options
	c *Comparison
}

// task adds the rows of a task or group.
func (x *comparer) task(name string) error {
	_, group := x.before.Groups[name]
	if a, b := fmt.Sprint(x.before.Versions[name]), fmt.Sprint(x.after.Versions[name]); a != b {
		return hint.Errorf("run both with the same version of the task", "%s: version %s before and %s after are different benchmarks", name, a, b)
	}
	if a, b := x.before.NumFewshot[name], x.after.NumFewshot[name]; a != b {
		x.c.note("%s: %d examples in the prompt before, %d after", name, a, b)
	}
	scores, others := x.before.Results.Results[name], x.after.Results.Results[name]
	docs, err := x.documents(name, group)
	if err != nil {
		return err
	}
	for _, s := range scores.List {
		t, ok := others.Find(s.Metric, s.Filter)
		if !ok {
			x.c.note("%s: %s only in %s", name, s.Key(), x.before.Path)
			continue
		}
		row := Row{Task: name, Metric: s.Metric, Filter: s.Filter, Group: group, Higher: x.before.HigherIsBetter[name][s.Metric],
			Before: Real(s.Value), After: Real(t.Value), Documents: max(scores.Documents, 0), Partial: x.partial(name)}
		switch {
		case len(docs) == 0:
			row.Untested = "one of the runs kept no samples"
		default:
			x.test(&row, docs, s, t)
		}
		x.c.Rows = append(x.c.Rows, row)
	}
	return nil
}

// partial tells whether a limit cut documents off the task, or off a task of the group.
func (x *comparer) partial(name string) bool {
	return x.before.Partial(name) || x.after.Partial(name)
}

// Partial tells whether the numbers of a task or group do not come from all its documents.
func (r *Run) Partial(name string) bool {
	for _, task := range r.leaves(name) {
		if n, ok := r.NumSamples[task]; ok && n.Effective < n.Original {
			return true
		}
	}
	return false
}

// leaves are the tasks of a group, or the task itself.
func (r *Run) leaves(name string) []string {
	seen := map[string]bool{}
	var walk func(string) []string
	walk = func(name string) (all []string) {
		if seen[name] {
			return nil
		}
		seen[name] = true
		if len(r.GroupSubtasks[name]) == 0 {
			return []string{name}
		}
		for _, s := range r.GroupSubtasks[name] {
			all = append(all, walk(s)...)
		}
		return all
	}
	return walk(name)
}

// document is a document of both runs, under one filter.
type document struct {
	task, cluster string
	before, after *Sample
	size          int // documents of its task, for groups in which every task counts the same
}

// documents pairs the samples of a task or of all tasks of a group. Both must be about the same rows.
func (x *comparer) documents(name string, group bool) ([]document, error) {
	var all []document
	for _, task := range x.before.leaves(name) {
		docs, err := x.pair(task, !group)
		if err != nil {
			return nil, err
		}
		if len(docs) == 0 {
			return nil, nil
		}
		all = append(all, docs...)
	}
	return all, nil
}

func (x *comparer) pair(task string, notes bool) ([]document, error) {
	type key struct {
		id     int
		filter string
	}
	theirs := map[key]*Sample{}
	for i := range x.after.Samples[task] {
		s := &x.after.Samples[task][i]
		theirs[key{s.DocID, s.Filter}] = s
	}
	mine := x.before.Samples[task]
	var docs []document
	prompts, lost := 0, 0
	column := x.clusterColumn(task)
	for i := range mine {
		s := &mine[i]
		t := theirs[key{s.DocID, s.Filter}]
		switch {
		case t == nil:
			lost++
			continue
		case s.DocHash != t.DocHash || s.TargetHash != t.TargetHash:
			return nil, hint.Errorf("run both on the same data", "%s: document %d before is not document %d after: the data changed, and the scores cannot be compared", task, s.DocID, s.DocID)
		case s.PromptHash != t.PromptHash:
			prompts++
		}
		docs = append(docs, document{task, clusterOf(s, column), s, t, 0})
	}
	for i := range docs {
		docs[i].size = len(docs)
	}
	if lost += len(theirs) - len(docs); notes && lost > 0 && len(docs) > 0 {
		x.c.note("%s: %d answers only in one of the runs; compared are the %d in both", task, lost, len(docs))
	}
	if notes && prompts > 0 {
		x.c.note("%s: %d of %d prompts are not the same in both runs", task, prompts, len(docs))
	}
	return docs, nil
}

// shared are columns whose text several questions of a benchmark have in common.
var shared = []string{"passage", "article", "contract", "story", "context"}

// clusterColumn is the column that says which documents of a task depend on each other, "" for none.
func (x *comparer) clusterColumn(task string) string {
	if c := x.Clusters[task]; c != "" {
		return c
	}
	var config struct {
		Metadata struct{ Cluster string }
	}
	if json.Unmarshal(x.before.Configs[task], &config) == nil && config.Metadata.Cluster != "" {
		return config.Metadata.Cluster
	}
	list := x.before.Samples[task]
	if len(list) == 0 {
		return ""
	}
	var doc map[string]any
	if json.Unmarshal(list[0].Doc, &doc) != nil {
		return ""
	}
	for _, c := range shared {
		if _, ok := doc[c].(string); ok {
			return c
		}
	}
	return ""
}

// clusterOf is a name for what a document shares with others; without a column each is alone.
func clusterOf(s *Sample, column string) string {
	alone := fmt.Sprint("document ", s.DocID)
	if s.Cluster != "" && column != "-" {
		return s.Cluster
	}
	if column == "" || column == "-" {
		return alone
	}
	var doc map[string]json.RawMessage
	if json.Unmarshal(s.Doc, &doc) != nil || doc[column] == nil {
		return alone
	}
	return string(doc[column])
}

// test fills the statistics of a row. Its metric is computed again from the samples first: a number that they do not give
// is not tested.
func (x *comparer) test(row *Row, docs []document, before, after Score) {
	docs = slices.DeleteFunc(slices.Clone(docs), func(d document) bool { return d.before.Filter != row.Filter })
	values, r := x.values(row, docs, before, after)
	of := r.of
	if values == nil {
		row.Untested = "not a function of the documents' values that could be computed again"
		return
	}
	b, a := stats.Total(values, of)
	row.Before, row.After, row.Documents = Real(b), Real(a), len(docs)
	row.Better, row.Worse = changed(values, r, row.Higher)
	row.Paired = true
	clusters := map[string]bool{}
	binary := true
	discordant := 0
	weight := values[0].Before[1]
	for i, d := range docs {
		clusters[d.task+"\x00"+d.cluster] = true
		v := values[i]
		binary = binary && v.Before[1] == weight && v.After[1] == weight && yesNo(v.Before[0]/weight) && yesNo(v.After[0]/weight)
		if v.Before != v.After {
			discordant++
		}
	}
	alpha := 1 - x.Level
	t := &Test{Alpha: alpha, Discordant: float64(discordant) / float64(len(docs))}
	if row.Share && binary && len(clusters) == len(docs) {
		table := tableOf(values)
		t.Method = "McNemar's exact test, Newcombe's interval"
		t.P, t.Interval = stats.McNemar(table), stats.Newcombe(table, x.Level)
		// With no change seen, one document is what might change.
		t.Detectable = stats.Detectable(len(docs), max(t.Discordant, 1/float64(len(docs))), alpha)
	} else {
		units := values
		t.Method = "paired permutation, bootstrap interval"
		if len(clusters) < len(docs) {
			units = merge(docs, values)
			t.Clusters = len(units)
			t.Method = "permutation and bootstrap of clusters"
		}
		if len(units) < fewest {
			row.Untested = fmt.Sprintf("%d independent documents are too few to draw from", len(units))
			return
		}
		var stderr float64
		t.Interval, stderr = stats.Bootstrap(units, of, x.Level)
		t.P, t.Detectable = stats.Permutation(units, of), stats.DetectableMean(stderr, alpha)
	}
	if math.IsNaN(t.P+t.Interval.Low+t.Interval.High+t.Detectable) || math.IsInf(t.Interval.High-t.Interval.Low, 0) {
		row.Untested = "the values are not all numbers"
		return
	}
	row.Test = t
}

// fewest independent documents from which drawing anew says something about the spread.
const fewest = 8

func yesNo(x float64) bool { return x == 0 || x == 1 }

// values are the documents' parts of the metric, and the metric. Nil: they do not give the numbers of the files.
func (x *comparer) values(row *Row, docs []document, before, after Score) ([]stats.Pair, reduction) {
	if row.Group {
		return x.groupValues(row, docs, before.Value)
	}
	r, ok := reduce(x.before.Samples[row.Task], row.Metric, row.Filter, before.Value)
	r2, ok2 := reduce(x.after.Samples[row.Task], row.Metric, row.Filter, after.Value)
	if !ok || !ok2 || r.name != r2.name || len(docs) == 0 {
		return nil, r
	}
	pairs := make([]stats.Pair, len(docs))
	row.Share = r.name == "mean"
	for i, d := range docs {
		pairs[i].Before, _ = r.sums(d.before.Values[row.Metric])
		pairs[i].After, _ = r.sums(d.after.Values[row.Metric])
		row.Share = row.Share && unit(pairs[i])
	}
	return pairs, r
}

// unit tells whether both values lie in [0, 1].
func unit(p stats.Pair) bool {
	return min(p.Before[0], p.After[0]) >= 0 && max(p.Before[0], p.After[0]) <= 1
}

// groupValues tries both ways of a group: every document counts the same, or every task.
func (x *comparer) groupValues(row *Row, docs []document, want float64) ([]stats.Pair, reduction) {
	mean := reductions[0]
	for _, byTask := range []bool{false, true} {
		pairs := make([]stats.Pair, len(docs))
		row.Share = true
		for i, d := range docs {
			b, ok := scalar(d.before.Values[row.Metric])
			a, ok2 := scalar(d.after.Values[row.Metric])
			if !ok || !ok2 {
				return nil, mean
			}
			row.Share = row.Share && unit(stats.Pair{Before: b, After: a})
			w := 1.0
			if byTask {
				w /= float64(d.size)
			}
			pairs[i] = stats.Pair{Before: stats.Sums{w * b[0], w}, After: stats.Sums{w * a[0], w}}
		}
		if b, _ := stats.Total(pairs, mean.of); len(docs) > 0 && math.Abs(b-want) <= agreement*max(1, math.Abs(want)) {
			return pairs, mean
		}
	}
	return nil, mean
}

// changed counts the documents whose own metric became better or worse; without a direction, those that went up or down.
func changed(values []stats.Pair, r reduction, higher *bool) (better, worse int) {
	each := r.each
	if each == nil {
		each = r.of
	}
	for _, v := range values {
		b, a := each(v.Before), each(v.After)
		if higher != nil && !*higher {
			b, a = a, b
		}
		if a > b {
			better++
		} else if a < b {
			worse++
		}
	}
	return better, worse
}

func tableOf(values []stats.Pair) (t stats.Table) {
	for _, v := range values {
		switch b, a := v.Before[0] > 0, v.After[0] > 0; {
		case b && a:
			t.Both++
		case b:
			t.OnlyBefore++
		case a:
			t.OnlyAfter++
		default:
			t.Neither++
		}
	}
	return t
}

// merge adds up the documents of each cluster, in the order of their first ones.
func merge(docs []document, values []stats.Pair) (units []stats.Pair) {
	at := map[string]int{}
	for i, d := range docs {
		key := d.task + "\x00" + d.cluster
		k, ok := at[key]
		if !ok {
			k = len(units)
			at[key] = k
			units = append(units, stats.Pair{})
		}
		units[k].Before.Add(values[i].Before)
		units[k].After.Add(values[i].After)
	}
	return units
}
