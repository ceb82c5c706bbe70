package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/kernels"
	"tune/lora"
	"tune/recipes"
)

// Flags of every command that runs a model.
func modelFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "base", Value: recipes.Builtin, Usage: "`MODEL`: a Hugging Face folder, a GGUF file or " + recipes.Builtin},
		&cli.StringFlag{Name: "adapter", Usage: "`DIR` of a PEFT adapter for the model"},
		&cli.StringFlag{Name: "precision", Value: "auto", Usage: "of matrix products: auto, bf16 or f32; int8 generates, scores and evaluates faster and less exactly"},
	}
}

// running is a model ready to run, with what it came from.
type running struct {
	base    *model.Checkpoint
	pool    *kernels.Pool
	model   *model.Model
	trained model.Trained // nil without an adapter
}

// load opens the model of modelFlags. Positional arguments may say precision=f32, as recipes do; others are refused.
func load(c *cli.Context) (*running, error) {
	precision := c.String("precision")
	pairs, others := overrides(c.Args().Slice())
	if len(others) > 0 {
		return nil, usagef(c, "expected no argument, found %q", others[0])
	}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		if key != "precision" {
			return nil, usagef(c, "expected precision=auto|bf16|f32|int8, found %q", p)
		}
		precision = value
	}
	o, err := computing(c, precision)
	if err != nil {
		return nil, err
	}
	base, err := openBase(c.String("base"), false)
	if err != nil {
		return nil, err
	}
	r := &running{base: base, pool: kernels.NewPool(0)}
	if err := r.start(c.String("adapter"), o); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *running) start(adapter string, o model.Options) (err error) {
	if r.model, err = model.New(r.base, o); err != nil {
		return err
	}
	if o.Int8 && !r.model.Integers() {
		return hint.Errorf("use another precision, or a quantized form of the model", "precision: int8 multiplies weights that are stored as codes, found none in %s", r.base.Path)
	}
	if adapter == "" {
		return nil
	}
	a, err := lora.Load(adapter, r.model)
	if err != nil {
		return fmt.Errorf("adapter: %w", err)
	}
	r.trained = a
	return nil
}

func (r *running) close() {
	r.pool.Close()
	r.base.Close() // a mapped file: nothing was written to it
}
