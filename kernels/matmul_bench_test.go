package kernels

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// The share of peak divides the best of many rounds by the best a register-only loop ever did in this process; the two alternate.
// Other jobs on the machine disturb single rounds, seldom all of them.

// peakRates holds the best rate of the register loop, operations per second, by operations per round of it.
var peakRates = map[float64]float64{}

// peakRate measures the register loop for a few milliseconds and returns the best so far.
func peakRate(p *Pool, exact bool) float64 {
	const n = 20000
	ops, loop := peakLoop(exact)
	start := time.Now()
	p.Run(4*p.Workers(), func(_, _ int) { loop(n) })
	rate := ops * n * float64(4*p.Workers()) / time.Since(start).Seconds()
	peakRates[ops] = max(peakRates[ops], rate)
	return peakRates[ops]
}

// share reports f's rate, and its share of the peak.
func share(b *testing.B, p *Pool, exact bool, ops float64, f func()) {
	best, peak := math.Inf(1), 0.0
	for range 20 {
		peak = peakRate(p, exact)
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

// storedCodec is the codec qtype would give.
func storedCodec(t storedType) *Codec {
	row := &storedRows[t]
	return &Codec{Name: row.name, Block: row.block, Bytes: row.bytes,
		F32: func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = row.value(src[i/row.block*row.bytes:], i%row.block)
			}
		},
		BF16: func(dst []uint16, src []byte) { decodeStored(t, dst, src) }}
}

// storedMatrix is dense random blocks.
func storedMatrix(t storedType, rows, cols int) Matrix {
	c := storedCodec(t)
	return Matrix{Rows: rows, Cols: cols, Codec: c, Data: randomBlocks(t, rows*cols/c.Block, 1)}
}

func BenchmarkMatMulStored(b *testing.B) {
	p := NewPool(0)
	defer p.Close()
	const k, n = 2048, 2048
	for _, rowwise := range []bool{false, true} {
		for _, m := range []int{256, 512, 2048} {
			for t := -1; t < int(numStored); t++ {
				w := randomMatrix(BF16, n, k, 1)
				if t >= 0 {
					w = storedMatrix(storedType(t), n, k)
				}
				b.Run(fmt.Sprintf("rowwise=%v/M%d/%s", rowwise, m, w.Name), func(b *testing.B) {
					x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 2), Outs: []Out{{N: n, C: make([]float32, m*n), B: w, Rowwise: rowwise}}}
					scratch := make([]float32, x.Scratch())
					share(b, p, false, 2*float64(m)*k*n, func() { p.MatMul(x, scratch) })
				})
			}
		}
	}
}

// BenchmarkVector is one token: bytes of B per second, over enough matrices to leave the caches.
func BenchmarkVector(b *testing.B) {
	p := NewPool(0)
	defer p.Close()
	const k, n = 2048, 49152
	for _, m := range []int{1, 2, 4, 8} {
		for _, t := range []int{-2, -1, int(typeQ8_0), int(typeQ4_K), int(typeQ6_K), int(typeQ4_0)} {
			var w Matrix
			switch t {
			case -2:
				w = Floats(normals(make([]float32, n*k), 1), n, k)
			case -1:
				w = randomMatrix(BF16, n, k, 1)
			default:
				w = storedMatrix(storedType(t), n, k)
			}
			b.Run(fmt.Sprintf("M%d/%s", m, w.Name), func(b *testing.B) {
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 2), Outs: []Out{{N: n, C: make([]float32, m*n), B: w}}}
				scratch := make([]float32, x.Scratch())
				best := math.Inf(1)
				for range 10 {
					start := time.Now()
					p.MatMul(x, scratch)
					best = min(best, time.Since(start).Seconds())
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(best*1e3, "ms")
				b.ReportMetric(float64(n*w.rowBytes(k))/best/1e9, "GB/s")
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for t := range numStored {
		b.Run(storedRows[t].name, func(b *testing.B) {
			src, dst := randomBlocks(t, 4096/storedRows[t].block, 1), make([]uint16, 4096)
			b.SetBytes(4096)
			for range b.N {
				decodeStored(t, dst, src)
			}
		})
	}
}
