package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"tune/eval/stats"
	"tune/internal/hint"
)

// Gate is a condition that a run must meet:
//
//	arc_easy.acc >= 0.45          the number itself
//	arc_easy.acc >= -0.5pp        the change since the baseline, in percentage points
//	wikitext.word_perplexity <= +3%    the change, as a share of the baseline
//	gsm8k.exact_match,strict-match >= +0.01 measured
//
// A bound with a sign or a unit is about the change. It is met when the confidence interval of the change lies beyond it
// (a test of non-inferiority), missed when the interval lies short of it, and else inconclusive: the documents do not
// show it. "measured" takes the measured change for the true one.
type Gate struct {
	Text     string
	Task     string
	Metric   string
	Filter   string // "" when it was not named
	AtLeast  bool   // or at most
	Bound    float64
	Unit     Unit
	Measured bool
}

// Unit says what a gate's bound is.
type Unit string

// The units of bounds.
const (
	Value   Unit = "value"  // of the metric
	Change  Unit = "change" // in the metric's own unit
	Points  Unit = "pp"     // change in percentage points
	Percent Unit = "%"      // change relative to the baseline
)

const gateForms = "write it as 'arc_easy.acc >= 0.45', 'arc_easy.acc >= -0.5pp' or 'wikitext.word_perplexity <= +3%'"

// ParseGate reads a gate.
func ParseGate(text string) (Gate, error) {
	g := Gate{Text: strings.Join(strings.Fields(text), " ")}
	bad := func(format string, args ...any) (Gate, error) {
		return Gate{}, hint.Errorf(gateForms, "gate %q: %w", text, fmt.Errorf(format, args...))
	}
	i := strings.IndexAny(text, "<>=")
	if i < 0 {
		return bad("expected a comparison")
	}
	rest := text[i:]
	switch {
	case strings.HasPrefix(rest, ">="):
		g.AtLeast = true
	case !strings.HasPrefix(rest, "<="):
		return bad("expected >= or <=")
	}
	bound := strings.TrimSpace(rest[2:])
	if b, ok := strings.CutSuffix(bound, "measured"); ok {
		g.Measured, bound = true, strings.TrimSpace(b)
	}
	name, filter, _ := strings.Cut(strings.TrimSpace(text[:i]), ",")
	dot := strings.LastIndex(name, ".")
	if dot <= 0 || dot == len(name)-1 {
		return bad("expected TASK.METRIC before the comparison, found %q", name)
	}
	g.Task, g.Metric, g.Filter = name[:dot], name[dot+1:], strings.TrimSpace(filter)
	digits, signed := bound, strings.HasPrefix(bound, "+") || strings.HasPrefix(bound, "-")
	g.Unit = Value
	if signed {
		g.Unit = Change
	}
	for _, u := range []Unit{Points, Percent} {
		if d, ok := strings.CutSuffix(bound, string(u)); ok {
			g.Unit, digits = u, strings.TrimSpace(d)
		}
	}
	var err error
	if g.Bound, err = strconv.ParseFloat(digits, 64); err != nil || math.IsNaN(g.Bound) || math.IsInf(g.Bound, 0) {
		return bad("expected a number after the comparison, found %q", bound)
	}
	if g.Unit == Percent && !signed {
		return bad("%s has no sign: it is about the change; a share is written as 0.45", bound)
	}
	if g.Measured && g.Unit == Value {
		return bad("a bound on the number itself is always measured")
	}
	return g, nil
}

// Verdict is what became of a gate.
type Verdict string

// The verdicts.
const (
	Passed       Verdict = "passed"
	Missed       Verdict = "missed"
	Inconclusive Verdict = "inconclusive"
)

// Outcome is a gate with its verdict.
type Outcome struct {
	Gate    string  `json:"gate"`
	Task    string  `json:"task"`
	Metric  string  `json:"metric"` // with its filter where it has one
	Verdict Verdict `json:"verdict"`
	Value   Real    `json:"value"` // of the run, or the measured change
	Why     string  `json:"why"`
}

// Worst is the verdict of all: one missed gate is a miss, one inconclusive gate among passed ones is inconclusive.
func Worst(outcomes []Outcome) Verdict {
	worst := Passed
	for _, o := range outcomes {
		if o.Verdict == Missed {
			return Missed
		}
		if o.Verdict == Inconclusive {
			worst = Inconclusive
		}
	}
	return worst
}

// Judge decides gates on a run. Gates on a change need the comparison with the baseline, which may be nil otherwise. A
// gate on a metric that the run does not have is an error that names those it has.
func Judge(gates []Gate, after *Run, c *Comparison) ([]Outcome, error) {
	var outcomes []Outcome
	for _, g := range gates {
		score, err := g.find(after)
		if err != nil {
			return nil, err
		}
		if g.Unit == Value {
			outcomes = append(outcomes, g.value(after, score))
			continue
		}
		if c == nil {
			return nil, g.Alone()
		}
		row := c.Find(g.Task, g.Metric, score.Filter)
		if row == nil {
			return nil, hint.Errorf("run the same tasks on both models", "gate %q: %s.%s is not in both runs", g.Text, g.Task, g.Metric)
		}
		outcomes = append(outcomes, g.change(row))
	}
	return outcomes, nil
}

// Alone is an error when a run by itself cannot decide the gate.
func (g Gate) Alone() error {
	if g.Unit == Value {
		return nil
	}
	return hint.Errorf("give a baseline: `tune compare BEFORE AFTER --gate ...`", "gate %q is about a change, and there is nothing to compare with", g.Text)
}

// find resolves the gate's metric in a run.
func (g Gate) find(r *Run) (Score, error) {
	scores, ok := r.Results.Results[g.Task]
	if !ok {
		scores, ok = r.Groups[g.Task]
	}
	if !ok {
		names := slices.Sorted(maps.Keys(r.Results.Results))
		return Score{}, hint.Errorf("it has "+strings.Join(names, ", "), "gate %q: %s has no task %s", g.Text, r.Path, g.Task)
	}
	var keys []string
	for _, s := range scores.List {
		keys = append(keys, s.Key())
	}
	i, err := g.Pick(keys)
	if err != nil {
		return Score{}, err
	}
	return scores.List[i], nil
}

// Pick is the place of the gate's metric among the metrics of its task, written as Score.Key writes them.
func (g Gate) Pick(keys []string) (int, error) {
	found := -1
	var names []string
	for _, k := range keys {
		names = append(names, g.Task+"."+strings.TrimSuffix(k, ",none"))
	}
	for i, k := range keys {
		metric, filter, _ := strings.Cut(k, ",")
		if metric != g.Metric || g.Filter != "" && filter != g.Filter {
			continue
		}
		if found >= 0 {
			return 0, hint.Errorf("name one of "+strings.Join(names, ", "), "gate %q: %s has %s under several filters", g.Text, g.Task, g.Metric)
		}
		found = i
	}
	if found < 0 {
		return 0, hint.Errorf("there are "+strings.Join(names, ", "), "gate %q: %s has no metric %s", g.Text, g.Task, strings.TrimSuffix(g.Metric+","+g.Filter, ","))
	}
	return found, nil
}

// value judges the number itself. All documents of a task are the benchmark; a part of them is a sample of it.
func (g Gate) value(r *Run, s Score) Outcome {
	o := Outcome{Gate: g.Text, Task: g.Task, Metric: strings.TrimSuffix(s.Key(), ",none"), Value: Real(s.Value)}
	met := func(x float64) bool { return g.AtLeast && x >= g.Bound || !g.AtLeast && x <= g.Bound }
	o.Verdict = Missed
	if met(s.Value) {
		o.Verdict = Passed
	}
	o.Why = fmt.Sprintf("measured %s", Format(s.Value))
	if !r.Partial(g.Task) {
		return o
	}
	if math.IsNaN(s.Stderr) {
		o.Verdict, o.Why = Inconclusive, o.Why+" on a part of the documents, and the metric has no standard error"
		return o
	}
	half := -stats.Quantile((1-DefaultOptions().Level)/2) * s.Stderr
	low, high := s.Value-half, s.Value+half
	if met(low) != met(high) {
		o.Verdict = Inconclusive
	}
	o.Why += fmt.Sprintf(" on a part of the documents, 95 %% interval %s ... %s", Format(low), Format(high))
	return o
}

// change judges the difference to the baseline.
func (g Gate) change(row *Row) Outcome {
	diff := row.Difference()
	o := Outcome{Gate: g.Text, Task: g.Task, Metric: row.Key(), Value: Real(diff)}
	bound := g.Bound
	switch g.Unit {
	case Points:
		bound /= 100
	case Percent:
		bound *= float64(row.Before) / 100
	}
	// Turned so that more is better.
	sign := 1.0
	if !g.AtLeast {
		sign = -1
	}
	o.Why = "measured " + row.FormatDifference(diff)
	if g.Measured {
		o.Verdict = Missed
		if sign*diff >= sign*bound {
			o.Verdict = Passed
		}
		return o
	}
	against := row.Worse
	if row.Higher != nil && *row.Higher != g.AtLeast {
		against = row.Better
	}
	t := row.Test
	switch {
	case sign*bound <= 0 && row.Paired && against == 0:
		o.Verdict, o.Why = Passed, o.Why+fmt.Sprintf("; none of %d documents moved that way", row.Documents)
		return o
	case t == nil:
		o.Verdict, o.Why = Inconclusive, o.Why+"; not tested: "+row.Untested
		return o
	}
	low, high := t.Interval.Low, t.Interval.High
	if sign < 0 {
		low, high = -high, -low
	}
	switch {
	case low >= sign*bound:
		o.Verdict = Passed
	case high < sign*bound:
		o.Verdict = Missed
	default:
		o.Verdict = Inconclusive
	}
	o.Why += ", interval " + row.FormatInterval()
	if o.Verdict == Inconclusive {
		o.Why += fmt.Sprintf("; %d documents show %s", row.Documents, row.FormatDetectable())
		if row.Share && bound != 0 && math.Abs(bound) < t.Detectable && t.Discordant > 0 {
			o.Why += fmt.Sprintf(", %s needs about %d", strings.TrimPrefix(row.FormatDifference(math.Abs(bound)), "+"), stats.Documents(math.Abs(bound), t.Discordant, t.Alpha))
		}
	}
	return o
}
