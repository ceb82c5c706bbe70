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

// Input is what linears of a layer read, alike.
type Input struct {
	Modules []string // that read it
	Width   int
}

// walk takes a text through a model layer by layer: the hidden states of all its tokens are kept, in memory or on disk.
type walk struct {
	m        *model.Model
	text     Text
	pool     *kernels.Pool
	batch    int // pieces that run at a time
	x        store
	embedded bool // x holds hidden states
}

// batchTokens is about how many tokens run at a time: enough for products at full speed, few enough for their activations.
const batchTokens = 2048

// newWalk looks the tokens up. memory bounds what hidden states may take, in bytes; 0: no bound.
func newWalk(m *model.Model, text Text, memory int64, pool *kernels.Pool) (*walk, error) {
	if err := text.check(&m.Spec); err != nil {
		return nil, err
	}
	w := &walk{m: m, text: text, pool: pool, batch: min(max(batchTokens/text.Length, 1), text.Pieces())}
	var err error
	if w.x, err = newStore(text.Pieces()*text.Length*m.C, memory); err != nil {
		return nil, err
	}
	err = w.each(func(b model.Batch, _ *graph.Node) []*graph.Node { return []*graph.Node{m.Embed(b, nil)} }, nil, func(s *graph.Session, first, n int) error {
		return w.x.write(first*m.C, s.Output(0)[:n*m.C])
	})
	if err != nil {
		w.close()
		return nil, err
	}
	w.embedded = true
	return w, nil
}

func (w *walk) close() { w.x.close() }

// each runs a program over all tokens: build declares it over a batch and its hidden states, set, unless nil, sets its
// parameters, see looks at its outputs for tokens [first, first+n).
func (w *walk) each(build func(b model.Batch, x *graph.Node) []*graph.Node, set func(s *graph.Session), see func(s *graph.Session, first, n int) error) error {
	g := graph.New()
	n := w.batch * w.text.Length
	b := w.m.Batch(g, n)
	p, err := g.Compile(graph.Options{}, build(b, g.Input("x", graph.Shape{n, w.m.C}))...)
	if err != nil {
		return err
	}
	s, err := p.Bind(graph.NewHost(w.pool))
	if err != nil {
		return err
	}
	defer s.Store.Close()
	if set != nil {
		set(s)
	}
	total := w.text.Pieces() * w.text.Length
	ids, pos, start := s.Ints("ids"), s.Ints("pos"), s.Ints("start")
	for first := 0; first < total; first += n {
		have := min(n, total-first)
		for i := range n {
			if ids != nil {
				ids[i] = w.text.IDs[min(first+i, total-1)]
			}
			if pos != nil {
				pos[i] = int32(i % w.text.Length)
			}
			if start != nil {
				start[i] = int32(i / w.text.Length * w.text.Length)
			}
		}
		if x := s.Floats("x"); w.embedded {
			clear(x[have*w.m.C:])
			if err := w.x.read(x[:have*w.m.C], first*w.m.C); err != nil {
				return err
			}
		}
		if err := s.RunAll(); err != nil {
			return err
		}
		if err := see(s, first, have); err != nil {
			return err
		}
	}
	return nil
}

// layer runs layer l with its stored weights or those of t. see, unless nil, looks at the inputs of its linears, x (rows, Width).
// With advance the hidden states become those after the layer.
func (w *walk) layer(ctx context.Context, l int, t model.Trainable, advance bool, see func(i int, in Input, x []float32, rows int)) error {
	var inputs []Input
	return w.each(func(b model.Batch, x *graph.Node) []*graph.Node {
		if see == nil {
			return []*graph.Node{w.m.Block(l, x, b, t)}
		}
		y, seen, nodes := tapped(w.m, l, x, b, t)
		inputs = seen
		return append([]*graph.Node{y}, nodes...)
	}, nil, func(s *graph.Session, first, n int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i, in := range inputs {
			see(i, in, s.Output(i + 1)[:n*in.Width], n)
		}
		if !advance {
			return nil
		}
		y := s.Output(0)[:n*w.m.C]
		for i, v := range y {
			if v-v != 0 {
				return hint.Errorf("the model diverges on this text, or a weight is damaged", "layer %d, token %d: expected finite activations, found %v", l, first+i/w.m.C, v)
			}
		}
		return w.x.write(first*w.m.C, y)
	})
}

// store keeps hidden states: float32 in memory, or bf16 in a file without a name.
type store struct {
	x    []float32
	file *os.File
	buf  []byte
	half []uint16
}

func newStore(n int, memory int64) (store, error) {
	if memory <= 0 || int64(n)*4 <= memory {
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
