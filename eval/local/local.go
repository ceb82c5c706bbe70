// Package local answers evaluation requests with a checkpoint on this machine. Requests become tokens by the rules of
// lm-evaluation-harness 0.4.13, so that its log-likelihoods and this package's are of the same tokens.
package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tune/eval/ask"
	"tune/internal/chat"
	"tune/internal/hint"
	"tune/internal/infer"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/kernels"
)

// Options of a Model.
type Options struct {
	Name     string // what the user called the model; "": the checkpoint's path
	Exact    bool   // float32 products
	Int8     bool   // integer products where weights are codes
	Context  int    // tokens the model may see; 0: as many as it was made for
	Truncate bool   // leave out the beginning of a context that is too long, and count it, instead of failing
	// Day is what chat templates that ask for the date are told; zero: 26 July 2024. The clock must not decide an answer.
	Day time.Time
}

// Model is an ask.Model. Not for use from several goroutines.
type Model struct {
	o        Options
	c        *model.Checkpoint
	t        model.Trained
	m        *model.Model
	batch    *infer.Batch
	tok      *tokenizer.Tokenizer
	front    []int32 // what the tokenizer puts before a text
	bos      string  // a text that begins with it gets nothing in front
	prefix   int32   // stands for an empty context; -1: the model has none
	stops    []int32
	template func() (*chat.Template, error)
	identity func() (string, error)
}

// New prepares a checkpoint, with what was trained on it or nil. The checkpoint and the pool stay the caller's.
func New(c *model.Checkpoint, t model.Trained, pool *kernels.Pool, o Options) (*Model, error) {
	tok, err := c.Tokenizer()
	if err != nil {
		return nil, err
	}
	x := &Model{o: o, c: c, t: t, tok: tok, prefix: -1, stops: c.Stops()}
	if x.o.Name == "" {
		x.o.Name = c.Path
	}
	if x.o.Day.IsZero() {
		x.o.Day = time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC)
	}
	if x.m, err = model.New(c, model.Options{Exact: o.Exact, Int8: o.Int8}); err != nil {
		return nil, err
	}
	if o.Context < 0 || o.Context > x.m.Positions {
		return nil, fmt.Errorf("context: expected at most %d tokens, which the model was made for, found %d", x.m.Positions, o.Context)
	}
	if x.o.Context == 0 {
		x.o.Context = x.m.Positions
	}
	if err := x.special(); err != nil {
		return nil, err
	}
	x.template = sync.OnceValues(x.parseTemplate)
	x.identity = sync.OnceValues(x.hash)
	x.batch, err = infer.NewBatch(x.m, t, pool)
	return x, err
}

// Close gives the memory back.
func (x *Model) Close() { x.batch.Close() }

// Name is what the user called the model.
func (x *Model) Name() string { return x.o.Name }

// Context is the number of tokens the model can see.
func (x *Model) Context() int { return x.o.Context }

// Render applies the model's chat template.
func (x *Model) Render(talk []ask.Message, prefill bool) (string, error) {
	t, err := x.template()
	if err != nil {
		return "", err
	}
	var c chat.Conversation
	for _, m := range talk {
		c.Messages = append(c.Messages, chat.Message{Role: m.Role, Content: m.Content})
	}
	o := chat.Options{AddGenerationPrompt: !prefill, ContinueFinal: prefill, Now: x.o.Day}
	o.BOS, o.EOS, o.Pad = x.tok.Names()
	r, err := t.Render(c, o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", x.o.Name, err)
	}
	return r.Text, nil
}

func (x *Model) parseTemplate() (*chat.Template, error) {
	t, err := x.c.Template()
	if err == nil && t == nil {
		err = hint.Errorf("evaluate it without the template, or use a model made for conversations", "%s: the model has no chat template", x.o.Name)
	}
	return t, err
}

// block is how many requests are made tokens of at a time: those of a large task are too many to hold.
const block = 4096

// Answer calls done once for every request; of each block those that score come first, then those that generate.
func (x *Model) Answer(ctx context.Context, requests []ask.Request, done func(i int, a ask.Answer) error) error {
	for from := 0; from < len(requests); from += block {
		if err := x.answer(ctx, from, requests[from:min(from+block, len(requests))], done); err != nil {
			return err
		}
	}
	return nil
}

// answer answers requests whose numbers begin with from.
func (x *Model) answer(ctx context.Context, from int, requests []ask.Request, done func(i int, a ask.Answer) error) error {
	var s scoring
	var g generating
	var problems []error
	for k, r := range requests {
		var err error
		switch i := from + k; r.Kind {
		case ask.LogLikelihood:
			err = x.loglikelihood(&s, i, r)
		case ask.Rolling:
			err = x.rolling(&s, i, r)
		case ask.Generate:
			err = x.generate(&g, i, r)
		default:
			panic("local: unknown kind of request")
		}
		if err != nil && len(problems) < mostProblems {
			problems = append(problems, fmt.Errorf("request %d: %w", from+k, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if err := s.run(ctx, x.batch, done); err != nil {
		return err
	}
	return g.run(ctx, x.batch, done)
}

// mostProblems bounds how many bad requests an error lists.
const mostProblems = 5
