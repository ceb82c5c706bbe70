package nn

import (
	"math"

	"tune/internal/graph"
	"tune/kernels"
)

// logProbFrozen is LogProbFused for a head nothing of which is trained. It is attention with the vocabulary as keys and values (Dao et
// al. 2022): some columns of logits at a time, for all rows, so that each row of W is packed once for its logits and once for dX, and
// what exists of Z is small. Over the columns seen so far, with their largest logit m_i,
//
//	S_i = Σ_v e^(Z_iv-m_i)        E_iv = e^(Z_iv-m_i), 0 at the label        G_i = Σ_v E_iv·W_v
//
// where S and G shrink by e^(m before - m) when m grows. At the end
//
//	logp_i = Z[i, label_i] - m_i - log S_i        dX_i = dlogp_i·((1 - e^logp_i)·W[label_i] - G_i/S_i)
//
// Outputs: logp, hit, dX.
type logProbFrozen struct{ head }

const (
	frozenColumns = 2048 // of the vocabulary at a time
	frozenRows    = 1024 // at a time: W costs little beside them
)

// newFrozen turns a head into one of this kind.
func newFrozen(h head) *logProbFrozen {
	h.columns = min(h.v, frozenColumns)
	tiles := max(1, (h.n+frozenRows-1)/frozenRows)
	h.tile = (h.n + tiles - 1) / tiles
	return &logProbFrozen{h}
}

func (o *logProbFrozen) Info() graph.Info {
	s := graph.Shape{o.n, 1}
	out, flops, adds := o.gradInfo()
	z, dx := o.frozenProducts()
	return graph.Info{
		Name:    "logprob+grad " + o.p.name,
		Out:     append([]graph.Shape{s, s}, out...),
		FLOPs:   append([]int64{o.forwardFLOPs(), 0}, flops...),
		Adds:    append([]bool{false, false}, adds...),
		Scratch: needs(z) + needs(dx) + 2*sized(o.tile*o.c) + sized(o.tile*o.columns),
	}
}

// frozenProducts are those of a full tile, of all its columns: Z and G.
func (o *logProbFrozen) frozenProducts() (z, g *kernels.Product) {
	w := kernels.Matrix{Rows: o.columns, Cols: o.c, Codec: o.p.w.m.Codec}
	z = &kernels.Product{M: o.tile, K: o.c, Exact: o.exact, Outs: []kernels.Out{{N: o.columns, B: w}}}
	g = &kernels.Product{M: o.tile, K: o.columns, Exact: o.exact, Outs: []kernels.Out{{N: o.c, B: w, Rowwise: true}}}
	return z, g
}

// frozenRun is a head bound to memory, working through tiles of rows and columns.
type frozenRun struct {
	o      *logProbFrozen
	a      *graph.Args
	zp, gp *kernels.Product
	zm, gm []float32 // their scratch
	x, g   []float32 // (tile, C): hidden states, G
	z      []float32 // (tile, columns): logits, then E
	row    []frozenRow
	m      int // rows in use
	v0, v1 int // columns
}

// frozenRow is what is known of a row.
type frozenRow struct {
	token, label int32
	best         int32   // the first of the largest logits
	top, at      float32 // the largest logit, that of the label
	sum          float64
}

// rowsPerTask is how many rows of logits a task takes.
const rowsPerTask = 8

func (o *logProbFrozen) Host(a *graph.Args) func() {
	t := &frozenRun{o: o, a: a, row: make([]frozenRow, o.tile)}
	t.zp, t.gp = o.frozenProducts()
	tmp := scratch(a.Tmp)
	t.zm, t.gm = tmp.take(needs(t.zp)), tmp.take(needs(t.gp))
	t.x, t.g, t.z = tmp.take(sized(o.tile*o.c)), tmp.take(sized(o.tile*o.c)), tmp.take(sized(o.tile*o.columns))
	each := func(f func(i int)) func() {
		task := func(_, k int) {
			for i := k * rowsPerTask; i < min(t.m, (k+1)*rowsPerTask); i++ {
				f(i)
			}
		}
		return func() { a.Pool.Run((t.m+rowsPerTask-1)/rowsPerTask, task) }
	}
	gather, soften, finish := each(t.gather), each(t.soften), each(t.finish)
	return func() {
		for _, x := range a.Out {
			clear(x)
		}
		for i := o.labelled(a.Int[1], 0); i < o.n; {
			i = t.fill(i)
			gather()
			for t.v0 = 0; t.v0 < o.v; t.v0 = t.v1 {
				t.v1 = min(o.v, t.v0+o.columns)
				t.logits()
				soften()
				t.slopes()
			}
			finish()
		}
	}
}

// fill begins a tile with the labelled tokens from i, which is one, on and returns the first that is left.
func (t *frozenRun) fill(i int) int {
	labels := t.a.Int[1]
	for t.m = 0; t.m < t.o.tile && i < t.o.n; i = t.o.labelled(labels, i+1) {
		t.row[t.m] = frozenRow{token: int32(i), label: labels[i], top: -math.MaxFloat32}
		t.m++
	}
	return i
}

func (t *frozenRun) gather(i int) {
	c := t.o.c
	copy(t.x[i*c:(i+1)*c], t.a.In[0][int(t.row[i].token)*c:])
}

// weights are the rows of W that belong to the columns.
func (t *frozenRun) weights() kernels.Matrix {
	w := t.o.p.w.m
	w.Rows, w.Data = t.v1-t.v0, w.Data[t.v0*w.RowStride():]
	return w
}

func (t *frozenRun) logits() {
	p, y := t.zp, &t.zp.Outs[0]
	if p.Kept = p; t.v0 == 0 {
		p.Kept = nil
	}
	p.M, p.A, y.N, y.C, y.B = t.m, t.x, t.v1-t.v0, t.z, t.weights()
	if b := t.o.p.bias.frozen; b != nil {
		y.Bias = b[t.v0:t.v1]
	}
	t.a.Pool.MatMul(p, t.zm)
}

// soften turns the logits of row i into E.
func (t *frozenRun) soften(i int) {
	r, n := &t.row[i], t.v1-t.v0
	z := t.z[i*n : (i+1)*n]
	before := r.top
	if k := kernels.ArgMax(z); z[k] > r.top {
		r.best, r.top = int32(t.v0+k), z[k]
	}
	k := int(r.label) - t.v0
	if k >= 0 && k < n {
		r.at = z[k]
	}
	sum := kernels.ExpSum(z, r.top)
	if k >= 0 && k < n {
		z[k] = 0
	}
	if t.v0 == 0 {
		r.sum = sum
		return
	}
	if before != r.top {
		shrink := math.Exp(float64(before) - float64(r.top))
		g := t.g[i*t.o.c : (i+1)*t.o.c]
		r.sum *= shrink
		kernels.Scale(g, float32(shrink), g)
	}
	r.sum += sum
}

// slopes adds E times the rows of W to G.
func (t *frozenRun) slopes() {
	if t.a.Out[2] == nil {
		return
	}
	p, y := t.gp, &t.gp.Outs[0]
	p.M, p.K, p.A, y.C, y.B = t.m, t.v1-t.v0, t.z, t.g, t.weights()
	y.Add = onto(t.g, t.v0 > 0)
	t.a.Pool.MatMul(p, t.gm)
}

func (t *frozenRun) finish(i int) {
	r, c := &t.row[i], t.o.c
	logp := r.at - (r.top + float32(math.Log(r.sum)))
	if y := t.a.Out[0]; y != nil {
		y[r.token] = logp
	}
	if y := t.a.Out[1]; y != nil && r.best == r.label {
		y[r.token] = 1
	}
	if t.a.Out[2] == nil {
		return
	}
	d, x := t.a.In[2][r.token], t.x[i*c:(i+1)*c]
	dx := t.a.Out[2][int(r.token)*c:][:c]
	kernels.Scale(dx, float32(-float64(d)/r.sum), t.g[i*c:])
	decodeRow(&t.o.p.w.m, int(r.label), x)
	kernels.Axpy(dx, float32(-float64(d)*math.Expm1(float64(logp))), x)
}

func (o *logProbFrozen) Grad(in, out, dout []*graph.Node) []*graph.Node {
	return fusedGrad(&o.head, in, out, dout)
}
