package kernels

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// The share of peak is taken from the best of many rounds, each alternating with a register-only loop: other jobs on the machine
// disturb a round, not the best.

// peakRate is the multiply-adds (times two) per second of p's workers on registers alone, best of a few milliseconds.
func peakRate(p *Pool, exact bool) float64 {
	const n = 20000
	ops, loop := peakLoop(exact)
	start := time.Now()
	p.Run(4*p.Workers(), func(_, _ int) { loop(n) })
	return ops * n * float64(4*p.Workers()) / time.Since(start).Seconds()
}

// share reports f's rate over the peak's as a metric.
func share(b *testing.B, p *Pool, exact bool, ops float64, f func()) {
	best, peak := math.Inf(1), 0.0
	for round := 0; round < 20 || b.N > 1 && round < b.N; round++ {
		peak = max(peak, peakRate(p, exact))
		start := time.Now()
		f()
		best = min(best, time.Since(start).Seconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(best*1e3, "ms")
	b.ReportMetric(ops/best/1e9, "Gop/s")
	b.ReportMetric(100*ops/best/peak, "%peak")
}

var benchShapes = [][3]int{ // M, K, N of SmolLM2-135M, then larger ones
	{512, 576, 576}, {512, 576, 192}, {512, 576, 1536}, {512, 1536, 576}, {512, 576, 49152}, {2048, 576, 576}, {2048, 576, 1536},
	{2048, 1536, 576}, {512, 2048, 2048}, {2048, 2048, 2048}, {2048, 4096, 4096},
}

func benchProduct(b *testing.B, p *Pool, c *Codec, s [3]int, rowwise, trans, exact bool) {
	m, k, n := s[0], s[1], s[2]
	rows, cols := n, k
	if rowwise {
		rows, cols = k, n
	}
	w := randomMatrix(c, rows, cols, 1)
	x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 2), TransA: trans, Exact: exact,
		Outs: []Out{{N: n, C: make([]float32, m*n), B: w, Rowwise: rowwise}}}
	scratch := make([]float32, x.Scratch())
	share(b, p, exact, 2*float64(m)*float64(k)*float64(n), func() { p.MatMul(x, scratch) })
}

func BenchmarkMatMul(b *testing.B) {
	p := NewPool(0)
	defer p.Close()
	for _, kind := range []string{"forward", "rowwise", "transA", "exact"} {
		for _, s := range benchShapes {
			b.Run(fmt.Sprintf("%s/M%d_K%d_N%d", kind, s[0], s[1], s[2]), func(b *testing.B) {
				codec := BF16
				if kind == "transA" || kind == "exact" {
					codec = F32
				}
				benchProduct(b, p, codec, s, kind == "rowwise" || kind == "transA", kind == "transA", kind == "exact")
			})
		}
	}
}
