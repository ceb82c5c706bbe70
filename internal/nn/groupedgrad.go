package nn

import (
	"tune/internal/graph"
	"tune/kernels"
)

// groupedGrad is the backward of Grouped: inputs ends, then as Grad of grouped lists them; outputs dx, then the gradients of what is
// trained, zero for an expert without rows.
type groupedGrad struct {
	graph.NoGrad
	f    *grouped
	ps   []gradProj
	x    int // input, -1: not needed
	outs []graph.Shape
}

// gradProj is a projection; places of matrices are among the backward's inputs.
type gradProj struct {
	dy, u   int // inputs; dy -1: no gradient comes from this projection
	experts []proj
	grads   []expertGrads
}

// expertGrads are outputs, -1: none.
type expertGrads struct{ w, a, b int }

func (o *groupedGrad) Info() graph.Info {
	i := graph.Info{Name: o.f.Info().Name + "'", Out: o.outs, FLOPs: make([]int64, len(o.outs)), Scratch: o.matmulScratch() + sized(o.f.m*o.rank())}
	m, in := int64(o.f.m), int64(o.f.in)
	for k, p := range o.ps {
		if p.dy < 0 {
			continue
		}
		out, r := int64(o.f.ps[k].out), int64(o.f.ps[k].r)
		i.FLOPs[0] += 2 * m * (in*out + r*(in+out))
		for _, g := range p.grads { // an expert has M/E rows on average
			for at, n := range map[int]int64{g.w: in * out, g.a: in * r, g.b: out * r} {
				if at >= 0 {
					i.FLOPs[at] = 2 * n * m / int64(o.f.e)
				}
			}
		}
	}
	return i
}

func (o *groupedGrad) rank() (r int) {
	for _, p := range o.f.ps {
		r = max(r, p.r)
	}
	return r
}

// products of projection k: T = s·dY·B, dX = dY·W + T·A, dA = Tᵀ·X, dW = dYᵀ·X, dB = dYᵀ·U.
func (o *groupedGrad) products(k int) (t, dx, da, dw, db *kernels.Product) {
	f, p := o.f, &o.f.ps[k]
	q := p.experts[0]
	sizes := func(rows, cols int) kernels.Matrix { return kernels.Matrix{Rows: rows, Cols: cols, Codec: kernels.F32} }
	t = &kernels.Product{M: f.m, K: p.out, Exact: f.exact, Outs: []kernels.Out{{N: p.r, B: q.b.m, Rowwise: true}}}
	dx = &kernels.Product{M: f.m, K: p.out, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: q.w.m, Rowwise: true, R: p.r, V: q.a.m}}}
	da = &kernels.Product{M: p.r, K: f.m, TransA: true, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: sizes(f.m, f.in), Rowwise: true}}}
	dw = &kernels.Product{M: p.out, K: f.m, TransA: true, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: sizes(f.m, f.in), Rowwise: true}}}
	db = &kernels.Product{M: p.out, K: f.m, TransA: true, Exact: f.exact, Outs: []kernels.Out{{N: p.r, B: sizes(f.m, p.r), Rowwise: true}}}
	return t, dx, da, dw, db
}

func (o *groupedGrad) matmulScratch() (n int) {
	for k, p := range o.ps {
		if p.dy < 0 {
			continue
		}
		t, dx, da, dw, db := o.products(k)
		n = max(n, needs(dx, dw))
		if o.f.ps[k].r > 0 {
			n = max(n, needs(t, da, db))
		}
	}
	return n
}

func (o *groupedGrad) Host(a *graph.Args) func() {
	tmp := scratch(a.Tmp)
	mm := tmp.take(o.matmulScratch())
	run := []func(){func() {
		for _, out := range a.Out {
			clear(out)
		}
	}}
	for k, p := range o.ps {
		if p.dy >= 0 {
			run = append(run, o.hostProj(a, k, mm, tmp))
		}
	}
	return sequence(run...)
}

// hostProj adds the work of one projection.
func (o *groupedGrad) hostProj(a *graph.Args, k int, mm, tt []float32) func() {
	f, p, out, r := o.f, &o.ps[k], o.f.ps[k].out, o.f.ps[k].r
	t, dx, da, dw, db := o.products(k)
	var x, u []float32
	if o.x >= 0 {
		x = a.In[o.x]
	}
	if p.u >= 0 {
		u = a.In[p.u]
	}
	return eachExpert(a.Int[0], func(e, from, to int) {
		q, g, n := &p.experts[e], p.grads[e], to-from
		dy := a.In[p.dy][from*out : to*out]
		if r > 0 {
			t.M, t.A, t.Outs[0].C, t.Outs[0].B, t.Outs[0].Scale = n, dy, tt, q.b.of(a), q.s
			a.Pool.MatMul(t, mm)
		}
		if dX := a.Out[0]; dX != nil {
			y := &dx.Outs[0]
			rows := dX[from*f.in : to*f.in]
			dx.M, dx.A, y.C, y.Add, y.B = n, dy, rows, rows, q.w.of(a)
			if r > 0 {
				y.U, y.V = tt, q.a.of(a)
			}
			a.Pool.MatMul(dx, mm)
		}
		for _, w := range []struct {
			at    int
			p     *kernels.Product
			left  []float32
			right []float32
			cols  int
		}{{g.w, dw, dy, x, f.in}, {g.a, da, tt, x, f.in}, {g.b, db, dy, u, r}} {
			if w.at < 0 || a.Out[w.at] == nil {
				continue
			}
			w.p.K, w.p.A = n, w.left
			w.p.Outs[0].C, w.p.Outs[0].B = a.Out[w.at], kernels.Floats(w.right[from*w.cols:to*w.cols], n, w.cols)
			a.Pool.MatMul(w.p, mm)
		}
	})
}
