package nn

import (
	"fmt"

	"tune/internal/graph"
	"tune/kernels"
)

// LogProb gives the log-probability of labels (an Ints node of N values, -1: none) under softmax(Z) with the logits
// Z = X·Wᵀ + b + U·Bᵀ, U = s·dropout(X)·Aᵀ, where x is (N, C) and W (V, C):
//
//	logp_i = Z[i, label_i] - L_i,  L_i = log Σ_v e^Z_iv        hit_i = 1 when label_i has the greatest logit
//
// Both are (N, 1) and 0 where there is no label; the by-product is L. Rows without a label are left out first and cost
// nothing. Of Z one tile exists at a time: as many rows as fit tileBytes, over the whole vocabulary.
//
// Backward, the tiles computed again: dZ_iv = dlogp_i·([v = label_i] - e^(Z_iv-L_i)), and from dZ as in Linear.
func LogProb(x, labels *graph.Node, p Proj, exact bool) (logp, hit *graph.Node) {
	in := ins{x, labels}
	o := &logProb{newHead(&in, x, labels, p, exact)}
	out := x.Graph().Apply(o, in...)
	return out[0], out[1]
}

// tileBytes bounds a tile of logits; trainedTileBytes that of a W that is trained, whose gradient is read and written once for each.
const (
	tileBytes        = 32 << 20
	trainedTileBytes = 128 << 20
)

// head is what the forward and backward ops of both variants share. Inputs 0 and 1 are X and the labels.
type head struct {
	n, c, v int
	tile    int // rows of a tile
	columns int // of a tile, where it has not all
	exact   bool
	p       proj
}

func newHead(in *ins, x, labels *graph.Node, p Proj, exact bool) head {
	h := head{n: x.Shape()[0], c: x.Shape()[1], v: p.W.Rows, exact: exact}
	if labels.Shape()[0] != h.n {
		panic(fmt.Sprintf("nn: logprob: %d rows, %d labels", h.n, labels.Shape()[0]))
	}
	if p.LoRA != nil && p.LoRA.Magnitude != nil {
		panic("nn: " + p.W.Name + ": a head takes no magnitude")
	}
	bytes := tileBytes
	if p.W.Node != nil {
		bytes = trainedTileBytes
	}
	h.tile = max(1, bytes/4/h.v)
	if h.tile > 16 {
		h.tile &^= 15
	}
	h.tile = min(h.tile, h.n)
	if tiles := (h.n + h.tile - 1) / max(h.tile, 1); tiles > 1 { // of about equal size
		h.tile = min(h.tile, ((h.n+tiles-1)/tiles+15)&^15)
	}
	h.p = in.proj(p, h.c)
	return h
}

// params are the places of the inputs that can have gradients, in the order of the gradient outputs: X, then W, b, A, B.
func (h *head) params() []int {
	at := []int{0}
	for _, k := range []int{h.p.w.at, h.p.bias.at} {
		if k >= 0 {
			at = append(at, k)
		}
	}
	if h.p.r > 0 {
		at = append(at, h.p.a.at, h.p.b.at)
	}
	return at
}

// gradInfo lists the gradient outputs.
func (h *head) gradInfo() (out []graph.Shape, flops []int64, adds []bool) {
	n, c, v, r := int64(h.n), int64(h.c), int64(h.v), int64(h.p.r)
	add := func(s graph.Shape, f int64) { out, flops, adds = append(out, s), append(flops, f), append(adds, true) }
	add(graph.Shape{h.n, h.c}, 2*n*(c*v+r*(c+v)))
	adds[0] = false
	if h.p.w.at >= 0 {
		add(graph.Shape{h.v, h.c}, 2*n*c*v)
	}
	if h.p.bias.at >= 0 {
		add(graph.Shape{1, h.v}, n*v)
	}
	if h.p.r > 0 {
		add(graph.Shape{h.p.r, h.c}, 2*n*c*r)
		add(graph.Shape{h.v, h.p.r}, 2*n*v*r)
	}
	return out, flops, adds
}

// forwardFLOPs of all rows, labelled or not.
func (h *head) forwardFLOPs() int64 {
	return 2 * int64(h.n) * (int64(h.v)*int64(h.c+h.p.r) + int64(h.c*h.p.r))
}

// products are those of a full tile: U, Z, T, dX, T·A, dW, dA, dB.
type headProducts struct{ u, z, t, dx, low, dw, da, db *kernels.Product }

func (h *head) products() *headProducts {
	p, m := &h.p, h.tile
	one := func(k int, o kernels.Out) *kernels.Product {
		return &kernels.Product{M: m, K: k, Exact: h.exact, Outs: []kernels.Out{o}}
	}
	sum := func(rows int, cols int) *kernels.Product { // rows x cols from a tile of each
		b := kernels.Matrix{Rows: m, Cols: cols, Codec: kernels.F32}
		return &kernels.Product{M: rows, K: m, TransA: true, Exact: h.exact, Outs: []kernels.Out{{N: cols, B: b, Rowwise: true}}}
	}
	x := &headProducts{
		z:  one(h.c, kernels.Out{N: h.v, B: p.w.m}),
		dx: one(h.v, kernels.Out{N: h.c, B: p.w.m, Rowwise: true}),
		dw: sum(h.v, h.c),
	}
	if p.r > 0 {
		x.z.Outs[0].R, x.z.Outs[0].V = p.r, p.b.m
		x.u = one(h.c, kernels.Out{N: p.r, B: p.a.m, Scale: p.s})
		x.t = one(h.v, kernels.Out{N: p.r, B: p.b.m, Rowwise: true, Scale: p.s})
		x.low = one(p.r, kernels.Out{N: h.c, B: p.a.m, Rowwise: true})
		x.da, x.db = sum(p.r, h.c), sum(h.v, p.r)
		if !p.drop.on() {
			x.dx.Outs[0].R, x.dx.Outs[0].V = p.r, p.a.m
		}
	}
	return x
}

// matmulScratch is what the products need; without gradients only U and Z.
func (h *head) matmulScratch(grads bool) int {
	x := h.products()
	n := needs(x.z)
	if x.u != nil {
		n = max(n, needs(x.u))
	}
	if grads {
		n = max(n, needs(x.dx, x.dw))
		if x.u != nil {
			n = max(n, needs(x.t, x.low, x.da, x.db))
		}
	}
	return n
}

// scratch of a run; without gradients less.
func (h *head) scratch(grads bool) int {
	n := h.matmulScratch(grads) + sized(h.tile) + sized(h.tile*h.c) + sized(h.tile*h.v) + sized(h.tile*h.p.r)
	if h.p.drop.on() {
		n += sized(h.tile * h.c)
	}
	if grads {
		n += sized(h.tile*h.c) + sized(h.tile*h.p.r)
	}
	return n
}

// tileRun is a head bound to memory, working through the tiles.
type tileRun struct {
	h      *head
	a      *graph.Args
	mm     []float32
	rows   []int32   // (tile) tokens of this tile
	x, xd  []float32 // (tile, C) their hidden states, and those with dropout
	z      []float32 // (tile, V)
	u, t   []float32 // (tile, R)
	dx     []float32 // (tile, C)
	bias   []float32
	p      *headProducts
	m      int            // rows of this tile that are in use
	task   func(_, t int) // row as a task
	gather func(_, t int)
	drop   func(_, t int) // xd from x
	back   func(_, t int) // dX of a row += mask(T·A)
	mask   mask
	grads  *headGrads // nil: none are wanted
}

// headGrads are gradient outputs; nil ones are not wanted.
type headGrads struct {
	dX, dW, db, dA, dB []float32
	addRows            func(_, t int) // scatters or adds the columns of a tile
}

// bind prepares a run. outs is the output number of dX, -1 without gradients; row is called for every row of logits.
func (h *head) bind(a *graph.Args, outs int, row func(t *tileRun, i int)) *tileRun {
	t := &tileRun{h: h, a: a, p: h.products(), bias: h.p.bias.of(a)}
	tmp, p := scratch(a.Tmp), &h.p
	t.mm = tmp.take(h.matmulScratch(outs >= 0))
	t.rows = graph.AsInts(tmp.take(sized(h.tile)))
	t.x, t.z, t.u = tmp.take(sized(h.tile*h.c)), tmp.take(sized(h.tile*h.v)), tmp.take(sized(h.tile*p.r))
	t.xd = t.x
	if p.drop.on() {
		t.xd = tmp.take(sized(h.tile * h.c))
	}
	t.task = func(_, i int) { row(t, i) }
	t.gather = func(_, i int) {
		at := int(t.rows[i]) * h.c
		copy(t.x[i*h.c:(i+1)*h.c], a.In[0][at:at+h.c])
	}
	t.drop = func(_, i int) { t.mask.row(int(t.rows[i]), t.xd[i*h.c:(i+1)*h.c], t.x[i*h.c:(i+1)*h.c]) }
	t.back = func(_, i int) {
		d, sum := t.xd[i*h.c:(i+1)*h.c], t.dx[i*h.c:(i+1)*h.c]
		t.mask.row(int(t.rows[i]), d, d)
		kernels.Add(sum, sum, d)
	}
	x := t.p
	x.z.A, x.z.Outs[0].C, x.z.Outs[0].B, x.z.Outs[0].Bias = t.x, t.z, p.w.of(a), t.bias
	if p.r > 0 {
		x.u.A, x.u.Outs[0].C, x.u.Outs[0].B = t.xd, t.u, p.a.of(a)
		x.z.Outs[0].U, x.z.Outs[0].V = t.u, p.b.of(a)
	}
	if outs >= 0 {
		t.dx, t.t = tmp.take(sized(h.tile*h.c)), tmp.take(sized(h.tile*p.r))
		t.bindGrads(outs)
	}
	return t
}

func (t *tileRun) bindGrads(outs int) {
	h, a, x, p := t.h, t.a, t.p, &t.h.p
	g := &headGrads{}
	next := outs
	take := func(have bool) (o []float32) {
		if have {
			o = a.Out[next]
			next++
		}
		return o
	}
	g.dX, g.dW, g.db, g.dA, g.dB = take(true), take(p.w.at >= 0), take(p.bias.at >= 0), take(p.r > 0), take(p.r > 0)
	if g.dX == nil && g.dW == nil && g.db == nil && g.dA == nil && g.dB == nil {
		return
	}
	t.grads = g
	x.dx.A, x.dx.Outs[0].C, x.dx.Outs[0].B = t.z, t.dx, p.w.of(a)
	x.dw.A, x.dw.Outs[0].C, x.dw.Outs[0].Add = t.z, g.dW, g.dW
	if p.r > 0 {
		x.dx.Outs[0].U, x.dx.Outs[0].V = t.t, p.a.of(a)
		x.t.A, x.t.Outs[0].C, x.t.Outs[0].B = t.z, t.t, p.b.of(a)
		x.low.A, x.low.Outs[0].C, x.low.Outs[0].B = t.t, t.xd, p.a.of(a)
		x.da.A, x.da.Outs[0].C, x.da.Outs[0].Add = t.t, g.dA, g.dA
		x.db.A, x.db.Outs[0].C, x.db.Outs[0].Add = t.z, g.dB, g.dB
	}
	g.addRows = func(_, k int) { // 64 columns of db
		lo, hi := k*columnBlock, min(h.v, (k+1)*columnBlock)
		for i := range t.m {
			kernels.Add(g.db[lo:hi], g.db[lo:hi], t.z[i*h.v+lo:i*h.v+hi])
		}
	}
}

// run goes through the tiles. outs says where the gradient outputs begin, to clear those that are written.
func (t *tileRun) run(outs int) {
	h, a := t.h, t.a
	if h.p.drop.on() {
		t.mask = h.p.drop.mask(a.Int[h.p.drop.rng])
	}
	if t.grads != nil {
		for k := outs; k < len(a.Out); k++ {
			if !a.Add[k] {
				clear(a.Out[k])
			}
		}
	}
	labels := a.Int[1]
	for i := h.labelled(labels, 0); i < h.n; {
		for t.m = 0; t.m < h.tile && i < h.n; i = h.labelled(labels, i+1) {
			t.rows[t.m] = int32(i)
			t.m++
		}
		t.logits()
		a.Pool.Run(t.m, t.task)
		if t.grads != nil {
			t.backward()
		}
	}
}

// labelled is the first token from i on that has a label, or the number of tokens.
func (h *head) labelled(labels []int32, i int) int {
	for i < h.n && labels[i] < 0 {
		i++
	}
	if i < h.n && int(labels[i]) >= h.v {
		panic(fmt.Sprintf("nn: logprob: label %d of token %d is outside a vocabulary of %d", labels[i], i, h.v))
	}
	return i
}

// logits fills z.
func (t *tileRun) logits() {
	pool, p := t.a.Pool, t.p
	pool.Run(t.m, t.gather)
	if t.h.p.drop.on() {
		pool.Run(t.m, t.drop)
	}
	if p.u != nil {
		p.u.M = t.m
		pool.MatMul(p.u, t.mm)
	}
	p.z.M = t.m
	pool.MatMul(p.z, t.mm)
}

// backward adds what this tile, z now being dZ, gives to the gradients.
func (t *tileRun) backward() {
	h, pool, p, g := t.h, t.a.Pool, t.p, t.grads
	if p.t != nil && (g.dX != nil || g.dA != nil) {
		p.t.M = t.m
		pool.MatMul(p.t, t.mm)
	}
	if g.dA != nil {
		p.da.K, p.da.Outs[0].B = t.m, kernels.Floats(t.xd, t.m, h.c)
		pool.MatMul(p.da, t.mm)
	}
	if g.dB != nil {
		p.db.K, p.db.Outs[0].B = t.m, kernels.Floats(t.u, t.m, h.p.r)
		pool.MatMul(p.db, t.mm)
	}
	if g.dW != nil {
		p.dw.K, p.dw.Outs[0].B = t.m, kernels.Floats(t.x, t.m, h.c)
		pool.MatMul(p.dw, t.mm)
	}
	if g.db != nil {
		pool.Run((h.v+columnBlock-1)/columnBlock, g.addRows)
	}
	if g.dX == nil {
		return
	}
	p.dx.M = t.m
	pool.MatMul(p.dx, t.mm)
	if h.p.drop.on() { // + mask(T·A); xd is free
		p.low.M = t.m
		pool.MatMul(p.low, t.mm)
		pool.Run(t.m, t.back)
	}
	for i, at := range t.rows[:t.m] {
		copy(g.dX[int(at)*h.c:(int(at)+1)*h.c], t.dx[i*h.c:(i+1)*h.c])
	}
}

// score writes logp, hit and L of row i of the tile.
func (t *tileRun) score(i int, logp, hit, l []float32) (lse float32) {
	z := t.z[i*t.h.v : (i+1)*t.h.v]
	at := int(t.rows[i])
	label := int(t.a.Int[1][at])
	lse = kernels.LogSumExp(z)
	if logp != nil {
		logp[at] = z[label] - lse
	}
	if hit != nil && kernels.ArgMax(z) == label {
		hit[at] = 1
	}
	if l != nil {
		l[at] = lse
	}
	return lse
}

// slope turns row i of the logits into dZ.
func (t *tileRun) slope(i int, lse, dlogp float32) {
	z := t.z[i*t.h.v : (i+1)*t.h.v]
	kernels.SoftmaxGrad(z, lse, -dlogp)
	z[t.a.Int[1][t.rows[i]]] += dlogp
}

// logProb: inputs X, labels, then what the projection needs; outputs logp, hit, L.
type logProb struct{ head }

func (o *logProb) Info() graph.Info {
	s := graph.Shape{o.n, 1}
	return graph.Info{Name: "logprob " + o.p.name, Out: []graph.Shape{s, s, s}, FLOPs: []int64{o.forwardFLOPs(), 0, 0}, Scratch: o.scratch(false)}
}

func (o *logProb) Host(a *graph.Args) func() {
	t := o.bind(a, -1, func(t *tileRun, i int) { t.score(i, a.Out[0], a.Out[1], a.Out[2]) })
	return func() {
		for _, x := range a.Out {
			clear(x)
		}
		t.run(0)
	}
}

func (o *logProb) Grad(in, out, dout []*graph.Node) []*graph.Node {
	b := &logProbGrad{head: o.head, l: len(in), dlogp: len(in) + 1}
	r := make([]*graph.Node, len(in))
	if dout[0] == nil { // hit has no gradient
		return r
	}
	d := in[0].Graph().Apply(b, append(append(ins{}, in...), out[2], dout[0])...)
	for k, at := range o.params() {
		r[at] = d[k]
	}
	return r
}

// logProbGrad: inputs as the forward's, then L and dlogp; outputs dX, dW, db, dA, dB where they exist.
type logProbGrad struct {
	graph.NoGrad
	head
	l, dlogp int
}

func (o *logProbGrad) Info() graph.Info {
	i := graph.Info{Name: "logprob " + o.p.name + "'", Scratch: o.scratch(true)}
	i.Out, i.FLOPs, i.Adds = o.gradInfo()
	i.FLOPs[0] += o.forwardFLOPs()
	return i
}

func (o *logProbGrad) Host(a *graph.Args) func() {
	l, dlogp := a.In[o.l], a.In[o.dlogp]
	t := o.bind(a, 0, func(t *tileRun, i int) { t.slope(i, l[t.rows[i]], dlogp[t.rows[i]]) })
	return func() { t.run(0) }
}
