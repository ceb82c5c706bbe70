package kernels

import (
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// Other jobs use the machine, and a wall clock would measure them. A benchmark's time is the CPU time of its tasks, summed and divided
// by the workers: what a wall clock shows on an idle machine when no worker waits. Rounds alternate with a register-only loop, the
// peak; the best of each counts.

// clocks holds the CPU time of the tasks of a clocked Pool since it was last set to 0.
var clocks = map[*Pool]*atomic.Int64{}

// clocked makes a Pool whose products add the CPU time of their tasks to its clock. (Tasks of Run are not counted.)
func clocked() *Pool {
	p, cpu := NewPool(0), new(atomic.Int64)
	clocks[p] = cpu
	wrap := func(f func(worker, task int)) func(worker, task int) {
		return func(worker, task int) {
			runtime.LockOSThread()
			start := threadTime()
			f(worker, task)
			cpu.Add(threadTime() - start)
			runtime.UnlockOSThread()
		}
	}
	m := &p.mm
	m.packTask, m.tileTask, m.vecTask, m.laneTask, m.groupTask = wrap(m.packTask), wrap(m.tileTask), wrap(m.vecTask), wrap(m.laneTask), wrap(m.groupTask)
	i := &p.im
	i.packTask, i.tileTask, i.dotTask = wrap(i.packTask), wrap(i.tileTask), wrap(i.dotTask)
	return p
}

// elapsed is the nanoseconds f takes, summed over workers: CPU time where p is clocked, else wall clock.
func elapsed(p *Pool, f func()) float64 {
	if cpu := clocks[p]; cpu != nil {
		cpu.Store(0)
		f()
		return float64(cpu.Load())
	}
	start := time.Now()
	f()
	return float64(time.Since(start)) * float64(p.Workers())
}

// share reports f's rate, and its share of the peak.
func share(b *testing.B, p *Pool, exact bool, ops float64, f func()) {
	const rounds, loops = 20, 40000
	best, peak := math.Inf(1), 0.0
	for range rounds {
		runtime.LockOSThread()
		start := threadTime()
		work := Peak(exact, loops)
		peak = max(peak, work/float64(threadTime()-start))
		runtime.UnlockOSThread()
		best = min(best, elapsed(p, f))
	}
	workers := float64(p.Workers())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(best/workers/1e6, "ms")
	b.ReportMetric(ops/best*workers, "Gop/s")
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
	p := clocked()
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
	p := clocked()
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
	p := clocked()
	defer p.Close()
	const k, n = 2048, 49152
	for _, m := range []int{1, 2, 4, 8} {
		for _, t := range []int{-2, -1, int(typeQ8_0), int(typeQ4_0), int(typeQ4_1), int(typeQ5_0), int(typeQ5_1), int(typeQ4_K), int(typeQ5_K), int(typeQ6_K)} {
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
					best = min(best, elapsed(p, func() { p.MatMul(x, scratch) })/1e9/float64(p.Workers()))
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

// BenchmarkLoRA is what an adapter of rank 16 on a layer of SmolLM2-135M costs: the products of its own and, folded in, with the layer's.
func BenchmarkLoRA(b *testing.B) {
	p := clocked()
	defer p.Close()
	const tokens, in, out, rank = 2048, 576, 1536, 16
	x, dy := normals(make([]float32, tokens*in), 1), normals(make([]float32, tokens*out), 2)
	u, v := normals(make([]float32, tokens*rank), 3), Floats(normals(make([]float32, out*rank), 4), out, rank)
	w := randomMatrix(BF16, out, in, 5)
	for _, c := range []struct {
		name string
		x    Product
	}{
		{"T=XAt", Product{M: tokens, K: in, A: x, Outs: []Out{{N: rank, B: Floats(normals(make([]float32, rank*in), 6), rank, in)}}}},
		{"plain", Product{M: tokens, K: in, A: x, Outs: []Out{{N: out, B: w}}}},
		{"folded", Product{M: tokens, K: in, A: x, Outs: []Out{{N: out, B: w, U: u, V: v, R: rank}}}},
		{"dT=dYB", Product{M: tokens, K: out, A: dy, Outs: []Out{{N: rank, B: Floats(normals(make([]float32, out*rank), 7), out, rank), Rowwise: true}}}},
		{"dA=dTtX", Product{M: rank, K: tokens, A: u, TransA: true, Outs: []Out{{N: in, B: Floats(x, tokens, in), Rowwise: true}}}},
		{"dB=dYtT", Product{M: out, K: tokens, A: dy, TransA: true, Outs: []Out{{N: rank, B: Floats(u, tokens, rank), Rowwise: true}}}},
		{"dW=dYtX", Product{M: out, K: tokens, A: dy, TransA: true, Outs: []Out{{N: in, B: Floats(x, tokens, in), Rowwise: true}}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			o := &c.x.Outs[0]
			o.C = make([]float32, c.x.M*o.N)
			scratch := make([]float32, c.x.Scratch())
			share(b, p, false, 2*float64(c.x.M)*float64(o.N)*float64(c.x.K+o.R), func() { p.MatMul(&c.x, scratch) })
		})
	}
}

// BenchmarkFused is the small product's kernels on data in the L2 cache: cycles of theirs alone.
func BenchmarkFused(b *testing.B) {
	for _, ty := range fusedTypes {
		c := storedCodec(ty)
		f := fusedFor(c)
		const k, rows = 2048, 64
		src := randomBlocks(ty, rows*k/c.Block, 1)
		x, y := normals(make([]float32, k), 1), make([]float32, rows)
		b.Run(c.Name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			best := math.Inf(1)
			for range 200 {
				start := threadTime()
				for range 20 {
					f[0](&y[0], rows, &x[0], k, unsafe.Pointer(&src[0]), len(src)/rows, k/c.Block, rows)
				}
				best = min(best, float64(threadTime()-start)/20)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(rows*k/best, "Gweights/s")
			b.ReportMetric(float64(len(src))/best, "GB/s")
		})
	}
}
