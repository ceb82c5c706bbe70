package quantize

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tune/internal/hint"
	"tune/kernels"
)

// Documents are held-out documents one after another, as a training pack has them. All arrays are (N).
type Documents struct {
	IDs, Pos, Start []int32 // Start is where the token's document begins
	Labels          []int32 // what each token is to predict, -1: nothing
}

// Answers is how well a model predicts the labels of documents. A document is answered when every one of its labels is the
// likeliest token: its answer is then the one that the model writes when it always takes the likeliest token.
type Answers struct {
	Documents int     `json:"documents"` // with labels
	Exact     float64 `json:"exact"`     // share of them that are answered
	Tokens    int     `json:"tokens"`    // labels
	Accuracy  float64 `json:"accuracy"`  // share of them that are the likeliest token
	Loss      float64 `json:"loss"`      // nats for a label
}

// CompareAnswers runs documents through a reference and candidates, at least one. next yields packs of at most n tokens each, then io.EOF. The
// reference's answers come first; a candidate's divergence is that of the tokens with labels.
func CompareAnswers(ctx context.Context, ref Side, cands []Side, n int, next func() (*Documents, error), pool *kernels.Pool) ([]Answers, []*Divergence, error) {
	c := &answerRun{n: n, pool: pool, preds: make([][]prediction, len(cands))}
	var closeAll func()
	var err error
	c.sides, closeAll, err = openForwards(ref, cands, n, pool)
	defer closeAll()
	if err != nil {
		return nil, nil, err
	}
	c.answers = make([]Answers, len(c.sides))
	var open Documents
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		d, err := next()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("held-out data: %w", err)
		}
		if len(open.IDs) > 0 && (err != nil || len(open.IDs)+len(d.IDs) > n) {
			if err := c.run(open); err != nil {
				return nil, nil, err
			}
			open = Documents{}
		}
		if err != nil {
			break
		}
		open.add(d)
	}
	return c.finish()
}

// add puts documents behind those that are there.
func (d *Documents) add(o *Documents) {
	at := int32(len(d.IDs))
	d.IDs, d.Pos, d.Labels = append(d.IDs, o.IDs...), append(d.Pos, o.Pos...), append(d.Labels, o.Labels...)
	for _, s := range o.Start {
		d.Start = append(d.Start, at+s)
	}
}

// answerRun is a CompareAnswers under way; the reference is the first of its sides.
type answerRun struct {
	n       int
	pool    *kernels.Pool
	sides   []*forward
	answers []Answers
	preds   [][]prediction // by candidate
}

// run compares at most n tokens.
func (c *answerRun) run(d Documents) error {
	for i := len(d.IDs); i < c.n; i++ { // documents of one token fill the rest
		d.IDs, d.Pos, d.Start, d.Labels = append(d.IDs, 0), append(d.Pos, 0), append(d.Start, int32(i)), append(d.Labels, -1)
	}
	if len(d.IDs) > c.n {
		return fmt.Errorf("expected packs of at most %d tokens, found %d", c.n, len(d.IDs))
	}
	var rows, docs, targets []int32
	for i, l := range d.Labels {
		if l >= 0 {
			rows, docs, targets = append(rows, int32(i)), append(docs, d.Start[i]), append(targets, l)
		}
	}
	hidden := make([][]float32, len(c.sides))
	for k, f := range c.sides {
		if err := f.runPacked(d.IDs, d.Pos, d.Start); err != nil {
			return err
		}
		h := f.body.Output(0)
		for _, r := range rows {
			hidden[k] = append(hidden[k], h[int(r)*f.m.C:(int(r)+1)*f.m.C]...)
		}
	}
	got, err := predict(c.sides, hidden, targets, c.pool)
	if err != nil {
		return err
	}
	c.answers[0].add(got[0], 0, docs)
	for k := range got {
		c.answers[k+1].add(got[k], 1, docs)
		c.preds[k] = append(c.preds[k], got[k]...)
	}
	return nil
}

// add counts what a side (0 the reference, 1 the candidate) predicts of documents: right ones, and documents that have right ones only.
func (a *Answers) add(got []prediction, side int, docs []int32) {
	right := true
	for i, p := range got {
		a.Tokens++
		a.Loss += p.nll[side]
		if p.hit[side] {
			a.Accuracy++
		} else {
			right = false
		}
		if i+1 == len(docs) || docs[i+1] != docs[i] {
			a.Documents++
			if right {
				a.Exact++
			}
			right = true
		}
	}
}

func (c *answerRun) finish() ([]Answers, []*Divergence, error) {
	for k := range c.answers {
		a := &c.answers[k]
		if a.Tokens == 0 {
			return nil, nil, hint.Errorf("look at it with `tune data stats`", "held-out data: expected tokens with labels, found none")
		}
		a.Exact, a.Accuracy, a.Loss = a.Exact/float64(a.Documents), a.Accuracy/float64(a.Tokens), a.Loss/float64(a.Tokens)
	}
	var divs []*Divergence
	for _, p := range c.preds {
		divs = append(divs, summarize(p))
	}
	return c.answers, divs, nil
}
