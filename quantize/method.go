package quantize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"tune/internal/model"
	"tune/internal/packed"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/quantize/solve"
)

// A method is what is done to weights before they are rounded, and while they are.
type method struct {
	name      string
	awq, gptq bool
}

var methods = []method{
	{name: "rtn"},
	{name: "gptq", gptq: true},
	{name: "awq", awq: true},
	{name: "awq+gptq", awq: true, gptq: true},
}

// RTN rounds to the nearest codes, without a calibration.
const RTN = "rtn"

func methodNamed(name string) method {
	return methods[slices.IndexFunc(methods, func(m method) bool { return m.name == name })]
}

// folds tells whether the method changes weights before they are rounded.
func (p *PackedPlan) folds() bool { return methodNamed(p.Method).awq }

// MethodNames lists the methods.
func MethodNames() (names []string) {
	for _, m := range methods {
		names = append(names, m.name)
	}
	return names
}

// MethodOf checks the name of a method for a scheme; "" is what the format is named after, or RTN.
func MethodOf(name string, s *packed.Scheme) (string, error) {
	names := MethodNames()
	switch {
	case name == "" && slices.Contains(names, s.Format):
		return s.Format, nil
	case name == "":
		return RTN, nil
	case !slices.Contains(names, name):
		return "", fmt.Errorf("method: expected one of %s, found %q", strings.Join(names, ", "), name)
	case name != RTN && !s.Integers():
		return "", fmt.Errorf("method: %s is not made of integers: expected %s, found %q", s, RTN, name)
	}
	return name, nil
}

// MethodOptions of StartMethod.
type MethodOptions struct {
	Order     Order
	Damp      float64
	Search    int   // smaller ranges tried for each group
	Sweeps    int   // of refinement after GPTQ
	Propagate *Text // see SolverOptions
	Memory    int64 // bound in bytes, of solving and propagating together; 0: none
	Few       Few   // what is done for experts that have seen few tokens
	Pool      *kernels.Pool
	Progress  func(done, total int) // layers, of AWQ's search
}

// DefaultMethod is what is used when nothing else is said.
func DefaultMethod() MethodOptions {
	return MethodOptions{Order: OrderGroup, Damp: 0.01, Search: 20, Sweeps: 1}
}

// StartMethod prepares the method of a planned folder, one other than RTN: the folder is then planned anew with the solver's Weights and
// with its Stamp.
func StartMethod(ctx context.Context, p *PackedPlan, m *model.Model, weights tensor.Source, c *Calibration, o MethodOptions) (*Solver, error) {
	s := p.Scheme
	grid := solve.IntsOptions{Bits: s.Bits, Group: s.Group, Symmetric: s.Sym, Search: o.Search,
		Store: func(x float64) float64 { return float64(s.RoundScale(float32(x))) }}
	so := SolverOptions{Grid: grid, GPTQ: methodNamed(p.Method).gptq, Order: o.Order, Damp: o.Damp, Sweeps: o.Sweeps, Weighted: true, Propagate: o.Propagate, Memory: o.Memory, Few: o.Few,
		Kept: map[string]bool{}, Pool: o.Pool}
	if s.DescAct {
		so.Order = OrderIndex
	}
	for _, x := range p.Modules {
		if x.Kept {
			so.Kept[x.Name] = true
		}
	}
	var folds *Folds
	begun := time.Now()
	if p.folds() {
		var err error
		if folds, err = SearchFolds(ctx, m, weights, c, AWQOptions{Grid: grid, Few: o.Few, Pool: o.Pool, Progress: o.Progress}); err != nil {
			return nil, err
		}
	}
	if o.Propagate != nil {
		b, err := p.planPropagation(m, weights, *o.Propagate, o.Memory, o.Pool.Workers())
		if err != nil {
			return nil, err
		}
		so.budget = &b
	}
	x, err := NewSolver(m, weights, c, folds, so)
	if err != nil {
		return nil, err
	}
	if folds != nil {
		x.Phases.Scales = time.Since(begun).Seconds()
	}
	propagated := "" // the text
	if o.Propagate != nil {
		propagated = o.Propagate.Hash()
	}
	x.Stamp = fmt.Sprintf("%s %s %s %s %g %d %d %v %v", p.Method, c.Model, c.Data, so.Order, so.Damp, grid.Search, so.Sweeps, propagated, o.Few)
	return x, nil
}

// CalibrateOnce calibrates unless an earlier run has left the file of the same model and text; then the phases are those of checking it.
func CalibrateOnce(ctx context.Context, path string, m *model.Model, weights tensor.Source, o CalibrateOptions) (r Calibrated, err error) {
	begun := time.Now()
	old, err := OpenCalibration(path)
	switch {
	case err == nil:
		same := old.Data == o.Text.Hash() && old.Check(m, weights) == nil
		old.Close()
		if same {
			r.Phases.File = time.Since(begun).Seconds()
			return r, nil
		}
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCalibration):
		return r, err
	}
	return Calibrate(ctx, path, m, weights, o)
}
