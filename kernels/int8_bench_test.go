package kernels

import (
	"fmt"
	"math"
	"runtime"
	"testing"
)

// BenchmarkInteger: products in integers beside the same in float32, alternating, as CPU time; %peak is of the integer peak.
func BenchmarkInteger(b *testing.B) {
	p := clocked()
	defer p.Close()
	for _, s := range [][3]int{{1, 2048, 8192}, {4, 2048, 8192}, {16, 576, 1536}, {16, 2048, 8192}, {512, 576, 1536}, {512, 2048, 2048}} {
		for _, ty := range []storedType{typeQ4_0, typeQ4_1, typeQ5_1, typeQ8_0, typeQ4_K, typeQ5_K, typeQ6_K} {
			m, k, n := s[0], s[1], s[2]
			if k%storedRows[ty].block != 0 {
				continue // no such matrix
			}
			b.Run(fmt.Sprintf("%s/M%d_K%d_N%d", storedRows[ty].name, m, k, n), func(b *testing.B) {
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 2), Outs: []Out{{N: n, C: make([]float32, m*n), B: storedMatrix(ty, n, k)}}}
				peak, best := 0.0, [2]float64{math.Inf(1), math.Inf(1)}
				x.Outs[0].B.Int8 = true
				scratch := make([]float32, x.Scratch())
				for range 20 {
					runtime.LockOSThread()
					start := threadTime()
					work := PeakInt8(20000)
					peak = max(peak, work/float64(threadTime()-start))
					runtime.UnlockOSThread()
					for i := range best {
						x.Outs[0].B.Int8 = i == 0
						best[i] = min(best[i], elapsed(p, func() { p.MatMul(x, scratch) }))
					}
				}
				ops := 2 * float64(m) * float64(k) * float64(n)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(ops/best[0]*float64(p.Workers()), "Gop/s")
				b.ReportMetric(100*ops/best[0]/peak, "%peak")
				b.ReportMetric(best[1]/best[0], "x-float")
				b.ReportMetric(float64(len(x.Outs[0].B.Data))/best[0], "GB/s/core")
			})
		}
	}
}

// BenchmarkReading: one row of A times matrices that no cache holds, in float32 and in integers, beside a float32 matrix, round by round:
// bytes per second of CPU time, and their share of what the float32 one is read at.
func BenchmarkReading(b *testing.B) {
	p := clocked()
	defer p.Close()
	const k, n = 2048, 49152
	x := &Product{M: 1, K: k, A: normals(make([]float32, k), 2), Outs: []Out{{N: n, C: make([]float32, n)}}}
	scratch := make([]float32, 8*k)
	read := Floats(normals(make([]float32, k*n/2), 3), n/2, k)
	ws := []Matrix{randomMatrix(BF16, n, k, 1)}
	for _, ty := range []storedType{typeQ8_0, typeQ4_0, typeQ4_1, typeQ5_0, typeQ5_1, typeQ4_K, typeQ5_K, typeQ6_K, typeINT4} {
		ws = append(ws, storedMatrix(ty, n, k))
	}
	for _, w := range ws {
		b.Run(w.Name, func(b *testing.B) {
			best := [3]float64{math.Inf(1), math.Inf(1), math.Inf(1)}
			for range 10 {
				for i := range best {
					o := &x.Outs[0]
					if o.N, o.B = n, w; i == 2 {
						o.N, o.B = n/2, read
					}
					o.B.Int8 = i == 1
					best[i] = min(best[i], elapsed(p, func() { p.MatMul(x, scratch) })/float64(len(o.B.Data)))
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(1/best[2], "f32-GB/s/core")
			b.ReportMetric(1/best[0], "GB/s/core")
			b.ReportMetric(1/best[1], "int8-GB/s/core")
			b.ReportMetric(100*best[2]/best[0], "%reading")
			b.ReportMetric(100*best[2]/best[1], "int8-%reading")
		})
	}
}
