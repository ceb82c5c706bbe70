package eval

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/eval/ask"
	"tune/eval/report"
	"tune/eval/task"
)

// fake answers by a hash of the request, last request first.
type fake struct {
	asked   int
	reverse bool
	say     func(ask.Request) string
}

func (f *fake) Name() string     { return "org/fake" }
func (f *fake) Identity() string { return "fake" }
func (f *fake) Context() int     { return 128 }

func (f *fake) Render(chat []ask.Message, prefill bool) (string, error) {
	var b strings.Builder
	for _, m := range chat {
		fmt.Fprintf(&b, "<%s>%s\n", m.Role, m.Content)
	}
	return b.String() + "<assistant>", nil
}

func (f *fake) Answer(_ context.Context, requests []ask.Request, done func(int, ask.Answer) error) error {
	for k := range requests {
		i := k
		if f.reverse {
			i = len(requests) - 1 - k
		}
		f.asked++
		h := fnv.New32a()
		fmt.Fprint(h, requests[i].Context, "|", requests[i].Continuation)
		a := ask.Answer{LogProb: -float64(h.Sum32()) / (1 << 28), Greedy: h.Sum32()%2 == 0, Read: len(requests[i].Context), Tokens: 1}
		if f.say != nil {
			a.Text = f.say(requests[i])
		}
		if err := done(i, a); err != nil {
			return err
		}
	}
	return nil
}

// files writes files into a new folder.
func files(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const twoTasks = `
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{q}}\nA:"
doc_to_choice: ["yes", "no", "perhaps"]
doc_to_target: gold
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: brier_score}]
metadata: {version: 1.5}
each: [{task: one}, {task: two, doc_to_text: "{{q}}?", num_fewshot: 1}]
`

const group = `
group: both
task: [one, two]
aggregate_metric_list: [{metric: acc, weight_by_size: true}, {metric: acc_norm, weight_by_size: false}]
`

func folder(t *testing.T) string {
	rows := ""
	for i := range 30 {
		rows += fmt.Sprintf("{\"q\": \"number %d\", \"gold\": %d}\n", i, i%3)
	}
	return files(t, map[string]string{"two.yaml": twoTasks, "group.yaml": group, "rows.jsonl": rows})
}

func job(t *testing.T, dir string, names ...string) *Job {
	t.Helper()
	l, err := task.NewLibrary(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Select(names)
	if err != nil {
		t.Fatal(err)
	}
	return &Job{Selection: s, Seed: 1234, Bootstrap: 1000}
}

func run(t *testing.T, j *Job, m ask.Model) *Outcome {
	t.Helper()
	plan, err := j.Plan(m)
	if err != nil {
		t.Fatal(err)
	}
	last := Progress{}
	out, err := j.Run(context.Background(), m, plan, func(p Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Requests || last.Index != len(plan)-1 || last.SecondsLeft != 0 {
		t.Errorf("the last progress is %+v", last)
	}
	return out
}

func TestRunGroup(t *testing.T) {
	dir := folder(t)
	out := run(t, job(t, dir, "both"), &fake{})
	r := out.Results
	one, two, both := r.Results["one"], r.Results["two"], r.Results["both"]
	a, _ := one.Find("acc", "none")
	b, _ := two.Find("acc", "none")
	m, ok := both.Find("acc", "none")
	if !ok || m.Value != (a.Value*30+b.Value*30)/60 {
		t.Errorf("group acc %v of %v and %v", m.Value, a.Value, b.Value)
	}
	want := math.Sqrt((29*a.Stderr*a.Stderr*30 + 29*b.Stderr*b.Stderr*30) / 58 / 60)
	if math.Abs(m.Stderr-want) > 1e-15 {
		t.Errorf("group stderr %v, want %v", m.Stderr, want)
	}
	if x, _ := one.Find("brier_score", "none"); !math.IsNaN(x.Stderr) || x.Value <= 0 {
		t.Errorf("brier score %+v", x)
	}
	if r.NumFewshot["two"] != 1 || r.NumFewshot["one"] != 0 || fmt.Sprint(r.Versions["one"]) != "1.5" {
		t.Errorf("shots %v, versions %v", r.NumFewshot, r.Versions)
	}
	if _, ok := r.Groups["both"]; !ok || len(r.GroupSubtasks["both"]) != 2 {
		t.Errorf("groups %v", r.GroupSubtasks)
	}
	if f := r.Tune.Tasks["one"]; f.Requests != 90 || f.Data == "" || f.Prompts == "" || f.Definition == "" || f.Data != r.Tune.Tasks["two"].Data || f.Prompts == r.Tune.Tasks["two"].Prompts {
		t.Errorf("facts %+v", f)
	}
	if h := r.HigherIsBetter["one"]["brier_score"]; h == nil || *h {
		t.Error("a lower brier score is better")
	}
	if len(out.Samples["one"]) != 30 || len(out.Samples["one"][3].Arguments) != 3 {
		t.Errorf("%d samples", len(out.Samples["one"]))
	}
	// written and read again
	to := t.TempDir()
	if err := report.Write(to, r, out.Samples); err != nil {
		t.Fatal(err)
	}
	back, err := report.Read(to)
	if err != nil {
		t.Fatal(err)
	}
	if x, _ := back.Results.Results["both"].List[0], 0; x.Value != m.Value {
		t.Errorf("read %v", x)
	}
}

func TestRunDoesNotDependOnOrder(t *testing.T) {
	dir := folder(t)
	a, b := run(t, job(t, dir, "one", "two"), &fake{}), run(t, job(t, dir, "two", "one"), &fake{reverse: true})
	for _, name := range []string{"one", "two"} {
		x, y := a.Results.Results[name], b.Results.Results[name]
		if fmt.Sprint(x) != fmt.Sprint(y) {
			t.Errorf("%v and %v", x, y)
		}
	}
}

func TestLimit(t *testing.T) {
	dir := folder(t)
	for limit, want := range map[float64]int{7: 7, 0.1: 3, 0.11: 4, 1: 1, 100: 30} {
		j := job(t, dir, "one")
		j.Limit = limit
		out := run(t, j, &fake{})
		if n := out.Results.NumSamples["one"]; n.Effective != want || n.Original != 30 {
			t.Errorf("limit %v: %+v, want %d", limit, n, want)
		}
		if partial := len(out.Results.Tune.Partial) > 0; partial != (want < 30) {
			t.Errorf("limit %v: partial %v", limit, partial)
		}
	}
	whole, part := run(t, job(t, dir, "two"), &fake{}), job(t, dir, "two")
	part.Limit = 5
	out := run(t, part, &fake{})
	for i, s := range out.Samples["two"] {
		if s.PromptHash != whole.Samples["two"][i].PromptHash {
			t.Errorf("document %d is asked in other words when a limit is set", i)
		}
	}
}

func TestPlanTellsAllProblems(t *testing.T) {
	dir := files(t, map[string]string{
		"a.yaml":    strings.Replace(twoTasks, "{{q}}?", "{{nothing}}", 1),
		"code.yaml": "task: code\ndataset_path: json\nunsafe_code: true\ntest_split: test\ndoc_to_text: a\ndoc_to_target: b\n",
	})
	j := job(t, dir, "one", "two", "code")
	_, err := j.Plan(&fake{})
	if err == nil {
		t.Fatal("planned without data")
	}
	for _, want := range []string{"task one: its data is not there: data file rows.jsonl", "task two: its data is not there", "task code runs code"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "rows.jsonl"), []byte(`{"q": "a", "gold": 1}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = job(t, dir, "two").Plan(&fake{})
	if err == nil || !strings.Contains(err.Error(), "'nothing' is undefined") || !strings.Contains(err.Error(), "the data has the columns q, gold") {
		t.Errorf("error %v does not say which column is missing and which there are", err)
	}
}

func TestSkipMissing(t *testing.T) {
	dir := folder(t)
	if err := os.WriteFile(filepath.Join(dir, "three.yaml"), []byte("include: two.yaml\neach: [{task: three, dataset_kwargs: {data_files: {test: none.jsonl}}}]\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	j := job(t, dir, "one", "three")
	j.SkipMissing = true
	out := run(t, j, &fake{})
	if n := out.Results.Tune.Notes; len(n) != 1 || !strings.Contains(n[0], "left out: task three") || len(out.Results.Results) != 1 {
		t.Errorf("notes %q", n)
	}
}

const judged = `
task: talk
dataset_path: json
dataset_kwargs: {data_files: {test: talk.jsonl}}
test_split: test
turns: turns
process_results: !function mt_bench/questions.ratings
metric_list: [{metric: rating, aggregation: nanmean}, {metric: unrated, aggregation: mean, higher_is_better: false}]
generation_kwargs: {until: [], max_gen_toks: 20}
judge: {system: Judge., prompts: ["first {{turns[0]}} {{answers[0]}}", "second {{turns[1]}} {{answers[1]}}"]}
`

func TestJudge(t *testing.T) {
	dir := files(t, map[string]string{"talk.yaml": judged, "talk.jsonl": `{"turns": ["hello", "again"]}` + "\n" + `{"turns": ["one", "two"]}` + "\n"})
	j := job(t, dir, "talk")
	if _, err := j.Plan(&fake{}); err == nil || !strings.Contains(err.Error(), "judge") {
		t.Errorf("planned without a judge: %v", err)
	}
	model := &fake{say: func(r ask.Request) string { return fmt.Sprintf("answer %d", len(r.Chat)) }}
	var asked []string
	j.Judge = &fake{say: func(r ask.Request) string {
		asked = append(asked, r.Context)
		if strings.Contains(r.Context, "two") {
			return "no rating"
		}
		return "Rating: [[7]]"
	}}
	out := run(t, j, model)
	s := out.Results.Results["talk"]
	if x, _ := s.Find("rating", "none"); x.Value != 7 {
		t.Errorf("rating %v", x.Value)
	}
	if x, _ := s.Find("unrated", "none"); x.Value != 0.25 {
		t.Errorf("unrated %v", x.Value)
	}
	if len(asked) != 4 || asked[1] != "<system>Judge.\n<user>second again answer 3\n<assistant>" {
		t.Errorf("the judge was asked %q", asked)
	}
	if model.asked != 4 {
		t.Errorf("the model was asked %d times, want 4", model.asked)
	}
}
