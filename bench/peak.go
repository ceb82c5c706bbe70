package bench

import (
	"time"

	"tune/kernels"
)

// peakRounds is how often a peak is measured; the best counts, because other jobs only ever take away.
const peakRounds = 12

// measurePeak finds what nothing here can exceed.
func (b *bencher) measurePeak() {
	b.Peak.F32 = b.arithmetic(true)
	if kernels.Level() == "avx512bf16" {
		b.Peak.BF16 = b.arithmetic(false)
	}
	b.Peak.Bytes = b.reading()
}

// arithmetic is operations per second of multiply-adds on registers, all workers at once.
func (b *bencher) arithmetic(exact bool) (best float64) {
	n := 1000
	for range peakRounds {
		var ops float64
		start := time.Now()
		workers := b.Pool.Workers()
		b.Pool.Run(workers, func(_, task int) {
			x := kernels.Peak(exact, n)
			if task == 0 {
				ops = x
			}
		})
		took := time.Since(start).Seconds()
		best = max(best, ops*float64(workers)/took)
		if took < 0.01 {
			n *= 4
		}
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
