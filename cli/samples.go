package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tune/data"
	"tune/internal/infer"
	"tune/train"
)

// sample is a held-out example that the model answers before and after training.
type sample struct {
	train.Sample
	prompt, expected []int32
}

// longestAnswer bounds what is generated for the report.
const longestAnswer = 48

// samples takes the first held-out examples and answers them as the model does now.
func (j *job) samples(ctx context.Context) ([]*sample, error) {
	s := j.streams["test"]
	if s == nil {
		s = j.streams["valid"]
	}
	if s == nil || j.tokenizer == nil || j.recipe.Eval.Samples == 0 || j.recipe.Train.Scratch {
		return nil, nil
	}
	begin := s.State()
	var out []*sample
	for len(out) < j.recipe.Eval.Samples {
		p, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for d := range p.Docs {
			if x := j.sampleOf(p, int32(d)); x != nil && len(out) < j.recipe.Eval.Samples {
				out = append(out, x)
			}
		}
	}
	if err := s.Seek(begin); err != nil {
		return nil, err
	}
	return out, j.answer(ctx, out, false)
}

// sampleOf splits a document at its first supervised token; of plain text the first half is the prompt.
func (j *job) sampleOf(p *data.Pack, doc int32) *sample {
	x := &sample{}
	var ids, labels []int32
	for i, d := range p.Doc {
		if d == doc {
			ids, labels = append(ids, p.IDs[i]), append(labels, p.Labels[i])
		}
	}
	at := 0
	for at < len(labels) && labels[at] < 0 {
		at++
	}
	if at < 2 {
		at = len(ids) / 2
	}
	for i := at; i < len(labels) && labels[i] >= 0 && len(x.expected) < longestAnswer; i++ {
		x.expected = append(x.expected, labels[i])
	}
	if at+1 >= len(ids) || len(x.expected) == 0 {
		return nil
	}
	x.prompt = ids[:at+1]
	if int(doc) < len(p.Keys) {
		x.Key = p.Keys[doc]
	}
	x.Prompt, x.Expected = j.tokenizer.Decode(x.prompt, true), j.tokenizer.Decode(x.expected, true)
	return x
}

// answer lets the model continue every prompt greedily.
func (j *job) answer(ctx context.Context, samples []*sample, after bool) error {
	if len(samples) == 0 {
		return nil
	}
	en, err := infer.New(j.Model, j.Trainable, j.Pool)
	if err != nil {
		return fmt.Errorf("samples: %w", err)
	}
	defer en.Close()
	for _, x := range samples {
		ids, _, err := en.Generate(ctx, x.prompt, infer.Options{MaxTokens: longestAnswer, Stops: j.base.Stops()}, nil)
		if err != nil {
			return fmt.Errorf("samples: %w", err)
		}
		if text := j.tokenizer.Decode(ids, true); after {
			x.After = text
		} else {
			x.Before = text
		}
	}
	return nil
}
