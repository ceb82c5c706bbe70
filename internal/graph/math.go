package graph

import (
	"fmt"

	"tune/kernels"
)

// chunk is the number of values an elementwise task handles.
const chunk = 1 << 14

// each runs f over the chunks of n values.
func each(p *kernels.Pool, n int, f func(lo, hi int)) func() {
	task := func(_, t int) { f(t*chunk, min(n, (t+1)*chunk)) }
	return func() { p.Run((n+chunk-1)/chunk, task) }
}

func same(what string, a, b *Node) {
	if a.shape != b.shape {
		panic(fmt.Sprintf("graph: %s: shapes %v and %v differ", what, a.shape, b.shape))
	}
}

// Add is a + b.
func Add(a, b *Node) *Node {
	same("add", a, b)
	return a.g.Apply(addOp{a.shape}, a, b)[0]
}

type addOp struct{ s Shape }

func (o addOp) Info() Info {
	return Info{Name: "add", Out: []Shape{o.s}, FLOPs: []int64{int64(o.s.Size())}, InPlace: [][2]int{{0, 0}, {0, 1}}, Cheap: true}
}
func (addOp) Grad(_, _, dout []*Node) []*Node { return []*Node{dout[0], dout[0]} }
func (addOp) Host(a *Args) func() {
	y, u, v := a.Out[0], a.In[0], a.In[1]
	return each(a.Pool, len(y), func(lo, hi int) { kernels.Add(y[lo:hi], u[lo:hi], v[lo:hi]) })
}

// Mul is a · b by elements.
func Mul(a, b *Node) *Node {
	same("mul", a, b)
	return a.g.Apply(mulOp{a.shape}, a, b)[0]
}

type mulOp struct{ s Shape }

func (o mulOp) Info() Info {
	return Info{Name: "mul", Out: []Shape{o.s}, FLOPs: []int64{int64(o.s.Size())}, InPlace: [][2]int{{0, 0}, {0, 1}}, Cheap: true}
}
func (mulOp) Grad(in, _, dout []*Node) []*Node {
	return []*Node{Mul(dout[0], in[1]), Mul(dout[0], in[0])}
}
func (mulOp) Host(a *Args) func() {
	y, u, v := a.Out[0], a.In[0], a.In[1]
	return each(a.Pool, len(y), func(lo, hi int) { kernels.Mul(y[lo:hi], u[lo:hi], v[lo:hi]) })
}

// Scale is c · x.
func Scale(x *Node, c float32) *Node { return x.g.Apply(scaleOp{x.shape, c}, x)[0] }

type scaleOp struct {
	s Shape
	c float32
}

func (o scaleOp) Info() Info {
	return Info{Name: "scale", Out: []Shape{o.s}, FLOPs: []int64{int64(o.s.Size())}, InPlace: [][2]int{{0, 0}}, Cheap: true}
}
func (o scaleOp) Grad(_, _, dout []*Node) []*Node { return []*Node{Scale(dout[0], o.c)} }
func (o scaleOp) Host(a *Args) func() {
	y, x := a.Out[0], a.In[0]
	return each(a.Pool, len(y), func(lo, hi int) { kernels.Scale(y[lo:hi], o.c, x[lo:hi]) })
}

// Sum is the sum of all values, (1, 1), taken in float64 from first to last.
func Sum(x *Node) *Node { return x.g.Apply(sumOp{x.shape}, x)[0] }

type sumOp struct{ s Shape }

func (o sumOp) Info() Info {
	return Info{Name: "sum", Out: []Shape{{1, 1}}, FLOPs: []int64{int64(o.s.Size())}}
}
func (o sumOp) Grad(in, _, dout []*Node) []*Node {
	return in[0].g.Apply(spreadOp{o.s, NoGrad{}}, dout[0])
}
func (sumOp) Host(a *Args) func() {
	return func() {
		var s float64
		for _, v := range a.In[0] {
			s += float64(v)
		}
		a.Out[0][0] = float32(s)
	}
}

// spreadOp copies a scalar to every place of a shape.
type spreadOp struct {
	s Shape
	NoGrad
}

func (o spreadOp) Info() Info { return Info{Name: "spread", Out: []Shape{o.s}} }
func (spreadOp) Host(a *Args) func() {
	return func() {
		for i := range a.Out[0] {
			a.Out[0][i] = a.In[0][0]
		}
	}
}

// fillOp is a constant.
type fillOp struct {
	s Shape
	v float32
}

func (o fillOp) Info() Info                 { return Info{Name: "fill", Out: []Shape{o.s}} }
func (fillOp) Grad(_, _, _ []*Node) []*Node { return nil }
func (o fillOp) Host(a *Args) func() {
	return func() {
		for i := range a.Out[0] {
			a.Out[0][i] = o.v
		}
	}
}

// accumulateOp adds its input onto its output, a buffer of the Grads space.
type accumulateOp struct {
	s Shape
	NoGrad
}

func (o accumulateOp) Info() Info {
	return Info{Name: "accumulate", Out: []Shape{o.s}, FLOPs: []int64{int64(o.s.Size())}, Adds: []bool{true}}
}
func (accumulateOp) Host(a *Args) func() {
	y, x := a.Out[0], a.In[0]
	return each(a.Pool, len(y), func(lo, hi int) { kernels.Add(y[lo:hi], y[lo:hi], x[lo:hi]) })
}
