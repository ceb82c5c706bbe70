package cli

import (
	"github.com/urfave/cli/v2"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/kernels"
	"tune/quantize"
)

// methodFlags say how codes are chosen.
func methodFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "method", Usage: "how codes are chosen: rtn (nearest) or gptq (errors are corrected in later columns)"},
		&cli.StringFlag{Name: "calibration", Usage: "`FILE` of tune calibrate, for the methods that need it; it is an imatrix too"},
		&cli.Float64Flag{Name: "damp", Value: 0.01, Usage: "what GPTQ adds to its products' diagonal, as a share of the mean"},
	}
}

// openCalibration opens the file of --calibration and holds it against the model; nil without one.
func openCalibration(c *cli.Context, source, adapter string) (*quantize.Calibration, error) {
	path := c.String("calibration")
	if path == "" {
		if m := c.String("method"); m != "" && m != "rtn" {
			return nil, hint.Errorf("make it with `tune calibrate --base "+source+" --data TEXT -o FILE`", "--method %s needs --calibration FILE", m)
		}
		return nil, nil
	}
	cal, err := quantize.OpenCalibration(path)
	if err != nil {
		return nil, err
	}
	base, err := openMerged(source, adapter)
	if err == nil {
		defer base.Close()
		var m *model.Model
		if m, err = model.New(base, model.Options{}); err == nil {
			err = cal.Check(m, base.Weights)
		}
	}
	if err != nil {
		cal.Close()
		return nil, err
	}
	return cal, nil
}

// feedbackOptions takes --method and --calibration to the plan of a GGUF file. The calibration must be open until it is written.
func feedbackOptions(c *cli.Context, o *quantize.PlanOptions, pool *kernels.Pool) (done func(), err error) {
	switch m := c.String("method"); m {
	case "", "rtn", "gptq":
	default:
		return nil, usagef(c, "method: expected rtn or gptq with GGUF files, found %q", m)
	}
	if d := c.Float64("damp"); !(d > 0 && d <= 1) {
		return nil, usagef(c, "damp: expected a number above 0 and at most 1, found %g", d)
	}
	cal, err := openCalibration(c, c.Args().First(), c.String("adapter"))
	if err != nil || cal == nil {
		return func() {}, err
	}
	if o.Importance == nil {
		o.File = c.String("calibration")
		if o.Importance, err = cal.Importance(); err != nil {
			cal.Close()
			return nil, err
		}
	}
	if c.String("method") == "gptq" {
		o.Feedback = quantize.NewFeedback(cal, c.Float64("damp"), pool)
	}
	return func() { cal.Close() }, nil
}
