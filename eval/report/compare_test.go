package report

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"tune/eval/stats"
)

// made is a run of one task "t" with the values of one metric, mean over documents.
func made(metric string, values []float64, change func(i int, s *Sample)) *Run {
	run := &Run{Path: "made", Results: &Results{}, Samples: map[string][]Sample{}}
	for i, v := range values {
		s := Sample{DocID: i, Doc: json.RawMessage(`{}`), Filter: "none", Metrics: []string{metric}, DocHash: fmt.Sprint("d", i), Values: map[string]any{metric: v}}
		if change != nil {
			change(i, &s)
		}
		run.Samples["t"] = append(run.Samples["t"], s)
	}
	mean, stderr := stats.Mean(values)
	higher := true
	run.Results.Results = map[string]Scores{"t": {Name: "t", Alias: "t", Documents: len(values), List: []Score{{metric, "none", mean, stderr}}}}
	run.HigherIsBetter = map[string]map[string]*bool{"t": {metric: &higher}}
	run.NumSamples = map[string]Count{"t": {len(values), len(values)}}
	run.Versions = map[string]any{"t": 1.0}
	return run
}

// answers are n documents: right in both runs, only before, only after, and never.
func answers(both, onlyBefore, onlyAfter, never int) (before, after []float64) {
	for _, part := range []struct {
		n    int
		b, a float64
	}{{both, 1, 1}, {onlyBefore, 1, 0}, {onlyAfter, 0, 1}, {never, 0, 0}} {
		for range part.n {
			before, after = append(before, part.b), append(after, part.a)
		}
	}
	return before, after
}

func compared(t *testing.T, before, after *Run, o Options) *Comparison {
	t.Helper()
	c, err := Compare(before, after, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Yes/no answers get McNemar's test and Newcombe's interval over the same table.
func TestCompareYesNo(t *testing.T) {
	b, a := answers(40, 5, 20, 35)
	row := compared(t, made("acc", b, nil), made("acc", a, nil), DefaultOptions()).Find("t", "acc", "none")
	table := stats.Table{Both: 40, OnlyBefore: 5, OnlyAfter: 20, Neither: 35}
	if row.Test == nil || row.Test.P != stats.McNemar(table) || row.Test.Interval != stats.Newcombe(table, 0.95) || !strings.HasPrefix(row.Test.Method, "McNemar") {
		t.Fatalf("found %+v, %+v", row, row.Test)
	}
	if row.Documents != 100 || row.Better != 20 || row.Worse != 5 || !row.Share || math.Abs(row.Difference()-0.15) > 1e-12 || row.Noise() {
		t.Errorf("found %+v", row)
	}
	if row.FormatDifference(row.Difference()) != "+15.00pp" {
		t.Errorf("difference %s", row.FormatDifference(row.Difference()))
	}
	if row.Test.Detectable != stats.Detectable(100, 0.25, 0.05) {
		t.Errorf("detectable %v", row.Test.Detectable)
	}
}

// Documents that share a passage are drawn and exchanged together: fewer independent ones, wider intervals.
func TestCompareClusters(t *testing.T) {
	b, a := answers(40, 5, 20, 35)
	passage := func(i int, s *Sample) { s.Doc = json.RawMessage(fmt.Sprintf(`{"passage": "p%d"}`, i/5)) }
	before, after := made("acc", b, passage), made("acc", a, passage)
	row := compared(t, before, after, DefaultOptions()).Find("t", "acc", "none")
	if row.Test == nil || row.Test.Clusters != 20 || !strings.Contains(row.Test.Method, "clusters") {
		t.Fatalf("found %+v", row.Test)
	}
	o := DefaultOptions()
	o.Clusters = map[string]string{"t": "-"}
	alone := compared(t, before, after, o).Find("t", "acc", "none")
	if alone.Test.Clusters != 0 || alone.Test.P >= row.Test.P || alone.Test.Interval.High-alone.Test.Interval.Low >= row.Test.Interval.High-row.Test.Interval.Low {
		t.Errorf("clusters %+v, without %+v", row.Test, alone.Test)
	}
}

// Perplexities, couples and confusion tables are recognised by the number that they give.
func TestReductions(t *testing.T) {
	const n = 40
	for _, c := range []struct {
		name, metric string
		value        func(i, side int) any
		want         func(values []any) float64
	}{
		{"perplexity", "perplexity", func(i, side int) any { return -3 - float64(i%7)/4 - float64(side)/10 }, func(v []any) float64 {
			s := 0.0
			for _, x := range v {
				s += x.(float64)
			}
			return math.Exp(-s / n)
		}},
		{"weighted perplexity", "word_perplexity", func(i, side int) any { return []any{-30 - float64(i%7) - float64(side), float64(10 + i)} }, func(v []any) float64 {
			s, w := 0.0, 0.0
			for _, x := range v {
				s, w = s+x.([]any)[0].(float64), w+x.([]any)[1].(float64)
			}
			return math.Exp(-s / w)
		}},
		{"f1", "f1", func(i, side int) any { return []any{float64(i % 2), float64((i / 3) % 2)} }, func(v []any) float64 {
			tp, wrong := 0.0, 0.0
			for _, x := range v {
				if g, p := x.([]any)[0], x.([]any)[1]; g == 1.0 && p == 1.0 {
					tp++
				} else if g != p {
					wrong++
				}
			}
			return 2 * tp / (2*tp + wrong)
		}},
	} {
		var runs [2]*Run
		for side := range runs {
			var all []any
			runs[side] = made(c.metric, make([]float64, n), func(i int, s *Sample) {
				v := c.value(i, side)
				s.Values[c.metric] = v
				all = append(all, v)
			})
			runs[side].Results.Results["t"].List[0].Value = c.want(all)
		}
		row := compared(t, runs[0], runs[1], DefaultOptions()).Find("t", c.metric, "none")
		if row.Test == nil || !row.Test.Interval.Contains(row.Difference()) {
			t.Errorf("%s: %+v %+v", c.name, row, row.Test)
		}
	}
	corpus := made("bleu", []float64{1, 2, 3}, nil)
	corpus.Results.Results["t"].List[0].Value = 17
	if row := compared(t, corpus, corpus, DefaultOptions()).Find("t", "bleu", "none"); row.Test != nil || row.Untested == "" || row.After != 17 {
		t.Errorf("a number that the samples do not give was tested: %+v", row)
	}
}

// lm-eval's own files are compared, groups with them.
func TestCompareLMEval(t *testing.T) {
	o := DefaultOptions()
	o.Clusters = map[string]string{"toy_mc": "-", "toy_mc2": "-"}
	c := compared(t, readToy(t, "before"), readToy(t, "after"), o)
	for _, want := range []string{"toy_mc acc", "toy_mc acc_norm", "toy_gen exact_match", "toy acc"} {
		task, metric, _ := strings.Cut(want, " ")
		filter := "none"
		if task == "toy_gen" {
			filter = "strict-match"
		}
		row := c.Find(task, metric, filter)
		if row == nil || row.Test == nil || row.Group != (task == "toy") {
			t.Errorf("%s: %+v", want, row)
			continue
		}
		if task == "toy" && (row.Documents != 8 || !row.Partial) || task == "toy_gen" && row.Partial {
			t.Errorf("%s: %+v", want, row)
		}
	}
	if row := c.Find("toy_roll", "word_perplexity", "none"); row.Test != nil || row.Untested != "2 independent documents are too few to draw from" {
		t.Errorf("two pages: %+v", row)
	}
	c = compared(t, readToy(t, "before"), readToy(t, "after"), DefaultOptions())
	if row := c.Find("toy_mc", "acc", "none"); row.Untested != "2 independent documents are too few to draw from" {
		t.Errorf("four questions on two passages: %+v", row)
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}

// What makes two runs another benchmark is an error or a note, never a number.
func TestCompareRefuses(t *testing.T) {
	b, a := answers(5, 1, 2, 2)
	same := made("acc", b, nil)
	version := made("acc", a, nil)
	version.Versions["t"] = 2.0
	rows := made("acc", a, func(i int, s *Sample) { s.DocHash += "x" })
	other := made("acc", a, nil)
	other.Results.Results = map[string]Scores{"u": other.Results.Results["t"]}
	for _, c := range []struct {
		after *Run
		want  string
	}{{version, "version 1 before and 2 after"}, {rows, "document 0 before is not document 0 after"}, {other, "no task in common"}} {
		if _, err := Compare(same, c.after, DefaultOptions()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("expected %q, found %v", c.want, err)
		}
	}
	if _, err := Compare(same, same, Options{Level: 0.95, Correction: "bonferoni"}); err == nil {
		t.Error("an unknown correction passed")
	}

	part := made("acc", a[:6], func(i int, s *Sample) { s.PromptHash = "another" })
	part.NumSamples["t"] = Count{10, 6}
	c := compared(t, same, part, DefaultOptions())
	if row := c.Find("t", "acc", "none"); row.Documents != 6 || !row.Partial {
		t.Errorf("%+v", row)
	}
	if notes := strings.Join(c.Notes, "\n"); !strings.Contains(notes, "4 answers only in one of the runs") || !strings.Contains(notes, "6 of 6 prompts are not the same") {
		t.Errorf("notes: %s", notes)
	}
	bare := made("acc", a, nil)
	bare.Samples = nil
	if row := compared(t, same, bare, DefaultOptions()).Find("t", "acc", "none"); row.Test != nil || row.Untested != "one of the runs kept no samples" || !row.Noise() {
		t.Errorf("%+v", row)
	}
}

// p-values are corrected over all tasks.
func TestCompareCorrects(t *testing.T) {
	b, a := answers(40, 5, 17, 38)
	before, after := made("acc", b, nil), made("acc", a, nil)
	for _, r := range []*Run{before, after} {
		for _, task := range []string{"u", "v", "w"} {
			r.Results.Results[task], r.Samples[task], r.NumSamples[task], r.Versions[task] = r.Results.Results["t"], r.Samples["t"], r.NumSamples["t"], 1.0
		}
	}
	one := stats.McNemar(stats.Table{Both: 40, OnlyBefore: 5, OnlyAfter: 17, Neither: 38})
	for correction, want := range map[string]float64{"none": one, "holm": 4 * one, "bh": one} {
		row := compared(t, before, after, Options{Level: 0.95, Correction: correction}).Find("u", "acc", "none")
		if math.Abs(row.Test.Adjusted-want) > 1e-15 || row.Noise() != (want >= row.Test.Alpha) {
			t.Errorf("%s: %+v, expected %v", correction, row.Test, want)
		}
	}
}

func TestParseGate(t *testing.T) {
	for text, want := range map[string]Gate{
		"arc_easy.acc >= 0.45":                      {Task: "arc_easy", Metric: "acc", AtLeast: true, Bound: 0.45, Unit: Value},
		"arc_easy.acc>=-0.5pp":                      {Task: "arc_easy", Metric: "acc", AtLeast: true, Bound: -0.5, Unit: Points},
		"a.acc >= 2pp":                              {Task: "a", Metric: "acc", AtLeast: true, Bound: 2, Unit: Points},
		"wikitext.word_perplexity <= +3%":           {Task: "wikitext", Metric: "word_perplexity", Bound: 3, Unit: Percent},
		"gsm8k.exact_match,strict-match >= -0.01":   {Task: "gsm8k", Metric: "exact_match", Filter: "strict-match", AtLeast: true, Bound: -0.01, Unit: Change},
		"x.y.pass@1 >= -1 pp measured":              {Task: "x.y", Metric: "pass@1", AtLeast: true, Bound: -1, Unit: Points, Measured: true},
		"  leaderboard_ifeval.inst_level  <=  1e2 ": {Task: "leaderboard_ifeval", Metric: "inst_level", Bound: 100, Unit: Value},
	} {
		want.Text = strings.Join(strings.Fields(text), " ")
		if g, err := ParseGate(text); err != nil || !reflect.DeepEqual(g, want) {
			t.Errorf("%s: %+v, %v", text, g, err)
		}
	}
	for text, want := range map[string]string{
		"arc_easy.acc": "expected a comparison", "acc >= 0.4": "expected TASK.METRIC", "a.b > 1": "expected >= or <=", "a.b == 1": "expected >= or <=",
		"a.b >= much": "expected a number", "a.b >= 45%": "has no sign", "a.b >= nan": "expected a number", "a.b >= 0.4 measured": "is always measured", "a. >= 1": "expected TASK.METRIC",
	} {
		if _, err := ParseGate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: expected %q, found %v", text, want, err)
		}
	}
}

// One table of changes, and what each gate makes of it.
func TestJudge(t *testing.T) {
	verdict := func(text string, table [4]int, partial bool) (Outcome, error) {
		b, a := answers(table[0], table[1], table[2], table[3])
		before, after := made("acc", b, nil), made("acc", a, nil)
		if partial {
			after.NumSamples["t"] = Count{2 * len(a), len(a)}
		}
		g, err := ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Judge([]Gate{g}, after, compared(t, before, after, DefaultOptions()))
		if err != nil {
			return Outcome{}, err
		}
		return o[0], nil
	}
	same, better, little, much, large := [4]int{50, 0, 0, 50}, [4]int{50, 0, 10, 40}, [4]int{50, 3, 1, 46}, [4]int{30, 40, 2, 28}, [4]int{5000, 60, 55, 4885}
	for _, c := range []struct {
		gate    string
		table   [4]int
		partial bool
		want    Verdict
	}{
		{"t.acc >= 0.45", same, false, Passed},
		{"t.acc >= 0.5", same, false, Passed},
		{"t.acc >= 0.51", same, false, Missed},
		{"t.acc <= 0.45", same, false, Missed},
		{"t.acc >= 0.45", same, true, Inconclusive}, // a sample of the task: 0.40 ... 0.60
		{"t.acc >= 0.2", same, true, Passed},
		{"t.acc >= 0.9", same, true, Missed},

		{"t.acc >= -0.5pp", same, false, Passed}, // no document got worse
		{"t.acc >= -0.5pp", better, false, Passed},
		{"t.acc >= -0.5pp", little, false, Inconclusive},
		{"t.acc >= -0.5pp measured", little, false, Missed},
		{"t.acc >= -10pp", little, false, Passed},
		{"t.acc >= -0.5pp", much, false, Missed},
		{"t.acc >= -0.5pp", large, false, Passed},
		{"t.acc >= -1%", large, false, Passed},
		{"t.acc >= -0.005", large, false, Passed},
		{"t.acc >= +2pp", better, false, Passed},
		{"t.acc >= +20pp", better, false, Missed},
		{"t.acc >= +9pp", better, false, Inconclusive},
		{"t.acc <= +1pp", better, false, Missed},
		{"t.acc <= +1pp", same, false, Passed}, // no document got better
		{"t.acc <= -20pp", much, false, Passed},
	} {
		o, err := verdict(c.gate, c.table, c.partial)
		if err != nil || o.Verdict != c.want {
			t.Errorf("%s on %v: expected %s, found %+v, %v", c.gate, c.table, c.want, o, err)
		}
	}
	o, _ := verdict("t.acc >= -0.5pp", little, false)
	if !strings.Contains(o.Why, "100 documents show") || !strings.Contains(o.Why, "needs about") {
		t.Errorf("an inconclusive gate says what it would take: %s", o.Why)
	}
	for text, want := range map[string]string{"u.acc >= 0.1": "made has no task u", "t.f1 >= 0.1": "t has no metric f1", "t.acc,strict >= 0.1": "t has no metric acc,strict"} {
		if _, err := verdict(text, same, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: expected %q, found %v", text, want, err)
		}
	}
	gates := []Gate{{Text: "toy_gen.exact_match >= 0", Task: "toy_gen", Metric: "exact_match", Unit: Value}}
	if _, err := Judge(gates, readToy(t, "after"), nil); err == nil || !strings.Contains(err.Error(), "under several filters") {
		t.Errorf("two filters: %v", err)
	}
	g, _ := ParseGate("toy_mc.acc >= -1pp")
	if _, err := Judge([]Gate{g}, readToy(t, "after"), nil); err == nil || !strings.Contains(err.Error(), "nothing to compare with") {
		t.Errorf("no baseline: %v", err)
	}
	if Worst(nil) != Passed || Worst([]Outcome{{Verdict: Inconclusive}, {Verdict: Passed}}) != Inconclusive || Worst([]Outcome{{Verdict: Inconclusive}, {Verdict: Missed}}) != Missed {
		t.Error("the worst verdict is another one")
	}
}
