package quantize

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"

	"tune/internal/graph"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/kernels"
)

// Text is what a model is calibrated on: pieces of Length tokens, each a document of its own.
type Text struct {
	IDs    []int32
	Length int
}

// Pieces is the number of whole pieces.
func (t Text) Pieces() int { return len(t.IDs) / max(t.Length, 1) }

// check finds what a model cannot read.
func (t Text) check(s *model.Spec) error {
	switch {
	case t.Length < 1 || t.Length > s.Positions:
		return hint.Errorf("choose another length of the pieces", "text: expected pieces of 1 to %d tokens, the model's context, found %d", s.Positions, t.Length)
	case t.Pieces() < 1:
		return hint.Errorf("give more text or shorter pieces", "text: expected at least one piece of %d tokens, found %d tokens", t.Length, len(t.IDs))
	}
	for i, id := range t.IDs {
		if id < 0 || int(id) >= s.V {
			return hint.Errorf("the text was made by another tokenizer", "token %d: expected an id below %d, found %d", i, s.V, id)
		}
	}
	return nil
}

// walk takes a text through a model layer by layer: the hidden states of all its tokens are kept, in memory or on disk. A model that
// was opened with Lazy has the matrices of one layer in memory at a time.
type walk struct {
	m        *model.Model
	text     Text
	pool     *kernels.Pool
	budget   budget
	batch    int // pieces that run at a time
	x        store
	store    *graph.Store // of what runs
	embedded bool         // x holds hidden states
	clock    stopwatch
	spent    CalibrationPhases
	progress func(tokens int) // through a layer; nil: nobody asks
}

// batchTokens is about how many tokens run at a time: enough for products at full speed, few enough for their activations.
const batchTokens = 2048

// newWalk looks the tokens up.
func newWalk(m *model.Model, text Text, b budget, pool *kernels.Pool) (*walk, error) {
	if err := text.check(&m.Spec); err != nil {
		return nil, err
	}
	w := &walk{m: m, text: text, pool: pool, budget: b, batch: b.pieces(text)}
	var err error
	if w.x, err = newStore(text.Pieces()*text.Length*m.C, b.spool); err != nil {
		return nil, err
	}
	err = w.loaded(model.EmbedModule, func() error {
		return w.each(func(b model.Batch, _ *graph.Node) []*graph.Node { return []*graph.Node{m.Embed(b, nil)} }, nil, func(s *graph.Session, first, n int) error {
			return w.x.write(first*m.C, s.Output(0))
		})
	})
	if err != nil {
		w.close()
		return nil, err
	}
	w.embedded = true
	return w, nil
}

func (w *walk) close() {
	w.x.close()
	w.forget()
}

func (w *walk) forget() {
	if w.store != nil {
		w.store.Close()
	}
}

// loaded does something while the matrices of a prefix are there.
func (w *walk) loaded(prefix string, do func() error) error {
	defer w.m.Unload(prefix)
	if err := w.m.Load(prefix); err != nil {
		return err
	}
	return do()
}

// each runs a program over all tokens: build declares it over a batch and its hidden states, set, unless nil, sets its
// parameters, see looks at its outputs for tokens [first, first+n). The last batch may be smaller.
func (w *walk) each(build func(b model.Batch, x *graph.Node) []*graph.Node, set func(s *graph.Session), see func(s *graph.Session, first, n int) error) error {
	total := w.text.Pieces() * w.text.Length
	for first := 0; first < total; {
		n := min(w.batch*w.text.Length, total-first)
		last := first + (total-first)/n*n
		if err := w.run(first, last, n, build, set, see); err != nil {
			return err
		}
		first = last
	}
	return nil
}

// run is each for tokens [first, last), n at a time.
func (w *walk) run(first, last, n int, build func(b model.Batch, x *graph.Node) []*graph.Node, set func(s *graph.Session), see func(s *graph.Session, first, n int) error) error {
	g := graph.New()
	b := w.m.Batch(g, n)
	p, err := g.Compile(graph.Options{}, build(b, g.Input("x", graph.Shape{n, w.m.C}))...)
	if err != nil {
		return err
	}
	s, err := w.bind(p)
	if err != nil {
		return err
	}
	defer s.Close()
	if set != nil {
		set(s)
	}
	ids, pos, start := s.Ints("ids"), s.Ints("pos"), s.Ints("start")
	w.clock.start()
	for ; first < last; first += n {
		for i := range n {
			if ids != nil {
				ids[i] = w.text.IDs[first+i]
			}
			if pos != nil {
				pos[i] = int32(i % w.text.Length)
			}
			if start != nil {
				start[i] = int32(i / w.text.Length * w.text.Length)
			}
		}
		if w.embedded {
			if err := w.x.read(s.Floats("x"), first*w.m.C); err != nil {
				return err
			}
		}
		w.clock.lap(&w.spent.States)
		if err := s.RunAll(); err != nil {
			return err
		}
		w.clock.lap(&w.spent.Forward)
		if err := see(s, first, n); err != nil {
			return err
		}
	}
	return nil
}

// bind gives a program the memory of all that run one after another; one with parameters of its own is given them.
func (w *walk) bind(p *graph.Program) (s *graph.Session, err error) {
	if w.store == nil || len(p.Params) > 0 {
		w.forget()
		if w.store, err = graph.NewStore(graph.NewHost(w.pool), p); err != nil {
			return nil, err
		}
	}
	return w.store.Bind(p)
}

// layer runs layer l with its stored weights or those of t. see looks at the inputs [from, to) of its linears, x (rows, Width). With
// advance the hidden states become those after the layer.
func (w *walk) layer(ctx context.Context, l int, t model.Trainable, advance bool, from, to int, see func(i int, x []float32, rows int)) error {
	var taps []tap
	var place map[*graph.Node]int // of outputs
	build := func(b model.Batch, x *graph.Node) (out []*graph.Node) {
		y, all := tapped(w.m, l, x, b, t)
		if taps = all[from:to]; !advance {
			y = nil
		}
		out, place = outputs(y, taps)
		return out
	}
	return w.loaded(layerPrefix(l), func() error {
		return w.each(build, nil, func(s *graph.Session, first, n int) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			for i, t := range taps {
				x, rows := s.Output(place[t.x]), n
				if t.rows != nil {
					counts := s.Output(place[t.rows])
					at := 0
					for _, c := range counts[:t.expert] {
						at += int(c)
					}
					rows = int(counts[t.expert])
					x = x[at*t.Width:]
				}
				if rows > 0 {
					see(from+i, x[:rows*t.Width], rows)
				}
			}
			if w.progress != nil {
				w.progress(n)
			}
			if !advance {
				return nil
			}
			y := s.Output(0)
			for i, v := range y {
				if v-v != 0 {
					return hint.Errorf("the model diverges on this text, or a weight is damaged", "layer %d, token %d: expected finite activations, found %v", l, first+i/w.m.C, v)
				}
			}
			return w.x.write(first*w.m.C, y)
		})
	})
}

// outputs are the nodes to look at, y first unless it is nil, and where each stands.
func outputs(y *graph.Node, taps []tap) (out []*graph.Node, place map[*graph.Node]int) {
	place = map[*graph.Node]int{}
	add := func(n *graph.Node) {
		if _, ok := place[n]; !ok && n != nil {
			place[n] = len(out)
			out = append(out, n)
		}
	}
	add(y)
	for _, t := range taps {
		add(t.x)
		add(t.rows)
	}
	return out, place
}

// store keeps hidden states: float32 in memory, or bf16 in a file without a name.
type store struct {
	x    []float32
	file *os.File
	buf  []byte
	half []uint16
}

func newStore(n int, spool bool) (store, error) {
	if !spool {
		return store{x: make([]float32, n)}, nil
	}
	f, err := os.CreateTemp("", "tune-activations-*")
	if err != nil {
		return store{}, err
	}
	if err := os.Remove(f.Name()); err != nil { // gone with the process, however it ends
		f.Close()
		return store{}, err
	}
	return store{file: f}, nil
}

func (s *store) close() {
	if s.file != nil {
		s.file.Close()
	}
}

func (s *store) grow(n int) {
	s.buf, s.half = slices.Grow(s.buf[:0], 2*n)[:2*n], slices.Grow(s.half[:0], n)[:n]
}

func (s *store) write(at int, x []float32) error {
	if s.file == nil {
		copy(s.x[at:], x)
		return nil
	}
	s.grow(len(x))
	kernels.BF16FromF32(s.half, x)
	for i, v := range s.half {
		binary.LittleEndian.PutUint16(s.buf[2*i:], v)
	}
	if _, err := s.file.WriteAt(s.buf, int64(at)*2); err != nil {
		return fmt.Errorf("spool activations: %w", err)
	}
	return nil
}

func (s *store) read(x []float32, at int) error {
	if s.file == nil {
		copy(x, s.x[at:])
		return nil
	}
	s.grow(len(x))
	if _, err := s.file.ReadAt(s.buf, int64(at)*2); err != nil {
		return fmt.Errorf("read activations back: %w", err)
	}
	for i := range x {
		x[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(s.buf[2*i:])) << 16)
	}
	return nil
}
