package train

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// objective is what is minimised: a formula over the log-probabilities of the tokens of one micro-batch, summed over the
// micro-batches of a step. To add one, write its file objective_<name>.go and its row in objectives.
type objective struct {
	// linear says that the gradient does not depend on the log-probabilities: it is computed before the forward, and the
	// loss op computes the gradient of the hidden states in the same pass. Others cost a second pass over the head.
	linear bool
	// operands are what the formula reads besides logp. count is the number of supervised tokens of the global batch, so
	// that the losses of its micro-batches add up to a mean.
	operands func(b *MicroBatch, count int64) []operand
	// formula is the loss, a scalar. logp is (N, 1); x has the operands by position.
	formula func(logp *G.Node, x []*G.Node) (*G.Node, error)
}

// operand is a constant matrix of a formula.
type operand struct {
	name       string // unique: gorgonia merges inputs of equal name
	rows, cols int
	data       []float64 // (rows, cols)
}

// objectives by name.
var objectives = map[string]objective{
	"sft": {true, sftOperands, sftFormula},
}

// expression is a formula compiled for N tokens and operands of given shapes, with its gradient. Not for concurrent use.
type expression struct {
	n     int
	logp  *G.Node
	x     []*G.Node
	loss  G.Value
	dlogp *G.Node // (N, 1)
	vm    G.VM
	in    []float64
}

// compile differentiates the formula. One expression has one graph and one gradient call: gorgonia remembers the first.
func (o objective) compile(n int, ops []operand) (*expression, error) {
	g := G.NewGraph()
	e := &expression{n: n, in: make([]float64, n)}
	e.logp = G.NewMatrix(g, tensor.Float64, G.WithShape(n, 1), G.WithName("logp"))
	for _, x := range ops {
		e.x = append(e.x, G.NewMatrix(g, tensor.Float64, G.WithShape(x.rows, x.cols), G.WithName(x.name)))
	}
	loss, err := o.formula(e.logp, e.x)
	if err != nil {
		return nil, fmt.Errorf("objective: %w", err)
	}
	grads, err := G.Grad(loss, e.logp)
	if err != nil {
		return nil, fmt.Errorf("objective: gradient: %w", err)
	}
	e.dlogp = grads[0]
	G.Read(loss, &e.loss)
	e.vm = G.NewTapeMachine(g)
	return e, nil
}

// eval returns the loss and writes its gradient with respect to logp (N) into dlogp (N), which may be nil.
func (e *expression) eval(logp []float32, ops []operand, dlogp []float32) (float64, error) {
	defer e.vm.Reset()
	for i, x := range logp {
		e.in[i] = float64(x)
	}
	if err := G.Let(e.logp, tensor.New(tensor.WithShape(e.n, 1), tensor.WithBacking(e.in))); err != nil {
		return 0, fmt.Errorf("objective: logp: %w", err)
	}
	for i, x := range ops {
		if err := G.Let(e.x[i], tensor.New(tensor.WithShape(x.rows, x.cols), tensor.WithBacking(x.data))); err != nil {
			return 0, fmt.Errorf("objective: %s: %w", x.name, err)
		}
	}
	if err := e.vm.RunAll(); err != nil {
		return 0, fmt.Errorf("objective: %w", err)
	}
	if dlogp != nil {
		grad, ok := e.dlogp.Value().Data().([]float64)
		if !ok || len(grad) != e.n {
			return 0, fmt.Errorf("objective: expected a gradient of %d tokens, found %v", e.n, e.dlogp.Value().Shape())
		}
		for i, d := range grad {
			dlogp[i] = float32(d)
		}
	}
	switch loss := e.loss.Data().(type) {
	case float64:
		return loss, nil
	case []float64:
		return loss[0], nil
	}
	return math.NaN(), fmt.Errorf("objective: expected a scalar loss, found %T", e.loss.Data())
}

// close ends gorgonia's machine.
func (e *expression) close() { e.vm.Close() }

// formulas keeps the expressions of an objective by shape, because programs of several sizes alternate.
type formulas struct {
	o     objective
	built map[string]*expression
}

func (f *formulas) get(n int, ops []operand) (*expression, error) {
	key := fmt.Sprint(n)
	for _, x := range ops {
		key += fmt.Sprintf(" %dx%d", x.rows, x.cols)
	}
	if e := f.built[key]; e != nil {
		return e, nil
	}
	e, err := f.o.compile(n, ops)
	if err != nil {
		return nil, err
	}
	if f.built == nil {
		f.built = map[string]*expression{}
	}
	f.built[key] = e
	return e, nil
}

func (f *formulas) close() {
	for _, e := range f.built {
		e.close()
	}
}
