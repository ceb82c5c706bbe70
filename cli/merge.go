package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/lora"
	"tune/quantize"
	"tune/recipes"
)

func mergeCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "add an adapter to its base model and write the result",
		UsageText: "tune merge --base MODEL --adapter DIR --output DIR|FILE.gguf [--type keep|bf16|f16|f32|q8_0]",
		Description: `A folder gets Hugging Face files, a name ending in .gguf one GGUF file. With --type keep every tensor has the
type it has in the base; a quantized tensor that the adapter changes becomes bf16, in a folder every quantized one.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "base", Value: recipes.Builtin, Usage: "`MODEL`: a Hugging Face folder, a GGUF file or " + recipes.Builtin},
			&cli.StringFlag{Name: "adapter", Required: true, Usage: "`DIR` of a PEFT adapter for the model"},
			&cli.StringFlag{Name: "output", Required: true, Usage: "`PATH` to write"},
			&cli.StringFlag{Name: "type", Value: "keep", Usage: "storage `TYPE`: keep, bf16, f16, f32, and q8_0 for GGUF"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace an output that exists"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef(c, "expected no argument, found %q", c.Args().First())
			}
			report, err := merge(c)
			if err != nil {
				return err
			}
			for _, n := range report.Notes {
				fmt.Fprintf(e.stderr, "tune: note: %s\n", n)
			}
			if c.Bool("json") {
				return writeJSON(e.stdout, report)
			}
			fmt.Fprintf(e.stdout, "merged %d tensors, replaced %d, kept %d: %s\n", report.Added, report.Replaced, report.Kept, report.Output)
			return nil
		},
	}
}

// mergeReport is what `tune merge --json` prints.
type mergeReport struct {
	Output   string   `json:"output"`
	Added    int      `json:"merged_tensors"`
	Replaced int      `json:"replaced_tensors"`
	Kept     int      `json:"kept_tensors"`
	Untied   bool     `json:"untied_head"`
	Notes    []string `json:"notes,omitempty"`
}

func merge(c *cli.Context) (*mergeReport, error) {
	keep, as := c.String("type") == "keep", qtype.F32
	if !keep {
		var err error
		if as, err = qtype.ParseType(c.String("type")); err != nil {
			return nil, usagef(c, "%v", err)
		}
	}
	base, err := openBase(c.String("base"), false)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	m, err := model.New(base, model.Options{})
	if err != nil {
		return nil, err
	}
	_, w, err := mergeAdapter(base, m, c.String("adapter"))
	if err != nil {
		return nil, err
	}
	r := &mergeReport{Output: c.String("output"), Added: w.Added, Replaced: w.Replaced, Kept: w.Kept, Untied: w.Untied()}
	facts, err := mergeFacts(c, base)
	if err != nil {
		return nil, err
	}
	if err := clearOutput(r.Output, c.Bool("overwrite")); err != nil {
		return nil, err
	}
	if strings.HasSuffix(r.Output, ".gguf") {
		whole := *base
		whole.Spec.Tied = base.Spec.Tied && !w.Untied()
		x, err := whole.GGUF(w, model.GGUFOptions{Type: as, Keep: keep, Metadata: facts})
		if err != nil {
			return nil, err
		}
		r.Notes = x.Notes
		return r, gguf.Write(r.Output, x.Meta, x.Src, gguf.WriteOptions{})
	}
	return r, base.WriteHF(r.Output, w, model.HFOptions{Type: as, Keep: keep, Untied: w.Untied(), Metadata: facts})
}

// mergeAdapter loads an adapter for a model and shows the base's weights with it added, tensor by tensor as they are read.
func mergeAdapter(base *model.Checkpoint, m *model.Model, dir string) (*lora.Adapter, *lora.Merged, error) {
	a, err := lora.Load(dir, m)
	if err != nil {
		return nil, nil, fmt.Errorf("adapter: %w", err)
	}
	w, err := lora.NewMerged(base.Weights, a)
	return a, w, err
}

// openMerged opens a model with an adapter, if there is one, merged into its weights.
func openMerged(path, adapter string) (*model.Checkpoint, error) {
	base, err := openBase(path, false)
	if err != nil || adapter == "" {
		return base, err
	}
	m, err := model.New(base, model.Options{})
	if err == nil {
		var w *lora.Merged
		if _, w, err = mergeAdapter(base, m, adapter); err == nil {
			base.Weights, base.Spec.Tied = w, base.Spec.Tied && !w.Untied()
			return base, nil
		}
	}
	base.Close()
	return nil, err
}

// copies says whether a model's matrices are put together when they are asked for; others are views of mapped files.
func copies(base *model.Checkpoint) bool {
	_, merged := base.Weights.(*lora.Merged)
	return merged || base.Quantized != nil
}

// untied says whether merging gave a head of its own to a model whose head was its embedding.
func untied(base *model.Checkpoint) bool {
	w, ok := base.Weights.(*lora.Merged)
	return ok && w.Untied()
}

// stampOf tells whether a source that is not built in, or the adapter merged into it, has changed.
func stampOf(source, adapter string) (string, error) {
	var files []string
	if !strings.HasPrefix(source, "builtin:") {
		files = append(files, source)
	}
	if adapter != "" {
		files = append(files, adapter)
	}
	return quantize.Stamp(files...)
}

// mergeFacts is what the written files say of their making.
func mergeFacts(c *cli.Context, base *model.Checkpoint) (map[string]string, error) {
	hash, err := base.Hash()
	if err != nil {
		return nil, err
	}
	b := readBuildInfo()
	return map[string]string{"tune.version": strings.TrimSpace(b.Version + " " + b.Commit), "tune.base": c.String("base"), "tune.base_sha256": hash,
		"tune.adapter": c.String("adapter")}, nil
}

// clearOutput makes way for a file or folder that is going to be written whole; without leave to overwrite an existing one
// is refused.
func clearOutput(path string, overwrite bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !overwrite:
		return hint.Errorf("choose another --output or add --overwrite", "output %s exists already", path)
	case info.IsDir():
		if _, err := os.Stat(filepath.Join(path, "config.json")); err != nil {
			return hint.Errorf("remove it yourself if it may go", "output %s: expected a model's folder to overwrite, found no config.json in it", path)
		}
		return os.RemoveAll(path)
	}
	return nil // replaced by the rename that ends the writing
}
