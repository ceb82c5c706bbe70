package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"tune/internal/atomicfile"
	"tune/kernels"
	"tune/lora"
	"tune/train"
)

// provenance is written into every result.
func (j *job) provenance() map[string]any {
	b := readBuildInfo()
	p := map[string]any{"version": b.Version, "recipe": j.name, "base": j.recipe.Base, "base_sha256": j.hash, "seed": j.recipe.Seed}
	if b.Commit != "" {
		p["commit"] = b.Commit
	}
	return p
}

// outputs saves the adapter, if one was trained.
func (j *job) outputs() ([]train.Fact, error) {
	if a, ok := j.Trainable.(*lora.Adapter); ok {
		path := filepath.Join(j.recipe.Output, "adapter")
		if err := a.Save(path, lora.SaveOptions{Base: j.recipe.Base, Provenance: j.provenance()}); err != nil {
			return nil, fmt.Errorf("adapter: %w", err)
		}
		return []train.Fact{{Name: "adapter", Value: path}}, nil
	}
	return nil, nil
}

// report writes run.json and report.html.
func (j *job) report(res *train.Result, samples []*sample, list exports, outputs []train.Fact, recipe string) ([]train.Fact, error) {
	dir := j.recipe.Output
	b := readBuildInfo()
	env := []train.Fact{{Name: "version", Value: strings.TrimSpace(b.Version + " " + b.Commit)}, {Name: "system", Value: b.Go + " " + b.Platform},
		{Name: "kernels", Value: kernels.Level()}, {Name: "threads", Value: fmt.Sprint(runtime.GOMAXPROCS(0))},
		{Name: "base", Value: j.recipe.Base}, {Name: "base SHA-256", Value: j.hash}, {Name: "seed", Value: fmt.Sprint(j.recipe.Seed)}}
	facts, err := j.dataFacts()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "report.html")
	outputs = append(outputs, train.Fact{Name: "report", Value: path})
	r := train.Report{Title: "tune: " + j.name, Result: res, Metrics: res.Metrics, Data: facts, Environment: env, Exports: list.table(), Outputs: outputs, Recipe: recipe}
	for _, s := range samples {
		r.Samples = append(r.Samples, s.Sample)
	}
	var html bytes.Buffer
	if err := r.Write(&html); err != nil {
		return nil, err
	}
	if err := atomicfile.Write(path, html.Bytes()); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(struct {
		*train.Result
		Provenance map[string]any `json:"provenance"`
		Data       []train.Fact   `json:"data"`
		Exports    exports        `json:"exports,omitempty"`
		Outputs    []train.Fact   `json:"outputs"`
		Identity   string         `json:"identity"`
	}{res, j.provenance(), r.Data, list, outputs, j.Identity}, "", "  ")
	if err != nil {
		return nil, err
	}
	return outputs, atomicfile.Write(filepath.Join(dir, "run.json"), append(text, '\n'))
}

// readingOf names what was counted of the training data: a resumed run does not read again what the run before it trained on.
func (j *job) readingOf(name string) string {
	if j.Resume {
		return name + ", since the run was resumed"
	}
	return name
}

// dataFacts says what was read.
func (j *job) dataFacts() ([]train.Fact, error) {
	var facts []train.Fact
	about, err := j.recipe.Data.About(cacheDir())
	if err != nil {
		return nil, err
	}
	if about != "" {
		facts = append(facts, train.Fact{Name: "built in", Value: about})
	}
	for _, split := range []string{"train", "valid", "test"} {
		s := j.streams[split]
		if s == nil {
			continue
		}
		x := s.Stats()
		text := fmt.Sprintf("%s; %d tokens, %d supervised", x.Line(), x.Tokens, x.Supervised)
		name := split
		if split == "train" {
			name = j.readingOf(name)
		}
		facts = append(facts, train.Fact{Name: name, Value: text})
	}
	return facts, nil
}
