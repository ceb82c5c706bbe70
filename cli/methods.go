package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/kernels"
	"tune/quantize"
)

// methodFlags say how codes are chosen.
func methodFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "method", Usage: "how codes are chosen: rtn (nearest), gptq (errors are corrected in later columns), awq (inputs are scaled first), awq+gptq; default: that of the format"},
		&cli.StringFlag{Name: "calibration", Usage: "`FILE` of tune calibrate, for methods other than rtn; it is an imatrix too"},
		&cli.StringFlag{Name: "calibration-text", Usage: "`FILE` of text to calibrate on, in the place of --calibration, or " + builtinText},
		&cli.IntFlag{Name: "sequences", Value: 64, Usage: "most sequences of --calibration-text to use, 0: all"},
		&cli.IntFlag{Name: "length", Value: 512, Usage: "`TOKENS` of a sequence"},
		&cli.Float64Flag{Name: "damp", Value: 0.01, Usage: "what GPTQ adds to its products' diagonal, as a share of the mean"},
		&cli.StringFlag{Name: "order", Value: string(quantize.OrderGroup), Usage: "in which GPTQ rounds columns: gar (groups by activation), static (by activation, scales of the original weights) or none"},
		&cli.IntFlag{Name: "mse", Value: 20, Usage: "smaller ranges that are tried for each group, 0: none"},
		&cli.IntFlag{Name: "sweeps", Value: 1, Usage: "of GPTQ's refinement of codes and scales, 0: none"},
		&cli.StringFlag{Name: "expert-policy", Value: string(quantize.PolicyShrink), Usage: "what is done for an expert that has seen few tokens: shrink (an average token of the layer's experts for each that is missing), shared (the tokens of all of them) or rtn (nearest codes)"},
		&cli.IntFlag{Name: "expert-tokens", Usage: "`N` tokens are enough for an expert; 0: as many as its input has columns"},
		&cli.BoolFlag{Name: "propagate", Usage: "layers see what the quantized layers before them give; with --calibration-text. On SmolLM2-135M it won nothing: perplexity 41.81 instead of 41.48, for twice the time"},
	}
}

// measured is an open calibration and, when it was made on the way, what that took.
type measured struct {
	*quantize.Calibration
	took *quantize.CalibrationPhases
}

// calibration opens --calibration, or makes one of --calibration-text beside the output; nil with neither, where the method needs
// none. It must be of the model.
func calibration(e *env, c *cli.Context, base *model.Checkpoint, m *model.Model, method, out string, pool *kernels.Pool) (*measured, func(), error) {
	path, text := c.String("calibration"), c.String("calibration-text")
	if path != "" && text != "" && !c.Bool("propagate") {
		return nil, nil, usagef(c, "expected either --calibration or --calibration-text, found both")
	}
	made, cal := path == "", &measured{}
	switch {
	case made && text == "" && method == "rtn":
		return nil, func() {}, nil
	case made && text == "":
		return nil, nil, hint.Errorf("give --calibration-text FILE, or a file made by `tune calibrate`", "method %s needs a calibration", method)
	case made:
		path = out + ".calibration"
		took, err := makeCalibration(e, c, base, m, path, pool)
		if err != nil {
			return nil, nil, err
		}
		cal.took = &took.Phases
	}
	var err error
	if cal.Calibration, err = quantize.OpenCalibration(path); err != nil {
		return nil, nil, err
	}
	if err := cal.Check(m, base.Weights); err != nil {
		cal.Close()
		return nil, nil, err
	}
	return cal, func() {
		cal.Close()
		if made {
			os.Remove(path) // it can be made again
		}
	}, nil
}

// calibrationText reads the text of --calibration-text.
func calibrationText(c *cli.Context, base *model.Checkpoint) (t quantize.Text, err error) {
	if c.Int("sequences") < 0 || c.Int("length") < 1 {
		return t, usagef(c, "sequences and length: expected positive numbers, found %d and %d", c.Int("sequences"), c.Int("length"))
	}
	t.Length = c.Int("length")
	t.IDs, _, err = textIDs(base, c.String("calibration-text"), c.Int("sequences")*t.Length)
	return t, err
}

// makeCalibration makes the file unless an interrupted run has left it.
func makeCalibration(e *env, c *cli.Context, base *model.Checkpoint, m *model.Model, path string, pool *kernels.Pool) (r quantize.Calibrated, err error) {
	text, err := calibrationText(c, base)
	if err != nil {
		return r, err
	}
	memory, err := memoryFlag(c)
	if err != nil {
		return r, err
	}
	show := calibrating{progress: newProgress(e.stderr), began: time.Now()}
	defer show.end()
	return quantize.CalibrateOnce(e.ctx, path, m, base.Weights, quantize.CalibrateOptions{Text: text, Memory: memory, Copied: copies(base), Pool: pool, Progress: show.update})
}

// propagationMemory is what --propagate takes beside solving; 0 without it.
func propagationMemory(c *cli.Context, base *model.Checkpoint, p *quantize.PackedPlan, memory int64) (int64, error) {
	if p.Method == quantize.RTN || !c.Bool("propagate") {
		return 0, nil
	}
	if c.String("calibration-text") == "" {
		return 0, usagef(c, "propagate: expected --calibration-text with it")
	}
	m, text, err := textModel(c, base)
	if err != nil {
		return 0, err
	}
	return p.PropagationMemory(m, base.Weights, text, memory, threads(c))
}

// textModel opens what runs on --calibration-text.
func textModel(c *cli.Context, base *model.Checkpoint) (m *model.Model, text quantize.Text, err error) {
	if m, err = model.New(base, model.Options{Lazy: true}); err != nil {
		return nil, text, err
	}
	text, err = calibrationText(c, base)
	return m, text, err
}

// calibrationMemory is what calibrating on --calibration-text would take; 0 where it is not needed.
func calibrationMemory(c *cli.Context, base *model.Checkpoint, p *quantize.PackedPlan, memory int64) (int64, error) {
	if p.Method == quantize.RTN || c.String("calibration-text") == "" {
		return 0, nil
	}
	m, text, err := textModel(c, base)
	if err != nil {
		return 0, err
	}
	return quantize.CalibrationMemory(m, base.Weights, quantize.CalibrateOptions{Text: text, Memory: memory, Copied: copies(base)})
}

// feedbackOptions takes --method and its flags to the plan of a GGUF file. done is to be called when it is written.
func feedbackOptions(e *env, c *cli.Context, o *quantize.PlanOptions, pool *kernels.Pool) (done func(), err error) {
	method := c.String("method")
	if method != "" && method != "rtn" && method != "gptq" {
		return nil, usagef(c, "method: expected rtn or gptq with GGUF files, found %q", method)
	}
	if err := checkDamp(c); err != nil || method != "gptq" && c.String("calibration") == "" && c.String("calibration-text") == "" {
		return func() {}, err
	}
	base, err := openMerged(c.Args().First(), c.String("adapter"))
	if err != nil {
		return nil, err
	}
	defer base.Close()
	m, err := model.New(base, model.Options{Lazy: true})
	if err != nil {
		return nil, err
	}
	cal, done, err := calibration(e, c, base, m, method, c.Args().Get(1), pool)
	if err != nil {
		return nil, err
	}
	if o.Importance == nil {
		o.File = c.String("calibration")
		if o.Importance, err = cal.Importance(); err != nil {
			done()
			return nil, err
		}
	}
	if method == "gptq" {
		o.Feedback = quantize.NewFeedback(cal.Calibration, c.Float64("damp"), pool)
	}
	return done, nil
}

func checkDamp(c *cli.Context) error {
	if d := c.Float64("damp"); !(d > 0 && d <= 1) {
		return usagef(c, "damp: expected a number above 0 and at most 1, found %g", d)
	}
	if c.Int("mse") < 0 || c.Int("sweeps") < 0 {
		return usagef(c, "mse and sweeps: expected at least 0, found %d and %d", c.Int("mse"), c.Int("sweeps"))
	}
	return nil
}

// packedMethod reads the flags that say how codes of a folder for GPU servers are chosen.
func packedMethod(c *cli.Context) (o quantize.MethodOptions, err error) {
	o = quantize.DefaultMethod()
	o.Order, o.Damp, o.Search, o.Sweeps = quantize.Order(c.String("order")), c.Float64("damp"), c.Int("mse"), c.Int("sweeps")
	if !slices.Contains([]quantize.Order{quantize.OrderGroup, quantize.OrderStatic, quantize.OrderNone}, o.Order) {
		return o, usagef(c, "order: expected gar, static or none, found %q", o.Order)
	}
	o.Few = quantize.Few{Policy: quantize.Policy(c.String("expert-policy")), Tokens: c.Int("expert-tokens")}
	if !slices.Contains(quantize.Policies(), o.Few.Policy) || o.Few.Tokens < 0 {
		return o, usagef(c, "expert-policy and expert-tokens: expected shrink, shared or rtn and at least 0, found %q and %d", o.Few.Policy, o.Few.Tokens)
	}
	if o.Memory, err = memoryFlag(c); err != nil {
		return o, err
	}
	return o, checkDamp(c)
}

// solving is a method at work.
type solving struct {
	*quantize.Solver
	plan     *quantize.PackedPlan // of the weights after folding
	coverage []quantize.ExpertCoverage
	took     *quantize.CalibrationPhases
	close    func()
}

// startMethod prepares a method for a folder: the plan of the folded weights and the solver; nil for plain rounding.
func startMethod(e *env, c *cli.Context, base *model.Checkpoint, p *quantize.PackedPlan, po quantize.PackedOptions) (_ *solving, err error) {
	o, err := packedMethod(c)
	if err != nil || p.Method == quantize.RTN {
		return nil, err
	}
	var closers []func()
	s := &solving{close: func() {
		for _, f := range slices.Backward(closers) {
			f()
		}
	}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	o.Pool = kernels.NewPool(c.Int("threads"))
	closers = append(closers, o.Pool.Close)
	m, err := model.New(base, model.Options{Lazy: true})
	if err != nil {
		return nil, err
	}
	cal, done, err := calibration(e, c, base, m, p.Method, c.Args().Get(1), o.Pool)
	if err != nil {
		return nil, err
	}
	s.took = cal.took
	closers = append(closers, done)
	if s.coverage, err = cal.Coverage(); err != nil {
		return nil, err
	}
	if c.Bool("propagate") {
		text, err := calibrationText(c, base)
		if err != nil {
			return nil, err
		}
		o.Propagate = &text
	}
	show := newProgress(e.stderr)
	o.Progress = show.layers
	s.Solver, err = quantize.StartMethod(e.ctx, p, m, base.Weights, cal.Calibration, o)
	show.end()
	if err != nil {
		return nil, err
	}
	closers = append(closers, s.Solver.Close)
	po.Stamp = s.Stamp
	s.plan, err = planPacked(c, base, s.Weights, true, po)
	return s, err
}

// methodReport is what a method tells.
type methodReport struct {
	Linears []quantize.LinearReport `json:"linears"`
	Phases  quantize.Phases         `json:"phases"`
	// Calibration is what running --calibration-text took.
	Calibration *quantize.CalibrationPhases `json:"calibration,omitempty"`
	Ratios      map[string]float64          `json:"awq_ratios,omitempty"`
	// Coverage is how many tokens each expert has seen.
	Coverage []quantize.ExpertCoverage `json:"experts,omitempty"`
}

func (s *solving) report() *methodReport {
	r := &methodReport{Linears: s.Reports, Phases: s.Phases, Calibration: s.took, Coverage: s.coverage}
	if s.Folds != nil {
		r.Ratios = s.Folds.Ratios
	}
	return r
}

// text prints the errors by layer, what became of experts, and the cost by phase.
func (r *methodReport) text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "MODULES OF A LAYER\tRELATIVE ERROR\tWORST\tDAMPING\t\n")
	var total, worst, damp float64
	raised, dead := 0, 0
	policies := map[quantize.Policy]int{}
	for i := 0; i < len(r.Linears); {
		layer, sum, top, n, most := quantize.LayerOf(r.Linears[i].Module), 0.0, 0.0, 0, 0.0
		for ; i < len(r.Linears) && quantize.LayerOf(r.Linears[i].Module) == layer; i++ {
			x := r.Linears[i]
			sum, top, most, n = sum+x.Error, max(top, x.Error), max(most, x.Damp), n+1
			raised, dead = raised+min(x.Tries, 1), dead+x.Dead
			policies[x.Policy]++
		}
		fmt.Fprintf(w, "layer %d\t%.5f\t%.5f\t%g\t\n", layer, sum/float64(n), top, most)
		total, worst, damp = total+sum, max(worst, top), max(damp, most)
	}
	fmt.Fprintf(w, "all\t%.5f\t%.5f\t%g\t\n", total/float64(max(len(r.Linears), 1)), worst, damp)
	if err := w.Flush(); err != nil {
		return err
	}
	if err := expertsText(out, r.Coverage); err != nil {
		return err
	}
	for _, p := range quantize.Policies() {
		if n := policies[p]; n > 0 {
			fmt.Fprintf(out, "%d of %d matrices are of experts that have seen too few tokens: %s\n", n, len(r.Linears), p)
		}
	}
	fmt.Fprintf(out, "damping raised for %d matrices, %d columns were never used; ", raised, dead)
	for _, p := range []struct {
		name    string
		seconds float64
	}{{"scales", r.Phases.Scales}, {"propagation", r.Phases.Propagate}} {
		if p.seconds > 0 {
			fmt.Fprintf(out, "%.1f s %s, ", p.seconds, p.name)
		}
	}
	fmt.Fprintf(out, "%.1f s statistics, %.1f s factors, %.1f s rounding\n", r.Phases.Statistics, r.Phases.Factor, r.Phases.Round)
	if r.Calibration != nil {
		fmt.Fprintln(out, calibrationCost(*r.Calibration))
	}
	return nil
}

// expertsText tells how many tokens the experts of each layer have seen.
func expertsText(out io.Writer, list []quantize.ExpertCoverage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, c := range list {
		if i == 0 {
			fmt.Fprintf(w, "EXPERTS\tNUMBER\t%s\n", seenHeading)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\n", c.Experts, len(c.Tokens), seen(c.Tokens))
	}
	return w.Flush()
}
