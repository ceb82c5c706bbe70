package train

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tune/data"
)

// measure is a Quality under construction, with the answers it met.
type measure struct {
	Quality
	right   int64
	exact   int
	nats    float64
	answers map[string]int // how often each sequence of labels occurred
}

// evaluate reads held-out packs from a place on, at most limit of them (0: all), and measures them.
func (e *engine) evaluate(ctx context.Context, held Stream, from data.State, limit int) (*measure, error) {
	if err := held.Seek(from); err != nil {
		return nil, fmt.Errorf("held-out data: %w", err)
	}
	m := &measure{answers: map[string]int{}}
	var packs []*data.Pack
	tokens := 0
	flush := func() error {
		if len(packs) == 0 {
			return nil
		}
		b := join(packs, roundUp(tokens))
		logp, hit, err := e.score(b)
		if err != nil {
			return err
		}
		m.add(b, logp, hit)
		packs, tokens = nil, 0
		return nil
	}
	for n := 0; limit == 0 || n < limit; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := held.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("held-out data: %w", err)
		}
		if tokens+len(p.IDs) > e.micro {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		packs, tokens = append(packs, p), tokens+len(p.IDs)
	}
	if err := flush(); err != nil {
		return nil, err
	}
	if m.Supervised == 0 {
		return nil, fmt.Errorf("held-out data: expected supervised tokens, found none")
	}
	m.Loss, m.Accuracy = m.nats/float64(m.Supervised), float64(m.right)/float64(m.Supervised)
	m.Exact = float64(m.exact) / float64(m.Examples)
	return m, nil
}

// add counts the tokens and documents of a batch. A document is right when each of its supervised tokens is the arg max.
func (m *measure) add(b *MicroBatch, logp, hit []float32) {
	at := 0
	for _, p := range b.Packs {
		answer, right, doc := []byte(nil), true, int32(-1)
		end := func() {
			if answer != nil {
				m.Examples++
				m.answers[string(answer)]++
				if right {
					m.exact++
				}
			}
			answer, right = nil, true
		}
		for i, l := range p.Labels {
			if p.Doc[i] != doc {
				end()
				doc = p.Doc[i]
			}
			if l < 0 {
				continue
			}
			answer = append(answer, byte(l), byte(l>>8), byte(l>>16), byte(l>>24))
			m.Supervised++
			m.nats -= float64(logp[at+i])
			if hit[at+i] > 0 {
				m.right++
			} else {
				right = false
			}
		}
		end()
		at += len(p.IDs)
	}
}

// baseline is the share of examples that the most frequent answer gets right.
func (m *measure) baseline() float64 {
	most := 0
	for _, n := range m.answers {
		most = max(most, n)
	}
	return float64(most) / float64(m.Examples)
}
