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
	loss     string          // Config.Loss
	skip     []chat.PartKind // parts of turns that are not supervised
	noText   bool            // nor is the content
	drop     bool            // rows without a supervised token are dropped
	detail   bool            // Example.Detail is wanted
}

func newEncoder(o Options, c Config) (encoder, error) {
	tok := o.Tokenizer
	e := encoder{tok: tok, vocab: int32(o.Vocab), template: o.Template, loss: c.Loss, drop: c.Unsupervised == "drop"}
	if len(c.LossParts) > 0 {
		for kind, name := range map[chat.PartKind]string{chat.PartReasoning: "reasoning", chat.PartToolCalls: "tool_calls"} {
			if !slices.Contains(c.LossParts, name) {
				e.skip = append(e.skip, kind)
			}
		}
		e.noText = !slices.Contains(c.LossParts, "content")
	}
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
	e.options.BOS, e.options.EOS, e.options.Pad = tok.Names()
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

// What rows fail for.
var (
	errUnsupervised = hint.Errorf("data.unsupervised=drop leaves such rows out", "expected supervised tokens, found none")
	errDoubled      = hint.Errorf("no model has seen that; take the token out of the data or the template", "expected one beginning-of-text token")
	errRender       = errors.New("render")
)

// A stretch is a range of bytes of a rendered conversation that is supervised or is not.
type stretch struct {
	start, end int
	train      bool
	turn       bool // ends where a turn ends
}

// conversation renders a conversation and supervises the tokens that lie, also in part, in what the chosen turns produce.
func (e encoder) conversation(it item) (Example, error) {
	if e.template == nil {
		return Example{}, hint.Errorf("use a checkpoint with a chat template, or format: prompt or text",
			"a conversation needs a chat template, and the model has none")
	}
	c, trains, err := e.choose(it)
	if err != nil {
		return Example{}, err
	}
	r, err := e.template.Render(c, e.options)
	if err != nil {
		return Example{}, fmt.Errorf("%w: %w", errRender, err)
	}
	enc, err := e.tok.Encode(r.Text, tokenizer.Options{}) // the template alone decides about a beginning-of-text token
	if err != nil {
		return Example{}, fmt.Errorf("tokenize: %w", err)
	}
	if err := e.checkDoubled(enc.IDs, "the chat template writes it twice, or it stands in the row"); err != nil {
		return Example{}, err
	}
	stretches, err := e.stretches(c, r, trains)
	if err != nil {
		return Example{}, err
	}
	ex := Example{IDs: enc.IDs, Labels: slices.Repeat([]int32{ignored}, len(enc.IDs))}
	if e.loss == "all" {
		copy(ex.Labels, enc.IDs)
	}
	ends := ex.mark(enc.Offsets, stretches)
	if e.detail {
		ex.Detail = e.details(c, r, enc.Offsets, stretches, ends)
	}
	if ex.Supervised() == 0 {
		if e.drop {
			return Example{Unsupervised: true}, nil
		}
		return Example{}, fmt.Errorf("%w: the template renders nothing for the turns that are to be learned", errUnsupervised)
	}
	return ex, nil
}

// choose returns the conversation without the keys that say what is trained on, and for each message whether it is: 1, or 0,
// or -1 when neither the policy nor the message says so.
func (e encoder) choose(it item) (chat.Conversation, []int8, error) {
	c := *it.chat
	c.Messages = slices.Clone(c.Messages)
	trains := make([]int8, len(c.Messages))
	last, chosen := -1, 0
	for i, m := range c.Messages {
		if m.Role == "assistant" && i >= it.from {
			last = i
		}
	}
	for i := range c.Messages {
		m := &c.Messages[i]
		trains[i] = -1
		switch {
		case e.loss == "all":
		case m.Role == "assistant":
			trains[i] = 0
			if i >= it.from && (e.loss != "last" || i == last) {
				trains[i] = 1
			}
		}
		set, err := takeTrain(m)
		if err != nil {
			return c, nil, fmt.Errorf("message %d: %w", i, err)
		}
		if set >= 0 {
			trains[i] = set
		}
		if trains[i] == 1 || e.loss == "all" {
			chosen++
		}
	}
	if chosen == 0 && !e.drop {
		if last < 0 {
			return c, nil, fmt.Errorf("%w: no assistant turn", errUnsupervised)
		}
		return c, nil, fmt.Errorf("%w: train is false in all turns", errUnsupervised)
	}
	return c, trains, nil
}

// takeTrain takes the key train (true, false) or weight (0, 1) out of a message; -1: there is none.
func takeTrain(m *chat.Message) (int8, error) {
	i := slices.IndexFunc(m.Extra, func(f chat.Field) bool { return f.Name == "train" || f.Name == "weight" })
	if i < 0 {
		return -1, nil
	}
	f := m.Extra[i]
	m.Extra = slices.Delete(slices.Clone(m.Extra), i, i+1)
	switch f.Value {
	case true, int64(1), 1.0:
		return 1, nil
	case false, int64(0), 0.0:
		return 0, nil
	}
	return -1, fmt.Errorf("%s: expected true or false (1 or 0), found %v", f.Name, f.Value)
}

// stretches lists what of the text is supervised, and after it what of that is not.
func (e encoder) stretches(c chat.Conversation, r chat.Rendered, trains []int8) ([]stretch, error) {
	var list []stretch
	for _, s := range r.Spans {
		switch trains[s.Message] {
		case 1:
			list = append(list, stretch{s.Start, s.End, !e.noText, true})
		case 0:
			if e.loss == "all" {
				list = append(list, stretch{s.Start, s.End, false, true})
			}
		}
	}
	for i, m := range c.Messages { // other roles only when their message says so
		if m.Role == "assistant" || trains[i] < 0 {
			continue
		}
		k := slices.IndexFunc(r.Turns, func(t chat.Turn) bool { return t.Message == i })
		if k < 0 {
			return nil, fmt.Errorf("message %d: train is set, but cannot tell what the template writes for this %s turn", i, m.Role)
		}
		list = append(list, stretch{r.Turns[k].Start, r.Turns[k].End, trains[i] == 1, false})
	}
	if len(e.skip) == 0 && !e.noText || len(r.Spans) == 0 {
		return list, nil
	}
	parts, err := e.template.Parts(c, e.options, r)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if trains[p.Message] == 0 || trains[p.Message] < 0 && e.loss != "all" {
			continue
		}
		x := stretch{p.Start, p.End, !slices.Contains(e.skip, p.Kind), false}
		if x.train && p.Kind == chat.PartToolCalls { // what closes the turn goes with the calls, which come last
			i := slices.IndexFunc(r.Spans, func(s chat.Span) bool { return s.Message == p.Message })
			x.end, x.turn = r.Spans[i].End, true
		}
		list = append(list, x)
	}
	return list, nil
}

// mark sets the labels of the tokens that lie, also in part, in stretches; later ones overrule earlier ones. It returns the index of
// the last token of each supervised stretch that ends a turn.
func (ex *Example) mark(offsets [][2]int32, list []stretch) (ends []int) {
	for _, s := range list {
		// offsets ascend, up to tokens that share a character
		i, _ := slices.BinarySearchFunc(offsets, s.start, func(o [2]int32, at int) int { return int(o[1]) - 1 - at })
		for i > 0 && int(offsets[i-1][1]) > s.start {
			i--
		}
		end := -1
		for ; i < len(offsets) && int(offsets[i][0]) < s.end; i++ {
			if int(offsets[i][1]) <= s.start && int(offsets[i][0]) < s.start {
				continue
			}
			if !s.train {
				ex.Labels[i] = ignored
				continue
			}
			ex.Labels[i], end = ex.IDs[i], i
		}
		if end >= 0 && s.turn {
			ends = append(ends, end)
		}
	}
	return ends
}

// checkDoubled is an error when a text begins with two beginning-of-text tokens.
func (e encoder) checkDoubled(ids []int32, why string) error {
	if e.tok == nil {
		return nil
	}
	if bos, ok := e.tok.BOS(); ok && len(ids) > 1 && ids[0] == bos && ids[1] == bos {
		return fmt.Errorf("%w %s, found two: %s", errDoubled, e.tok.Token(bos), why)
	}
	return nil
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
	if err := e.checkDoubled(enc.IDs, "the text begins with it, and the tokenizer adds it"); err != nil {
		return Example{}, err
	}
	ex := Example{IDs: enc.IDs, Labels: slices.Clone(enc.IDs)}
	split := 0
	for i, o := range enc.Offsets {
		if int(o[1]) <= prompt && int(o[0]) < max(prompt, 1) && prompt > 0 {
			ex.Labels[i] = ignored
			split = i + 1
		}
	}
	if eos, ok := e.tok.EOS(); ok && (len(ex.IDs) == 0 || ex.IDs[len(ex.IDs)-1] != eos) {
		ex.IDs, ex.Labels = append(ex.IDs, eos), append(ex.Labels, eos)
	}
	if e.detail {
		ex.Detail = textDetail(len(ex.IDs), split, prompt > 0)
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
	if err := e.checkDoubled(ids, "the row has it twice"); err != nil {
		return Example{}, err
	}
	ex := Example{IDs: ids, Labels: labels}
	if len(ids) > 0 && ex.Supervised() == 0 {
		if e.drop {
			return Example{Unsupervised: true}, nil
		}
		return Example{}, fmt.Errorf("%w: all labels are -100", errUnsupervised)
	}
	return ex, nil
}

// fit applies the overlength policy to an example and counts what it did.
func fit(ex Example, seq int, policy string, isText bool, st *Stats) ([]Example, error) {
	n := len(ex.IDs)
	if ex.Unsupervised {
		st.Untaught++
		return nil, nil
	}
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
