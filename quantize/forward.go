package quantize

import (
	"context"
	"fmt"
	"math"

	"tune/internal/graph"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/kernels"
)

// forward runs pieces of n tokens through a model, one document each.
type forward struct {
	m     *model.Model
	t     model.Trainable
	n     int
	store *graph.Store
	body  *graph.Session // ids -> hidden (n, C) and what observers see
	head  *graph.Session // hidden (headRows, C) -> logits (headRows, V); nil until logits are asked for
}

// headRows is the number of tokens whose logits are in memory at a time.
const headRows = 32

// newForward prepares a model; t may be nil. The outputs of the body are the hidden states and what observe returns.
func newForward(m *model.Model, t model.Trained, n int, pool *kernels.Pool, observe func() []*graph.Node) (*forward, error) {
	if n > m.Positions {
		return nil, hint.Errorf("use shorter pieces of text", "expected at most %d tokens, the model's context, found %d", m.Positions, n)
	}
	f := &forward{m: m, n: n}
	if t != nil {
		f.t = model.NoDropout(t)
	}
	g := graph.New()
	b := m.Batch(g, n)
	outs := []*graph.Node{m.Hidden(b, f.t)}
	if observe != nil {
		outs = append(outs, observe()...)
	}
	p, err := g.Compile(graph.Options{}, outs...)
	if err != nil {
		return nil, err
	}
	// parameters of the head belong to the same store
	hg := graph.New()
	hb := m.Batch(hg, headRows)
	hp, err := hg.Compile(graph.Options{}, nn.Linear(hg.Input("x", graph.Shape{headRows, m.C}), m.Exact, m.Head(hb, f.t))[0])
	if err != nil {
		return nil, err
	}
	whole := p
	if len(hp.Params) > 0 {
		wg := graph.New()
		wb := m.Batch(wg, headRows)
		if whole, err = wg.Compile(graph.Options{}, nn.Linear(m.Hidden(wb, f.t), m.Exact, m.Head(wb, f.t))[0]); err != nil {
			return nil, err
		}
	}
	if f.store, err = graph.NewStore(graph.NewHost(pool), whole); err != nil {
		return nil, err
	}
	if t != nil {
		for _, p := range t.Params() {
			copy(f.store.Param(p.Name), p.Data)
		}
	}
	if f.body, err = f.store.Bind(p); err != nil {
		return nil, err
	}
	f.head, err = f.store.Bind(hp)
	return f, err
}

func (f *forward) close() { f.store.Close() }

// run reads n tokens of one document; the body's outputs are valid until the head or the next piece runs.
func (f *forward) run(ids []int32) error {
	pos, start := make([]int32, len(ids)), make([]int32, len(ids))
	for i := range pos {
		pos[i] = int32(i)
	}
	return f.runPacked(ids, pos, start)
}

// runPacked reads documents one after another: n tokens, the position of each in its document, and where that begins.
func (f *forward) runPacked(ids, pos, start []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= f.m.V {
			return fmt.Errorf("token %d: expected an id below %d, found %d", i, f.m.V, id)
		}
	}
	for name, x := range map[string][]int32{"ids": ids, "pos": pos, "start": start} {
		copy(f.body.Ints(name), x) // pos is absent when no layer rotates
	}
	return f.body.RunAll()
}

// logits of at most headRows hidden states (rows, C), valid until the next call.
func (f *forward) logits(x []float32) ([]float32, error) {
	in := f.head.Floats("x")
	clear(in[copy(in, x):])
	if err := f.head.RunAll(); err != nil {
		return nil, err
	}
	return f.head.Output(0)[:len(x)/f.m.C*f.m.V], nil
}

// squares sums the squares of each column (1, C) of its input (N, C), in float64, in the order of the rows.
type squares struct {
	graph.NoGrad
	rows, cols int
}

// Info describes the op.
func (o *squares) Info() graph.Info {
	return graph.Info{Name: "sum of squares", Out: []graph.Shape{{1, o.cols}}}
}

// columnTask is what one task sums: its sums stay in the processor's cache.
const columnTask = 256

// Host runs the op.
func (o *squares) Host(a *graph.Args) func() {
	x, y := a.In[0], a.Out[0]
	sums := make([]float64, o.cols)
	task := func(_, t int) {
		from, to := t*columnTask, min((t+1)*columnTask, o.cols)
		s := sums[from:to]
		clear(s)
		for r := range o.rows {
			for i, v := range x[r*o.cols+from : r*o.cols+to] {
				s[i] += float64(v) * float64(v)
			}
		}
		for i, v := range s {
			y[from+i] = float32(v)
		}
	}
	return func() { a.Pool.Run((o.cols+columnTask-1)/columnTask, task) }
}

// CollectOptions of Collect.
type CollectOptions struct {
	ChunkSize int // tokens of a piece
	Chunks    int // most pieces; 0: all
	BOS       int32
	HasBOS    bool // every piece begins with BOS in the place of its first token, as llama-imatrix does it
	Dataset   string
	Progress  func(done, total int)
}

// Collect runs a text through a model and sums the squares of the inputs of every linear of its layers, as llama-imatrix
// does: whole pieces of ChunkSize tokens, each a document. The caller gives the model to this function: its observers are
// used.
func Collect(ctx context.Context, m *model.Model, t model.Trained, ids []int32, pool *kernels.Pool, o CollectOptions) (*Importance, error) {
	chunks := len(ids) / max(o.ChunkSize, 1)
	if o.Chunks > 0 {
		chunks = min(chunks, o.Chunks)
	}
	if o.ChunkSize < 1 || chunks < 1 {
		return nil, hint.Errorf("give more text or smaller chunks", "text: expected at least one piece of %d tokens, found %d tokens", o.ChunkSize, len(ids))
	}
	w := &watch{seen: map[*graph.Node]int{}}
	m.Tap.In = w.input
	defer func() { m.Tap.In = nil }()
	f, err := newForward(m, t, o.ChunkSize, pool, func() []*graph.Node {
		m.Tap.In = nil // graphs that are built from here on are of no interest
		return w.sums
	})
	if err != nil {
		return nil, err
	}
	defer f.close()
	sums := make([][]float64, len(w.sums))
	for i, n := range w.sums {
		sums[i] = make([]float64, n.Shape()[1])
	}
	piece := make([]int32, o.ChunkSize)
	for c := range chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		copy(piece, ids[c*o.ChunkSize:])
		if o.HasBOS {
			piece[0] = o.BOS
		}
		if err := f.run(piece); err != nil {
			return nil, err
		}
		for i := range sums {
			for j, v := range f.body.Output(i + 1) {
				sums[i][j] += float64(v)
			}
		}
		if o.Progress != nil {
			o.Progress(c+1, chunks)
		}
	}
	out := &Importance{Chunks: chunks, ChunkSize: o.ChunkSize, Datasets: []string{o.Dataset}}
	return out, w.fill(out, sums)
}

// watch is the observer of a graph: it sums the inputs of the linears of its layers. What several read is summed once.
type watch struct {
	sums  []*graph.Node
	seen  map[*graph.Node]int
	names []string // GGUF names of the matrices
	at    []int    // which of the sums is each one's
}

func (w *watch) input(module string, x *graph.Node) {
	name, ok := model.GGUFName(module + ".weight")
	if !ok || layerOf(name) < 0 {
		return
	}
	if _, ok := w.seen[x]; !ok {
		w.seen[x] = len(w.sums)
		s := x.Shape()
		w.sums = append(w.sums, x.Graph().Apply(&squares{rows: s[0], cols: s[1]}, x)[0])
	}
	w.names, w.at = append(w.names, name), append(w.at, w.seen[x])
}

// fill puts the sums under the names of the matrices.
func (w *watch) fill(out *Importance, sums [][]float64) error {
	for i, name := range w.names {
		from := sums[w.at[i]]
		s := Sums{make([]float32, len(from)), []float32{float32(out.Chunks * out.ChunkSize)}}
		for j, v := range from {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("%s: input %d: expected finite sums, found %v", name, j, v)
			}
			s.Squares[j] = float32(v)
		}
		out.Set(name, s)
	}
	return nil
}
