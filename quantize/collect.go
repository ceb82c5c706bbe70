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

// expertSquares is squares for each expert: x (M, C) sorted by expert, ends (E); outputs the sums (E, C) and how many rows each
// expert had (1, E).
type expertSquares struct {
	graph.NoGrad
	rows, cols, experts int
}

// Info describes the op.
func (o *expertSquares) Info() graph.Info {
	return graph.Info{Name: "sums of squares by expert", Out: []graph.Shape{{o.experts, o.cols}, {1, o.experts}}}
}

// Host runs the op.
func (o *expertSquares) Host(a *graph.Args) func() {
	x, ends, y, counts := a.In[0], a.Int[1], a.Out[0], a.Out[1]
	task := func(_, e int) {
		from, to := 0, int(ends[e])
		if e > 0 {
			from = int(ends[e-1])
		}
		s := make([]float64, o.cols)
		for r := from; r < to; r++ {
			for i, v := range x[r*o.cols : (r+1)*o.cols] {
				s[i] += float64(v) * float64(v)
			}
		}
		for i, v := range s {
			y[e*o.cols+i] = float32(v)
		}
		counts[e] = float32(to - from)
	}
	return func() { a.Pool.Run(o.experts, task) }
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
	m.Tap.In, m.Tap.Experts = w.input, w.experts
	defer func() { m.Tap.In, m.Tap.Experts = nil, nil }()
	f, err := newForward(m, t, o.ChunkSize, pool, func() []*graph.Node {
		m.Tap.In, m.Tap.Experts = nil, nil // graphs that are built from here on are of no interest
		return w.sums
	})
	if err != nil {
		return nil, err
	}
	defer f.close()
	sums := make([][]float64, len(w.sums))
	for i, n := range w.sums {
		sums[i] = make([]float64, n.Shape().Size())
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
	sums    []*graph.Node
	seen    map[*graph.Node]int // its place among the sums
	watched []watched
}

// watched is a matrix, or those of all experts.
type watched struct {
	name       string // GGUF name
	at, counts int    // which of the sums are its own; counts -1: every token counts
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
	w.watched = append(w.watched, watched{name, w.seen[x], -1})
}

func (w *watch) experts(modules []string, x *graph.Node, r nn.Routing) {
	name, ok := model.GGUFName(modules[0] + ".weight")
	if !ok {
		return
	}
	if _, ok := w.seen[x]; !ok {
		w.seen[x] = len(w.sums)
		s := x.Shape()
		w.sums = append(w.sums, x.Graph().Apply(&expertSquares{rows: s[0], cols: s[1], experts: r.E}, x, r.Ends)...)
	}
	w.watched = append(w.watched, watched{name, w.seen[x], w.seen[x] + 1})
}

// fill puts the sums under the names of the matrices.
func (w *watch) fill(out *Importance, sums [][]float64) error {
	for _, m := range w.watched {
		from := sums[m.at]
		s := Sums{make([]float32, len(from)), []float32{float32(out.Chunks * out.ChunkSize)}}
		if m.counts >= 0 {
			s.Counts = make([]float32, len(sums[m.counts]))
			for e, n := range sums[m.counts] {
				s.Counts[e] = float32(n)
			}
		}
		for j, v := range from {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("%s: input %d: expected finite sums, found %v", m.name, j, v)
			}
			s.Squares[j] = float32(v)
		}
		out.Set(m.name, s)
	}
	return nil
}
