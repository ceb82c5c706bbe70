package kernels

import (
	"sync/atomic"
	"unsafe"
)

// Products that live from memory (generation): every worker has a share of neighbouring rows, so that what it has asked for ahead of one task
// is the next one; and while it waits for the others, or for what stands between two products, it asks for the beginning of its share of the
// product to come. Which that is the pool learns by heart: generation goes through the same ones for every token.

// A portion is the tasks of one worker's share that nobody has taken: the first in the lower half, the one behind the last in the upper.
type portion struct {
	atomic.Uint64
	_ [56]byte // a cache line each
}

// first takes the first task, last the last; false: there is none.
func (s *portion) first() (task int, ok bool) {
	for {
		v := s.Load()
		if uint32(v) >= uint32(v>>32) {
			return 0, false
		}
		if s.CompareAndSwap(v, v+1) {
			return int(uint32(v)), true
		}
	}
}

func (s *portion) last() (task int, ok bool) {
	for {
		v := s.Load()
		if uint32(v) >= uint32(v>>32) {
			return 0, false
		}
		if s.CompareAndSwap(v, v-1<<32) {
			return int(v>>32) - 1, true
		}
	}
}

// share is the tasks of a worker, from first to last-1.
func (p *Pool) share(worker, tasks int) (first, last int) {
	return worker * tasks / p.workers, (worker + 1) * tasks / p.workers
}

// deal is run with a share of neighbouring tasks for each worker; who is done helps the next.
func (p *Pool) deal(tasks int, f func(worker, task int)) {
	for w := range p.portions {
		first, last := p.share(w, tasks)
		p.portions[w].Store(uint64(first) | uint64(last)<<32)
	}
	p.dealt = true
	p.run(tasks, f)
	p.dealt = false
}

// claimDealt runs the tasks of a worker's share, then the last ones of the others'.
func (p *Pool) claimDealt(worker int, f func(worker, task int)) {
	own := &p.portions[worker]
	for t, ok := own.first(); ok; t, ok = own.first() {
		f(worker, t)
	}
	for i := 1; i < p.workers; i++ {
		other := &p.portions[(worker+i)%p.workers]
		for t, ok := other.last(); ok; t, ok = other.last() {
			f(worker, t)
		}
	}
}

// A stream is memory that is asked for. The addresses keep nothing alive: to ask for what is gone does no harm.
type stream struct{ at, end uintptr }

// follow goes over to the stream of a worker, if it is another one.
func (s *stream) follow(to []stream, worker int) {
	if to != nil && to[worker].end != s.end {
		*s = to[worker]
	}
}

// ask asks for the next 512 bytes, or waits where there is nothing more to ask for.
func (s *stream) ask() {
	if s.at >= s.end {
		pause()
		return
	}
	askFor(s.at)
	s.at += 512
}

// aheadBytes is how much of the next product a waiting worker asks for: half of the second cache.
const aheadBytes = 512 << 10

// path is the products that follow each other, each known by where its B begins.
type path struct {
	after map[uintptr][]stream // by product: where the shares of the one that followed it begin
	last  uintptr
}

// foresee notes where the shares of this product begin, for the next time, and tells workers what followed it the last time.
func (m *multiply) foresee() {
	const most = 4096 // products
	p, b := m.pool, m.x.Outs[0].B.Data
	if p.workers == 1 || len(b) == 0 {
		return
	}
	if len(p.path.after) > most {
		clear(p.path.after)
	}
	starts := p.path.after[p.path.last]
	if starts == nil {
		starts = make([]stream, p.workers)
		p.path.after[p.path.last] = starts
	}
	for w := range starts {
		first, _ := p.share(w, m.tasks)
		starts[w] = m.rowsFrom(first)
	}
	p.path.last = uintptr(unsafe.Pointer(&b[0]))
	p.ahead = p.path.after[p.path.last]
}

// rowsFrom is the memory of a task and what follows it in its Out.
func (m *multiply) rowsFrom(task int) stream {
	i := m.outOf(task)
	b := &m.x.Outs[i].B
	from := (task - m.outs[i].first) * m.cols * b.RowStride()
	if from >= len(b.Data) {
		return stream{}
	}
	at := uintptr(unsafe.Pointer(&b.Data[from]))
	return stream{at, at + uintptr(min(aheadBytes, len(b.Data)-from))}
}
