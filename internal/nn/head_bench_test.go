package nn

import (
	"fmt"
	"math"
	"testing"
	"time"

	"tune/internal/graph"
	"tune/kernels"
)

// BenchmarkHead is the head of SmolLM2-135M with its gradient, some of 512 tokens supervised, beside its two products alone, of as many
// rows and in turn: by one worker, the best of some rounds.
func BenchmarkHead(b *testing.B) {
	const n, c, v, rounds = 512, 576, 49152, 8
	pool := kernels.NewPool(1)
	defer pool.Close()
	words := make([]byte, 2*v*c)
	for i := range words { // small numbers of both signs
		words[i] = byte(i*7 + i/251)
		if i%2 == 1 {
			words[i] = byte(i*5)&0x80 | 0x3c
		}
	}
	w := kernels.Matrix{Rows: v, Cols: c, Data: words, Codec: kernels.BF16}
	for _, supervised := range []int{512, 256, 128, 64} {
		b.Run(fmt.Sprint(supervised), func(b *testing.B) {
			g := graph.New()
			x, labels, dlogp := g.Param("x", graph.Shape{n, c}), g.Ints("labels", n), g.Input("dlogp", graph.Shape{n, 1})
			logp, _ := LogProbFused(x, labels, dlogp, Proj{W: Weight{Name: "head", Rows: v, Cols: c, Frozen: w}}, false)
			d, err := g.Backward(logp, dlogp, x)
			if err != nil {
				b.Fatal(err)
			}
			p, err := g.Compile(graph.Options{}, logp, d[0])
			if err != nil {
				b.Fatal(err)
			}
			s, err := p.Bind(graph.NewHost(pool))
			if err != nil {
				b.Fatal(err)
			}
			h := s.Param("x")
			for i := range h {
				h[i] = float32(i%13-6) / 6
			}
			for i := range n {
				s.Floats("dlogp")[i] = -1
				if s.Ints("labels")[i] = -1; i%(n/supervised) == 0 {
					s.Ints("labels")[i] = int32(i * 97 % v)
				}
			}
			z := &kernels.Product{M: supervised, K: c, A: h, Outs: []kernels.Out{{N: v, C: make([]float32, supervised*v), B: w}}}
			dx := &kernels.Product{M: supervised, K: v, A: z.Outs[0].C, Outs: []kernels.Out{{N: c, C: make([]float32, supervised*c), B: w, Rowwise: true}}}
			scratch := make([]float32, max(z.Scratch(), dx.Scratch()))
			head, products := math.Inf(1), math.Inf(1)
			for range rounds {
				began := time.Now()
				if err := s.RunAll(); err != nil {
					b.Fatal(err)
				}
				middle := time.Now()
				pool.MatMul(z, scratch)
				pool.MatMul(dx, scratch)
				head, products = min(head, middle.Sub(began).Seconds()), min(products, time.Since(middle).Seconds())
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(1e3*head, "ms")
			b.ReportMetric(1e3*products, "ms-products")
			b.ReportMetric(head/products, "ratio")
		})
	}
}
