package nn

import (
	"fmt"

	"tune/internal/graph"
	"tune/kernels"
)

// Grouped applies to the rows of each expert that expert's projections; several that share their input (gate, up) at once.
// x (M, in) is sorted by expert as r says, ps[p][e] is projection p of expert e:
//
//	y_p,i = W_p,e·x_i + s·B_p,e·(A_p,e·x_i)        e the expert of row i; y_p (M, out_p)
//
// Backward is that of Linear, expert by expert. Frozen matrices are decoded when an expert has rows, tile by tile, and not at all
// when it has none. Biases, magnitudes and dropout are not for experts. The adapters of a projection have one rank.
func Grouped(x *graph.Node, r Routing, exact bool, ps ...[]Proj) []*graph.Node {
	o := &grouped{m: x.Shape()[0], in: x.Shape()[1], e: r.E, exact: exact}
	in := ins{x, r.Ends}
	u := len(ps)
	for _, list := range ps {
		if len(list) != r.E {
			panic(fmt.Sprintf("nn: grouped: expected %d experts, found %d", r.E, len(list)))
		}
		g := groupedProj{out: list[0].W.Rows, u: -1}
		for _, p := range list {
			q := in.proj(p, o.in)
			if p.Bias != nil || q.drop.on() || p.LoRA != nil && p.LoRA.Magnitude != nil || q.out != g.out || len(g.experts) > 0 && q.r != g.r {
				panic("nn: grouped: " + p.W.Name + ": expected experts of one shape and rank, without bias, dropout and magnitude")
			}
			g.r, g.experts = q.r, append(g.experts, q)
		}
		if g.r > 0 {
			g.u = u
			u++
		}
		o.ps = append(o.ps, g)
	}
	o.inputs = len(in)
	return x.Graph().Apply(o, in...)[:len(ps)]
}

// grouped is the forward op. Inputs: x, ends, then what the projections need. Outputs: y_p, then u_p = s·A·x of those with adapters.
type grouped struct {
	m, in, e int
	exact    bool
	ps       []groupedProj
	inputs   int
}

// groupedProj is one projection of all experts.
type groupedProj struct {
	out, r, u int // u: output, -1: no adapters
	experts   []proj
}

func (o *grouped) Info() graph.Info {
	i := graph.Info{Name: "experts " + o.ps[0].experts[0].name, Scratch: o.matmulScratch()}
	m, in := int64(o.m), int64(o.in)
	for _, p := range o.ps {
		i.Out = append(i.Out, graph.Shape{o.m, p.out})
		i.FLOPs = append(i.FLOPs, 2*m*int64(p.out)*(in+int64(p.r)))
		i.Scratch += sized(o.m * p.r)
	}
	for _, p := range o.ps {
		if p.r > 0 {
			i.Out = append(i.Out, graph.Shape{o.m, p.r})
			i.FLOPs = append(i.FLOPs, 2*m*in*int64(p.r))
		}
	}
	return i
}

// products of one expert, before they are given rows.
func (o *grouped) products() (main, low *kernels.Product) {
	blocked := o.m > kernels.FewRows // what a row gets does not depend on how many others have its expert
	main = &kernels.Product{M: o.m, K: o.in, Exact: o.exact, Blocked: blocked}
	low = &kernels.Product{M: o.m, K: o.in, Exact: o.exact, Blocked: blocked}
	for _, p := range o.ps {
		q := p.experts[0]
		main.Outs = append(main.Outs, kernels.Out{N: p.out, B: q.w.m, R: p.r, V: q.b.m})
		if p.r > 0 {
			low.Outs = append(low.Outs, kernels.Out{N: p.r, B: q.a.m, Scale: q.s})
		}
	}
	return main, low
}

func (o *grouped) matmulScratch() int {
	main, low := o.products()
	return needs(main, low)
}

func (o *grouped) Host(a *graph.Args) func() {
	tmp := scratch(a.Tmp)
	mm := tmp.take(o.matmulScratch())
	x, ends := a.In[0], a.Int[1]
	us := make([][]float32, len(o.ps))
	for i, p := range o.ps {
		if p.r > 0 {
			t := tmp.take(sized(o.m * p.r))
			if us[i] = a.Out[p.u]; us[i] == nil {
				us[i] = t
			}
		}
	}
	main, low := o.products()
	wanted := main.Outs[:0]
	var places []int // of the outputs that somebody reads
	for i := range o.ps {
		if a.Out[i] != nil {
			wanted, places = append(wanted, main.Outs[i]), append(places, i)
		}
	}
	main.Outs = wanted
	return eachExpert(ends, func(e, from, to int) {
		rows := x[from*o.in : to*o.in]
		main.M, main.A, low.M, low.A = to-from, rows, to-from, rows
		at := 0
		for i, p := range o.ps {
			if p.r > 0 {
				y := &low.Outs[at]
				y.C, y.B, y.Scale = us[i][from*p.r:to*p.r], p.experts[e].a.of(a), p.experts[e].s
				at++
			}
		}
		if len(low.Outs) > 0 {
			a.Pool.MatMul(low, mm)
		}
		for k, i := range places {
			p, y := &o.ps[i], &main.Outs[k]
			y.C, y.B = a.Out[i][from*p.out:to*p.out], p.experts[e].w.of(a)
			if p.r > 0 {
				y.U, y.V = us[i][from*p.r:to*p.r], p.experts[e].b.of(a)
			}
		}
		if len(places) > 0 {
			a.Pool.MatMul(main, mm)
		}
	})
}

// eachExpert calls f for the rows of every expert that has some.
func eachExpert(ends []int32, f func(e, from, to int)) func() {
	return func() {
		from := 0
		for e, end := range ends {
			if to := int(end); to > from {
				f(e, from, to)
				from = to
			}
		}
	}
}

func (o *grouped) Grad(in, out, dout []*graph.Node) []*graph.Node {
	b := &groupedGrad{f: o, x: -1}
	args := ins{in[1]}
	grads := make([]int, o.inputs)
	for i := range grads {
		grads[i] = -1
	}
	grads[0] = 0
	b.outs = []graph.Shape{{o.m, o.in}}
	needX := false
	for i, p := range o.ps {
		g := gradProj{dy: -1, u: -1}
		if dout[i] != nil {
			g.dy = args.add(dout[i])
			if p.r > 0 {
				g.u = args.add(out[p.u])
			}
			for _, q := range p.experts {
				back := q
				d := expertGrads{-1, -1, -1}
				for _, w := range []struct {
					from *matrix
					to   *int
					s    graph.Shape
				}{{&back.w, &d.w, graph.Shape{p.out, o.in}}, {&back.a, &d.a, graph.Shape{p.r, o.in}}, {&back.b, &d.b, graph.Shape{p.out, p.r}}} {
					if w.s.Size() == 0 || w.from.at < 0 {
						continue
					}
					needX = true
					*w.to = len(b.outs)
					grads[w.from.at] = len(b.outs)
					b.outs = append(b.outs, w.s)
					w.from.at = args.add(in[w.from.at])
				}
				g.experts, g.grads = append(g.experts, back), append(g.grads, d)
			}
		}
		b.ps = append(b.ps, g)
	}
	if needX {
		b.x = args.add(in[0])
	}
	d := in[0].Graph().Apply(b, args...)
	r := make([]*graph.Node, len(in))
	for at, k := range grads {
		if k >= 0 {
			r[at] = d[k]
		}
	}
	return r
}
