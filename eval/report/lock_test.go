package report

import (
	"path/filepath"
	"strings"
	"testing"
)

func lockable() *Run {
	run := made("acc", []float64{1, 0, 1}, nil)
	run.ModelName = "base"
	run.Tune = &Extra{ModelSHA256: "m1", Tasks: map[string]TaskFacts{"t": {Definition: "def1", Data: "data1", Prompts: "prompts1"}}}
	return run
}

// A lock passes the run that it was made of, and names everything that is another one.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), LockName)
	if err := NewLock(lockable()).Write(path); err != nil {
		t.Fatal(err)
	}
	l, err := ReadLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(lockable(), true); err != nil {
		t.Errorf("its own run: %v", err)
	}
	for name, c := range map[string]struct {
		change func(r *Run)
		want   string
	}{
		"version":    {func(r *Run) { r.Versions["t"] = 2.0 }, "t: version 2, locked 1"},
		"definition": {func(r *Run) { r.Tune.Tasks["t"] = TaskFacts{Definition: "def2", Data: "data1", Prompts: "prompts1"} }, "t: definition def2, locked def1"},
		"data":       {func(r *Run) { r.Tune.Tasks["t"] = TaskFacts{Definition: "def1", Data: "data2", Prompts: "prompts1"} }, "t: data data2, locked data1"},
		"prompts":    {func(r *Run) { r.Tune.Tasks["t"] = TaskFacts{Definition: "def1", Data: "data1", Prompts: "prompts2"} }, "t: prompts prompts2, locked prompts1"},
		"documents":  {func(r *Run) { r.NumSamples["t"] = Count{3, 2} }, "t: documents 2, locked 3"},
		"shots":      {func(r *Run) { r.NumFewshot = map[string]int{"t": 5} }, "t: examples in the prompt 5, locked 0"},
		"more":       {func(r *Run) { r.Results.Results["u"] = r.Results.Results["t"] }, "task u is not in it"},
		"fewer":      {func(r *Run) { delete(r.Results.Results, "t") }, "task t was not run"},
		"model":      {func(r *Run) { r.Tune.ModelSHA256 = "m2" }, "model base: m2, locked m1"},
		"name":       {func(r *Run) { r.ModelName = "other" }, "model other is not in it"},
	} {
		run := lockable()
		c.change(run)
		if err := l.Check(run, true); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: expected %q, found %v", name, c.want, err)
		}
	}
	tuned := lockable()
	tuned.ModelName, tuned.Tune.ModelSHA256 = "tuned", "m3"
	if err := l.Check(tuned, false); err != nil {
		t.Errorf("the candidate's model is what is measured: %v", err)
	}
}

// lm-eval's own files are locked by what they know: versions and the hash over all samples.
func TestLockOfLMEval(t *testing.T) {
	l := NewLock(readToy(t, "before"))
	if err := l.Check(readToy(t, "after"), false); err != nil {
		t.Error(err)
	}
	if len(l.Tasks) != 4 || l.Tasks["toy_mc"].Prompts == "" {
		t.Errorf("found %+v", l)
	}
	run := readToy(t, "after")
	run.TaskHashes["toy_mc"] = "another"
	if err := l.Check(run, false); err == nil || !strings.Contains(err.Error(), "toy_mc: prompts another") {
		t.Errorf("found %v", err)
	}
}

func TestReadLockRefuses(t *testing.T) {
	for text, want := range map[string]string{"": "expected a lock file", `{"format": 7}`: "expected format 1, found 7", `{"format": 1, "task": {}}`: "unknown field"} {
		path := filepath.Join(t.TempDir(), "x.lock")
		writeFile(t, path, text)
		if _, err := ReadLock(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: expected %q, found %v", text, want, err)
		}
	}
	if _, err := ReadLock(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "nothing to check the benchmark against") {
		t.Errorf("found %v", err)
	}
}
