package nn

import (
	"math"

	"tune/internal/graph"
	"tune/kernels"
)

// dora is a projection with weight-decomposed adaptation (Liu et al. 2024) as PEFT computes it: the direction is the adapted
// matrix divided by its row norms, which are constants for the gradient, and the magnitude m (out, 1) is trained.
//
//	c_j = ‖W_j + s·(B·A)_j‖        g_j = m_j/c_j        Xd = dropout(X)        U = s·Xd·Aᵀ
//	Z = Xd·Wᵀ + U·Bᵀ               Y = (X - Xd)·Wᵀ + b + g∘Z
//
// (Without dropout the first term is absent; dropout does not reach the frozen part, as in PEFT.) Backward, with G = g∘dY and
// T = s·G·B:
//
//	dX = dY·W + mask((G - dY)·W + T·A), or G·W + T·A without dropout
//	dA = Tᵀ·Xd        dB = Gᵀ·U        dm_j = Σ_i dY_ij·Z_ij/c_j        db_j = Σ_i dY_ij
func dora(x *graph.Node, exact bool, p Proj) *graph.Node {
	o := &doraOp{n: x.Shape()[0], in: x.Shape()[1], exact: exact}
	in := ins{x}
	if p.W.Node != nil {
		panic("nn: " + p.W.Name + ": a magnitude needs a frozen weight")
	}
	o.p = in.proj(p, o.in)
	o.m = in.node(p.LoRA.Magnitude, o.p.out, 1)
	return x.Graph().Apply(o, in...)[0]
}

// doraOp: inputs X, [bias], A, B, [key], m; outputs Y, U, Z, g (out, 1), c (out, 1).
type doraOp struct {
	n, in int
	exact bool
	p     proj
	m     matrix
}

const (
	doraY = iota
	doraU
	doraZ
	doraG
	doraC
)

// normTasks is into how many parts the rows of W are cut to find their norms; each needs a row of scratch.
const normTasks = 16

func (o *doraOp) products() (low, main, rest *kernels.Product) {
	p := &o.p
	low = &kernels.Product{M: o.n, K: o.in, Exact: o.exact, Outs: []kernels.Out{{N: p.r, B: p.a.m, Scale: p.s}}}
	main = &kernels.Product{M: o.n, K: o.in, Exact: o.exact, Outs: []kernels.Out{{N: p.out, B: p.w.m, R: p.r, V: p.b.m}}}
	rest = &kernels.Product{M: o.n, K: o.in, Exact: o.exact, Outs: []kernels.Out{{N: p.out, B: p.w.m}}}
	return low, main, rest
}

func (o *doraOp) Info() graph.Info {
	p, n := &o.p, int64(o.n)
	main := 2 * n * int64(p.out) * int64(o.in+p.r)
	if p.drop.on() {
		main += 2 * n * int64(p.out) * int64(o.in)
	}
	i := graph.Info{
		Name:  "dora " + p.name,
		Out:   []graph.Shape{{o.n, p.out}, {o.n, p.r}, {o.n, p.out}, {p.out, 1}, {p.out, 1}},
		FLOPs: []int64{main, 2 * n * int64(o.in) * int64(p.r), 0, 2 * int64(p.out) * int64(o.in) * int64(p.r), 0},
	}
	i.Scratch = needs(o.products()) + sized(o.n*p.r) + sized(o.n*p.out) + normTasks*sized(o.in) + 2*sized(p.out)
	if p.drop.on() {
		i.Scratch += sized(o.n * o.in)
	}
	return i
}

func (o *doraOp) Host(a *graph.Args) func() {
	p := &o.p
	tmp := scratch(a.Tmp)
	mm := tmp.take(needs(o.products()))
	or := func(out, n int) []float32 { // the output, or scratch when nobody reads it
		if t := tmp.take(sized(n))[:n]; a.Out[out] == nil {
			return t
		}
		return a.Out[out]
	}
	y, u, z := a.Out[doraY], or(doraU, o.n*p.r), or(doraZ, o.n*p.out)
	g, c := or(doraG, p.out), or(doraC, p.out)
	run := []func(){o.norms(a, g, c, &tmp)}
	x, xd := a.In[0], a.In[0]
	if p.drop.on() {
		xd = tmp.take(sized(o.n * o.in))[:o.n*o.in]
		run = append(run, p.drop.rows(a, o.n, o.in, xd, x, nil))
	}
	low, main, rest := o.products()
	low.A, low.Outs[0].C, low.Outs[0].B = xd, u, p.a.of(a)
	main.A = xd
	m := &main.Outs[0]
	m.C, m.B, m.U, m.V = z, p.w.of(a), u, p.b.of(a)
	run = append(run, multiply(a, low, mm), multiply(a, main, mm))
	if y == nil {
		return sequence(run...)
	}
	bias := p.bias.of(a)
	if p.drop.on() {
		rest.A = xd
		rest.Outs[0].C, rest.Outs[0].B, rest.Outs[0].Bias = y, p.w.of(a), bias
		run = append(run, rowsOf(a.Pool, o.n, o.in, func(lo, hi int) {
			for i := lo * o.in; i < hi*o.in; i++ {
				xd[i] = x[i] - xd[i]
			}
		}), multiply(a, rest, mm))
	}
	return sequence(append(run, rowsOf(a.Pool, o.n, p.out, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			yi, zi := y[i*p.out:(i+1)*p.out], z[i*p.out:(i+1)*p.out]
			switch {
			case p.drop.on():
				for j, v := range zi {
					yi[j] += g[j] * v
				}
			case bias != nil:
				for j, v := range zi {
					yi[j] = g[j]*v + bias[j]
				}
			default:
				kernels.Mul(yi, g, zi)
			}
		}
	}))...)
}

// norms computes c and g = m/c from the rows of W + s·B·A, one row at a time.
func (o *doraOp) norms(a *graph.Args, g, c []float32, tmp *scratch) func() {
	p := &o.p
	var row [normTasks][]float32
	for t := range row {
		row[t] = tmp.take(sized(o.in))[:o.in]
	}
	w, A, B, m := p.w.of(a), a.In[p.a.at], a.In[p.b.at], a.In[o.m.at]
	per := (p.out + normTasks - 1) / normTasks
	task := func(_, t int) {
		for j := t * per; j < min(p.out, (t+1)*per); j++ {
			decodeRow(&w, j, row[t])
			for r := range p.r {
				kernels.Axpy(row[t], p.s*B[j*p.r+r], A[r*o.in:(r+1)*o.in])
			}
			c[j] = float32(math.Sqrt(kernels.SumSquares(row[t])))
			g[j] = m[j] / c[j]
		}
	}
	return func() { a.Pool.Run(normTasks, task) }
}

func (o *doraOp) Grad(in, out, dout []*graph.Node) []*graph.Node {
	b := &doraGrad{f: *o, db: -1}
	p := &b.f.p
	args := ins{dout[0], in[0], out[doraU], out[doraZ], out[doraG], out[doraC]}
	p.a.at, p.b.at = args.add(in[p.a.at]), args.add(in[p.b.at])
	if p.drop.on() {
		p.drop.rng = args.add(in[p.drop.rng])
	}
	if o.p.bias.at >= 0 {
		b.db = 4
	}
	d := in[0].Graph().Apply(b, args...)
	r := make([]*graph.Node, len(in))
	r[0], r[o.p.a.at], r[o.p.b.at], r[o.m.at] = d[0], d[1], d[2], d[3]
	if b.db >= 0 {
		r[o.p.bias.at] = d[b.db]
	}
	return r
}

// doraGrad: inputs dY, X, U, Z, g, c, A, B, [key]; outputs dX, dA, dB, dm, [db].
type doraGrad struct {
	graph.NoGrad
	f  doraOp
	db int
}

func (o *doraGrad) products() (t, dx, straight, da, db *kernels.Product) {
	f, p := &o.f, &o.f.p
	sizes := func(rows, cols int) kernels.Matrix { return kernels.Matrix{Rows: rows, Cols: cols, Codec: kernels.F32} }
	t = &kernels.Product{M: f.n, K: p.out, Exact: f.exact, Outs: []kernels.Out{{N: p.r, B: p.b.m, Rowwise: true, Scale: p.s}}}
	dx = &kernels.Product{M: f.n, K: p.out, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: p.w.m, Rowwise: true, R: p.r, V: p.a.m}}}
	straight = &kernels.Product{M: f.n, K: p.out, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: p.w.m, Rowwise: true}}}
	da = &kernels.Product{M: p.r, K: f.n, TransA: true, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: sizes(f.n, f.in), Rowwise: true}}}
	db = &kernels.Product{M: p.out, K: f.n, TransA: true, Exact: f.exact, Outs: []kernels.Out{{N: p.r, B: sizes(f.n, p.r), Rowwise: true}}}
	return t, dx, straight, da, db
}

func (o *doraGrad) Info() graph.Info {
	f, p := &o.f, &o.f.p
	n, in, out, r := int64(f.n), int64(f.in), int64(p.out), int64(p.r)
	i := graph.Info{
		Name:  "dora " + p.name + "'",
		Out:   []graph.Shape{{f.n, f.in}, {p.r, f.in}, {p.out, p.r}, {p.out, 1}},
		FLOPs: []int64{2 * n * (in*out + r*(in+out)), 2 * n * in * r, 2 * n * out * r, 2 * n * out},
		Adds:  []bool{true, true, true, true},
	}
	i.Scratch = needs(o.products()) + sized(f.n*p.out) + sized(f.n*p.r)
	if p.drop.on() {
		i.FLOPs[0] += 2 * n * in * out
		i.Scratch += sized(f.n * f.in)
	}
	if o.db >= 0 {
		i.Out, i.FLOPs, i.Adds = append(i.Out, graph.Shape{1, p.out}), append(i.FLOPs, n*out), append(i.Adds, true)
	}
	return i
}

func (o *doraGrad) Host(a *graph.Args) func() {
	f, p := &o.f, &o.f.p
	dy, x, u, z, g, c := a.In[0], a.In[1], a.In[2], a.In[3], a.In[4], a.In[5]
	tmp := scratch(a.Tmp)
	mm := tmp.take(needs(o.products()))
	G, T := tmp.take(sized(f.n * p.out))[:f.n*p.out], tmp.take(sized(f.n * p.r))[:f.n*p.r]
	xd := x
	if p.drop.on() {
		xd = tmp.take(sized(f.n * f.in))[:f.n*f.in]
	}
	byRow := func(fn func(gi, yi []float32)) func() {
		return rowsOf(a.Pool, f.n, p.out, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				fn(G[i*p.out:(i+1)*p.out], dy[i*p.out:(i+1)*p.out])
			}
		})
	}
	t, dx, straight, da, db := o.products()
	t.A, t.Outs[0].C, t.Outs[0].B = G, T, p.b.of(a)
	run := []func(){byRow(func(gi, yi []float32) { kernels.Mul(gi, g, yi) }), multiply(a, t, mm)}
	if dA := a.Out[1]; dA != nil {
		if p.drop.on() {
			run = append(run, p.drop.rows(a, f.n, f.in, xd, x, nil))
		}
		da.A, da.Outs[0].C, da.Outs[0].B, da.Outs[0].Add = T, dA, kernels.Floats(xd, f.n, f.in), onto(dA, a.Add[1])
		run = append(run, multiply(a, da, mm))
	}
	if dB := a.Out[2]; dB != nil {
		db.A, db.Outs[0].C, db.Outs[0].B, db.Outs[0].Add = G, dB, kernels.Floats(u, f.n, p.r), onto(dB, a.Add[2])
		run = append(run, multiply(a, db, mm))
	}
	if dX := a.Out[0]; dX != nil {
		dx.A = G
		d := &dx.Outs[0]
		d.C, d.B, d.U, d.V, d.Add = dX, p.w.of(a), T, p.a.of(a), onto(dX, a.Add[0])
		if !p.drop.on() {
			run = append(run, multiply(a, dx, mm))
		} else {
			d.C, d.Add = xd, nil
			straight.A = dy
			s := &straight.Outs[0]
			s.C, s.B, s.Add = dX, p.w.of(a), onto(dX, a.Add[0])
			run = append(run, byRow(func(gi, yi []float32) { kernels.Axpy(gi, -1, yi) }),
				multiply(a, dx, mm), multiply(a, straight, mm), p.drop.rows(a, f.n, f.in, xd, xd, dX))
		}
	}
	if dm := a.Out[3]; dm != nil {
		run = append(run, magnitude(a, dm, dy, z, c, a.Add[3]))
	}
	if o.db >= 0 && a.Out[o.db] != nil {
		run = append(run, columnSum(a.Pool, a.Out[o.db], dy, a.Add[o.db]))
	}
	return sequence(run...)
}

// magnitude: dm_j (+)= Σ_i dY_ij·Z_ij/c_j.
func magnitude(a *graph.Args, dm, dy, z, c []float32, add bool) func() {
	w := len(dm)
	return columns(a.Pool, w, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			var s float64
			for i := j; i < len(dy); i += w {
				s += float64(dy[i]) * float64(z[i])
			}
			d := float32(s / float64(c[j]))
			if add {
				d += dm[j]
			}
			dm[j] = d
		}
	})
}
