package nn

import (
	"tune/internal/graph"
	"tune/kernels"
)

// Combine adds to each token what its experts answered: out_n = residual_n + Σ_j w_nj·y_Place[n·k+j], residual (N, C), y (M, C).
// Backward: dresidual = dout, dy_Place[n·k+j] = w_nj·dout_n, dw_nj = dout_n·y_Place[n·k+j].
func Combine(residual, y *graph.Node, r Routing) *graph.Node {
	s := residual.Shape()
	return y.Graph().Apply(&combine{s[0], s[1], r.K}, residual, y, r.Weights, r.Place)[0]
}

type combine struct{ n, c, k int }

func (o *combine) Info() graph.Info {
	return graph.Info{Name: "combine", Out: []graph.Shape{{o.n, o.c}}, FLOPs: []int64{2 * int64(o.n*o.k*o.c)}, InPlace: [][2]int{{0, 0}}}
}

func (o *combine) Host(a *graph.Args) func() {
	residual, y, w, place, out, c, k := a.In[0], a.In[1], a.In[2], a.Int[3], a.Out[0], o.c, o.k
	return rowsOf(a.Pool, o.n, c*k, func(lo, hi int) {
		for n := lo; n < hi; n++ {
			sum := out[n*c : (n+1)*c]
			copy(sum, residual[n*c:(n+1)*c])
			for j := n * k; j < (n+1)*k; j++ {
				at := int(place[j]) * c
				for i, v := range y[at : at+c] {
					sum[i] += float32(w[j] * v)
				}
			}
		}
	})
}

func (o *combine) Grad(in, _, dout []*graph.Node) []*graph.Node {
	d := in[1].Graph().Apply(&combineGrad{f: o}, dout[0], in[1], in[2], in[3])
	return []*graph.Node{dout[0], d[0], d[1], nil}
}

// combineGrad: inputs dout, y, w, place; outputs dy, dw.
type combineGrad struct {
	graph.NoGrad
	f *combine
}

func (o *combineGrad) Info() graph.Info {
	n := int64(o.f.n * o.f.k * o.f.c)
	return graph.Info{Name: "combine'", Out: []graph.Shape{{o.f.n * o.f.k, o.f.c}, {o.f.n, o.f.k}}, FLOPs: []int64{n, 2 * n}}
}

func (o *combineGrad) Host(a *graph.Args) func() {
	dout, y, w, place, dy, dw, c, k := a.In[0], a.In[1], a.In[2], a.Int[3], a.Out[0], a.Out[1], o.f.c, o.f.k
	return rowsOf(a.Pool, o.f.n, c*k, func(lo, hi int) {
		for n := lo; n < hi; n++ {
			d := dout[n*c : (n+1)*c]
			for j := n * k; j < (n+1)*k; j++ {
				at := int(place[j]) * c
				if dy != nil {
					kernels.Scale(dy[at:at+c], w[j], d)
				}
				if dw != nil {
					sum := 0.0
					for i, v := range y[at : at+c] {
						sum += float64(v) * float64(d[i])
					}
					dw[j] = float32(sum)
				}
			}
		}
	})
}
