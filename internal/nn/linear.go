package nn

import (
	"tune/internal/graph"
	"tune/kernels"
)

// Linear applies projections that share their input (q, k, v; gate, up) to x (N, in):
//
//	Y_p = X·W_pᵀ + b_p + U_p·B_pᵀ,  U_p = s_p·dropout_p(X)·A_pᵀ        (N, out_p), U (N, R)
//
// Backward, all at once, with T_p = s_p·dY_p·B_p (N, R):
//
//	dX  = Σ_p dY_p·W_p + mask_p(T_p·A_p)     dA_p = T_pᵀ·dropout_p(X)     dB_p = dY_pᵀ·U_p
//	dW_p = dY_pᵀ·X                           db_p = Σ_i dY_p
//
// The low-rank term is summed in the registers of the big product. Projections with a magnitude are DoRA (dora.go).
func Linear(x *graph.Node, exact bool, ps ...Proj) []*graph.Node {
	y := make([]*graph.Node, len(ps))
	for _, o := range byOrder(x, ps) {
		var plain []Proj
		var place []int
		for i, p := range o.ps {
			if p.LoRA != nil && p.LoRA.Magnitude != nil {
				y[o.place[i]] = dora(o.x, exact, p)
			} else {
				plain, place = append(plain, p), append(place, o.place[i])
			}
		}
		if len(plain) > 0 {
			for i, n := range newLinear(o.x, nil, exact, plain) {
				y[place[i]] = n
			}
		}
	}
	return y
}

// LinearAdd is residual + Linear(x), (N, out), summed in the same pass.
func LinearAdd(x, residual *graph.Node, exact bool, p Proj) *graph.Node {
	o := byOrder(x, []Proj{p})[0]
	if p = o.ps[0]; p.LoRA != nil && p.LoRA.Magnitude != nil {
		return Add(residual, dora(o.x, exact, p))
	}
	return newLinear(o.x, residual, exact, o.ps)[0]
}

// linear is the forward op. Inputs: X, the residual if any, then what the projections need. Outputs: Y_p, then U_p.
type linear struct {
	n, in    int
	exact    bool
	residual int // input, -1: none
	ps       []proj
	inputs   int
}

// proj is a projection as an op keeps it.
type proj struct {
	name string
	out  int
	w    matrix
	bias vector
	r    int // 0: no adapter
	a, b matrix
	s    float32
	drop dropout
	u    int // output; -1: no adapter
}

func (in *ins) proj(p Proj, width int) proj {
	q := proj{name: p.W.Name, out: p.W.Rows, u: -1, drop: dropout{rng: -1}}
	q.w = in.weight(p.W, q.out, width)
	q.bias = in.vector(p.Bias, q.out)
	if l := p.LoRA; l != nil {
		q.r, q.s = l.R, l.Scale
		q.a, q.b = in.node(l.A, l.R, width), in.node(l.B, q.out, l.R)
		q.drop = in.dropout(l)
	}
	return q
}

func newLinear(x, residual *graph.Node, exact bool, ps []Proj) []*graph.Node {
	o := &linear{n: x.Shape()[0], in: x.Shape()[1], exact: exact}
	in := ins{x}
	o.residual = in.add(residual)
	u := len(ps)
	for _, p := range ps {
		q := in.proj(p, o.in)
		if q.r > 0 {
			q.u = u
			u++
		}
		o.ps = append(o.ps, q)
	}
	o.inputs = len(in)
	return x.Graph().Apply(o, in...)[:len(ps)]
}

func (o *linear) Info() graph.Info {
	i := graph.Info{Name: "linear"}
	n, in := int64(o.n), int64(o.in)
	for _, p := range o.ps {
		i.Name += " " + p.name
		i.Out = append(i.Out, graph.Shape{o.n, p.out})
		i.FLOPs = append(i.FLOPs, 2*n*int64(p.out)*(in+int64(p.r)))
	}
	for _, p := range o.ps {
		if p.r > 0 {
			i.Out = append(i.Out, graph.Shape{o.n, p.r})
			i.FLOPs = append(i.FLOPs, 2*n*in*int64(p.r))
		}
	}
	if o.residual >= 0 {
		i.InPlace = [][2]int{{0, o.residual}}
	}
	i.Scratch = o.matmulScratch()
	masked := false
	for _, p := range o.ps {
		i.Scratch += sized(o.n * p.r)
		masked = masked || p.drop.on()
	}
	if masked {
		i.Scratch += sized(o.n * o.in)
	}
	return i
}

func (o *linear) matmulScratch() int {
	main := &kernels.Product{M: o.n, K: o.in, Exact: o.exact}
	low := &kernels.Product{M: o.n, K: o.in, Exact: o.exact}
	for _, p := range o.ps {
		main.Outs = append(main.Outs, kernels.Out{N: p.out, B: p.w.m, R: p.r, V: p.b.m})
		if p.r > 0 {
			low.Outs = append(low.Outs, kernels.Out{N: p.r, B: p.a.m})
		}
	}
	return needs(main, low)
}

func (o *linear) Host(a *graph.Args) func() {
	tmp := scratch(a.Tmp)
	mm := tmp.take(o.matmulScratch())
	x := a.In[0]
	main := &kernels.Product{M: o.n, K: o.in, Exact: o.exact, A: x}
	low := &kernels.Product{M: o.n, K: o.in, Exact: o.exact, A: x}
	var run []func()
	masked := []float32(nil)
	for i := range o.ps {
		p := &o.ps[i]
		var u []float32
		if p.r > 0 {
			t := tmp.take(sized(o.n * p.r))
			if u = a.Out[p.u]; u == nil && a.Out[i] != nil {
				u = t[:o.n*p.r]
			}
		}
		if a.Out[i] != nil {
			y := kernels.Out{N: p.out, C: a.Out[i], B: p.w.of(a), Bias: p.bias.of(a)}
			if o.residual >= 0 {
				y.Add = a.In[o.residual]
			}
			if p.r > 0 {
				y.U, y.V, y.R = u, p.b.of(a), p.r
			}
			main.Outs = append(main.Outs, y)
		}
		if u == nil {
			continue
		}
		product := kernels.Out{N: p.r, C: u, B: p.a.of(a), Scale: p.s}
		if !p.drop.on() {
			low.Outs = append(low.Outs, product)
			continue
		}
		if masked == nil {
			masked = tmp[len(tmp)-sized(o.n*o.in):]
		}
		run = append(run, p.drop.rows(a, o.n, o.in, masked, x, nil),
			multiply(a, &kernels.Product{M: o.n, K: o.in, Exact: o.exact, A: masked, Outs: []kernels.Out{product}}, mm))
	}
	if len(low.Outs) > 0 {
		main.Kept = low
	}
	for _, m := range []*kernels.Product{low, main} {
		if len(m.Outs) > 0 {
			run = append(run, multiply(a, m, mm))
		}
	}
	return sequence(run...)
}

func (o *linear) Grad(in, out, dout []*graph.Node) []*graph.Node {
	b := &linearGrad{f: o}
	var args ins
	b.dy, b.dw, b.db, b.da, b.dB = make([]int, len(o.ps)), make([]int, len(o.ps)), make([]int, len(o.ps)), make([]int, len(o.ps)), make([]int, len(o.ps))
	b.ps = make([]proj, len(o.ps))
	needX := false
	outs := 1
	grads := make([]int, o.inputs) // forward input -> output of the backward
	for i := range grads {
		grads[i] = -1
	}
	grads[0] = 0
	give := func(at int) int {
		if at < 0 {
			return -1
		}
		grads[at] = outs
		outs++
		return outs - 1
	}
	for i, p := range o.ps {
		b.dy[i], b.dw[i], b.db[i], b.da[i], b.dB[i] = -1, -1, -1, -1, -1
		q := p
		if dout[i] == nil {
			b.ps[i] = q
			continue
		}
		b.dy[i] = args.add(dout[i])
		b.dw[i], b.db[i] = give(p.w.at), give(p.bias.at)
		if p.w.at >= 0 {
			needX = true
			q.w.at = args.add(in[p.w.at])
		}
		if p.r > 0 {
			needX = true
			b.da[i], b.dB[i] = give(p.a.at), give(p.b.at)
			q.a.at, q.b.at, q.u = args.add(in[p.a.at]), args.add(in[p.b.at]), args.add(out[p.u])
			if p.drop.on() {
				q.drop.rng = args.add(in[p.drop.rng])
			}
		}
		b.ps[i] = q
	}
	b.x = -1
	if needX {
		b.x = args.add(in[0])
	}
	b.outs = outs
	d := in[0].Graph().Apply(b, args...)
	r := make([]*graph.Node, len(in))
	for at, k := range grads {
		if k >= 0 {
			r[at] = d[k]
		}
	}
	if o.residual >= 0 {
		r[o.residual] = dout[0]
	}
	return r
}

// linearGrad is the backward op: inputs as Grad lists them, outputs dX, then dW, db, dA, dB of each projection that has them.
type linearGrad struct {
	graph.NoGrad
	f              *linear
	ps             []proj // places are among the backward's inputs; u is the input U
	x              int
	dy             []int // inputs, -1: that projection's output has no gradient
	dw, db, da, dB []int // outputs, -1: none
	outs           int
}

func (o *linearGrad) Info() graph.Info {
	f := o.f
	n, in := int64(f.n), int64(f.in)
	i := graph.Info{Name: f.Info().Name + "'", Out: make([]graph.Shape, o.outs), FLOPs: make([]int64, o.outs), Adds: make([]bool, o.outs)}
	for k := range i.Adds {
		i.Adds[k] = true
	}
	set := func(k int, s graph.Shape, flops int64) {
		if k >= 0 {
			i.Out[k], i.FLOPs[k] = s, flops
		}
	}
	i.Out[0] = graph.Shape{f.n, f.in}
	for k, p := range o.ps {
		if o.dy[k] < 0 {
			continue
		}
		out, r := int64(p.out), int64(p.r)
		i.FLOPs[0] += 2 * n * (in*out + r*(in+out))
		set(o.dw[k], graph.Shape{p.out, f.in}, 2*n*in*out)
		set(o.db[k], graph.Shape{1, p.out}, n*out)
		set(o.da[k], graph.Shape{p.r, f.in}, 2*n*in*r)
		set(o.dB[k], graph.Shape{p.out, p.r}, 2*n*out*r)
	}
	i.Scratch = o.matmulScratch()
	rank, masked := 0, false
	for k, p := range o.ps {
		if o.dy[k] >= 0 && p.r > 0 {
			rank, masked = max(rank, p.r), masked || p.drop.on()
		}
	}
	i.Scratch += sized(f.n * rank)
	if masked {
		i.Scratch += sized(f.n * f.in)
	}
	return i
}

// products lists, for projection k, T, dX, T·A, dA and dW with dB; memory is filled in by Host.
func (o *linearGrad) products(k int) (t, dx, low, da, dw *kernels.Product) {
	f, p := o.f, &o.ps[k]
	sizes := func(rows, cols int) kernels.Matrix { return kernels.Matrix{Rows: rows, Cols: cols, Codec: kernels.F32} }
	rank := kernels.Out{N: p.r, B: p.b.m, Rowwise: true, Scale: p.s}
	t = &kernels.Product{M: f.n, K: p.out, Exact: f.exact, Outs: []kernels.Out{rank}}
	dx = &kernels.Product{M: f.n, K: p.out, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: p.w.m, Rowwise: true}}}
	if p.r > 0 && !p.drop.on() {
		dx.Outs[0].R, dx.Outs[0].V = p.r, p.a.m
	}
	low = &kernels.Product{M: f.n, K: p.r, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: p.a.m, Rowwise: true}}}
	da = &kernels.Product{M: p.r, K: f.n, TransA: true, Exact: f.exact, Outs: []kernels.Out{{N: f.in, B: sizes(f.n, f.in), Rowwise: true}}}
	dw = &kernels.Product{M: p.out, K: f.n, TransA: true, Exact: f.exact}
	dw.Outs = []kernels.Out{{N: f.in, B: sizes(f.n, f.in), Rowwise: true}, {N: p.r, B: sizes(f.n, p.r), Rowwise: true}}
	return t, dx, low, da, dw
}

func (o *linearGrad) matmulScratch() (n int) {
	for k := range o.ps {
		if o.dy[k] < 0 {
			continue
		}
		t, dx, low, da, dw := o.products(k)
		if o.ps[k].r == 0 {
			dw.Outs = dw.Outs[:1]
			n = max(n, needs(dx, dw))
		} else {
			n = max(n, needs(t, dx, low, da, dw))
		}
	}
	return n
}

func (o *linearGrad) Host(a *graph.Args) func() {
	tmp := scratch(a.Tmp)
	mm := tmp.take(o.matmulScratch())
	var run []func()
	written := a.Add[0] // whether dX holds something to add to
	for k := range o.ps {
		if o.dy[k] >= 0 {
			run = append(run, o.hostProj(a, k, mm, tmp, &written)...)
		}
	}
	return sequence(run...)
}

// hostProj is the work of one projection.
func (o *linearGrad) hostProj(a *graph.Args, k int, mm []float32, tmp scratch, written *bool) (run []func()) {
	f, p := o.f, &o.ps[k]
	out := func(at int) []float32 {
		if at < 0 {
			return nil
		}
		return a.Out[at]
	}
	dy, dX := a.In[o.dy[k]], a.Out[0]
	dW, db, dA, dB := out(o.dw[k]), out(o.db[k]), out(o.da[k]), out(o.dB[k])
	t, dx, low, da, dw := o.products(k)
	var masked, tt []float32
	if p.r > 0 && (dX != nil || dA != nil) {
		tt = tmp.take(sized(f.n * p.r))[:f.n*p.r]
		t.A, t.Outs[0].C, t.Outs[0].B = dy, tt, p.b.of(a)
		run = append(run, multiply(a, t, mm))
	}
	if p.drop.on() {
		masked = tmp[len(tmp)-sized(f.n*f.in):][:f.n*f.in]
	}
	if dX != nil {
		dx.A = dy
		if tt != nil {
			dx.Kept = t
		}
		y := &dx.Outs[0]
		y.C, y.B, y.Add = dX, p.w.of(a), onto(dX, *written)
		if y.R > 0 {
			y.U, y.V = tt, p.a.of(a)
		}
		run = append(run, multiply(a, dx, mm))
		*written = true
		if p.drop.on() {
			low.A, low.Outs[0].C, low.Outs[0].B = tt, masked, p.a.of(a)
			run = append(run, multiply(a, low, mm), p.drop.rows(a, f.n, f.in, masked, masked, dX))
		}
	}
	if dA != nil {
		x := a.In[o.x]
		if p.drop.on() {
			run = append(run, p.drop.rows(a, f.n, f.in, masked, x, nil))
			x = masked
		}
		da.A = tt
		da.Outs[0].C, da.Outs[0].B, da.Outs[0].Add = dA, kernels.Floats(x, f.n, f.in), onto(dA, a.Add[o.da[k]])
		run = append(run, multiply(a, da, mm))
	}
	dw.A = dy
	outs := dw.Outs
	dw.Outs = nil
	if dW != nil {
		outs[0].C, outs[0].B, outs[0].Add = dW, kernels.Floats(a.In[o.x], f.n, f.in), onto(dW, a.Add[o.dw[k]])
		dw.Outs = append(dw.Outs, outs[0])
	}
	if dB != nil {
		outs[1].C, outs[1].B, outs[1].Add = dB, kernels.Floats(a.In[p.u], f.n, p.r), onto(dB, a.Add[o.dB[k]])
		dw.Outs = append(dw.Outs, outs[1])
	}
	if len(dw.Outs) > 0 {
		run = append(run, multiply(a, dw, mm))
	}
	if db != nil {
		run = append(run, columnSum(a.Pool, db, dy, a.Add[o.db[k]]))
	}
	return run
}
