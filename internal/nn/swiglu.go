package nn

import (
	"fmt"

	"tune/internal/graph"
	"tune/kernels"
)

// SwiGLU is the gated activation of gate and up, both (N, F), with σ(x) = 1/(1+e⁻ˣ) (Shazeer 2020):
//
//	y = gate·σ(gate)·up
//	dgate = dy·up·σ(gate)·(1 + gate·(1 - σ(gate)))        dup = dy·gate·σ(gate)
func SwiGLU(gate, up *graph.Node) *graph.Node {
	if gate.Shape() != up.Shape() {
		panic(fmt.Sprintf("nn: swiglu: shapes %v and %v differ", gate.Shape(), up.Shape()))
	}
	return gate.Graph().Apply(swiglu{gate.Shape()}, gate, up)[0]
}

type swiglu struct{ s graph.Shape }

func (o swiglu) Info() graph.Info {
	return graph.Info{Name: "swiglu", Out: []graph.Shape{o.s}, FLOPs: []int64{4 * int64(o.s.Size())}, InPlace: [][2]int{{0, 0}, {0, 1}}, Cheap: true}
}

func (o swiglu) Host(a *graph.Args) func() {
	y, gate, up := a.Out[0], a.In[0], a.In[1]
	return rowsOf(a.Pool, len(y), 1, func(lo, hi int) { kernels.SwiGLU(y[lo:hi], gate[lo:hi], up[lo:hi]) })
}

func (o swiglu) Grad(in, _, dout []*graph.Node) []*graph.Node {
	return in[0].Graph().Apply(swigluGrad{s: o.s}, in[0], in[1], dout[0])
}

// swigluGrad: inputs gate, up, dy; outputs dgate, dup.
type swigluGrad struct {
	graph.NoGrad
	s graph.Shape
}

func (o swigluGrad) Info() graph.Info {
	f := 5 * int64(o.s.Size())
	return graph.Info{Name: "swiglu'", Out: []graph.Shape{o.s, o.s}, FLOPs: []int64{f, f}, InPlace: [][2]int{{0, 0}, {1, 1}, {0, 2}, {1, 2}}}
}

func (o swigluGrad) Host(a *graph.Args) func() {
	dgate, dup, gate, up, dy := a.Out[0], a.Out[1], a.In[0], a.In[1], a.In[2]
	return rowsOf(a.Pool, len(dy), 1, func(lo, hi int) {
		if dgate != nil && dup != nil {
			kernels.SwiGLUBackward(dgate[lo:hi], dup[lo:hi], dy[lo:hi], gate[lo:hi], up[lo:hi])
			return
		}
		var unread [256]float32 // the gradient nobody wants
		for ; lo < hi; lo += len(unread) {
			end := min(hi, lo+len(unread))
			dg, du := unread[:end-lo], unread[:end-lo]
			if dgate != nil {
				dg = dgate[lo:end]
			} else {
				du = dup[lo:end]
			}
			kernels.SwiGLUBackward(dg, du, dy[lo:end], gate[lo:end], up[lo:end])
		}
	})
}
