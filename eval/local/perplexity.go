package local

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"tune/internal/hint"
	"tune/internal/infer"
	"tune/internal/pyre"
	"tune/internal/tokenizer"
)

// Reading says how a long text is cut for its perplexity.
type Reading struct {
	Context int // tokens of a piece
	// Stride is how far the next piece begins behind the last one; a token is scored in the first piece it is in. 0: pieces follow
	// each other and the second half of each is scored, as llama-perplexity does it, where each piece begins with the token that
	// begins texts, if the tokenizer adds one. Ignored when Rolling.
	Stride  int
	Rolling bool // lm-evaluation-harness' windows: every token is scored
	Pieces  int  // most pieces, 0: all
}

// Perplexity is what reading a text gave.
type Perplexity struct {
	Tokens     int     `json:"tokens"` // scored
	Pieces     int     `json:"pieces"`
	NLL        float64 `json:"nll"` // mean of a token, nats
	Perplexity float64 `json:"perplexity"`
	Error      float64 `json:"perplexity_error"` // standard error
	// Of the whole text, only when Rolling: by word (what is between white space) and byte.
	Word *float64 `json:"word_perplexity,omitempty"`
	Byte *float64 `json:"byte_perplexity,omitempty"`
	Bits *float64 `json:"bits_per_byte,omitempty"`

	Running []float64 `json:"running"` // perplexity after each piece
}

// Perplexity reads a text, without its last line break unless Rolling; special tokens in it are text. progress may be nil.
func (x *Model) Perplexity(ctx context.Context, text string, r Reading, progress func(done, total int)) (*Perplexity, error) {
	pieces, err := x.pieces(text, r)
	if err != nil {
		return nil, err
	}
	if r.Pieces > 0 && len(pieces) > r.Pieces {
		pieces = pieces[:r.Pieces]
	}
	texts := make([]infer.Text, len(pieces))
	for i, p := range pieces {
		texts[i] = infer.Text{IDs: p.ids, From: p.from}
	}
	scores, done := make([][]float32, len(pieces)), 0
	err = x.batch.Score(ctx, texts, func(i int, s infer.Score) error {
		scores[i] = s.LogProbs
		if done++; progress != nil {
			progress(done, len(pieces))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := &Perplexity{Pieces: len(pieces)}
	var sum, square float64
	for _, s := range scores {
		for _, v := range s {
			sum, square = sum-float64(v), square+float64(v)*float64(v)
		}
		p.Tokens += len(s)
		p.Running = append(p.Running, math.Exp(sum/float64(p.Tokens)))
	}
	n := float64(p.Tokens)
	p.NLL = sum / n
	p.Perplexity = math.Exp(p.NLL)
	p.Error = p.Perplexity * math.Sqrt(max(square/n-p.NLL*p.NLL, 0)/max(n-1, 1))
	if r.Rolling && (r.Pieces == 0 || len(pieces) < r.Pieces) {
		by := func(units int) *float64 { v := sum / float64(units); return &v }
		p.Word, p.Byte, p.Bits = by(pyre.Words(text)), by(len(text)), by(len(text))
		*p.Word, *p.Byte, *p.Bits = math.Exp(*p.Word), math.Exp(*p.Byte), *p.Bits/math.Ln2
	}
	return p, nil
}

func (x *Model) pieces(text string, r Reading) (out []window, err error) {
	if r.Context < 4 || r.Context > x.o.Context || r.Stride < 0 || r.Stride > r.Context || r.Pieces < 0 {
		return nil, hint.Errorf("pieces are as long as the model's context at most, and a stride no longer than a piece",
			"expected pieces of 4 to %d tokens and a stride within them, found %d and %d", x.o.Context, r.Context, r.Stride)
	}
	var ids []int32
	if r.Rolling {
		if ids, err = x.encode(text); err != nil {
			return nil, err
		}
		out = windows(ids, x.prefix, r.Context)
	} else {
		e, err := x.tok.Encode(strings.TrimSuffix(text, "\n"), tokenizer.Options{AddSpecial: true, Plain: true})
		if err != nil {
			return nil, err
		}
		if ids = e.IDs; r.Stride > 0 {
			out = strided(ids, r)
		} else {
			out = x.halves(ids, r)
		}
	}
	if len(out) == 0 {
		return nil, hint.Errorf("give more text or shorter pieces", "text: expected at least one piece of %d tokens, found %d tokens", r.Context, len(ids))
	}
	return out, nil
}

// halves are whole pieces whose second half is scored.
func (x *Model) halves(ids []int32, r Reading) (out []window) {
	for ; len(ids) >= r.Context; ids = ids[r.Context:] {
		piece := slices.Clone(ids[:r.Context])
		if len(x.front) > 0 {
			piece[0] = x.front[0]
		}
		out = append(out, window{piece, r.Context/2 + 1})
	}
	return out
}

// strided are whole pieces of which the tokens that no piece before scored are scored. The first token of a piece never is.
func strided(ids []int32, r Reading) (out []window) {
	for at, from := 0, 1; at+r.Context <= len(ids); at += r.Stride {
		out = append(out, window{ids[at : at+r.Context], from})
		from = max(r.Context-r.Stride, 1)
	}
	return out
}

// String says how the text is cut.
func (r Reading) String() string {
	switch {
	case r.Rolling:
		return fmt.Sprintf("windows of %d tokens, every token scored", r.Context)
	case r.Stride > 0:
		return fmt.Sprintf("pieces of %d tokens, %d apart, new tokens scored", r.Context, r.Stride)
	}
	return fmt.Sprintf("pieces of %d tokens, second halves scored", r.Context)
}
