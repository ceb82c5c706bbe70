package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/lora"
	"tune/quantize"
	"tune/recipes"
)

func exportCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write what a recipe's export list asks for, from the base and an adapter",
		UsageText: "tune export --recipe RECIPE [--adapter DIR] [--output FOLDER] [--overwrite] [key=value ...]",
		Description: `The adapter is that of the recipe's output folder, or --adapter. It is merged on the way: nothing is written but what the list
names. Every file is then read again and compared with base and adapter: tensors, tokenizer and chat template and, on the recipe's test
data, predictions and right answers. 'export=[{gguf: Q4_K_M}]' asks for something else than the recipe does.`,
		Flags: append(recipeFlags(),
			&cli.StringFlag{Name: "adapter", Usage: "`DIR` of a PEFT adapter, instead of the one in the output folder"},
			&cli.BoolFlag{Name: "verify", Value: true, Usage: "read and compare what was written"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace what an earlier export wrote"},
			jsonFlag()),
		Action: func(c *cli.Context) error { return e.export(c) },
	}
}

func (e *env) export(c *cli.Context) error {
	r, name, err := readRecipe(c)
	if err != nil {
		return err
	}
	if len(r.Export) == 0 {
		return usagef(c, "export: expected a list of what to write, found nothing")
	}
	dir := c.String("adapter")
	if dir == "" {
		dir = filepath.Join(r.Output, "adapter")
	}
	j, err := openJob(r, name, false, newProgress(e.stderr).line)
	if err != nil {
		return err
	}
	defer j.close()
	a, err := lora.Load(dir, j.Model)
	if err != nil {
		return hint.Errorf("train one with `tune lora`, or name one with --adapter; `tune quantize` takes the merged folder of `tune full`", "adapter: %w", err)
	}
	j.Trainable = a
	if err := j.identify(); err != nil {
		return err
	}
	for _, x := range r.Export {
		if err := clearOutput(filepath.Join(r.Output, x.Path()), c.Bool("overwrite")); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.Output, 0o755); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	show := newProgress(e.stderr)
	list, err := j.export(e.ctx, show)
	if err != nil {
		return err
	}
	if c.Bool("verify") {
		if err := j.verify(e.ctx, list, show); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		err = writeJSON(e.stdout, list)
	} else if err = printTable(e.stdout, list.table()); err == nil {
		err = printFacts(e.stdout, list.facts())
	}
	if err != nil {
		return err
	}
	return list.gate()
}

// trained is the model that a job made, as what is written needs it.
type trained struct {
	base       model.Checkpoint // with the head tied or not, as the weights have it
	weights    tensor.Source    // with the adapter merged
	untied     bool             // the base's head is its embedding, that of the weights is not
	facts      map[string]string
	importance func(from string) (*quantize.Importance, error) // from a file, or from the training data
	job        *job
	calibrated *calibrated // nil until a method needs it
}

// writers of the forms of artifacts; they return what is to be said of the file.
var writers = map[string]func(ctx context.Context, t *trained, a *recipes.Artifact, path string) ([]string, error){
	"merged": writeMerged,
	"gguf":   writeGGUF,

	"gptq":               exportPacked,
	"awq":                exportPacked,
	"compressed_tensors": exportPacked,
	"bitsandbytes":       exportPacked,
}

// trained merges the adapter, or takes the trained weights.
func (j *job) trained(ctx context.Context) (*trained, error) {
	t := &trained{base: *j.base, facts: j.facts(), job: j}
	switch x := j.Trainable.(type) {
	case *lora.Adapter:
		m, err := lora.NewMerged(j.base.Weights, x)
		if err != nil {
			return nil, err
		}
		t.weights, t.untied = m, m.Untied()
		t.base.Spec.Tied = t.base.Spec.Tied && !t.untied
	case *model.Full:
		t.weights = x.Source(qtype.F32)
	}
	measured := (*quantize.Importance)(nil)
	t.importance = func(from string) (*quantize.Importance, error) {
		if from != recipes.Trained {
			return quantize.ReadImportance(from)
		}
		var err error
		if measured == nil {
			measured, err = j.measureImportance(ctx)
		}
		return measured, err
	}
	return t, nil
}

// measureImportance runs the first training packs through the trained model.
func (j *job) measureImportance(ctx context.Context) (*quantize.Importance, error) {
	const chunk = 512
	ids, err := j.trainingIDs(ctx, importanceTokens)
	if err != nil {
		return nil, err
	}
	return quantize.Collect(ctx, j.Model, j.Trainable, ids, j.Pool, quantize.CollectOptions{ChunkSize: min(chunk, len(ids), j.Seq), Dataset: "training data of " + j.name})
}

// trainingIDs are the first training data, up to the pack that makes them n tokens; of a small set all of it.
func (j *job) trainingIDs(ctx context.Context, n int) (ids []int32, err error) {
	s := j.streams["train"]
	if err := s.Seek(j.begin["train"]); err != nil {
		return nil, err
	}
	for len(ids) < n {
		p, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("training data: %w", err)
		}
		ids = append(ids, p.IDs...)
	}
	return ids, nil
}

// export writes the artifacts of the recipe.
func (j *job) export(ctx context.Context, show *progress) (exports, error) {
	if len(j.recipe.Export) == 0 {
		return nil, nil
	}
	t, err := j.trained(ctx)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var list exports
	for i := range j.recipe.Export {
		a := &j.recipe.Export[i]
		x := &exported{Form: a.Form(), Type: a.Type(), Method: a.Method, Path: filepath.Join(j.recipe.Output, a.Path()), maxKL: a.MaxKL}
		if x.Form == "gguf" && j.tokenizer == nil {
			show.line("note: " + x.Path + " is not written, because the base has no tokenizer and such a file needs one")
			continue
		}
		show.line("writing " + x.Path)
		notes, err := writers[x.Form](ctx, t, a, x.Path)
		if err != nil {
			return nil, fmt.Errorf("export[%d]: %w", i, err)
		}
		for _, n := range notes {
			show.line("note: " + n)
		}
		if x.Bytes, err = sizeOf(x.Path); err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, t.forget()
}

// sizeOf a file, or of the weights in a folder.
func sizeOf(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || p != path && filepath.Ext(p) != ".safetensors" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// writeMerged replaces the merged model of an earlier run.
func writeMerged(_ context.Context, t *trained, a *recipes.Artifact, path string) ([]string, error) {
	to, err := qtype.ParseType(a.Type())
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	return nil, t.base.WriteHF(path, t.weights, model.HFOptions{Type: to, Untied: t.untied, Metadata: t.facts})
}

// converted are the types that llama.cpp's converter writes itself; all others are mixes of its quantizer.
var converted = []string{"F32", "F16", "BF16", "Q8_0"}

func writeGGUF(ctx context.Context, t *trained, a *recipes.Artifact, path string) ([]string, error) {
	if slices.Contains(converted, a.Type()) {
		to, err := qtype.ParseType(a.Type())
		if err != nil {
			return nil, err
		}
		x, err := t.base.GGUF(t.weights, model.GGUFOptions{Type: to, Metadata: t.facts})
		if err != nil {
			return nil, err
		}
		return x.Notes, gguf.Write(path, x.Meta, x.Src, gguf.WriteOptions{})
	}
	mix, err := quantize.ParseMix(a.GGUF)
	if err != nil {
		return nil, err
	}
	src, err := quantize.FromCheckpoint(&t.base, t.weights)
	if err != nil {
		return nil, err
	}
	var o quantize.PlanOptions
	if a.Imatrix != "" {
		o.File = a.Imatrix
		if o.Importance, err = t.importance(a.Imatrix); err != nil {
			return nil, err
		}
	}
	p, err := quantize.NewPlan(src, mix, o)
	if err != nil {
		return nil, err
	}
	notes := p.Notes
	if n := p.Fallbacks(); n > 0 {
		notes = append(notes, fmt.Sprintf("%s: %d of %d tensors have a width that does not suit the type of the mix and got another one", mix.Name, n, len(p.Choices)))
	}
	return notes, p.Write(ctx, path, quantize.WriteOptions{Fresh: true})
}

// facts is the provenance as metadata of model files.
func (j *job) facts() map[string]string {
	facts := map[string]string{}
	for k, v := range j.provenance() {
		facts["tune."+k] = fmt.Sprint(v)
	}
	return facts
}
