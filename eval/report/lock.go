package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"tune/internal/atomicfile"
	"tune/internal/hint"
)

// LockName is the lock file's usual name.
const LockName = "tune.lock"

// Lock says what a benchmark is, so that a change of it is seen: a score that moved because the data, the prompts or the
// baseline moved says nothing about the model.
type Lock struct {
	Format int                   `json:"format"`
	Tasks  map[string]LockedTask `json:"tasks"`
	Models map[string]string     `json:"models"` // name -> SHA-256
}

// LockedTask is the identity of a task. What the results do not know is empty and is not compared.
type LockedTask struct {
	Version    string `json:"version"`
	Shots      int    `json:"num_fewshot"`
	Documents  int    `json:"documents"` // that were used
	Definition string `json:"task_sha256"`
	Data       string `json:"data_sha256"`
	Prompts    string `json:"prompt_sha256"`
}

const lockFormat = 1

// NewLock makes the lock of a run, with its model.
func NewLock(run *Run) *Lock {
	l := &Lock{Format: lockFormat, Tasks: map[string]LockedTask{}, Models: map[string]string{}}
	for name := range run.Results.Results {
		if _, group := run.GroupSubtasks[name]; !group {
			l.Tasks[name] = locked(run, name)
		}
	}
	if run.Tune != nil && run.Tune.ModelSHA256 != "" {
		l.Models[run.ModelName] = run.Tune.ModelSHA256
	}
	return l
}

func locked(run *Run, name string) LockedTask {
	t := LockedTask{Shots: run.NumFewshot[name], Documents: run.NumSamples[name].Effective, Prompts: run.TaskHashes[name]}
	if v := run.Versions[name]; v != nil {
		t.Version = fmt.Sprint(v)
	}
	if run.Tune != nil {
		f := run.Tune.Tasks[name]
		t.Definition, t.Data, t.Prompts = f.Definition, f.Data, f.Prompts
	}
	return t
}

// ReadLock reads a lock file.
func ReadLock(path string) (*Lock, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Errorf("--update-lock writes it", "%s: no such file: there is nothing to check the benchmark against", path)
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	l := &Lock{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return nil, hint.Errorf("--update-lock writes it anew", "%s: expected a lock file: %w", path, err)
	}
	if l.Format != lockFormat {
		return nil, hint.Errorf("--update-lock writes it anew", "%s: expected format %d, found %d", path, lockFormat, l.Format)
	}
	return l, nil
}

// Write writes a lock file, sorted, a line for each fact, so that a change is a readable diff.
func (l *Lock) Write(path string) error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return atomicfile.Write(path, append(text, '\n'))
}

// Check compares a run with the lock and names everything that is not as locked: tasks that came, went or changed, and,
// where it is asked, the model.
func (l *Lock) Check(run *Run, model bool) error {
	now := NewLock(run)
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(now.Tasks)) {
		was, ok := l.Tasks[name]
		if !ok {
			add("task %s is not in it", name)
			continue
		}
		for _, d := range was.differences(now.Tasks[name]) {
			add("%s: %s", name, d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Tasks)) {
		if _, ok := now.Tasks[name]; !ok {
			add("task %s was not run", name)
		}
	}
	if model {
		for name, sum := range now.Models {
			if was, ok := l.Models[name]; !ok {
				add("model %s is not in it", name)
			} else if was != sum {
				add("model %s: %s, locked %s", name, short(sum), short(was))
			}
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return hint.Errorf("if the change is wanted, run again with --update-lock and commit the file", "the benchmark is not the locked one:\n  %s", strings.Join(wrong, "\n  "))
}

func (t LockedTask) differences(now LockedTask) (all []string) {
	for _, f := range []struct{ what, was, now string }{
		{"version", t.Version, now.Version}, {"examples in the prompt", fmt.Sprint(t.Shots), fmt.Sprint(now.Shots)}, {"documents", fmt.Sprint(t.Documents), fmt.Sprint(now.Documents)},
		{"definition", short(t.Definition), short(now.Definition)}, {"data", short(t.Data), short(now.Data)}, {"prompts", short(t.Prompts), short(now.Prompts)},
	} {
		if f.was != f.now && f.was != "" && f.now != "" {
			all = append(all, fmt.Sprintf("%s %s, locked %s", f.what, f.now, f.was))
		}
	}
	return all
}

// short is enough of a hash to tell two apart.
func short(sum string) string { return clip(sum, 16) }
