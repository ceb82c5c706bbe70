package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"
)

// sample report: a task that lost, with gates of every verdict.
func lossy(t *testing.T) *Report {
	t.Helper()
	b, a := answers(30, 40, 2, 28)
	fill := func(i int, s *Sample) {
		s.Arguments = [][]any{{"Question: <b>which</b> | one?", " no"}, {"Question: <b>which</b> | one?", " yes\n"}}
		s.Target, s.Filtered = "1", []any{[]any{"-1.5", "False"}, []any{"-2.25", "True"}}
	}
	before, after := made("acc", b, fill), made("acc", a, fill)
	before.ModelName, after.ModelName = "base", "tuned"
	after.Tune = &Extra{Version: "9", ModelSHA256: "abc", Tasks: map[string]TaskFacts{"t": {Requests: 200, Truncated: 3, Unparsed: 1, Cut: 2}},
		Trained: []Overlap{{Train: "train.jsonl", Task: "t", Documents: 100, Dirty: 4, Near: 1}}}
	c := compared(t, before, after, DefaultOptions())
	var gates []Gate
	for _, text := range []string{"t.acc >= -5pp", "t.acc >= -50pp", "t.acc >= -30pp", "t.acc >= 0.3"} {
		g, err := ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		gates = append(gates, g)
	}
	outcomes, err := Judge(gates, after, c)
	if err != nil {
		t.Fatal(err)
	}
	return &Report{Title: "base → tuned", Before: before, After: after, Comparison: c, Gates: outcomes, Facts: []Fact{{"where", "here"}}}
}

func text(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestJUnit(t *testing.T) {
	r := lossy(t)
	out := text(t, r.JUnit)
	var x junitSuites
	if err := xml.Unmarshal([]byte(out), &x); err != nil {
		t.Fatal(err)
	}
	if x.Tests != 4 || x.Failures != 1 || x.Skipped != 1 || len(x.Suites) != 1 {
		t.Fatalf("found %+v", x)
	}
	missed := x.Suites[0].Cases[0]
	if missed.Failure == nil || missed.Name != "t.acc >= -5pp" || strings.Count(missed.Failure.Text, "document ") != worst || !strings.Contains(missed.Failure.Text, "document 30: 0: no before, 0: no after; expected 1\nQuestion: <b>which</b>") {
		t.Errorf("missed gate: %+v", missed.Failure)
	}
	if c := x.Suites[0].Cases[2]; c.Skipped == nil || !strings.HasPrefix(c.Skipped.Message, "inconclusive: measured -38.00pp") {
		t.Errorf("inconclusive gate: %+v", c)
	}
	r.Gates, r.Comparison, r.Before = nil, nil, nil
	if out := text(t, r.JUnit); !strings.Contains(out, `<testcase classname="t" name="acc">`) || !strings.Contains(out, "0.3200 ± 0.0469") {
		t.Errorf("a run alone: %s", out)
	}
}

func TestMarkdown(t *testing.T) {
	r := lossy(t)
	out := text(t, r.Markdown)
	for _, want := range []string{"## base → tuned", "**4 gates: 1 missed, 1 inconclusive, 2 passed**", "| ❌ missed | `t.acc >= -5pp` |", "| t | acc | 0.7000 | 0.3200 | -38.00pp |",
		"3 of 200 requests lost the beginning of their context", "of 100 documents of t, 4 share a passage with it and 1 are nearly a row of it", "| where | here |"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for i, l := range strings.Split(out, "\n") {
		if n := strings.Count(strings.ReplaceAll(l, "\\|", ""), "|"); strings.HasPrefix(l, "| t ") && n != 9 {
			t.Errorf("line %d has %d cells: %s", i, n-1, l)
		}
	}
}

// The page needs nothing from outside, runs nothing, and escapes what models and data say.
func TestHTML(t *testing.T) {
	r := lossy(t)
	out := text(t, r.HTML)
	if m := regexp.MustCompile(`(?i)<script|<link|<img|<iframe|https?://|src=|@import|url\(|onload|<b>which`).FindString(out); m != "" {
		t.Errorf("the page holds %q", m)
	}
	for _, want := range []string{"<svg", "prefers-color-scheme: dark", "4 gates: 1 missed, 1 inconclusive, 2 passed", `class="banner missed"`, `class="doc worse"`, `class="doc better"`, `class="doc wrong"`, `class="doc right"`,
		"Question: &lt;b&gt;which&lt;/b&gt; | one?", `class="num best">-1.500`, "abc", "McNemar"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if n := strings.Count(out, `<details class="doc`); n != 100 {
		t.Errorf("%d documents", n)
	}
	if i, k := strings.Index(out, `class="doc worse"`), strings.Index(out, `class="doc right"`); i > k {
		t.Error("documents that got worse do not come first")
	}
	r.Comparison, r.Before, r.Gates = nil, nil, nil
	if out := text(t, r.HTML); !strings.Contains(out, "<svg") || !strings.Contains(out, "± 0.0469") {
		t.Error("a run alone has no scores")
	}
}

// A page of many documents leaves some out, and says how many.
func TestHTMLIsBounded(t *testing.T) {
	b, a := answers(2000, 300, 100, 600)
	r := &Report{Title: "x", Before: made("acc", b, nil), After: made("acc", a, nil)}
	out := text(t, r.HTML)
	if n := strings.Count(out, `<details class="doc`); n != documentsShown || !strings.Contains(out, "1000 more documents are in the samples file") {
		t.Errorf("%d documents", n)
	}
}

// lm-eval's own files give every report.
func TestReportsOfLMEval(t *testing.T) {
	before, after := readToy(t, "before"), readToy(t, "after")
	r := &Report{Title: "toy", Before: before, After: after, Comparison: compared(t, before, after, DefaultOptions())}
	for _, write := range []func(io.Writer) error{r.HTML, r.JUnit, r.Markdown} {
		if out := text(t, write); !strings.Contains(out, "toy_mc") || !strings.Contains(out, "flexible-extract") {
			t.Error("tasks are missing")
		}
	}
	if out := text(t, r.HTML); !strings.Contains(out, "lm-eval 0.4.13") || !strings.Contains(out, "toy_mc (4 of 5 documents)") {
		t.Error("version or warning is missing")
	}
}

func TestTicks(t *testing.T) {
	for _, c := range [][2]float64{{0, 1}, {-3.2, 7.9}, {0.001, 0.0014}, {5, 5}, {-1e-9, 1e-9}, {-40, 0}} {
		ticks := niceTicks(c[0], c[1])
		if len(ticks) < 2 || len(ticks) > 9 || ticks[0] > c[0] || ticks[len(ticks)-1] < c[1] {
			t.Errorf("%v: %v", c, ticks)
		}
	}
}

// JSON of a comparison holds numbers that JSON has no word for as texts.
func TestComparisonJSON(t *testing.T) {
	c := Comparison{Rows: []Row{{Before: Real(1), After: Real(1) / Real(zero)}}}
	out, err := json.Marshal(c)
	if err != nil || !strings.Contains(string(out), `"after":"Infinity"`) {
		t.Errorf("%s, %v", out, err)
	}
}

var zero float64
