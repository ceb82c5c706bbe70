package report

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tune/internal/testkit"
)

func readToy(t *testing.T, name string) *Run {
	t.Helper()
	run, err := Read(filepath.Join("testdata", "lmeval", name))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// The files of lm-eval itself are read, in full.
func TestReadLMEval(t *testing.T) {
	run := readToy(t, "before")
	if run.LMEvalVersion != "0.4.13" || *run.Config.Limit != 4 || run.NumSamples["toy_mc"] != (Count{5, 4}) || run.Versions["toy_mc"] != 1.0 {
		t.Errorf("found %+v", run.Results)
	}
	if !*run.HigherIsBetter["toy_mc"]["acc"] || *run.HigherIsBetter["toy_roll"]["word_perplexity"] {
		t.Errorf("higher is better: %v", run.HigherIsBetter)
	}
	roll := run.Results.Results["toy_roll"]
	s, ok := roll.Find("word_perplexity", "none")
	if !ok || !math.IsNaN(s.Stderr) || s.Value <= 1 {
		t.Errorf("word perplexity %+v", s)
	}
	group := run.Groups["toy"]
	if s, ok := group.Find("acc", "none"); !ok || group.Documents != 8 || group.Counts["acc,none"] != 8 || math.IsNaN(s.Stderr) {
		t.Errorf("group %+v", group)
	}
	gen := run.Results.Results["toy_gen"]
	if len(gen.List) != 2 || gen.List[0].Key() != "exact_match,strict-match" || gen.List[1].Key() != "exact_match,flexible-extract" {
		t.Errorf("metrics %+v, expected them in the order of the file", gen.List)
	}
	if len(run.Samples) != 4 || len(run.Samples["toy_gen"]) != 6 {
		t.Fatalf("%d tasks with samples", len(run.Samples))
	}
	x := run.Samples["toy_mc"][1]
	if len(x.Arguments) != 3 || x.Arguments[1][1] != " thirty days" || x.Filter != "none" || x.Target != "1" {
		t.Errorf("sample %+v", x)
	}
	if v, ok := x.Number("acc"); !ok || v != 0 && v != 1 {
		t.Errorf("acc %v", x.Values)
	}
	if v, ok := run.Samples["toy_roll"][0].Values["word_perplexity"].([]any); !ok || v[1] != 3.0 {
		t.Errorf("word perplexity of a document: %v", run.Samples["toy_roll"][0].Values)
	}
}

// What lm-eval wrote and we read and write again says the same, key by key.
func TestWriteIsLMEvals(t *testing.T) {
	run := readToy(t, "before")
	dir := t.TempDir()
	if err := Write(dir, run.Results, run.Samples); err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	readJSON(t, run.Path, &want)
	readJSON(t, filepath.Join(dir, ResultsName), &got)
	for _, k := range []string{"results", "groups", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "task_hashes", "date", "model_name", "chat_template"} {
		if !reflect.DeepEqual(want[k], got[k]) {
			t.Errorf("%s\nexpected %v\nfound    %v", k, want[k], got[k])
		}
	}
	for task := range run.Samples {
		theirs := strings.Replace(filepath.Base(run.Path), "results", "samples_"+task, 1) + "l"
		a := jsonLines(t, filepath.Join(filepath.Dir(run.Path), theirs))
		b := jsonLines(t, filepath.Join(dir, SamplesName(task)))
		if !reflect.DeepEqual(a, b) {
			t.Errorf("samples of %s\nexpected %v\nfound    %v", task, a[0], b[0])
		}
	}
	if _, err := Read(dir); err != nil {
		t.Error(err)
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func jsonLines(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// Numbers that JSON lacks survive, as Python's json module writes them and as we do.
func TestNotNumbers(t *testing.T) {
	const python = `{"a": NaN, "text \" NaN": "-Infinity NaN", "b": [-Infinity, Infinity, -1.5]}`
	var m map[string]any
	if err := json.Unmarshal(strictJSON([]byte(python)), &m); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"a": "NaN", `text " NaN`: "-Infinity NaN", "b": []any{"-Infinity", "Infinity", -1.5}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("found %v", m)
	}
	s := Scores{Name: "x", List: []Score{{"perplexity", "none", math.Inf(1), math.NaN()}, {"acc", "none", math.NaN(), 0.5}}}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Scores
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if p, a := back.List[0], back.List[1]; !math.IsInf(p.Value, 1) || !math.IsNaN(p.Stderr) || !math.IsNaN(a.Value) || a.Stderr != 0.5 {
		t.Errorf("found %+v in %s", back.List, text)
	}
}

// Files that are not results, or not of one run, are refused by name.
func TestReadRefuses(t *testing.T) {
	run := readToy(t, "before")
	foreign := t.TempDir()
	if err := Write(foreign, run.Results, run.Samples); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(foreign, SamplesName("toy_mc"))
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(name, []byte(first+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		p := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct{ path, want string }{
		{foreign, "not the samples of"},
		{t.TempDir(), "no results.json or results_*.json"},
		{file("results.json", `{"results": {}}`), `no "results" in it`},
		{file("results.json", `[1]`), "expected lm-eval's results"},
		{file("results.json", `{"results": {"a": {"acc,none": "high"}}}`), `"acc,none": expected a number`},
		{file("weights.gguf", ""), "expected a results file"},
		{filepath.Join(t.TempDir(), "none.json"), "no such file"},
	} {
		if _, err := Read(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: expected an error with %q, found %v", c.path, c.want, err)
		}
	}
}

func FuzzReadSample(f *testing.F) {
	text, err := os.ReadFile(filepath.Join(testkit.Root(f), "eval", "report", "testdata", "lmeval", "sample.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"doc_id":0,"metrics":["acc"],"acc":NaN,"arguments":[["a"]]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Sample
		if json.Unmarshal(strictJSON(b), &s) == nil {
			if _, err := json.Marshal(s); err != nil {
				t.Fatalf("read, but not written again: %v", err)
			}
		}
		var x Scores
		json.Unmarshal(strictJSON(b), &x)
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}
