package cli

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tune/eval/report"
	"tune/internal/testkit"
	"tune/kernels"
)

var full = flag.Bool("full", false, "run every document of the goldens of lm-evaluation-harness, which takes ten minutes")

// recorded is what is compared of a file of ../shared/evalgold: a run of lm-eval 0.4.13 on SmolLM2.
type recorded struct {
	Task        string
	DType       string
	Shots       int `json:"num_fewshot"`
	Documents   struct{ Effective int }
	Metrics     map[string]any
	Chat        bool      `json:"chat_template_used"`
	MultiTurn   bool      `json:"fewshot_as_multiturn"`
	LogProbs    []float64 `json:"loglikelihoods_all"`
	Greedy      string    `json:"is_greedy_all"`
	PerDocument []int     `json:"requests_per_document"`
}

const (
	// sumLimit is for the log-probability of a continuation of some tokens, float32 on both sides.
	sumLimit = 1e-3
	// floatLimit is relative, for metrics made of log-probabilities. Metrics that count documents are equal.
	floatLimit = 1e-4
	// In bfloat16 lm-eval's own scores are coarse, see the README of the goldens: a few documents more or less, and a relative
	// difference of perplexities.
	halfDocuments = 4
	halfLimit     = 0.02
)

// TestGoldenRuns runs the command on the real model as lm-eval was run: each task's first document, request by request; with -full
// all documents of all runs, and the metrics.
func TestGoldenRuns(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testkit.Shared(t, "evalgold"), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	file := testkit.SmolLM2(t)
	if kernels.Level() == "plain" {
		t.Skip("plain kernels take minutes for 135M weights")
	}
	base := filepath.Join(t.TempDir(), "bf16")
	if code, _, errs := tune("", "convert", file, base); code != 0 {
		t.Fatal(errs)
	}
	ran := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var g recorded
		if err := json.Unmarshal(text, &g); err != nil {
			t.Fatal(err)
		}
		slow := g.DType == "bfloat16" || len(g.LogProbs) == 0 || g.Shots > 0 && g.Task != "mmlu_astronomy" // the same requests as in float32; long texts
		if g.Documents.Effective == 0 || slow && !*full {                                                  // no run, but its speed or a perplexity
			continue
		}
		ran++
		t.Run(strings.TrimSuffix(filepath.Base(f), ".json"), func(t *testing.T) { g.run(t, base) })
	}
	if want := map[bool]int{true: 41, false: 20}[*full]; ran != want {
		t.Errorf("%d goldens, want %d", ran, want)
	}
}

func (g *recorded) run(t *testing.T, base string) {
	documents, dir := 1, t.TempDir()
	if *full {
		documents = g.Documents.Effective
	}
	args := []string{"eval", "--base", base, "--precision", "f32", "--tasks", g.Task, "--num-fewshot", strconv.Itoa(g.Shots), "--limit", strconv.Itoa(documents),
		"--data", testkit.Shared(t, "data"), "--journal", "-", "--output", dir}
	if g.Chat {
		args = append(args, "--apply-chat-template")
	}
	if g.MultiTurn && g.Shots > 0 {
		args = append(args, "--fewshot-as-multiturn")
	}
	if code, _, errs := tune("", args...); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	r, err := report.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if g.DType == "float32" {
		g.compareAnswers(t, r.Samples[g.Task], documents)
	}
	if *full {
		g.compareMetrics(t, r)
	}
}

// compareAnswers compares log-probabilities, and whether a continuation is the likeliest.
func (g *recorded) compareAnswers(t *testing.T, samples []report.Sample, documents int) {
	n, worst := 0, 0.0
	for i := range min(documents, len(g.PerDocument)) {
		if len(g.LogProbs) == 0 { // texts: their metrics are compared
			return
		}
		at := slices.IndexFunc(samples, func(s report.Sample) bool { return s.DocID == i })
		if at < 0 {
			t.Fatalf("no sample of document %d", i)
		}
		answers, ok := samples[at].Filtered.([]any)
		if !ok || len(answers) != g.PerDocument[i] {
			t.Fatalf("document %d: answers %v, want %d", i, samples[at].Filtered, g.PerDocument[i])
		}
		for _, a := range answers {
			pair, ok := a.([]any)
			if !ok || len(pair) != 2 {
				t.Fatalf("document %d: answer %v", i, a)
			}
			p, err := strconv.ParseFloat(fmt.Sprint(pair[0]), 64)
			if worst = max(worst, math.Abs(p-g.LogProbs[n])); err != nil || !(math.Abs(p-g.LogProbs[n]) <= sumLimit) || (pair[1] == "True") != (g.Greedy[n] == '1') {
				t.Errorf("document %d: %v, want %v, greedy %c", i, pair, g.LogProbs[n], g.Greedy[n])
			}
			n++
		}
	}
	t.Logf("%d requests, greatest difference %.1e", n, worst)
}

func (g *recorded) compareMetrics(t *testing.T, r *report.Run) {
	list, n := r.Results.Results[g.Task].List, float64(g.Documents.Effective)
	for _, m := range list {
		key := m.Metric + "," + m.Filter
		want, ok := g.Metrics[key].(float64)
		stderr, hasError := g.Metrics[m.Metric+"_stderr,"+m.Filter].(float64)
		counts := strings.HasPrefix(m.Metric, "acc") || m.Metric == "exact_match"
		limit, limitError := floatLimit*want, floatLimit*stderr
		switch {
		case g.DType != "float32" && counts:
			limit, limitError = halfDocuments/n, math.Inf(1)
		case g.DType != "float32":
			limit, limitError = halfLimit*want, math.Inf(1)
		case counts && g.Task != "truthfulqa_mc2":
			limit, limitError = 1e-12, 1e-12
		}
		if !ok || math.Abs(m.Value-want) > limit || hasError && math.Abs(m.Stderr-stderr) > limitError || hasError == math.IsNaN(m.Stderr) {
			t.Errorf("%s = %v ± %v, want %v ± %v", key, m.Value, m.Stderr, want, stderr)
		}
		t.Logf("%s %.6f, lm-eval %.6f", key, m.Value, want)
	}
	if want := (len(g.Metrics) - 2) / 2; len(list) != want {
		t.Errorf("%d metrics, want %d", len(list), want)
	}
}
