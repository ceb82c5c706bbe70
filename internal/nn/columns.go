package nn

import (
	"slices"

	"tune/internal/graph"
)

// Columns gives the columns of x (N, C) another order: y_ij = x_i,order[j]. Backward: dx_i,order[j] = dy_ij.
func Columns(x *graph.Node, order []int32) *graph.Node {
	s := x.Shape()
	if len(order) != s[1] {
		panic("nn: columns: the order is not that of the columns")
	}
	return x.Graph().Apply(&reorder{s[0], s[1], order}, x)[0]
}

type reorder struct {
	n, c  int
	order []int32
}

func (o *reorder) Info() graph.Info {
	return graph.Info{Name: "columns", Out: []graph.Shape{{o.n, o.c}}, FLOPs: []int64{int64(o.n * o.c)}, Cheap: true}
}

func (o *reorder) Host(a *graph.Args) func() {
	x, y, c := a.In[0], a.Out[0], o.c
	return rowsOf(a.Pool, o.n, c, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			from, to := x[i*c:(i+1)*c], y[i*c:(i+1)*c]
			for j, k := range o.order {
				to[j] = from[k]
			}
		}
	})
}

func (o *reorder) Grad(in, _, dout []*graph.Node) []*graph.Node {
	back := make([]int32, o.c)
	for j, k := range o.order {
		back[k] = int32(j)
	}
	return []*graph.Node{Columns(dout[0], back)}
}

// ordered is an input as projections read it whose weights' columns stand in some order, and the projections in that order.
type ordered struct {
	x     *graph.Node
	order []int32
	ps    []Proj
	place []int
}

// byOrder divides projections among the orders of their weights' columns; an adapter's A takes the order of its weight.
func byOrder(x *graph.Node, ps []Proj) (all []*ordered) {
	for i, p := range ps {
		var o *ordered
		if at := slices.IndexFunc(all, func(o *ordered) bool { return slices.Equal(o.order, p.W.Order) }); at >= 0 {
			o = all[at]
		} else {
			o = &ordered{x: x, order: p.W.Order}
			if o.order != nil {
				o.x = Columns(x, o.order)
			}
			all = append(all, o)
		}
		if o.order != nil && p.LoRA != nil {
			l := *p.LoRA
			l.A = Columns(l.A, o.order)
			p.LoRA = &l
		}
		o.ps, o.place = append(o.ps, p), append(o.place, i)
	}
	return all
}
