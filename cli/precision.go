package cli

import (
	"github.com/urfave/cli/v2"

	"tune/internal/model"
)

// exactFlag reads --precision of commands whose numbers are compared with exact ones: they know no int8.
func exactFlag(c *cli.Context) (bool, error) {
	switch p := c.String("precision"); p {
	case "auto", "bf16":
		return false, nil
	case "f32":
		return true, nil
	default:
		return false, usagef(c, "precision: expected auto, bf16 or f32, found %q", p)
	}
}

// computing is how a model multiplies under a --precision. Integers are taken only where they are asked for: they change answers.
func computing(c *cli.Context, precision string) (model.Options, error) {
	switch precision {
	case "auto", "bf16":
		return model.Options{}, nil
	case "f32":
		return model.Options{Exact: true}, nil
	case "int8":
		return model.Options{Int8: true}, nil
	}
	return model.Options{}, usagef(c, "precision: expected auto, bf16, f32 or int8, found %q", precision)
}
