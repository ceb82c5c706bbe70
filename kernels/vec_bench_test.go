package kernels

import "testing"

// BenchmarkRows times the row kernels on 4,096 elements in cache; MB/s counts the bytes read and written.
func BenchmarkRows(b *testing.B) {
	const n = 4096
	v := make([][]float32, 6)
	for i := range v {
		v[i] = values(n, uint64(i))
	}
	half := make([]uint16, n)
	step := AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8}.Corrected(10)
	for _, c := range []struct {
		name   string
		slices int // read or written, of 4 bytes
		f      func()
	}{
		{"Dot", 2, func() { Dot(v[0], v[1]) }},
		{"Axpy", 3, func() { Axpy(v[0], 1e-3, v[1]) }},
		{"Add", 3, func() { Add(v[0], v[1], v[2]) }},
		{"SumSquares", 1, func() { SumSquares(v[0]) }},
		{"ArgMax", 1, func() { ArgMax(v[1]) }},
		{"RMSNorm", 4, func() { RMSNorm(v[0], v[1], v[2], 1e-5) }},
		{"RMSNormBackward", 11, func() { RMSNormBackward(v[0], v[5], v[1], v[2], v[3], 1) }},
		{"SwiGLU", 3, func() { SwiGLU(v[0], v[1], v[2]) }},
		{"SwiGLUBackward", 5, func() { SwiGLUBackward(v[0], v[4], v[1], v[2], v[3]) }},
		{"LogSumExp", 2, func() { LogSumExp(v[1]) }},
		{"SoftmaxGrad", 2, func() { SoftmaxGrad(v[0], 1, 1) }},
		{"Rope", 3, func() { Rope(v[0], v[1], v[2][:n/2], v[3][:n/2], false) }},
		{"AdamW", 7, func() { AdamW(v[0], v[1], v[2], v[3], step) }},
		{"BF16FromF32", 1, func() { BF16FromF32(half, v[1]) }},
		{"F16FromF32", 1, func() { F16FromF32(half, v[1]) }},
		{"F32FromBF16", 1, func() { F32FromBF16(v[0], half) }},
		{"F32FromF16", 1, func() { F32FromF16(v[0], half) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(4 * n * c.slices))
			for b.Loop() {
				c.f()
			}
		})
	}
}
