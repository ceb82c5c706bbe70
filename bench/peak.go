package bench

import (
	"time"

	"tune/kernels"
)

// peakRounds is how often a peak is measured, at the beginning and again before every row; the best of all counts, because other
// jobs only ever take away.
const peakRounds = 4

// raise measures a peak once more.
func (b *bencher) raise(c ceiling) {
	p := b.peak(c)
	switch c {
	case reading:
		*p = max(*p, b.reading())
	case integers:
		*p = max(*p, b.rate(kernels.PeakInt8))
	default:
		*p = max(*p, b.rate(func(n int) float64 { return kernels.Peak(p == &b.Peak.F32, n) }))
	}
}

// peak is where a ceiling's height is kept. Products that may round to bf16 are float32 on a machine without its instructions.
func (b *bencher) peak(c ceiling) *float64 {
	switch {
	case c == reading:
		return &b.Peak.Bytes
	case c == integers:
		return &b.Peak.Int8
	case c == exact || kernels.Level() != "avx512bf16":
		return &b.Peak.F32
	}
	return &b.Peak.BF16
}

func (b *bencher) height(c ceiling) float64 { return *b.peak(c) }

// rate is operations per second of a loop on registers, all workers at once, for a few milliseconds.
func (b *bencher) rate(loop func(n int) (ops float64)) (best float64) {
	const calls, n = 64, 20000
	workers := b.Pool.Workers()
	for range peakRounds {
		var ops float64
		start := time.Now()
		b.Pool.Run(workers, func(_, task int) {
			for range calls {
				if x := loop(n); task == 0 {
					ops += x
				}
			}
		})
		best = max(best, ops*float64(workers)/time.Since(start).Seconds())
	}
	return best
}

// reading is bytes per second of the fastest reader here, the product of one row with a float32 matrix that no cache holds.
func (b *bencher) reading() (best float64) {
	const n, k = 64 << 10, 1 << 10 // 256 MiB
	w := make([]float32, n*k)
	for i := range w {
		w[i] = 1
	}
	x := &kernels.Product{M: 1, K: k, A: make([]float32, k), Exact: true, Outs: []kernels.Out{{N: n, C: make([]float32, n), B: kernels.Floats(w, n, k)}}}
	scratch := make([]float32, x.Scratch())
	for range peakRounds {
		start := time.Now()
		b.Pool.MatMul(x, scratch)
		best = max(best, 4*n*k/time.Since(start).Seconds())
	}
	return best
}
