package bench

import (
	"fmt"

	"tune/internal/graph"
	"tune/internal/nn"
	"tune/internal/qtype"
	"tune/kernels"
)

// fused measures what is made of several products of which less than all is ever in memory: a layer with an adapter, attention, the head.
func (b *bencher) fused() error {
	if err := b.adapted(2048, 576, 1536, 16); err != nil {
		return err
	}
	for _, a := range []struct {
		name             string
		document, window int // tokens
	}{{"2048", 2048, 0}, {"4x512", 512, 0}, {"2048/window/512", 2048, 512}} {
		if err := b.attention(a.name, 2048, a.document, a.window); err != nil {
			return err
		}
	}
	for _, supervised := range []int{512, 256} {
		if err := b.head(512, supervised); err != nil {
			return err
		}
	}
	return nil
}

// adapted measures a linear layer with an adapter, C = A·Wᵀ + (A·Uᵀ)·Vᵀ, to be compared with the layer alone.
func (b *bencher) adapted(m, k, n, rank int) error {
	b.raise(arithmetic)
	w, err := matrix(qtype.BF16, n, k)
	if err != nil {
		return err
	}
	a, t := normals(m*k), make([]float32, m*rank)
	low := &kernels.Product{M: m, K: k, A: a, Outs: []kernels.Out{{N: rank, C: t, B: kernels.Floats(normals(rank*k), rank, k)}}}
	main := &kernels.Product{M: m, K: k, A: a, Kept: low, Outs: []kernels.Out{{N: n, C: make([]float32, m*n), B: w, U: t, V: kernels.Floats(normals(n*rank), n, rank), R: rank}}}
	scratch := make([]float32, max(low.Scratch(), main.Scratch()))
	took, err := b.repeat(func() error { b.Pool.MatMul(low, scratch); b.Pool.MatMul(main, scratch); return nil })
	if err != nil {
		return err
	}
	ops := 2 * float64(m) * (float64(k)*float64(n) + float64(rank)*float64(k+n))
	b.add(fmt.Sprintf("gemm/bf16+lora/%dx%dx%d", m, k, n), "GFLOP/s", took, ops/1e9, ops, arithmetic, 0)
	return nil
}

// attention measures causal attention over n tokens, which are documents of so many, within a window, 0: none. 9 heads over 3 of keys, 64
// wide: two products of the pairs that see each other forward, five backward.
func (b *bencher) attention(name string, n, document, window int) error {
	const h, kv, d = 9, 3, 64
	b.raise(arithmetic)
	a := kernels.Attention{H: h, K: kv, D: d, Scale: 0.125, Window: window}
	q, k, v, do := normals(n*h*d), normals(n*kv*d), normals(n*kv*d), normals(n*h*d)
	o, lse, start := make([]float32, n*h*d), make([]float32, n*h), make([]int32, n)
	pairs := 0
	for i := range start {
		start[i] = int32(i / document * document)
		seen := i - int(start[i]) + 1
		if window > 0 {
			seen = min(seen, window)
		}
		pairs += seen
	}
	scratch := make([]float32, max(a.Scratch(n, n), a.BackwardScratch(n)))
	took, err := b.repeat(func() error { a.Forward(b.Pool, o, lse, q, k, v, start, 0, scratch); return nil })
	if err != nil {
		return err
	}
	product := 2 * float64(pairs) * h * d
	b.add("attention/forward/"+name, "GFLOP/s", took, 2*product/1e9, 2*product, arithmetic, 0)
	dq, dk, dv := make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))
	took, err = b.repeat(func() error { a.Backward(b.Pool, dq, dk, dv, q, k, v, o, lse, do, start, scratch); return nil })
	if err != nil {
		return err
	}
	b.add("attention/backward/"+name, "GFLOP/s", took, 5*product/1e9, 5*product, arithmetic, 0)
	return nil
}

// head measures the loss of n tokens, some of them supervised, and its gradient: SmolLM2-135M's head, two products of each supervised token
// with the whole vocabulary.
func (b *bencher) head(n, supervised int) error {
	const c, v = 576, 49152
	b.raise(arithmetic)
	w, err := matrix(qtype.BF16, v, c)
	if err != nil {
		return err
	}
	g := graph.New()
	x, labels, dlogp := g.Param("x", graph.Shape{n, c}), g.Ints("labels", n), g.Input("dlogp", graph.Shape{n, 1})
	logp, _ := nn.LogProbFused(x, labels, dlogp, nn.Proj{W: nn.Weight{Name: "head", Rows: v, Cols: c, Frozen: w}}, false)
	d, err := g.Backward(logp, dlogp, x)
	if err != nil {
		return err
	}
	p, err := g.Compile(graph.Options{}, logp, d[0])
	if err != nil {
		return err
	}
	s, err := p.Bind(graph.NewHost(b.Pool))
	if err != nil {
		return err
	}
	copy(s.Param("x"), normals(n*c))
	for i := range n {
		s.Floats("dlogp")[i], s.Ints("labels")[i] = -1, -1
		if i%(n/supervised) == 0 {
			s.Ints("labels")[i] = token(i, v)
		}
	}
	took, err := b.repeat(s.RunAll)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("head/%d-of-%d", supervised, n), "tokens/s", took, float64(supervised), 4*float64(supervised)*c*v, arithmetic, 0)
	return nil
}
