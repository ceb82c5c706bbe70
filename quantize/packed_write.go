package quantize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"tune/internal/atomicfile"
	"tune/internal/grouped"
	"tune/internal/hint"
	"tune/internal/packed"
	"tune/internal/tensor"
)

// Linears makes the integers of a module's weight from its inputs, as GPTQ and AWQ do. It is called for one module after the
// other in the order of the forward, and not for those that an earlier run has finished. Scales are rounded with
// packed.Scheme.RoundScale.
type Linears func(ctx context.Context, module string) (*grouped.Linear, error)

// Write writes the folder: the files have their sizes from the beginning, workers put modules and rows of what is kept where they
// belong. It grows under dir.partial beside a journal; a run that was killed is continued by the next one of the same plan and
// leaves the same bytes. Without solve weights are rounded to the nearest codes.
func (p *PackedPlan) Write(ctx context.Context, dir string, o WriteOptions, solve Linears) error {
	if (solve == nil) != (p.Method == RTN) {
		panic("quantize: a folder planned for " + p.Method)
	}
	n := o.Threads
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	_, n, err := p.Memory(o.Memory, n)
	if err != nil {
		return err
	}
	w := &packedWriter{PackedPlan: p, o: o, dir: filepath.Clean(dir), solve: solve}
	defer w.close()
	if err := w.begin(); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w.work(ctx, stop, n)
	if err := w.flush(); err != nil {
		stop(err)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return w.finish()
}

// solvedSync is the bytes of solved modules between two entries of the journal: they take long.
const solvedSync = 2 << 20

// packedWriter is a folder in the making.
type packedWriter struct {
	*PackedPlan
	growing
	o       WriteOptions
	dir     string
	solve   Linears
	written int64 // bytes of tensors
	total   int64
}

// begin continues what an earlier run left when its journal is of the same plan, and begins anew otherwise.
func (w *packedWriter) begin() error {
	growsIn := partial(w.dir)
	for i := range w.Parts {
		p := &w.Parts[i]
		w.parts = append(w.parts, growingPart{path: filepath.Join(growsIn, p.Name), head: p.Head, size: p.Size})
		w.total += p.Size - int64(len(p.Head))
	}
	if err := os.MkdirAll(filepath.Dir(w.dir), 0o777); err != nil {
		return err
	}
	if err := w.find(w.dir, w.stamp, len(w.units), &w.o); err != nil {
		return err
	}
	switch {
	case w.o.sync > 0:
		w.limit = w.o.sync
	case w.solve != nil:
		w.limit = solvedSync
	}
	if w.kept == 0 { // whatever is in the folder goes
		if err := os.RemoveAll(growsIn); err != nil {
			return err
		}
	}
	if err := w.room(filepath.Dir(w.dir), w.dir, w.Size()); err != nil {
		return err
	}
	if err := os.MkdirAll(growsIn, 0o777); err != nil {
		return err
	}
	if err := w.open(); err != nil {
		return fmt.Errorf("write %s: %w", w.dir, err)
	}
	return nil
}

// work hands out the units that are not done. What is solved for comes from this goroutine, one module after the other, so that
// at most one more module than there are workers is alive.
func (w *packedWriter) work(ctx context.Context, stop context.CancelCauseFunc, workers int) {
	type job struct {
		number int
		linear *grouped.Linear // of a module that is solved for
		kept   tensor.Tensor   // of rows
	}
	jobs := make(chan job)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for j := range jobs {
				if ctx.Err() != nil {
					continue
				}
				if err := w.unit(j.number, j.linear, j.kept); err != nil {
					stop(err)
				}
			}
		})
	}
	defer group.Wait()
	defer close(jobs)
	var kept tensor.Tensor // fetched once for all its rows
	for i, u := range w.units {
		if w.done[i] {
			w.progress(w.bytes(u))
			continue
		}
		j := job{number: i}
		var err error
		switch {
		case u.module < 0:
			if name := w.Kept[u.kept].Name; kept.Name != name {
				kept, err = w.weights.Tensor(name)
			}
			j.kept = kept
		case w.solve != nil:
			j.linear, err = w.solve(ctx, w.Modules[u.module].Name)
		}
		if err != nil {
			stop(err)
			return
		}
		select {
		case jobs <- j:
		case <-ctx.Done():
			return
		}
	}
}

// bytes is what a unit takes in the file.
func (w *packedWriter) bytes(u unit) int64 {
	if u.module >= 0 {
		return w.ModuleBytes(u.module)
	}
	k := &w.Kept[u.kept]
	return int64(u.rows) * int64(max(k.Cols(), 1)) * int64(k.To.Row().Bytes)
}

func (w *packedWriter) progress(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written += n
	if w.o.Progress != nil {
		w.o.Progress(w.written, w.total)
	}
}

// unit writes one unit and notes it.
func (w *packedWriter) unit(number int, l *grouped.Linear, kept tensor.Tensor) (err error) {
	u := w.units[number]
	if u.module >= 0 {
		err = w.module(u, l)
	} else {
		err = w.rows(u, kept)
	}
	if err != nil {
		return err
	}
	n := w.bytes(u)
	w.progress(n)
	return w.record(number, n)
}

// module writes the parts of a weight.
func (w *packedWriter) module(u unit, l *grouped.Linear) error {
	m := &w.Modules[u.module]
	parts, err := w.encode(m, l)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	for _, info := range w.Scheme.Parts(m.Name, m.Out, m.In) {
		i := slices.IndexFunc(parts, func(t tensor.Tensor) bool { return m.Name+"."+t.Name == info.Name })
		if i < 0 || parts[i].Type != info.Type || !slices.Equal(parts[i].Shape, info.Shape) {
			return fmt.Errorf("%s: expected a part %s %s %v, which was not made", m.Name, info.Name, info.Type, info.Shape)
		}
		if err := w.place(info.Name, parts[i].Data, 0); err != nil {
			return err
		}
	}
	return nil
}

func (w *packedWriter) encode(m *packed.Module, l *grouped.Linear) ([]tensor.Tensor, error) {
	if l != nil {
		if l.Out != m.Out || l.In != m.In {
			return nil, fmt.Errorf("expected %d x %d codes, found %d x %d", m.Out, m.In, l.Out, l.In)
		}
		return w.Scheme.Pack(l)
	}
	rows, release, err := w.decode(m.Name + ".weight")
	if err != nil {
		return nil, err
	}
	defer release()
	shared := &packed.Shared{}
	if w.Scheme.NeedsShared() {
		if shared.Max, err = w.largest(m.Fused); err != nil {
			return nil, err
		}
	}
	return w.Scheme.Encode(m.Out, m.In, rows, shared)
}

// decode gives the rows of a weight, which refuse numbers that are not finite, and gives the memory of its bytes back.
func (w *packedWriter) decode(name string) (rows packed.Rows, release func(), err error) {
	t, err := w.weights.Tensor(name)
	if err != nil {
		return nil, nil, err
	}
	row, err := t.Type.RowBytes(t.Cols())
	if err != nil {
		return nil, nil, err
	}
	decode := t.Type.Row().Decode
	if decode == nil || int64(len(t.Data)) != t.Bytes() {
		return nil, nil, fmt.Errorf("type %s cannot be decoded", t.Type)
	}
	rows = func(dst []float32, o int) error {
		decode(dst, t.Data[int64(o)*row:int64(o+1)*row])
		return w.finite(t.Info, dst, o)
	}
	return rows, func() { t.Release(t.Data) }, nil
}

func (w *packedWriter) finite(info tensor.Info, x []float32, row int) error {
	if at, _ := scan(x); at >= 0 {
		return hint.Errorf("the checkpoint is damaged or its training diverged", "tensor %s: value %s is %v", info.Name, index(info.Shape, row*info.Cols()+at), x[at])
	}
	return nil
}

// largest is the largest magnitude of the modules of one name of Fused.
func (w *packedWriter) largest(fused string) (top float32, err error) {
	for _, i := range w.shared[fused] {
		m := &w.Modules[i]
		rows, _, err := w.decode(m.Name + ".weight")
		if err != nil {
			return 0, err
		}
		x := make([]float32, m.In)
		for o := range m.Out {
			if err := rows(x, o); err != nil {
				return 0, err
			}
			_, most := scan(x)
			top = max(top, most)
		}
	}
	return top, nil
}

// rows copies rows of a tensor that is kept.
func (w *packedWriter) rows(u unit, t tensor.Tensor) error {
	k := &w.Kept[u.kept]
	if t.Type != k.Type || int64(len(t.Data)) != k.Bytes() {
		return fmt.Errorf("tensor %s: expected %s, found %d bytes of %s", k.Name, k.Type, len(t.Data), t.Type)
	}
	cols := max(k.Cols(), 1)
	from, to := k.Type.Row(), k.To.Row()
	first := int64(u.first) * int64(cols)
	n := u.rows * cols
	src := t.Data[first/int64(from.Block)*int64(from.Bytes):][:n/from.Block*from.Bytes]
	out := src
	if from.Decode != nil {
		x := make([]float32, n)
		from.Decode(x, src)
		if err := w.finite(k.Info, x, u.first); err != nil {
			return err
		}
		if k.To != k.Type {
			out = make([]byte, n*to.Bytes)
			to.Encode(out, x)
		}
	}
	if err := w.place(k.Name, out, first*int64(to.Bytes)); err != nil {
		return err
	}
	t.Release(src)
	return nil
}

// place writes bytes of a tensor, from a place in it on.
func (w *packedWriter) place(name string, data []byte, at int64) error {
	p := w.where[name]
	if at+int64(len(data)) > p.bytes {
		return fmt.Errorf("tensor %s: expected %d bytes, found %d", name, p.bytes, at+int64(len(data)))
	}
	return w.put(p.part, data, p.offset+at)
}

// finish writes what lies beside the tensors and gives the folder its name.
func (w *packedWriter) finish() error {
	if err := w.closeFiles(); err != nil {
		return err
	}
	for name, data := range w.Files {
		if err := atomicfile.Write(filepath.Join(partial(w.dir), name), data); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(w.dir); !errors.Is(err, fs.ErrNotExist) {
		return hint.Errorf("give another folder or remove this one, then run the command again", "write %s: the folder exists already", w.dir)
	}
	if err := os.Rename(partial(w.dir), w.dir); err != nil {
		return fmt.Errorf("write %s: %w", w.dir, err)
	}
	atomicfile.SyncDir(filepath.Dir(w.dir))
	return w.journal.remove()
}
