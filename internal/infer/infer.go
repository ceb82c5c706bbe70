// Package infer runs a model forward: generation with a cache of keys and values, and log-probabilities of given tokens.
//
// An Engine continues one text at a time, and a token of it reads every weight once for one row: what a person who waits wants. A
// Batch answers many requests whose answers must not depend on each other's company: what evaluations want. It never computes less
// than leastRows rows, which one text would pay for: a token of SmolLM2-135M alone takes it about three times as long.
package infer

import (
	"context"
	"fmt"
	"slices"

	"tune/internal/graph"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/kernels"
)

// Engine is a model, with an adapter or without, ready to read and write tokens. Not for use from several goroutines.
type Engine struct {
	m      *model.Model
	t      model.Trainable
	store  *graph.Store
	step   *graph.Session         // one token, with logits
	chunks map[int]*graph.Session // several tokens, without
	cache  cache
}

// chunk is the number of tokens a prompt is read in; what is left over is read in one piece.
const chunk = 256

// New prepares a model, with what was trained on it or nil; its dropout is off.
func New(m *model.Model, t model.Trained, pool *kernels.Pool) (*Engine, error) {
	e := &Engine{m: m, t: plain(t), chunks: map[int]*graph.Session{}}
	e.cache = cache{k: make([][]float32, m.L), v: make([][]float32, m.L), zeros: make([]int32, chunk)}
	g := graph.New()
	b := e.batch(g, 1)
	p, err := g.Compile(graph.Options{}, nn.Linear(m.Hidden(b, e.t), m.Exact, m.Head(b, e.t))[0])
	if err != nil {
		return nil, err
	}
	if e.store, err = newStore(p, t, pool); err != nil {
		return nil, err
	}
	e.step, err = e.store.Bind(p)
	return e, err
}

// plain is what was trained, without dropout; nil for nil.
func plain(t model.Trained) model.Trainable {
	if t == nil {
		return nil
	}
	return model.NoDropout(t)
}

// newStore makes the memory of programs, with the numbers of what was trained in it.
func newStore(p *graph.Program, t model.Trained, pool *kernels.Pool) (*graph.Store, error) {
	s, err := graph.NewStore(graph.NewHost(pool), p)
	if err == nil && t != nil {
		for _, p := range t.Params() {
			copy(s.Param(p.Name), p.Data)
		}
	}
	return s, err
}

// Close gives the memory back.
func (e *Engine) Close() { e.store.Close() }

// batch declares inputs whose attention goes through the cache.
func (e *Engine) batch(g *graph.Graph, n int) model.Batch {
	b := e.m.Batch(g, n)
	b.Attend = func(layer int, q, k, v *graph.Node, a kernels.Attention) *graph.Node {
		return g.Apply(&attend{a: a, c: &e.cache, layer: layer, n: n, limit: e.m.Positions}, q, k, v)[0]
	}
	return b
}

// read runs tokens through a session and appends them to the cache.
func (e *Engine) read(s *graph.Session, ids []int32) error {
	e.cache.room(len(ids), e.m.K*e.m.D)
	pos := s.Ints("pos")
	for i := range ids {
		if pos != nil { // absent when no layer rotates
			pos[i] = int32(len(e.cache.ids) + i)
		}
	}
	copy(s.Ints("ids"), ids)
	if err := s.RunAll(); err != nil {
		return err
	}
	e.cache.ids = append(e.cache.ids, ids...)
	return nil
}

// prefill is the session that reads n tokens at once.
func (e *Engine) prefill(n int) (*graph.Session, error) {
	if s := e.chunks[n]; s != nil {
		return s, nil
	}
	g := graph.New()
	p, err := g.Compile(graph.Options{}, e.m.Hidden(e.batch(g, n), e.t))
	if err != nil {
		return nil, err
	}
	s, err := e.store.Bind(p)
	if err == nil {
		e.chunks[n] = s
	}
	return s, err
}

// Next returns the logits (V) of what follows ids, valid until the next call. Of ids, what the previous call had in common
// is not read again.
func (e *Engine) Next(ids []int32) ([]float32, error) {
	if err := check(e.m, ids, e.m.Positions); err != nil {
		return nil, err
	}
	last := len(ids) - 1
	same := 0
	for same < min(last, len(e.cache.ids)) && e.cache.ids[same] == ids[same] {
		same++
	}
	e.cache.ids = e.cache.ids[:same]
	for rest := ids[same:last]; len(rest) > 0; {
		n := min(chunk, len(rest))
		s, err := e.prefill(n)
		if err != nil {
			return nil, err
		}
		if err := e.read(s, rest[:n]); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if err := e.read(e.step, ids[last:]); err != nil {
		return nil, err
	}
	return e.step.Output(0), nil
}

// check refuses tokens a model does not know, and more of them than most.
func check(m *model.Model, ids []int32, most int) error {
	if len(ids) == 0 {
		return fmt.Errorf("expected at least one token, found none")
	}
	if len(ids) > most {
		return hint.Errorf("shorten the text, or use a model with a longer context", "expected at most %d tokens, the model's context, found %d", most, len(ids))
	}
	for i, id := range ids {
		if id < 0 || int(id) >= m.V {
			return fmt.Errorf("token %d: expected an id below %d, found %d", i, m.V, id)
		}
	}
	return nil
}

// Options of a generation.
type Options struct {
	Sampling
	MaxTokens int     // 0: until the context is full
	Stops     []int32 // ids that end the answer; they are not part of it
}

// Reasons why an answer ended.
const (
	Stopped = "stop"    // a stop id
	Length  = "length"  // MaxTokens
	Full    = "context" // the model's context
)

// Generate continues a prompt. emit, when set, sees every token as it comes and may end the generation with an error,
// which is returned.
func (e *Engine) Generate(ctx context.Context, prompt []int32, o Options, emit func(id int32) error) (answer []int32, reason string, err error) {
	if err := o.Check(); err != nil {
		return nil, "", err
	}
	if err := check(e.m, prompt, e.m.Positions); err != nil {
		return nil, "", err
	}
	s := newSampler(o.Sampling, e.m.V)
	ids := slices.Clone(prompt)
	for _, id := range ids {
		s.seen[id] = true
	}
	for {
		if o.MaxTokens > 0 && len(answer) == o.MaxTokens {
			return answer, Length, nil
		}
		if len(ids) > e.m.Positions {
			return answer, Full, nil
		}
		if err := ctx.Err(); err != nil {
			return answer, "", err
		}
		logits, err := e.Next(ids)
		if err != nil {
			return answer, "", err
		}
		if v := logits[0]; v-v != 0 {
			return answer, "", fmt.Errorf("token %d: expected finite logits, found %g", len(ids), v)
		}
		id := s.next(logits, len(answer))
		if slices.Contains(o.Stops, id) {
			return answer, Stopped, nil
		}
		ids, answer = append(ids, id), append(answer, id)
		s.seen[id] = true
		if emit != nil {
			if err := emit(id); err != nil {
				return answer, "", err
			}
		}
	}
}
