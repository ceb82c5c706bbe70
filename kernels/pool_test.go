package kernels

import (
	"runtime"
	"sync/atomic"
	"testing"
	"weak"
)

func TestPoolRunsEachTaskOnce(t *testing.T) {
	for _, workers := range []int{-1, 0, 1, 2, 3, 7} { // -1: the nil Pool
		var p *Pool
		if workers >= 0 {
			p = NewPool(workers)
		}
		for _, tasks := range []int{0, 1, 2, 5, 100} {
			for range 20 {
				count := make([]atomic.Int32, tasks)
				p.Run(tasks, func(worker, task int) {
					if worker < 0 || worker >= p.Workers() {
						t.Errorf("worker %d of %d", worker, p.Workers())
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
		p.Close()
	}
}

// TestPoolParks lets the workers run out of spins between jobs.
func TestPoolParks(t *testing.T) {
	p := newPool(3, 0)
	defer p.Close()
	var n atomic.Int32
	for range 200 {
		p.Run(3, func(_, _ int) { n.Add(1) })
		runtime.Gosched()
	}
	if n.Load() != 600 {
		t.Fatalf("%d tasks ran, want 600", n.Load())
	}
}

func TestPoolConcurrentCallers(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	var n atomic.Int32
	done := make(chan bool)
	for range 4 {
		go func() {
			for range 50 {
				p.Run(4, func(_, _ int) { n.Add(1) })
			}
			done <- true
		}()
	}
	for range 4 {
		<-done
	}
	if n.Load() != 800 {
		t.Fatalf("%d tasks ran, want 800", n.Load())
	}
}

// TestPoolCloseEndsWorkers: a worker that has left shows as one goroutine fewer.
func TestPoolCloseEndsWorkers(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		p := NewPool(4)
		p.Run(8, func(_, _ int) {})
		p.Close()
	}
	for range 1_000_000 { // Close does not wait for the last instructions of a worker
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

// TestPoolLateWake: a worker is woken for a job that it has already done, as happens when the thread that starts a job does not run between
// naming it and waking the parked. It must wait on; it did the job again, lost count, and the next one never ended.
func TestPoolLateWake(t *testing.T) {
	p := newPool(2, 0)
	defer p.Close()
	var n atomic.Int32
	for range 5000 {
		p.Run(2, func(_, _ int) { n.Add(1) })
		for !p.parked[1].CompareAndSwap(true, false) {
			runtime.Gosched()
		}
		p.wake[1] <- struct{}{}
	}
	if n.Load() != 10000 {
		t.Fatalf("%d tasks ran, want 10000", n.Load())
	}
}

// TestPoolNobodyComes: a job ends without a worker that never joins it, as when its thread does not run.
func TestPoolNobodyComes(t *testing.T) {
	p := newSerial(3)
	p.spin, p.done = spins, make(chan struct{}, 1)
	p.parked, p.wake = make([]atomic.Bool, 3), make([]chan struct{}, 3)
	n := 0
	for range 3 {
		p.Run(5, func(_, _ int) { n++ })
		p.deal(5, func(_, _ int) { n++ })
	}
	if n != 30 {
		t.Fatalf("%d tasks ran, want 30", n)
	}
}

// TestPoolLetsGo: what the last job worked on is not kept alive by the pool.
func TestPoolLetsGo(t *testing.T) {
	p := newPool(2, spins)
	defer p.Close()
	used := func() weak.Pointer[[1 << 20]byte] {
		x := new([1 << 20]byte)
		p.Run(4, func(_, task int) { x[task] = 1 })
		return weak.Make(x)
	}()
	if runtime.GC(); used.Value() != nil {
		t.Error("memory of the last job is still in use")
	}
}
