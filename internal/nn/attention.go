package nn

import (
	"fmt"

	"tune/internal/graph"
	"tune/kernels"
)

// Attention is causal attention inside documents: token i sees the tokens from start_i (an Ints node) to i, and no more than
// a.Window of them. q (N, H·D), k and v (N, K·D); the result is (N, H·D), the by-product the log-sum-exps L (N, H).
//
//	S = Scale·q·kᵀ        L = log Σ_j e^S_j        o = Σ_j e^(S_j-L)·v_j
//
// Backward, all three at once: see kernels.Attention.Backward.
func Attention(q, k, v, start *graph.Node, a kernels.Attention) *graph.Node {
	n := q.Shape()[0]
	if q.Shape() != (graph.Shape{n, a.H * a.D}) || k.Shape() != (graph.Shape{n, a.K * a.D}) || v.Shape() != k.Shape() || start.Shape()[0] != n {
		panic(fmt.Sprintf("nn: attention: shapes %v %v %v %v do not fit %+v", q.Shape(), k.Shape(), v.Shape(), start.Shape(), a))
	}
	return q.Graph().Apply(attention{n, a}, q, k, v, start)[0]
}

type attention struct {
	n int
	a kernels.Attention
}

// pairs is the greatest number of query-key products of one head.
func (o attention) pairs() int64 {
	n, w := int64(o.n), int64(o.n)
	if o.a.Window > 0 {
		w = min(w, int64(o.a.Window))
	}
	return n*w - w*(w-1)/2
}

func (o attention) Info() graph.Info {
	return graph.Info{
		Name:    "attention",
		Out:     []graph.Shape{{o.n, o.a.H * o.a.D}, {o.n, o.a.H}},
		FLOPs:   []int64{4 * o.pairs() * int64(o.a.H*o.a.D), 0},
		Scratch: o.a.Scratch(o.n, o.n),
	}
}

func (o attention) Host(a *graph.Args) func() {
	return func() { // o always has a reader: the backward takes it with L
		o.a.Forward(a.Pool, a.Out[0], a.Out[1], a.In[0], a.In[1], a.In[2], a.Int[3], 0, a.Tmp)
	}
}

func (o attention) Grad(in, out, dout []*graph.Node) []*graph.Node {
	d := in[0].Graph().Apply(attentionGrad{attention: o}, in[0], in[1], in[2], in[3], out[0], out[1], dout[0])
	return []*graph.Node{d[0], d[1], d[2], nil}
}

// attentionGrad: inputs q, k, v, start, o, L, do; outputs dq, dk, dv.
type attentionGrad struct {
	attention
	graph.NoGrad
}

func (o attentionGrad) Grad(in, out, dout []*graph.Node) []*graph.Node {
	return o.NoGrad.Grad(in, out, dout)
}

func (o attentionGrad) Info() graph.Info {
	f := o.pairs() * int64(o.a.H*o.a.D)
	q, kv := graph.Shape{o.n, o.a.H * o.a.D}, graph.Shape{o.n, o.a.K * o.a.D}
	return graph.Info{Name: "attention'", Out: []graph.Shape{q, kv, kv}, FLOPs: []int64{6 * f, 2 * f, 2 * f}, Scratch: o.a.BackwardScratch(o.n)}
}

func (o attentionGrad) Host(a *graph.Args) func() {
	return func() {
		o.a.Backward(a.Pool, a.Out[0], a.Out[1], a.Out[2], a.In[0], a.In[1], a.In[2], a.In[4], a.In[5], a.In[6], a.Int[3], a.Tmp)
	}
}
