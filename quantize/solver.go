package quantize

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"tune/internal/grouped"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/quantize/solve"
)

// Order says which column GPTQ rounds first, and what groups are made of.
type Order string

const (
	OrderNone   Order = "none"     // as columns stand
	OrderStatic Order = "static"   // by activation; scales of the original weights, no index in the file
	OrderGroup  Order = "gar"      // groups by their largest activation, columns by activation inside; no index either
	OrderIndex  Order = "desc-act" // by activation, groups are runs of that order: files need g_idx
)

// SolverOptions of NewSolver.
type SolverOptions struct {
	Grid      solve.IntsOptions // Bits, Group (0: a row), Symmetric, Search, Store
	GPTQ      bool              // carry errors on; else plain rounding
	Order     Order             // "": OrderGroup
	Damp      float64           // of GPTQ, as a share of the mean square; 0: 0.01
	Sweeps    int               // of refinement of codes and scales after GPTQ
	Weighted  bool              // the search of ranges weighs columns by their activations
	Propagate *Text             // layers see what the quantized ones before them give for this text; nil: what the model's own give
	Memory    int64             // a bound that others keep; 0: none. Memory that is not used any more is given back under one
	Few       Few               // what is done for experts that have seen few tokens
	Kept      map[string]bool   // modules that are not quantized
	Pool      *kernels.Pool
	budget    *budget // of running layers; nil: no bound
}

// LinearReport is what became of one linear.
type LinearReport struct {
	Module string  `json:"module"`
	Tokens int     `json:"tokens"`                  // that its input has seen
	Policy Policy  `json:"expert_policy,omitempty"` // of an expert that has seen few
	Error  float64 `json:"relative_error"`          // squared error of the outputs on the text over their squares, of a sample of rows
	Damp   float64 `json:"damping,omitempty"`
	Tries  int     `json:"damping_raised,omitempty"` // times, until the products were positive definite
	Dead   int     `json:"dead_columns,omitempty"`   // that were always zero; they keep their nearest codes
}

// Solver chooses the codes of a model's linears, one after the other in the order of the forward. Results do not depend on the
// number of threads.
type Solver struct {
	Reports []LinearReport
	Phases  Phases
	Folds   *Folds        // nil: none
	Weights tensor.Source // after folding
	Stamp   string        // changes when anything does that decides the codes
	Running int64         // bytes that running layers takes at most beside solving, with propagation

	m           *model.Model
	calibration *Calibration
	walk        *walk // with propagation
	o           SolverOptions
	layer       int // of what follows, -1: none yet
	stats       *layerStatistics
	input       int // of what follows, -1: none yet
	now         *Statistics
	tokens      int
	policy      Policy
	factor      *solve.Factor
	hessian     *solve.Hessian // for refinement
	grid        solve.IntsOptions
	solved      map[string]*grouped.Linear // of the layer, with propagation
	clock       stopwatch
}

// NewSolver prepares the quantization of a model by a calibration, after folds (nil: none).
func NewSolver(m *model.Model, weights tensor.Source, c *Calibration, f *Folds, o SolverOptions) (*Solver, error) {
	for _, mod := range m.Modules() {
		if (mod.Kind == model.Linear || mod.Kind == model.Expert) && o.Grid.Group > 0 && mod.In%o.Grid.Group != 0 {
			return nil, hint.Errorf("choose a group size that divides every width", "%s: expected a width that is a multiple of the group of %d, found %d", mod.Name, o.Grid.Group, mod.In)
		}
	}
	if o.Order == "" {
		o.Order = OrderGroup
	}
	if o.Damp == 0 {
		o.Damp = 0.01
	}
	s := &Solver{m: m, Weights: weights, Folds: f, calibration: c, o: o, layer: -1}
	if f != nil {
		s.Weights = f.Source(weights)
	}
	if o.Propagate != nil {
		b := o.budget
		if b == nil {
			b = &unbounded
		}
		var err error
		if s.walk, err = newWalk(m, *o.Propagate, *b, o.Pool); err != nil {
			return nil, err
		}
		s.Running = b.total
	}
	return s, nil
}

// Close gives the hidden states back.
func (s *Solver) Close() {
	if s.walk != nil {
		s.walk.close()
	}
}

// Linear quantizes the weight of a module. With propagation those before it are quantized too, if they were not.
func (s *Solver) Linear(ctx context.Context, name string) (*grouped.Linear, error) {
	l, err := layerNumber(name)
	if err != nil || l >= s.m.L {
		return nil, fmt.Errorf("%s: expected a linear of a layer", name)
	}
	s.clock.start()
	for s.walk != nil && s.layer < l {
		if err := s.advance(ctx); err != nil {
			return nil, err
		}
	}
	if s.layer != l {
		s.enter(l, s.calibration.layer(l, s.o.Few))
	}
	s.clock.lap(&s.Phases.Statistics)
	if q := s.solved[name]; q != nil {
		return q, nil
	}
	return s.solve(name)
}

// enter begins a layer.
func (s *Solver) enter(l int, stats *layerStatistics) {
	s.layer, s.stats, s.input, s.solved = l, stats, -1, nil
}

// solve quantizes a linear of the layer at hand.
func (s *Solver) solve(name string) (*grouped.Linear, error) {
	i := s.stats.find(name)
	if i < 0 {
		return nil, fmt.Errorf("%w: nothing is known of %s", ErrCalibration, name)
	}
	if s.input != i {
		if err := s.prepare(i); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	tidy(s.o.Memory > 0) // the matrix before this one
	t, err := s.Weights.Tensor(name + ".weight")
	if err != nil {
		return nil, err
	}
	w, err := tensor.Floats(t)
	t.Release(t.Data)
	if err != nil {
		return nil, err
	}
	if at, _ := scan(w); at >= 0 {
		return nil, hint.Errorf("the checkpoint is damaged or its training diverged", "tensor %s: value %s is %v", t.Name, index(t.Shape, at), w[at])
	}
	in := s.now
	rows := len(w) / in.Width
	g := solve.NewInts(rows, in.Width, s.grid)
	r := LinearReport{Module: name, Tokens: s.tokens, Policy: s.policy}
	if s.factor == nil {
		solve.Nearest(w, rows, in.Width, g, s.o.Pool)
	} else {
		if s.grid.Static {
			g.Fix(w)
		}
		s.factor.Solve(w, rows, g, solve.Current, 0, s.o.Pool)
		if s.hessian != nil {
			g.Refine(w, s.hessian, s.o.Sweeps, s.o.Pool)
		}
		r.Damp, r.Tries, r.Dead = s.factor.Damp, s.factor.Tries, s.factor.Dead
	}
	q := g.Linear()
	s.clock.lap(&s.Phases.Round)
	r.Error = solve.RelativeError(w, q, in.Gram, s.o.Pool)
	s.Reports = append(s.Reports, r)
	if s.solved != nil {
		s.solved[name] = q
	}
	s.clock.lap(&s.Phases.Statistics)
	return q, nil
}

// prepare makes what the linears of an input share.
func (s *Solver) prepare(i int) error {
	s.now, s.factor, s.hessian = nil, nil, nil
	tidy(s.o.Memory > 0)
	s.clock.lap(&s.Phases.Statistics)
	in, tokens, policy, err := s.stats.of(i)
	if err != nil {
		return err
	}
	if s.walk != nil {
		s.clock.lap(&s.Phases.Propagate)
	}
	if s.now, s.tokens, s.policy = in, tokens, policy; s.Folds != nil && s.Folds.columns[in.Modules[0]] != nil {
		scaled := *in
		scaled.Gram = in.Gram.Scaled(s.Folds.columns[in.Modules[0]], s.o.Pool)
		s.now, in = &scaled, &scaled
	}
	diag := in.Gram.Diagonal()
	s.grid, s.input = s.o.Grid, i
	if s.grid.Group == 0 {
		s.grid.Group = in.Width
	}
	if policy == PolicyRTN {
		return nil
	}
	if s.o.Weighted {
		s.grid.Weight = diag
	}
	if !s.o.GPTQ {
		return nil
	}
	var order []int32
	switch s.o.Order {
	case OrderGroup:
		order = solve.ByGroup(diag, s.grid.Group)
	case OrderStatic:
		order, s.grid.Static = solve.ByActivation(diag), true
	case OrderIndex:
		order = solve.ByActivation(diag)
		s.grid.Sorted = order
	}
	s.clock.lap(&s.Phases.Statistics)
	if s.factor, err = solve.NewFactor(in.Gram, order, s.o.Damp, s.o.Pool); err == nil && s.o.Sweeps > 0 {
		s.hessian = solve.NewHessian(in.Gram, s.factor.Damp, s.o.Pool)
	}
	s.clock.lap(&s.Phases.Factor)
	return err
}

func layerPrefix(l int) string { return fmt.Sprintf("model.layers.%d.", l) }

// layerNumber of a module.
func layerNumber(name string) (int, error) {
	rest, ok := strings.CutPrefix(name, "model.layers.")
	number, _, more := strings.Cut(rest, ".")
	if !ok || !more {
		return 0, fmt.Errorf("%s is not in a layer", name)
	}
	return strconv.Atoi(number)
}

// LayerOf is the number of the layer that a module is in, -1 for none.
func LayerOf(name string) int {
	l, err := layerNumber(name)
	if err != nil {
		return -1
	}
	return l
}
