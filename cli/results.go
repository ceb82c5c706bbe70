package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"tune/internal/atomicfile"
	"tune/internal/gguf"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/lora"
	"tune/quantize"
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

// export writes what the recipe asks for: the adapter, the merged model and the GGUF file.
func (j *job) export(ctx context.Context, show *progress) ([]train.Fact, error) {
	var outputs []train.Fact
	dir, x := j.recipe.Output, j.recipe.Export
	var src tensor.Source
	untied := false
	switch t := j.Trainable.(type) {
	case *lora.Adapter:
		path := filepath.Join(dir, "adapter")
		if err := t.Save(path, lora.SaveOptions{Base: j.recipe.Base, Provenance: j.provenance()}); err != nil {
			return nil, fmt.Errorf("adapter: %w", err)
		}
		outputs = append(outputs, train.Fact{Name: "adapter", Value: path})
		m, err := lora.NewMerged(j.base.Weights, t)
		if err != nil {
			return nil, err
		}
		src, untied = m, m.Untied()
	case *model.Full:
		src = t.Source(qtype.F32)
	}
	if x.Merged {
		path := filepath.Join(dir, "merged")
		show.line("writing " + path)
		if err := j.writeHF(path, src, x.Type, untied); err != nil {
			return nil, fmt.Errorf("merged model: %w", err)
		}
		outputs = append(outputs, train.Fact{Name: "merged model", Value: path})
	}
	if x.GGUF != "none" && j.tokenizer == nil {
		show.line("note: no GGUF file is written, because the base has no tokenizer and such a file needs one")
	} else if x.GGUF != "none" {
		path := filepath.Join(dir, "model.gguf")
		show.line("writing " + path)
		notes, err := j.writeGGUF(ctx, path, src, x.GGUF, untied)
		if err != nil {
			return nil, fmt.Errorf("GGUF: %w", err)
		}
		for _, n := range notes {
			show.line("note: " + n)
		}
		outputs = append(outputs, train.Fact{Name: "GGUF", Value: path})
	}
	return outputs, nil
}

// storage is the type of a recipe's export section.
func storage(name string) (qtype.Type, error) { return qtype.ParseType(strings.ToUpper(name)) }

// writeHF replaces the merged model of an earlier run.
func (j *job) writeHF(dir string, src tensor.Source, typ string, untied bool) error {
	t, err := storage(typ)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return j.base.WriteHF(dir, src, model.HFOptions{Type: t, Untied: untied, Metadata: j.facts()})
}

// facts is the provenance as metadata of model files.
func (j *job) facts() map[string]string {
	facts := map[string]string{}
	for k, v := range j.provenance() {
		facts["tune."+k] = fmt.Sprint(v)
	}
	return facts
}

// converted are the types that llama.cpp's converter writes itself; all others are mixes of its quantizer.
var converted = []string{"F32", "F16", "BF16", "Q8_0"}

func (j *job) writeGGUF(ctx context.Context, path string, src tensor.Source, typ string, untied bool) ([]string, error) {
	base := *j.base
	base.Spec.Tied = base.Spec.Tied && !untied
	if !slices.Contains(converted, strings.ToUpper(typ)) {
		return j.quantize(ctx, path, &base, src, typ)
	}
	t, err := storage(typ)
	if err != nil {
		return nil, err
	}
	x, err := base.GGUF(src, model.GGUFOptions{Type: t, Metadata: j.facts()})
	if err != nil {
		return nil, err
	}
	return x.Notes, gguf.Write(path, x.Meta, x.Src, gguf.WriteOptions{})
}

// quantize writes the GGUF file of a mix.
func (j *job) quantize(ctx context.Context, path string, base *model.Checkpoint, weights tensor.Source, name string) ([]string, error) {
	mix, err := quantize.ParseMix(name)
	if err != nil {
		return nil, err
	}
	src, err := quantize.FromCheckpoint(base, weights)
	if err != nil {
		return nil, err
	}
	p, err := quantize.NewPlan(src, mix, quantize.PlanOptions{})
	if err != nil {
		return nil, err
	}
	notes := p.Notes
	if n := p.Fallbacks(); n > 0 {
		notes = append(notes, fmt.Sprintf("%s: %d of %d tensors have a width that does not suit the type of the mix and got another one", mix.Name, n, len(p.Choices)))
	}
	return notes, p.Write(ctx, path, quantize.WriteOptions{Fresh: true})
}

// report writes run.json and report.html.
func (j *job) report(res *train.Result, samples []*sample, outputs []train.Fact, recipe string) ([]train.Fact, error) {
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
	r := train.Report{Title: "tune: " + j.name, Result: res, Metrics: res.Metrics, Data: facts, Environment: env, Outputs: outputs, Recipe: recipe}
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
		Outputs    []train.Fact   `json:"outputs"`
		Identity   string         `json:"identity"`
	}{res, j.provenance(), r.Data, outputs, j.Identity}, "", "  ")
	if err != nil {
		return nil, err
	}
	return outputs, atomicfile.Write(filepath.Join(dir, "run.json"), append(text, '\n'))
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
		text := fmt.Sprintf("%d rows read, %d examples in %d packs (%.1f %% full), %d tokens, %d supervised", x.Rows, x.Examples, x.Packs, 100*x.Fill(), x.Tokens, x.Supervised)
		for _, lost := range []struct {
			n    int
			what string
		}{{x.Truncated, "rows truncated"}, {x.Split, "rows split"}, {x.Dropped, "rows dropped"}, {x.Empty, "rows empty"}, {x.Lost, "tokens lost"}} {
			if lost.n > 0 {
				text += fmt.Sprintf(", %d %s", lost.n, lost.what)
			}
		}
		facts = append(facts, train.Fact{Name: split, Value: text})
	}
	return facts, nil
}
