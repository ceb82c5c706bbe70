package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/eval/ask"
	"tune/internal/chat"
	"tune/internal/model"
	"tune/internal/testkit"
)

// golden is a file of evalgold: a run of lm-eval 0.4.13.
type golden struct {
	Task          string
	DType         string
	Shots         int `json:"num_fewshot"`
	Documents     struct{ Original, Effective int }
	Metrics       map[string]any
	Chat          bool      `json:"chat_template_used"`
	MultiTurn     *bool     `json:"fewshot_as_multiturn"`
	PromptsSHA256 string    `json:"prompts_sha256"`
	PromptHashes  []string  `json:"prompt_hashes"`
	LogProbs      []float64 `json:"loglikelihoods_all"`
	Greedy        string    `json:"is_greedy_all"`
	PerDocument   []int     `json:"requests_per_document"`
	Samples       []goldenSample
}

type goldenSample struct {
	DocID      int `json:"doc_id"`
	Filter     string
	Target     string
	DocHash    string `json:"doc_hash"`
	PromptHash string `json:"prompt_hash"`
	TargetHash string `json:"target_hash"`
	Metrics    map[string]any
	Filtered   []string
	Context    *string
	Requests   []struct {
		Context, Text *string
		Continuation  string
		LogLikelihood any
		Response      []string
	}
}

func readGolden(t *testing.T, path string) golden {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGoldens builds the requests of every golden run and compares them, and computes the metrics of the recorded
// answers: no model runs.
func TestGoldens(t *testing.T) {
	sources := Sources{Folders: []string{testkit.Shared(t, "data")}, Files: map[string][]Doc{}}
	files, err := filepath.Glob(filepath.Join(testkit.Shared(t, "evalgold"), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		if slices.Contains([]string{"ppl", "llama_perplexity", "speed"}, name) {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) { testGolden(t, readGolden(t, f), sources) })
	}
	if seen != 41 {
		t.Errorf("%d goldens, want 41", seen)
	}
}

func testGolden(t *testing.T, g golden, sources Sources) {
	l, err := NewLibrary()
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Task(g.Task)
	if err != nil {
		t.Fatal(err)
	}
	c.Shots = &g.Shots
	task, err := Load(c, sources)
	if err != nil {
		t.Fatal(err)
	}
	if len(task.Docs) != g.Documents.Original {
		t.Errorf("%d documents, want %d", len(task.Docs), g.Documents.Original)
	}
	o := Options{Seed: 1234, First: g.Documents.Effective}
	if g.Chat {
		o.Render = smolLMTemplate(t)
		o.MultiTurn = g.MultiTurn != nil && *g.MultiTurn
	}
	set, err := task.Requests(o)
	if err != nil {
		t.Fatal(err)
	}
	compareRequests(t, g, set)
	scored, err := set.Score(context.Background(), g.answers(t, set), Env{})
	if err != nil {
		t.Fatal(err)
	}
	compareSamples(t, g, scored)
	list, err := task.Aggregate(scored, Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	compareMetrics(t, g, list)
	keys := (&Selection{Tasks: []*Config{c}}).MetricKeys(c.Name)
	if len(keys) != len(list) {
		t.Errorf("%d metrics, announced are %v", len(list), keys)
	}
	for _, m := range list {
		if !slices.Contains(keys, m.Name+","+m.Filter) {
			t.Errorf("metric %s,%s is not among the announced %v", m.Name, m.Filter, keys)
		}
	}
}

// smolLMTemplate is the chat template of the model of the goldens.
func smolLMTemplate(t *testing.T) func([]ask.Message, bool) (string, error) {
	t.Helper()
	path := testkit.SmolLM2(t)
	m, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tm, err := chat.Parse(m.ChatTemplate())
	if err != nil {
		t.Fatal(err)
	}
	return func(messages []ask.Message, prefill bool) (string, error) {
		var c chat.Conversation
		for _, m := range messages {
			c.Messages = append(c.Messages, chat.Message{Role: m.Role, Content: m.Content})
		}
		r, err := tm.Render(c, chat.Options{AddGenerationPrompt: !prefill, ContinueFinal: prefill})
		return r.Text, err
	}
}

func compareRequests(t *testing.T, g golden, s *Set) {
	t.Helper()
	h := sha256.New()
	n := 0
	for range s.Filters {
		for _, item := range s.Items {
			var pairs []any
			for _, r := range item.Requests {
				var continuation any
				if r.Kind == ask.LogLikelihood {
					continuation = r.Continuation
				}
				pairs = append(pairs, []any{r.Context, continuation})
			}
			io.WriteString(h, chat.JSON(pairs, 0, false))
			if got := hexSHA256(item.Requests[0].Context); got != g.PromptHashes[n] {
				t.Errorf("document %d: another first context: %q", item.ID, item.Requests[0].Context)
			}
			if len(item.Requests) != g.PerDocument[n] {
				t.Errorf("document %d: %d requests, want %d", item.ID, len(item.Requests), g.PerDocument[n])
			}
			n++
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != g.PromptsSHA256 {
		t.Errorf("the requests differ: SHA-256 %s, want %s", got, g.PromptsSHA256)
	}
	for _, want := range g.Samples {
		item := s.Items[want.DocID]
		for i, r := range want.Requests {
			got := item.Requests[i]
			for _, context := range []*string{want.Context, r.Context, r.Text} {
				if context != nil && *context != got.Context {
					t.Fatalf("document %d, request %d: context\n%q\nwant\n%q", want.DocID, i, got.Context, *context)
				}
			}
			if got.Continuation != r.Continuation {
				t.Fatalf("document %d, request %d: continuation %q, want %q", want.DocID, i, got.Continuation, r.Continuation)
			}
		}
	}
}

func hexSHA256(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// answers are the recorded ones.
func (g golden) answers(t *testing.T, s *Set) [][]ask.Answer {
	t.Helper()
	out := make([][]ask.Answer, len(s.Items))
	n := 0
	for i, item := range s.Items {
		for k, r := range item.Requests {
			var a ask.Answer
			switch r.Kind {
			case ask.LogLikelihood:
				a = ask.Answer{LogProb: g.LogProbs[n], Greedy: g.Greedy[n] == '1'}
				n++
			case ask.Rolling:
				fmt.Sscan(g.Samples[i].Requests[k].LogLikelihood.([]any)[0].(string), &a.LogProb)
			case ask.Generate:
				a.Text = g.Samples[i].Requests[k].Response[0]
			}
			out[i] = append(out[i], a)
		}
	}
	return out
}

func compareSamples(t *testing.T, g golden, scored []Scored) {
	t.Helper()
	for _, want := range g.Samples {
		i := slices.IndexFunc(scored, func(x Scored) bool { return x.ID == want.DocID && x.Filter == want.Filter })
		if i < 0 {
			t.Fatalf("no document %d with filter %s", want.DocID, want.Filter)
		}
		x := scored[i]
		if got := chat.Str(x.Target); got != want.Target {
			t.Errorf("document %d: target %q, want %q", x.ID, got, want.Target)
		}
		if got := hexSHA256(chat.JSON(x.Doc, 2, false)); got != want.DocHash {
			t.Errorf("document %d: another row: %s", x.ID, chat.JSON(x.Doc, 0, false))
		}
		if want.Filtered != nil && !slices.Equal(x.Filtered, want.Filtered) {
			t.Errorf("document %d: filter %s gives %q, want %q", x.ID, x.Filter, x.Filtered, want.Filtered)
		}
		for _, v := range x.Values {
			w := want.Metrics[v.Metric]
			switch value := v.Value.(type) {
			case float64:
				if f, ok := w.(float64); !ok || math.Abs(f-value) > limitOf(g.Task, v.Metric)*math.Abs(f) {
					t.Errorf("document %d: %s = %v, want %v", x.ID, v.Metric, value, w)
				}
			case Pair:
				if list, ok := w.([]any); !ok || list[0] != value[0] || list[1] != value[1] {
					t.Errorf("document %d: %s = %v, want %v", x.ID, v.Metric, value, w)
				}
			}
		}
		if len(x.Values) != len(want.Metrics) {
			t.Errorf("document %d: %d metrics, want %d", x.ID, len(x.Values), len(want.Metrics))
		}
	}
}

// ulps is how far a metric made with exp may be off: that function's last digit is another one in another library.
const ulps = 4e-16

func limitOf(task, metric string) float64 {
	if task == "truthfulqa_mc2" || strings.Contains(metric, "perplexity") || strings.Contains(metric, "bits") {
		return ulps
	}
	return 0
}

func compareMetrics(t *testing.T, g golden, list []Metric) {
	t.Helper()
	found := 0
	for _, m := range list {
		for key, got := range map[string]float64{m.Name + "," + m.Filter: m.Value, m.Name + "_stderr," + m.Filter: m.Stderr} {
			want := math.NaN()
			switch w := g.Metrics[key].(type) {
			case float64:
				want = w
			case nil:
				t.Errorf("%s: not in the golden", key)
			}
			found++
			limit := limitOf(g.Task, m.Name)
			if math.IsNaN(want) != math.IsNaN(got) || math.Abs(got-want) > limit*math.Abs(want) {
				t.Errorf("%s = %v, want %v", key, got, want)
			}
		}
	}
	if want := len(g.Metrics) - 2; found != want {
		t.Errorf("%d numbers, want %d", found, want)
	}
}
