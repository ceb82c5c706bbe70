package kernels

import (
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"
)

// TestDealRunsEachTaskOnce: whoever is slow is helped, and nothing is done twice.
func TestDealRunsEachTaskOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 7} {
		p := newPool(workers, spins)
		for _, tasks := range []int{0, 1, 2, 5, 100} {
			for round := range 20 {
				count := make([]atomic.Int32, tasks)
				p.deal(tasks, func(worker, task int) {
					if worker == round%workers {
						runtime.Gosched()
					}
					count[task].Add(1)
				})
				for i := range count {
					if n := count[i].Load(); n != 1 {
						t.Fatalf("%d workers, task %d of %d ran %d times", workers, i, tasks, n)
					}
				}
			}
		}
		p.Close()
	}
}

// TestForesee: the second time products come in an order, waiting workers know where their share of the next one lies, and every task begins there.
func TestForesee(t *testing.T) {
	const k = 64
	p := newPool(2, spins)
	defer p.Close()
	var b [3]Matrix
	for i := range b {
		b[i] = randomMatrix(BF16, 100*(i+1), k, uint64(i))
	}
	for _, m := range []int{1, 16} {
		a := make([]float32, m*k)
		for round := range 3 {
			for i := range b {
				x := &Product{M: m, K: k, A: a, Outs: []Out{{N: b[i].Rows, C: make([]float32, m*b[i].Rows), B: b[i]}}}
				p.MatMul(x, make([]float32, x.Scratch()))
				if round == 0 {
					continue
				}
				for w, s := range p.ahead {
					next := &b[(i+1)%len(b)]
					first, end := uintptr(unsafe.Pointer(&next.Data[0])), uintptr(unsafe.Pointer(&next.Data[len(next.Data)-1]))+1
					if s.at < first || s.at >= end || s.end != end || (w == 0) != (s.at == first) || (s.at-first)%uintptr(next.Stride) != 0 {
						t.Errorf("%d rows, product %d, worker %d: asks for %x to %x of %x to %x", m, i, w, s.at, s.end, first, end)
					}
				}
			}
		}
	}
}
