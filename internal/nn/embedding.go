package nn

import (
	"fmt"

	"tune/internal/graph"
	"tune/kernels"
)

// Embedding looks rows of w (V, C) up: ids is an Ints node of N values, the result (N, C). With an adapter, as PEFT has it, A is
// (R, V) and B (C, R):
//
//	Y_i = W[id_i] + U_i·Bᵀ,  U_i = s·A[:, id_i]        (N, R), a by-product
//
// Backward: dW[id_i] += dY_i,  dB = dYᵀ·U,  dA[:, id_i] += s·dY_i·B.
func Embedding(ids *graph.Node, w Weight, lora *LoRA) *graph.Node {
	if lora != nil && (lora.Magnitude != nil || lora.Dropout != 0) {
		panic("nn: embedding: adapters of embeddings have neither magnitude nor dropout")
	}
	o := &embedding{n: ids.Shape()[0], v: w.Rows, c: w.Cols}
	in := ins{ids}
	o.w = in.weight(w, w.Rows, w.Cols)
	if lora != nil {
		o.r, o.s = lora.R, lora.Scale
		o.a, o.b = in.node(lora.A, o.r, o.v), in.node(lora.B, o.c, o.r)
	}
	return ids.Graph().Apply(o, in...)[0]
}

// embedding: inputs ids, then W, A, B where they are nodes; outputs Y, U.
type embedding struct {
	n, v, c int
	w       matrix
	r       int
	a, b    matrix
	s       float32
}

// low is Y += U·Bᵀ.
func (o *embedding) low() *kernels.Product {
	return &kernels.Product{M: o.n, K: o.r, Exact: true, Outs: []kernels.Out{{N: o.c, B: o.b.m}}}
}

func (o *embedding) Info() graph.Info {
	i := graph.Info{Name: "embedding", Out: []graph.Shape{{o.n, o.c}}, FLOPs: []int64{0}}
	if o.r > 0 {
		i.Out, i.FLOPs = append(i.Out, graph.Shape{o.n, o.r}), []int64{2 * int64(o.n) * int64(o.r) * int64(o.c), 0}
		i.Scratch = needs(o.low()) + sized(o.n*o.r)
	}
	return i
}

// checkIDs panics in the goroutine of the caller, where it can be understood.
func checkIDs(ids []int32, v int) {
	for i, id := range ids {
		if id < 0 || int(id) >= v {
			panic(fmt.Sprintf("nn: embedding: id %d of token %d is outside a vocabulary of %d", id, i, v))
		}
	}
}

func (o *embedding) Host(a *graph.Args) func() {
	ids, y, w := a.Int[0], a.Out[0], o.w.of(a)
	run := []func(){func() { checkIDs(ids, o.v) }}
	if y != nil {
		run = append(run, rowsOf(a.Pool, o.n, o.c, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				decodeRow(&w, int(ids[i]), y[i*o.c:(i+1)*o.c])
			}
		}))
	}
	if o.r == 0 {
		return sequence(run...)
	}
	tmp := scratch(a.Tmp)
	mm, u := tmp.take(needs(o.low())), a.Out[1]
	if u == nil {
		u = tmp.take(o.n * o.r)
	}
	A := a.In[o.a.at]
	run = append(run, func() {
		for i, id := range ids {
			for r := range o.r {
				u[i*o.r+r] = o.s * A[r*o.v+int(id)]
			}
		}
	})
	if y != nil {
		x := o.low()
		x.A, x.Outs[0].C, x.Outs[0].Add, x.Outs[0].B = u, y, y, o.b.of(a)
		run = append(run, multiply(a, x, mm))
	}
	return sequence(run...)
}

func (o *embedding) Grad(in, out, dout []*graph.Node) []*graph.Node {
	b := &embeddingGrad{f: *o, dw: -1, da: -1, db: -1}
	args := ins{in[0], dout[0]}
	r := make([]*graph.Node, len(in))
	outs := 0
	if o.w.at >= 0 {
		b.dw = outs
		outs++
	}
	if o.r > 0 {
		b.da, b.db = outs, outs+1
		b.f.b.at, b.u = args.add(in[o.b.at]), args.add(out[1])
	}
	d := in[0].Graph().Apply(b, args...)
	if b.dw >= 0 {
		r[o.w.at] = d[b.dw]
	}
	if o.r > 0 {
		r[o.a.at], r[o.b.at] = d[b.da], d[b.db]
	}
	return r
}

// embeddingGrad: inputs ids, dY, and with an adapter B, U; outputs dW, dA, dB where they exist.
type embeddingGrad struct {
	graph.NoGrad
	f          embedding
	u          int
	dw, da, db int
}

func (o *embeddingGrad) products() (du, db *kernels.Product) {
	f := &o.f
	du = &kernels.Product{M: f.n, K: f.c, Exact: true, Outs: []kernels.Out{{N: f.r, B: f.b.m, Rowwise: true, Scale: f.s}}}
	u := kernels.Matrix{Rows: f.n, Cols: f.r, Codec: kernels.F32}
	db = &kernels.Product{M: f.c, K: f.n, TransA: true, Exact: true, Outs: []kernels.Out{{N: f.r, B: u, Rowwise: true}}}
	return du, db
}

func (o *embeddingGrad) Info() graph.Info {
	f := &o.f
	i := graph.Info{Name: "embedding'"}
	add := func(s graph.Shape, flops int) {
		i.Out, i.FLOPs, i.Adds = append(i.Out, s), append(i.FLOPs, int64(flops)), append(i.Adds, true)
	}
	if o.dw >= 0 {
		add(graph.Shape{f.v, f.c}, f.n*f.c)
	}
	if f.r > 0 {
		add(graph.Shape{f.r, f.v}, 2*f.n*f.r*f.c)
		add(graph.Shape{f.c, f.r}, 2*f.n*f.r*f.c)
		i.Scratch = needs(o.products()) + sized(f.n*f.r)
	}
	return i
}

func (o *embeddingGrad) Host(a *graph.Args) func() {
	f := &o.f
	ids, dy := a.Int[0], a.In[1]
	var run []func()
	if o.dw >= 0 && a.Out[o.dw] != nil {
		dw, add := a.Out[o.dw], a.Add[o.dw]
		if !add {
			run = append(run, func() { clear(dw) })
		}
		run = append(run, columns(a.Pool, f.c, func(lo, hi int) {
			for i, id := range ids {
				at := int(id) * f.c
				kernels.Add(dw[at+lo:at+hi], dw[at+lo:at+hi], dy[i*f.c+lo:i*f.c+hi])
			}
		}))
	}
	if f.r == 0 {
		return sequence(run...)
	}
	tmp := scratch(a.Tmp)
	du, db := o.products()
	mm := tmp.take(needs(du, db))
	if dA := a.Out[o.da]; dA != nil {
		t := tmp.take(f.n * f.r)
		du.A, du.Outs[0].C, du.Outs[0].B = dy, t, f.b.of(a)
		add := a.Add[o.da]
		run = append(run, multiply(a, du, mm), func() {
			if !add {
				clear(dA)
			}
			for i, id := range ids {
				for r := range f.r {
					dA[r*f.v+int(id)] += t[i*f.r+r]
				}
			}
		})
	}
	if dB := a.Out[o.db]; dB != nil {
		db.A, db.Outs[0].C, db.Outs[0].B, db.Outs[0].Add = dy, dB, kernels.Floats(a.In[o.u], f.n, f.r), onto(dB, a.Add[o.db])
		run = append(run, multiply(a, db, mm))
	}
	return sequence(run...)
}
