package quantize

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"tune/internal/hint"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/quantize/solve"
)

// chunkValues is what one worker decodes, encodes and writes at a time: as many whole rows of one matrix as fit, at least
// one. Chunks are numbered through the whole file; the journal lists the numbers of those that are on disk.
const chunkValues = 1 << 18

// perChunk is the memory in bytes of one worker's value: as float32, and encoded in at most as many bytes.
const perChunk = 8

// groupValues is how many values of a chunk are decoded, searched and encoded at a time, so that they stay in the processor's cache.
const groupValues = 1 << 13

// WriteOptions of Plan.Write.
type WriteOptions struct {
	Threads  int   // 0: all
	Memory   int64 // bytes that may be used beside mapped files; 0: as many as the threads want
	Fresh    bool  // do not continue what an earlier run left
	Progress func(done, total int64)
	Note     func(text string) // what became of an earlier run, and of values that are not finite; nil: not told
	sync     int64             // bytes between two entries of the journal
}

// syncBytes bounds how much work a kill loses.
const syncBytes = 64 << 20

// chunk is rows [first, first+rows) of a tensor.
type chunk struct {
	number, tensor int
	first, rows    int
	matrix         int
}

// loaded is a tensor being worked on.
type loaded struct {
	tensor.Tensor
	weights []float32
	factor  *solve.Factor // of the products of its inputs; nil: its type's encoder chooses the codes
}

// rows and columns of a tensor; vectors are one row.
func (c *Choice) matrix() (rows, cols, perMatrix int) {
	cols = c.colsOr1()
	if cols == 0 {
		return 0, 0, 0
	}
	rows, perMatrix = c.Elems()/cols, 1
	if len(c.Dims) > 1 {
		perMatrix = c.Dims[len(c.Dims)-2]
	}
	return rows, cols, perMatrix
}

func (c *Choice) colsOr1() int {
	if len(c.Dims) == 0 {
		return 1
	}
	return c.cols()
}

// chunks cuts a file into pieces that do not depend on threads or memory.
func (p *Plan) chunks() (list []chunk) {
	for t := range p.Choices {
		rows, cols, per := p.Choices[t].matrix()
		if rows == 0 {
			continue
		}
		step := max(chunkValues/cols, 1)
		for m := 0; m*per < rows; m++ {
			for r := 0; r < per; r += step {
				list = append(list, chunk{len(list), t, m*per + r, min(step, per-r), m})
			}
		}
	}
	return list
}

// Write writes the file, or the files of Paths: headers first, then chunks wherever they belong, by as many workers as memory
// allows. They grow under names that end in .partial beside path.partial.journal; a run that was killed is continued by the
// next one of the same plan and leaves the same bytes.
func (p *Plan) Write(ctx context.Context, path string, o WriteOptions) error {
	workers, err := p.workers(o)
	if err != nil {
		return err
	}
	list := p.chunks()
	w, err := p.openPartial(path, len(list), o)
	if err != nil {
		return err
	}
	defer w.close()
	if w.whole {
		return w.rename()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w.work(ctx, stop, list, workers)
	if err := w.flush(); err != nil {
		stop(err)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(w.zeros)) {
		w.o.note(fmt.Sprintf("tensor %s: %d values that are not finite are stored as 0", name, w.zeros[name]))
	}
	return w.finish()
}

// workers is how many fit into the memory.
func (p *Plan) workers(o WriteOptions) (int, error) {
	n := o.Threads
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if o.Memory <= 0 {
		return n, nil
	}
	widest := chunkValues
	for i := range p.Choices {
		widest = max(widest, p.Choices[i].colsOr1())
	}
	one := int64(widest)*perChunk + p.src.Resident
	if o.Memory < one+p.src.Resident { // one tensor is fetched while another is encoded
		return 0, hint.Errorf("raise --memory", "memory: expected at least %d bytes for one tensor and a block of its rows, found %d", one+p.src.Resident, o.Memory)
	}
	return int(min(int64(n), (o.Memory-p.src.Resident)/one)), nil
}

// writer is a model in the making.
type writer struct {
	*Plan
	growing
	o       WriteOptions
	path    string
	zeros   map[string]int // by tensor: values that were not finite
	written int64
	total   int64
}

// openPartial continues what an earlier run left when its journal is of the same plan, and begins anew otherwise.
func (p *Plan) openPartial(path string, chunks int, o WriteOptions) (*writer, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	w := &writer{Plan: p, o: o, path: path}
	for i, name := range p.Paths(path) {
		w.parts = append(w.parts, growingPart{path: partial(name), final: name, head: p.Parts[i].Head, size: p.Parts[i].Size})
	}
	for i := range p.Choices {
		w.total += p.Choices[i].Bytes()
	}
	if err := w.find(path, p.stamp, chunks, &o); err != nil || w.whole {
		return w, err
	}
	if o.sync > 0 {
		w.limit = o.sync
	}
	if err := w.room(filepath.Dir(path), path, p.Size()); err != nil {
		return nil, err
	}
	if err := w.open(); err != nil {
		w.close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return w, nil
}

// note tells something if anyone listens.
func (o *WriteOptions) note(text string) {
	if o.Note != nil {
		o.Note(text)
	}
}

// work encodes all chunks that are not done. One goroutine fetches tensors in the order of the file and hands out their
// chunks, so that no more tensors are alive than there are workers, and one.
func (w *writer) work(ctx context.Context, stop context.CancelCauseFunc, list []chunk, workers int) {
	type job struct {
		chunk
		*loaded
	}
	jobs := make(chan job)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			e := &encoder{}
			for j := range jobs {
				if ctx.Err() != nil {
					continue
				}
				if err := w.encode(e, j.chunk, j.loaded); err != nil {
					stop(err)
				}
			}
		})
	}
	defer group.Wait()
	defer close(jobs)
	tensor, l := -1, (*loaded)(nil)
	for _, c := range list {
		if w.done[c.number] {
			w.progress(c)
			continue
		}
		if c.tensor != tensor {
			t, err := w.src.Tensors.Tensor(w.Choices[c.tensor].Name)
			if err != nil {
				stop(err)
				return
			}
			if t.Type != w.Choices[c.tensor].Type || int64(len(t.Data)) != t.Bytes() {
				stop(fmt.Errorf("tensor %s: expected %s, found %d bytes of %s", t.Name, w.Choices[c.tensor].Type, len(t.Data), t.Type))
				return
			}
			factor, err := w.errors.factor(&w.Choices[c.tensor])
			if err != nil {
				stop(fmt.Errorf("tensor %s: %w", t.Name, err))
				return
			}
			tensor, l = c.tensor, &loaded{t, w.weights(&w.Choices[c.tensor]), factor}
		}
		select {
		case jobs <- job{c, l}:
		case <-ctx.Done():
			return
		}
	}
}

// encoder is the memory of one worker.
type encoder struct {
	values []float32
	out    []byte
}

// encode writes one chunk.
func (w *writer) encode(e *encoder, k chunk, l *loaded) error {
	c := &w.Choices[k.tensor]
	_, cols, _ := c.matrix()
	fromRow, _ := c.Type.RowBytes(cols)
	toRow, _ := c.To.RowBytes(cols) // both were checked with the layout
	src := l.Data[int64(k.first)*fromRow : int64(k.first+k.rows)*fromRow]
	out := src
	if c.Type.Row().Decode != nil {
		var err error
		if out, err = w.convert(e, k, l, src); err != nil {
			return err
		}
	}
	part := w.partOf(k.tensor)
	offset := w.Parts[part].Offsets[k.tensor-w.Parts[part].First]
	if err := w.put(part, out, offset+int64(k.first)*toRow); err != nil {
		return err
	}
	l.Release(src)
	return w.record(k.number, w.progress(k))
}

// convert encodes the rows of a chunk, or copies them when they keep their type and are all finite.
func (w *writer) convert(e *encoder, k chunk, l *loaded, src []byte) ([]byte, error) {
	c := &w.Choices[k.tensor]
	_, cols, per := c.matrix()
	from, to := c.Type.Row(), c.To.Row()
	toBytes, err := c.To.RowBytes(cols)
	if err != nil {
		return nil, err
	}
	fromRow, toRow := len(src)/k.rows, int(toBytes)
	if c.To != c.Type && to.Encode == nil && l.weights == nil {
		return nil, fmt.Errorf("tensor %s: type %s cannot be written", c.Name, c.To)
	}
	var weights []float32
	if l.weights != nil {
		m := k.first / per
		weights = l.weights[m*cols : (m+1)*cols]
	}
	group := max(groupValues/cols, 1)
	if l.factor != nil {
		group = k.rows // the solver has a cache of its own
	}
	e.out = slices.Grow(e.out[:0], k.rows*toRow)[:k.rows*toRow]
	for r := 0; r < k.rows; r += group {
		n := min(group, k.rows-r)
		e.values = slices.Grow(e.values[:0], n*cols)[:n*cols]
		x, out := e.values, e.out[r*toRow:(r+n)*toRow]
		from.Decode(x, src[r*fromRow:(r+n)*fromRow])
		at, largest := -1, float32(0)
		if !ordinary(x) {
			at, largest = scan(x)
		}
		if at >= 0 && !w.zero {
			return nil, hint.Errorf("the checkpoint is damaged or its training diverged; --zero-nonfinite stores 0 instead", "tensor %s: value %s is %v",
				c.Name, index(c.Dims, (k.first+r)*cols+at), x[at])
		}
		if at >= 0 {
			w.clean(c.Name, x)
			_, largest = scan(x)
		}
		switch {
		case c.To == c.Type && at < 0:
			copy(out, src[r*fromRow:])
		case l.factor != nil:
			g := solve.NewStored(c.To, n, cols, weights)
			l.factor.Solve(x, n, g, solve.Current, 0, nil)
			copy(out, g.Data)
		case weights != nil:
			to.EncodeWeighted(out, x, weights)
		default:
			to.Encode(out, x)
		}
		if largest >= risky && c.To != c.Type && c.To != qtype.F32 && c.To != qtype.BF16 {
			to.Decode(x, out)
			if at, _ := scan(x); at >= 0 {
				return nil, hint.Errorf("give it another type with --tensor-type", "tensor %s: value %s is too large for %s", c.Name, index(c.Dims, (k.first+r)*cols+at), c.To)
			}
		}
	}
	return e.out, nil
}

// clean makes values that are not finite 0, and counts them.
func (w *writer) clean(name string, x []float32) {
	n := 0
	for i, v := range x {
		if v-v != 0 {
			x[i] = 0
			n++
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.zeros == nil {
		w.zeros = map[string]int{}
	}
	w.zeros[name] += n
}

// risky values may need scales that half precision cannot hold.
const risky = 1 << 13

// ordinary says whether values are surely finite and below risky in magnitude, because their squares have a small sum. It is far
// quicker than scan, which looks closer.
func ordinary(x []float32) bool { return kernels.Dot(x, x) < risky*risky }

// scan finds the first value that is not finite, -1 without one, and the largest magnitude.
func scan(x []float32) (at int, largest float32) {
	const sign = 1 << 31
	var a, b, c, d uint32 // chains that do not wait for each other
	rest := x
	for ; len(rest) >= 4; rest = rest[4:] {
		a, b = max(a, math.Float32bits(rest[0])&^sign), max(b, math.Float32bits(rest[1])&^sign)
		c, d = max(c, math.Float32bits(rest[2])&^sign), max(d, math.Float32bits(rest[3])&^sign)
	}
	m := max(a, b, c, d)
	for _, v := range rest {
		m = max(m, math.Float32bits(v)&^sign)
	}
	if m < 0x7f800000 {
		return -1, math.Float32frombits(m)
	}
	for i, v := range x {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return i, 0
		}
	}
	return -1, 0
}

// index writes a position in a tensor, outermost first.
func index(dims []int, at int) string {
	x := make([]int, len(dims))
	for i := len(dims) - 1; i >= 0; i-- {
		x[i], at = at%dims[i], at/dims[i]
	}
	return fmt.Sprint(x)
}

// progress counts a chunk, and returns its bytes.
func (w *writer) progress(k chunk) int64 {
	c := &w.Choices[k.tensor]
	row, _ := c.To.RowBytes(c.colsOr1())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written += row * int64(k.rows)
	if w.o.Progress != nil {
		w.o.Progress(w.written, w.total)
	}
	return row * int64(k.rows)
}
