package task

import (
	"cmp"
	"fmt"

	"tune/internal/chat"
)

// Task is a task with its documents.
type Task struct {
	*Config
	Docs   []Doc    // of the evaluated split, in order
	Digest string   // SHA-256 over the rows of the split
	Notes  []string // what was chosen for want of data

	shots          []Doc // few-shot pool
	columns        map[string]bool
	multipleInput  bool // doc_to_text is the index of a choice: the choices vary the context
	multipleTarget bool // doc_to_target is a list
	templates      map[string]*chat.Text
}

// Load reads the documents of a task.
func Load(c *Config, s Sources) (*Task, error) {
	if c.Generate != nil {
		return generated(c, s)
	}
	l, err := s.locate(c)
	if err != nil {
		return nil, err
	}
	t := &Task{Config: l.c, Notes: l.notes, templates: map[string]*chat.Text{}}
	split := cmp.Or(t.Test, t.Validation)
	raw, digest, err := l.read(split)
	if err != nil {
		return nil, err
	}
	t.Digest = digest
	if t.Docs, err = t.process(t.ProcessDocs, raw); err != nil {
		return nil, err
	}
	if err := t.loadShots(l, split); err != nil {
		return nil, err
	}
	return t, t.probe()
}

// generated makes the documents of a task whose data set is a function.
func generated(c *Config, s Sources) (*Task, error) {
	docs, err := functionTable[c.Generate.(Function).String()].generate(c, s)
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", c.Name, err)
	}
	t := &Task{Config: c, Docs: docs, shots: docs, templates: map[string]*chat.Text{}, Digest: digestOf(docs)}
	return t, t.probe()
}

// process applies a process_docs function.
func (t *Task) process(f any, docs []Doc) ([]Doc, error) {
	fn, ok := f.(Function)
	if !ok {
		return docs, nil
	}
	apply := functionTable[fn.String()].docs
	if apply == nil {
		return nil, fmt.Errorf("task %s: process_docs: %s is not a function of documents", t.Name, fn)
	}
	out, err := apply(docs)
	if err != nil {
		return nil, fmt.Errorf("task %s: process_docs: %w", t.Name, err)
	}
	return out, nil
}

// loadShots finds the examples, if any are wanted: the split that is named, the samples of the file, the training
// split, else the evaluated split.
func (t *Task) loadShots(l *located, split string) error {
	if t.Shots == nil || *t.Shots == 0 {
		return nil
	}
	f := &t.Fewshot
	switch samples := f.Samples.(type) {
	case Function:
		make := functionTable[samples.String()].samples
		if make == nil {
			return fmt.Errorf("task %s: samples: %s does not make examples", t.Name, samples)
		}
		t.shots = make()
	case []any:
		for i, x := range samples {
			d, ok := x.(Doc)
			if !ok {
				return fmt.Errorf("task %s: samples[%d]: expected a mapping, found %s", t.Name, i, kindOf(x))
			}
			t.shots = append(t.shots, d)
		}
	}
	if t.shots != nil && f.Split == "" {
		return t.pick()
	}
	from := cmp.Or(f.Split, t.Train, t.Validation, t.Test)
	process := t.ProcessDocs
	if f.Split != "" {
		process = f.ProcessDocs
	}
	if from == split && process == t.ProcessDocs {
		t.shots = t.Docs
		return t.pick()
	}
	raw, _, err := l.read(from)
	if err != nil {
		return err
	}
	if t.shots, err = t.process(process, raw); err != nil {
		return err
	}
	return t.pick()
}

// pick keeps the examples of fewshot_indices.
func (t *Task) pick() error {
	if t.Fewshot.Indices == nil {
		return nil
	}
	var kept []Doc
	for _, i := range t.Fewshot.Indices {
		if i >= len(t.shots) {
			return fmt.Errorf("task %s: fewshot_indices: expected numbers below %d, found %d", t.Name, len(t.shots), i)
		}
		kept = append(kept, t.shots[i])
	}
	t.shots = kept
	return nil
}

// probe looks at the first document to learn of what kind the task is, as lm-eval does.
func (t *Task) probe() error {
	if len(t.Docs) == 0 {
		return fmt.Errorf("task %s: %w", t.Name, errNoDocs)
	}
	first := t.Docs[0]
	t.columns = map[string]bool{}
	for _, k := range first.Keys() {
		t.columns[k] = true
	}
	if t.Turns != nil {
		_, err := t.turns(first)
		return err
	}
	text, err := t.text(first, t.Text)
	if err != nil {
		return err
	}
	if t.Choice != nil {
		if _, err := t.choices(first, t.Choice); err != nil {
			return err
		}
		_, t.multipleInput = text.(int64)
	}
	target, err := t.target(first, t.Target)
	if err != nil {
		return err
	}
	_, t.multipleTarget = target.([]any)
	return nil
}
