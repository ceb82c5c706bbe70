package data

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tune/internal/chat"
	"tune/internal/hint"
	"tune/internal/tokenizer"
)

// ignored is the label of a position at which nothing is supervised.
const ignored = -100

// encoder turns items into tokens with labels.
type encoder struct {
	tok      *tokenizer.Tokenizer // nil: only token ids can be read
	vocab    int32
	template *chat.Template
	options  chat.Options
	all      bool // every token of a conversation is supervised
}

func newEncoder(o Options, c Config) (encoder, error) {
	tok := o.Tokenizer
	e := encoder{tok: tok, vocab: int32(o.Vocab), template: o.Template, all: c.Loss == "all"}
	e.options = chat.Options{Spans: true}
	if c.Date != "" {
		var err error
		if e.options.Now, err = time.Parse(time.DateOnly, c.Date); err != nil {
			return e, fmt.Errorf("data.date: %w", err)
		}
	}
	if tok == nil {
		return e, nil
	}
	if e.vocab == 0 {
		e.vocab = int32(tok.VocabSize())
	}
	if id, ok := tok.BOS(); ok {
		e.options.BOS = tok.Token(id)
	}
	if id, ok := tok.EOS(); ok {
		e.options.EOS = tok.Token(id)
	}
	if id, ok := tok.Pad(); ok {
		e.options.Pad = tok.Token(id)
	}
	return e, nil
}

// encode returns the tokens of an item. An example without any token is an empty row.
func (e encoder) encode(it item) (Example, error) {
	switch {
	case it.ids == nil && e.tok == nil:
		return Example{}, hint.Errorf("copy tokenizer.json into the model's folder, or use rows of token ids (format: tokens)",
			"text needs a tokenizer, and the model has none")
	case it.chat != nil:
		return e.conversation(it)
	case it.text != nil:
		return e.text(*it.text, it.prompt)
	}
	return e.tokens(it.ids, it.labels)
}

// conversation renders a conversation and supervises the tokens that lie, also in part, in what assistant turns produce.
func (e encoder) conversation(it item) (Example, error) {
	if e.template == nil {
		return Example{}, hint.Errorf("use a checkpoint with a chat template, or format: prompt or text",
			"a conversation needs a chat template, and the model has none")
	}
	turns := 0
	for _, m := range it.chat.Messages[it.from:] {
		if m.Role == "assistant" {
			turns++
		}
	}
	if turns == 0 {
		return Example{}, hint.Errorf("drop such rows or set loss: all", "expected an assistant turn, found none")
	}
	r, err := e.template.Render(*it.chat, e.options)
	if err != nil {
		return Example{}, fmt.Errorf("render: %w", err)
	}
	enc, err := e.tok.Encode(r.Text, tokenizer.Options{})
	if err != nil {
		return Example{}, fmt.Errorf("tokenize: %w", err)
	}
	ex := Example{IDs: enc.IDs, Labels: slices.Repeat([]int32{ignored}, len(enc.IDs))}
	if e.all {
		copy(ex.Labels, enc.IDs)
		return ex, nil
	}
	next := 0
	for _, s := range r.Spans {
		if s.Message < it.from {
			continue
		}
		for next > 0 && enc.Offsets[next-1][1] > s.Start { // spans of a token that ends one turn and begins another
			next--
		}
		for ; next < len(enc.IDs) && enc.Offsets[next][0] < s.End; next++ {
			if o := enc.Offsets[next]; o[1] > s.Start || o[0] >= s.Start {
				ex.Labels[next] = enc.IDs[next]
			}
		}
	}
	if ex.Supervised() == 0 {
		return Example{}, errors.New("expected supervised tokens, found none: the template renders nothing for the assistant's turns")
	}
	return ex, nil
}

// text tokenizes a document and ends it with the end-of-text token. Its first prompt bytes are not supervised.
func (e encoder) text(text string, prompt int) (Example, error) {
	if text == "" {
		return Example{}, nil
	}
	enc, err := e.tok.Encode(text, tokenizer.Options{AddSpecial: true})
	if err != nil {
		return Example{}, fmt.Errorf("tokenize: %w", err)
	}
	ex := Example{IDs: enc.IDs, Labels: slices.Clone(enc.IDs)}
	for i, o := range enc.Offsets {
		if o[1] <= prompt && o[0] < max(prompt, 1) && prompt > 0 {
			ex.Labels[i] = ignored
		}
	}
	if eos, ok := e.tok.EOS(); ok && (len(ex.IDs) == 0 || ex.IDs[len(ex.IDs)-1] != eos) {
		ex.IDs, ex.Labels = append(ex.IDs, eos), append(ex.Labels, eos)
	}
	return ex, nil
}

// tokens checks ids that were tokenized elsewhere.
func (e encoder) tokens(ids, labels []int32) (Example, error) {
	vocab := e.vocab
	for i, id := range ids {
		if id < 0 || id >= vocab {
			return Example{}, fmt.Errorf("position %d: expected a token id below %d, found %d", i, vocab, id)
		}
	}
	if labels == nil {
		labels = slices.Clone(ids)
	}
	for i, l := range labels {
		if l != ignored && (l < 0 || l >= vocab) {
			return Example{}, fmt.Errorf("position %d: expected label -100 or a token id below %d, found %d", i, vocab, l)
		}
	}
	ex := Example{IDs: ids, Labels: labels}
	if len(ids) > 0 && ex.Supervised() == 0 {
		return Example{}, errors.New("expected a label that is not -100, found none")
	}
	return ex, nil
}

// fit applies the overlength policy to an example and counts what it did.
func fit(ex Example, seq int, policy string, isText bool, st *Stats) ([]Example, error) {
	n := len(ex.IDs)
	if n == 0 {
		st.Empty++
		return nil, nil
	}
	if n <= seq {
		return []Example{ex}, nil
	}
	if isText && policy == "error" {
		policy = "split" // a long text loses nothing but its context at the cuts
	}
	switch policy {
	case "drop":
		st.Dropped++
		st.Lost += n
		return nil, nil
	case "truncate":
		st.Truncated++
		st.Lost += n - seq
		ex.IDs, ex.Labels = ex.IDs[:seq], ex.Labels[:seq]
		if ex.Supervised() == 0 {
			st.Truncated--
			st.Dropped++
			st.Lost += seq
			return nil, nil
		}
		return []Example{ex}, nil
	case "split":
		var out []Example
		for at := 0; at < n; at += seq {
			to := min(at+seq, n)
			part := Example{IDs: ex.IDs[at:to], Labels: ex.Labels[at:to], Key: ex.Key}
			if part.Supervised() == 0 {
				st.Lost += to - at
				continue
			}
			out = append(out, part)
		}
		st.Split++
		return out, nil
	}
	return nil, hint.Errorf("raise data.seq, or set data.overlength to truncate, drop or split",
		"expected at most %d tokens (seq), found %d", seq, n)
}
