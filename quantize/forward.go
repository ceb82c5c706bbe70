package quantize

import (
	"fmt"

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
