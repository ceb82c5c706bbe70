package infer

import (
	"context"
	"fmt"
	"slices"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/kernels"
)

// Batch answers many requests at a time. What several begin with is read once. The answer to one depends on its own tokens alone,
// to the last bit: not on what else is asked, nor in what order, nor on the number of workers. (Products of few rows add up in
// another order, therefore a pass never has less than leastRows.) Not for use from several goroutines.
type Batch struct {
	m      *model.Model
	t      model.Trainable
	pool   *kernels.Pool
	store  *graph.Store
	pages  *pages
	most   int // pages that answers under way may take together
	panel  int // rows of a product that are multiplied together
	many   int // most sequences that are continued together
	pass   pass
	steps  map[int]*graph.Session // rows -> one token of each sequence, with logits
	passes map[[2]int]*graph.Session
	heads  map[int]*graph.Session
}

const (
	leastRows = 12  // more than the eight rows up to which products go another way
	passRows  = 512 // tokens of a full pass
)

// cacheBytes bounds the keys and values of answers that grow together; of a large model they may take half of what its weights do.
const cacheBytes = 384 << 20

// passSizes are the rows passes are compiled for.
var passSizes = []int{leastRows, 16, 24, 32, 48, 96, 192, 288, 384, passRows}

// NewBatch prepares a model, with what was trained on it or nil; its dropout is off.
func NewBatch(m *model.Model, t model.Trained, pool *kernels.Pool) (*Batch, error) {
	b := &Batch{m: m, t: plain(t), pool: pool, steps: map[int]*graph.Session{}, passes: map[[2]int]*graph.Session{}, heads: map[int]*graph.Session{}}
	b.pages = newPages(m.L, m.K*m.D, kernels.Attention{Exact: m.Exact}.KeepsHalves())
	b.most = int(max(cacheBytes, m.WeightBytes()/2)) / b.pages.bytes()
	b.panel = kernels.PanelRows(m.Integers())
	b.many = 3 * b.panel
	few := b.stepRows(1)
	p, err := b.stepProgram(few)
	if err != nil {
		return nil, err
	}
	if b.store, err = newStore(p, t, pool); err != nil {
		return nil, err
	}
	b.steps[few], err = b.store.Bind(p)
	return b, err
}

// Close gives the memory back.
func (b *Batch) Close() { b.store.Close() }

// input declares n rows whose attention goes over pages, at most so many in a pass, 0 for one token of each of several sequences.
func (b *Batch) input(g *graph.Graph, n, pages int) model.Batch {
	in := b.m.Batch(g, n)
	in.Attend = func(layer int, q, k, v *graph.Node, a kernels.Attention) *graph.Node {
		return g.Apply(&attendPaged{a: a, p: b.pages, pass: &b.pass, layer: layer, n: n, pages: pages}, q, k, v)[0]
	}
	return in
}

// stepProgram reads one token of each of n sequences and gives the logits of what follows (n, V).
func (b *Batch) stepProgram(n int) (*graph.Program, error) {
	g := graph.New()
	in := b.input(g, n, 0)
	return g.Compile(graph.Options{}, nn.Linear(b.m.Hidden(in, b.t), b.m.Exact, b.m.Head(in, b.t))[0])
}

// step is the session that continues n sequences.
func (b *Batch) step(n int) (*graph.Session, error) {
	return bind(b, b.steps, b.stepRows(n), b.stepProgram)
}

// stepRows is the rows of the program that continues n sequences: whole panels.
func (b *Batch) stepRows(n int) int {
	return (max(n, leastRows) + b.panel - 1) / b.panel * b.panel
}

// bind returns the session under a key, made at the first call.
func bind[K comparable](b *Batch, have map[K]*graph.Session, key K, program func(K) (*graph.Program, error)) (*graph.Session, error) {
	if s := have[key]; s != nil {
		return s, nil
	}
	p, err := program(key)
	if err != nil {
		return nil, err
	}
	s, err := b.store.Bind(p)
	if err == nil {
		have[key] = s
	}
	return s, err
}

// read runs a pass: tokens at their positions, b.pass saying what each sees. It returns the hidden states (rows, C), valid until
// another session runs.
func (b *Batch) read(ids, pos []int32, pages int) ([]float32, error) {
	size := sizeFor(len(ids))
	const round = 64 // so that few programs do for many requests
	s, err := bind(b, b.passes, [2]int{size, (pages + round - 1) / round * round}, func(key [2]int) (*graph.Program, error) {
		g := graph.New()
		return g.Compile(graph.Options{}, b.m.Hidden(b.input(g, key[0], key[1]), b.t))
	})
	if err != nil {
		return nil, err
	}
	if err := b.feed(s, ids, pos); err != nil {
		return nil, err
	}
	return s.Output(0), nil
}

// feed runs a session on tokens; rows that are left over read token 0 and are seen by nobody.
func (b *Batch) feed(s *graph.Session, ids, pos []int32) error {
	b.pass.n = len(ids)
	for name, from := range map[string][]int32{"ids": ids, "pos": pos} {
		if in := s.Ints(name); in != nil { // pos is absent when no layer rotates
			clear(in[copy(in, from):])
		}
	}
	return s.RunAll()
}

// headBytes bounds the logits in memory.
const headBytes = 24 << 20

// headRows are the rows whose logits are computed at once.
func (b *Batch) headRows(want int) int {
	most := min(max(headBytes/4/b.m.V, leastRows), 96)
	return min(sizeFor(min(want, most)), most)
}

// sizeFor is the rows of the smallest program that takes so many.
func sizeFor(rows int) int {
	return passSizes[slices.IndexFunc(passSizes, func(n int) bool { return n >= rows })]
}

// logits takes hidden states (rows, C) to logits, some rows at a time: each is called with the first of them and their logits, which
// are valid during the call.
func (b *Batch) logits(hidden []float32, each func(row int, z []float32) error) error {
	c, rows := b.m.C, len(hidden)/b.m.C
	for row := 0; row < rows; {
		size := b.headRows(rows - row)
		s, err := bind(b, b.heads, size, func(n int) (*graph.Program, error) {
			g := graph.New()
			in := b.m.Batch(g, n)
			return g.Compile(graph.Options{}, nn.Linear(g.Input("x", graph.Shape{n, c}), b.m.Exact, b.m.Head(in, b.t))[0])
		})
		if err != nil {
			return err
		}
		n := min(size, rows-row)
		x := s.Floats("x")
		clear(x[copy(x, hidden[row*c:(row+n)*c]):])
		if err := s.RunAll(); err != nil {
			return err
		}
		if err := each(row, s.Output(0)[:n*b.m.V]); err != nil {
			return err
		}
		row += n
	}
	return nil
}

// Text is tokens of which those from From on are scored, each given all before it. From is at least 1.
type Text struct {
	IDs  []int32
	From int
}

// Score is what a model thinks of a Text.
type Score struct {
	LogProbs []float32 // nats, of the scored tokens
	Greedy   bool      // each of them is the likeliest at its place
}

// Score calls done once for every text, in any order.
func (b *Batch) Score(ctx context.Context, texts []Text, done func(i int, s Score) error) error {
	for i, t := range texts {
		err := check(b.m, t.IDs, b.m.Positions+1) // the last one is not read
		if err == nil && (t.From < 1 || t.From >= len(t.IDs)) {
			err = fmt.Errorf("expected tokens to score and one before them, found %d tokens, scored from %d on", len(t.IDs), t.From)
		}
		if err != nil && len(texts) > 1 {
			err = fmt.Errorf("text %d: %w", i, err)
		}
		if err != nil {
			return err
		}
	}
	return newScoring(b, texts, done).run(ctx)
}
