package graph

import "fmt"

// Gradients returns the gradients of a scalar loss, one for each wrt.
func (g *Graph) Gradients(loss *Node, wrt ...*Node) ([]*Node, error) {
	if loss.shape != (Shape{1, 1}) {
		return nil, fmt.Errorf("loss: expected shape [1 1], found %v", loss.shape)
	}
	layer := g.layer
	g.layer = backward
	one := g.Apply(fillOp{loss.shape, 1})[0]
	g.layer = layer
	return g.Backward(loss, one, wrt...)
}

// Backward returns, for each wrt, the gradient of the scalar whose gradient with respect to y is dy (the product of dy with
// the derivative of y). It may be called several times on one graph.
func (g *Graph) Backward(y, dy *Node, wrt ...*Node) ([]*Node, error) {
	if y.shape != dy.shape {
		return nil, fmt.Errorf("gradient of the start: expected shape %v, found %v", y.shape, dy.shape)
	}
	layer := g.layer
	g.layer = backward
	defer func() { g.layer = layer }()

	active := g.dependOn(wrt)
	grad := map[*Node]*Node{y: dy}
	for i := y.step; i >= 0; i-- {
		s := g.steps[i] // a copy: Grad appends
		dout, some := make([]*Node, len(s.out)), false
		for k, o := range s.out {
			if active[o] {
				dout[k] = grad[o]
				some = some || dout[k] != nil
			}
		}
		if !some {
			continue
		}
		for k, d := range s.op.Grad(s.in, s.out, dout) {
			n := s.in[k]
			switch {
			case d == nil || !active[n]:
			case d.shape != n.shape:
				panic(fmt.Sprintf("graph: %s: gradient %d has shape %v, not %v", s.op.Info().Name, k, d.shape, n.shape))
			case grad[n] == nil:
				grad[n] = d
			default:
				grad[n] = Add(grad[n], d)
			}
		}
	}
	r := make([]*Node, len(wrt))
	for i, n := range wrt {
		if r[i] = grad[n]; r[i] == nil {
			return nil, fmt.Errorf("gradient of %q: the loss does not depend on it", n.name)
		}
	}
	return r, nil
}

// dependOn is the set of nodes that depend on wrt.
func (g *Graph) dependOn(wrt []*Node) map[*Node]bool {
	active := make(map[*Node]bool, len(g.steps))
	for _, n := range wrt {
		active[n] = true
	}
	for i := range g.steps {
		for _, n := range g.steps[i].in {
			if active[n] {
				for _, o := range g.steps[i].out {
					active[o] = true
				}
				break
			}
		}
	}
	return active
}
