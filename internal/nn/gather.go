package nn

import (
	"tune/internal/graph"
	"tune/kernels"
)

// Gather gives each row of a routing its token: y_i = x_(Order[i]/k), x (N, C), y (M, C).
// Backward: dx_n = Σ_j dy_Place[n·k+j].
func Gather(x *graph.Node, r Routing) *graph.Node {
	s := x.Shape()
	return x.Graph().Apply(&gather{s[0], s[1], r.K}, x, r.Order, r.Place)[0]
}

type gather struct{ n, c, k int }

func (o *gather) Info() graph.Info {
	return graph.Info{Name: "gather", Out: []graph.Shape{{o.n * o.k, o.c}}, FLOPs: []int64{int64(o.n * o.k * o.c)}, Cheap: true}
}

func (o *gather) Host(a *graph.Args) func() {
	x, order, y, c := a.In[0], a.Int[1], a.Out[0], o.c
	return rowsOf(a.Pool, o.n*o.k, c, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			n := int(order[i]) / o.k
			copy(y[i*c:(i+1)*c], x[n*c:(n+1)*c])
		}
	})
}

func (o *gather) Grad(in, _, dout []*graph.Node) []*graph.Node {
	return []*graph.Node{in[0].Graph().Apply(&gatherGrad{f: o}, dout[0], in[2])[0], nil, nil}
}

// gatherGrad: inputs dy, place; output dx.
type gatherGrad struct {
	graph.NoGrad
	f *gather
}

func (o *gatherGrad) Info() graph.Info {
	return graph.Info{Name: "gather'", Out: []graph.Shape{{o.f.n, o.f.c}}, FLOPs: []int64{int64(o.f.n * o.f.k * o.f.c)}}
}

func (o *gatherGrad) Host(a *graph.Args) func() {
	dy, place, dx, c, k := a.In[0], a.Int[1], a.Out[0], o.f.c, o.f.k
	return rowsOf(a.Pool, o.f.n, c*k, func(lo, hi int) {
		for n := lo; n < hi; n++ {
			d := dx[n*c : (n+1)*c]
			clear(d)
			for _, i := range place[n*k : (n+1)*k] {
				kernels.Add(d, d, dy[int(i)*c:(int(i)+1)*c])
			}
		}
	})
}
