package infer

import (
	"context"
	"errors"

	"tune/internal/model"
	"tune/kernels"
)

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

// Prompt is tokens to be continued.
type Prompt struct {
	IDs []int32
	Options
	More func(id int32) bool // told every token as it comes; false ends the answer behind it. nil: true
}

// Answer is a continuation.
type Answer struct {
	IDs    []int32
	Reason string // Stopped, Length, Full, or Enough
}

// Enough is the reason of an answer that its Prompt's More ended.
const Enough = "enough"

var errEnough = errors.New(Enough)

// Batch answers many requests at a time. Not for use from several goroutines.
type Batch struct{ e *Engine }

// NewBatch prepares a model, with what was trained on it or nil.
func NewBatch(m *model.Model, t model.Trained, pool *kernels.Pool) (*Batch, error) {
	e, err := New(m, t, pool)
	return &Batch{e}, err
}

// Close gives the memory back.
func (b *Batch) Close() { b.e.Close() }

// Score calls done once for every text, in any order.
func (b *Batch) Score(ctx context.Context, texts []Text, done func(i int, s Score) error) error {
	for i, t := range texts {
		if err := ctx.Err(); err != nil {
			return err
		}
		logp, hit, err := b.e.rate(t.IDs)
		if err != nil {
			return err
		}
		s := Score{LogProbs: logp[t.From-1:], Greedy: true}
		for _, h := range hit[t.From-1:] {
			s.Greedy = s.Greedy && h == 1
		}
		if err := done(i, s); err != nil {
			return err
		}
	}
	return nil
}

// Generate calls done once for every prompt, in any order.
func (b *Batch) Generate(ctx context.Context, prompts []Prompt, done func(i int, a Answer) error) error {
	for i, p := range prompts {
		ids, reason, err := b.e.Generate(ctx, p.IDs, p.Options, func(id int32) error {
			if p.More != nil && !p.More(id) {
				return errEnough
			}
			return nil
		})
		if err == errEnough {
			reason, err = Enough, nil
		}
		if err != nil {
			return err
		}
		if err := done(i, Answer{ids, reason}); err != nil {
			return err
		}
	}
	return nil
}
