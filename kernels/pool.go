package kernels

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A Pool runs the tasks of one operation on several goroutines. Tasks are cut by shape alone and each owns its outputs, so which
// worker takes which changes nothing. A nil *Pool runs everything in the calling goroutine.
//
// A worker that has nothing to do spins for about 0.1 ms before it parks: a training step is a chain of operations of a millisecond
// or less, and waking a parked goroutine costs a good part of that. Nobody waits for a worker that has not come: on a machine with other
// jobs the caller does what there is to do.
type Pool struct {
	workers int
	spin    int // polls before parking
	panels  []panels
	mm      multiply    // the product under way; here so that MatMul allocates nothing
	im      intMultiply // likewise, in integers
	att     attend      // the attention under way, likewise
	work    [][]float32 // per worker, grown by workspace

	mu      sync.Mutex // one operation at a time
	job     func(worker, task int)
	tasks   int
	next    atomic.Int64  // next task to claim
	state   atomic.Uint64 // number of the job, whether workers may still join it, how many are in it
	waiting atomic.Uint64 // number of the job whose caller has parked on done, 0: none
	done    chan struct{}
	parked  []atomic.Bool
	wake    []chan struct{}
	closed  bool

	dealt    bool      // each worker has tasks of its own (deal.go):
	portions []portion // those
	path     path
	ahead    []stream // by worker: memory to be asked for after this job; nil: none
	asked    stream   // by the caller of Run
}

// Parts of Pool.state; the number of the job is above them, in 48 bits: it never comes round to 0, which stands for none.
const (
	inJob     = 1<<15 - 1 // workers that have joined and not left
	open      = 1 << 15   // more may join
	jobNumber = 16        // shift
)

// spins is how often a worker polls before it parks, about 40 ns each.
const spins = 3000

// NewPool starts workers-1 goroutines; the caller of Run is the last worker. workers 0 means GOMAXPROCS. Close ends them.
func NewPool(workers int) *Pool {
	procs := runtime.GOMAXPROCS(0)
	if workers <= 0 {
		workers = procs
	}
	if workers > procs { // a spinning worker would be in the way of one that works
		return newPool(workers, 0)
	}
	return newPool(workers, spins)
}

func newPool(workers, spin int) *Pool {
	p := newSerial(min(workers, inJob))
	p.spin = spin
	p.done = make(chan struct{}, 1)
	p.parked, p.wake = make([]atomic.Bool, p.workers), make([]chan struct{}, p.workers)
	for w := 1; w < p.workers; w++ {
		p.wake[w] = make(chan struct{}, 1)
		go p.worker(w)
	}
	return p
}

// newSerial makes the parts of a Pool that need no goroutine.
func newSerial(workers int) *Pool {
	p := &Pool{workers: workers, panels: newPanels(workers), work: make([][]float32, workers), portions: make([]portion, workers)}
	p.path.after = map[uintptr][]stream{}
	p.mm.bind(p)
	p.im.bind(p)
	p.att.bind(p)
	return p
}

// Workers is the number of workers, 1 for a nil Pool: Run passes worker numbers below it.
func (p *Pool) Workers() int {
	if p == nil {
		return 1
	}
	return p.workers
}

// Run calls f(worker, task) once for each task in [0, tasks), claimed in ascending order, and returns when all are done.
// Calls from several goroutines take turns; f must not call Run or an operation on the same Pool.
func (p *Pool) Run(tasks int, f func(worker, task int)) {
	if p == nil {
		for t := range tasks {
			f(0, t)
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run(tasks, f)
}

// run is Run with p.mu held.
func (p *Pool) run(tasks int, f func(worker, task int)) {
	if p.closed {
		panic("kernels: use of a closed Pool")
	}
	if tasks <= 1 || p.workers == 1 {
		for t := range tasks {
			f(0, t)
		}
		return
	}
	p.tasks = tasks
	p.next.Store(0)
	p.start(f)
	p.claim(0, f, tasks)
	p.asked.follow(p.ahead, 0)
	p.finish()
	p.job = nil // lets go of what f holds: a model's activations
}

// finish waits until the workers that have joined the job have done what they took.
func (p *Pool) finish() {
	job := p.state.And(^uint64(open)) >> jobNumber // what is left to do is in hands
	for range p.spin {
		if p.state.Load()&inJob == 0 {
			return
		}
		p.asked.ask()
	}
	p.waiting.Store(job)
	if p.state.Load()&inJob == 0 && p.waiting.CompareAndSwap(job, 0) {
		return
	}
	<-p.done
}

// claim runs tasks until none is left.
func (p *Pool) claim(worker int, f func(worker, task int), tasks int) {
	if p.dealt {
		p.claimDealt(worker, f)
		return
	}
	for t := int(p.next.Add(1)) - 1; t < tasks; t = int(p.next.Add(1)) - 1 {
		f(worker, t)
	}
}

// start publishes a job (nil: the end) and wakes who is parked.
func (p *Pool) start(f func(worker, task int)) {
	p.job = f
	p.state.Store((p.state.Load()>>jobNumber+1)<<jobNumber | open)
	for w := 1; w < p.workers; w++ {
		if p.parked[w].CompareAndSwap(true, false) {
			p.wake[w] <- struct{}{}
		}
	}
}

func (p *Pool) worker(w int) {
	var s stream
	for last := uint64(0); ; {
		last = p.await(w, last, &s)
		if p.job == nil {
			return
		}
		p.claim(w, p.job, p.tasks)
		s.follow(p.ahead, w)
		// By number: between the two the caller may have seen the end itself and be parked on the next job.
		if p.state.Add(^uint64(0))&inJob == 0 && p.waiting.CompareAndSwap(last, 0) {
			p.done <- struct{}{}
		}
	}
}

// join makes the caller one of the workers of a job after last, if there is one to be joined, and returns its number.
func (p *Pool) join(last uint64) (job uint64, ok bool) {
	for {
		v := p.state.Load()
		if v&open == 0 || v>>jobNumber == last {
			return 0, false
		}
		if p.state.CompareAndSwap(v, v+1) {
			return v >> jobNumber, true
		}
	}
}

// await joins a job after last. Meanwhile s is asked for. A wake may be one for a job that is over, or that this worker has done already.
func (p *Pool) await(w int, last uint64, s *stream) (job uint64) {
	for {
		for range p.spin {
			if job, ok := p.join(last); ok {
				return job
			}
			s.ask()
		}
		p.parked[w].Store(true)
		job, ok := p.join(last)
		if !ok || !p.parked[w].CompareAndSwap(true, false) {
			<-p.wake[w]
		}
		if ok {
			return job
		}
	}
}

// Close ends the workers; the Pool must not be used afterwards. Closing twice, or a nil Pool, does nothing.
func (p *Pool) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if p.workers > 1 {
		p.start(nil)
	}
}

// workspace is n float32 of memory of one worker, which keeps them from call to call; contents are arbitrary. Only for f of Run.
func (p *Pool) workspace(worker, n int) []float32 {
	if p == nil {
		return make([]float32, n)
	}
	if len(p.work[worker]) < n {
		p.work[worker] = make([]float32, n)
	}
	return p.work[worker][:n]
}
