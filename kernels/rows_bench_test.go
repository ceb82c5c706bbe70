package kernels

import (
	"fmt"
	"math"
	"runtime"
	"testing"
)

// BenchmarkSomeRows compares the blocked product of some rows (answers together, short texts) with the one whose rows are the lanes, out of
// memory: 64 MiB of matrices take turns. One worker, CPU time, the best of rounds that alternate with the peak loop.
func BenchmarkSomeRows(b *testing.B) {
	p := NewPool(1)
	defer p.Close()
	for _, s := range [][2]int{{576, 1536}, {1536, 576}, {576, 24576}} {
		k, n := s[0], s[1]
		for _, ty := range []int{-1, int(typeQ8_0), int(typeQ4_1), int(typeQ4_K)} {
			if ty == int(typeQ4_K) && k%256 != 0 {
				continue
			}
			var ws []Matrix
			for size := 0; size < 64<<20; size += len(ws[0].Data) {
				w := randomMatrix(BF16, n, k, 1)
				if w.Stride = 2 * k; ty >= 0 {
					w = storedMatrix(storedType(ty), n, k)
				}
				ws = append(ws, w)
			}
			for _, m := range []int{9, 12, 16, 24, 32, 48, 96, 144, 192} {
				b.Run(fmt.Sprintf("%s/M%d_K%d_N%d", ws[0].Name, m, k, n), func(b *testing.B) { someRows(b, p, ws, m) })
			}
		}
	}
}

func someRows(b *testing.B, p *Pool, ws []Matrix, m int) {
	e, n, k := engineFor(false), ws[0].Rows, ws[0].Cols
	most := e.mostLanes
	defer func() { e.mostLanes = most }()
	e.mostLanes = m
	x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 2), Outs: []Out{{N: n, C: make([]float32, m*n), B: ws[0]}}}
	scratch := make([]float32, x.Scratch())
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best, peak := [2]float64{math.Inf(1), math.Inf(1)}, 0.0
	for range 8 {
		start := threadTime()
		work := Peak(false, 20000)
		peak = max(peak, work/float64(threadTime()-start))
		for way := range best {
			e.mostLanes = way * m
			start = threadTime()
			for _, w := range ws {
				x.Outs[0].B = w
				p.MatMul(x, scratch)
			}
			best[way] = min(best[way], float64(threadTime()-start)/float64(len(ws)))
		}
	}
	ops := 2 * float64(m) * float64(k) * float64(n)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(100*ops/best[0]/peak, "%peak-blocked")
	b.ReportMetric(100*ops/best[1]/peak, "%peak-lanes")
	b.ReportMetric(float64(n*ws[0].rowBytes(k))/best[1], "GB/s")
}
