package task

import (
	"bufio"
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"tune/eval/ask"
	"tune/internal/chat"
	"tune/internal/testkit"
)

// Keys that tasks had otherwise in lm-eval 0.3.
var v03Keys = map[string]string{
	"boolq-v1":       `{"doc_to_choice": ["yes", "no"], "doc_to_target": "{{0 if label else 1}}"}`,
	"copa-v0":        `{"doc_to_choice": "xcopa/utils.doc_to_choice", "doc_to_target": label}`,
	"wsc273-v0":      `{"process_docs": null, "doc_to_text": gold, "doc_to_choice": context_options, "doc_to_target": continuation}`,
	"hendrycksTest":  `{"doc_to_text": "Question: {{question}}\nChoices:\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:", "doc_to_choice": choices, "description": "", "metric_list": [{metric: acc}, {metric: acc_norm}]}`,
	"truthfulqa_mc1": `{"doc_to_choice": "{{mc1_targets.choices}}"}`,
}

// pretend is the model that the fingerprints' results were made with: the next random number for every request.
type pretend struct{ r *Random }

func (p pretend) answer() ask.Answer { return ask.Answer{LogProb: -p.r.Float64()} }

// TestV03 rebuilds the requests of lm-eval 0.3 from the data and compares their fingerprints, and the scores of a pretend model.
func TestV03(t *testing.T) {
	data := testkit.Shared(t, "data")
	f, err := os.Open(data + "/eval/lm_eval_v03/index.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sources := Sources{Folders: []string{data}, Files: map[string][]Doc{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var row struct {
			Name, Data string
			Subject    *string
			SHA256     string `json:"requests_sha256"`
			Requests   int
			Results    map[string]float64
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		t.Run(row.Name, func(t *testing.T) {
			var sets []*Set
			for _, name := range v03Tasks(row.Name) {
				sets = append(sets, v03Set(t, row.Name, name, row.Data, sources))
			}
			var requests []any
			answers := make([][][]ask.Answer, len(sets))
			model := pretend{NewRandom(42)}
			for i := range sets[0].Items {
				for k, s := range sets {
					var list []ask.Answer
					for _, r := range s.Items[i].Requests {
						if r.Kind == ask.Rolling {
							requests = append(requests, []any{r.Context})
						} else {
							requests = append(requests, []any{r.Context, r.Continuation})
						}
						list = append(list, model.answer())
					}
					answers[k] = append(answers[k], list)
				}
			}
			if len(requests) != row.Requests {
				t.Errorf("%d requests, want %d", len(requests), row.Requests)
			}
			if got := hexSHA256(chat.JSON(requests, 0, true)); got != row.SHA256 {
				t.Errorf("fingerprint %s, want %s; the first request is %.300s", got, row.SHA256, chat.JSON(requests[0], 0, true))
			}
			compareV03(t, sets, answers, row.Results)
		})
	}
	if n != 65 {
		t.Errorf("%d fingerprints, want 65", n)
	}
}

// v03Tasks are today's tasks that a task of lm-eval 0.3 is made of.
func v03Tasks(name string) []string {
	base := name[:strings.LastIndex(name, "-v")]
	if subject, ok := strings.CutPrefix(base, "hendrycksTest-"); ok {
		return []string{"mmlu_" + subject}
	}
	if base == "truthfulqa_mc" {
		return []string{"truthfulqa_mc1", "truthfulqa_mc2"}
	}
	return []string{base}
}

func v03Set(t *testing.T, fingerprint, name, file string, s Sources) *Set {
	t.Helper()
	l, err := NewLibrary()
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Task(name)
	if err != nil {
		t.Fatal(err)
	}
	for key, text := range v03Keys {
		if !strings.HasPrefix(fingerprint, key) {
			continue
		}
		keys, err := readYAML("v03/keys.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if key == "copa-v0" {
			keys.Set("doc_to_choice", Function{Name: "xcopa/utils.doc_to_choice"})
		}
		if c, err = c.with(keys); err != nil {
			t.Fatal(err)
		}
	}
	if key := "truthfulqa_mc"; strings.HasPrefix(fingerprint, key) {
		c.DataFiles = map[string][]string{"validation": {"eval/" + file}}
	}
	if strings.HasPrefix(fingerprint, "wsc273") {
		c.DataFiles = map[string][]string{"test": {"eval/" + file}}
	}
	loaded, err := Load(c, s)
	if err != nil {
		t.Fatal(err)
	}
	docs := append([]Doc(nil), loaded.Docs...)
	if name == "truthfulqa_mc2" {
		if docs, err = eachDoc(leadingLabels)(docs); err != nil {
			t.Fatal(err)
		}
	}
	NewRandom(42).Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
	loaded.Docs = docs
	set, err := loaded.Requests(Options{Seed: 1234})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// leadingLabels makes an answer false that stands behind a false one: so the old release counted them.
func leadingLabels(d Doc) error {
	v, _ := d.Get("mc2_targets")
	targets := v.(Doc)
	l, _ := targets.Get("labels")
	labels := append([]any(nil), l.([]any)...)
	for i := slices.Index(labels, any(int64(0))); i < len(labels); i++ {
		labels[i] = int64(0)
	}
	choices, _ := targets.Get("choices")
	d.Set("mc2_targets", chat.NewDict(chat.Field{Name: "choices", Value: choices}, chat.Field{Name: "labels", Value: labels}))
	return nil
}

// v03Tolerance is that of the suite the results come from.
const v03Tolerance = 1e-5

func compareV03(t *testing.T, sets []*Set, answers [][][]ask.Answer, want map[string]float64) {
	t.Helper()
	got := map[string]float64{}
	for k, s := range sets {
		scored, err := s.Score(context.Background(), answers[k], Env{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Aggregate(scored, Bootstrap)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			name := m.Name
			if len(sets) == 2 {
				name = []string{"mc1", "mc2"}[k]
			}
			got[name] = m.Value
			if !math.IsNaN(m.Stderr) {
				got[name+"_stderr"] = m.Stderr
			}
		}
	}
	for name, w := range want {
		if g, ok := got[name]; !ok || math.Abs(g-w) > v03Tolerance*math.Abs(w)+1e-8 {
			t.Errorf("%s = %v, want %v", name, g, w)
		}
	}
}
