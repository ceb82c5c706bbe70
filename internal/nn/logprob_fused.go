package nn

import "tune/internal/graph"

// LogProbFused is LogProb for objectives whose gradient d loss/d logp (N, 1) is known before the forward, as in supervised
// fine-tuning, where it is minus the weight of each token: every tile of logits is turned into its gradient while it is
// there, so the logits are computed once. Differentiate with Graph.Backward(logp, dlogp, ...). Heads that are not trained take
// logProbFrozen.
func LogProbFused(x, labels, dlogp *graph.Node, p Proj, exact bool) (logp, hit *graph.Node) {
	in := ins{x, labels, dlogp}
	h := newHead(&in, x, labels, p, exact)
	var o graph.Op = &logProbFused{h}
	if len(h.params()) == 1 {
		o = newFrozen(h)
	}
	out := x.Graph().Apply(o, in...)
	return out[0], out[1]
}

// logProbFused: inputs X, labels, dlogp, then what the projection needs; outputs logp, hit, then dX, dW, db, dA, dB where
// they exist.
type logProbFused struct{ head }

func (o *logProbFused) Info() graph.Info {
	s := graph.Shape{o.n, 1}
	out, flops, adds := o.gradInfo()
	return graph.Info{
		Name:    "logprob+grad " + o.p.name,
		Out:     append([]graph.Shape{s, s}, out...),
		FLOPs:   append([]int64{o.forwardFLOPs(), 0}, flops...),
		Adds:    append([]bool{false, false}, adds...),
		Scratch: o.scratch(true),
	}
}

func (o *logProbFused) Host(a *graph.Args) func() {
	dlogp := a.In[2]
	t := o.bind(a, 2, func(t *tileRun, i int) {
		l := t.score(i, a.Out[0], a.Out[1], nil)
		if t.grads != nil {
			t.slope(i, l, dlogp[t.rows[i]])
		}
	})
	return func() {
		clear(a.Out[0])
		clear(a.Out[1])
		t.run(2)
	}
}

func (o *logProbFused) Grad(in, out, dout []*graph.Node) []*graph.Node {
	return fusedGrad(&o.head, in, out, dout)
}

// fusedGrad hands out the gradients that the forward made, its outputs from the third on.
func fusedGrad(h *head, in, out, dout []*graph.Node) []*graph.Node {
	r := make([]*graph.Node, len(in))
	if dout[0] == nil {
		return r
	}
	if dout[0] != in[2] {
		panic("nn: LogProbFused: differentiate with Backward(logp, dlogp) and the same dlogp")
	}
	for k, at := range h.params() {
		r[at] = out[2+k]
	}
	return r
}
