package local

import (
	"slices"
	"strings"

	"tune/internal/pyre"
	"tune/internal/tokenizer"
)

// special finds what the tokenizer puts in front of a text, and the token that stands for an empty context: that which begins a
// text, else that which ends one.
func (x *Model) special() error {
	const probe = "a"
	with, err := x.tok.Encode(probe, tokenizer.Options{AddSpecial: true})
	if err != nil {
		return err
	}
	plain, err := x.tok.Encode(probe, tokenizer.Options{})
	if err != nil {
		return err
	}
	for n := range with.IDs {
		if len(plain.IDs) > 0 && with.IDs[n] == plain.IDs[0] {
			x.front = with.IDs[:n]
			break
		}
	}
	if id, ok := x.tok.EOS(); ok {
		x.prefix = id
	}
	if id, ok := x.tok.BOS(); ok {
		x.prefix, x.bos = id, x.tok.Token(id)
	}
	return nil
}

// encode is a text as the model reads it. A text that begins with the token of beginnings, as chat templates write it, gets no
// other one.
func (x *Model) encode(text string) ([]int32, error) {
	ids, err := x.plain(text)
	if err == nil && (x.bos == "" || !strings.HasPrefix(text, x.bos)) {
		ids = slices.Concat(x.front, ids)
	}
	return ids, err
}

// plain is a text without anything in front.
func (x *Model) plain(text string) ([]int32, error) {
	e, err := x.tok.Encode(text, tokenizer.Options{})
	return e.IDs, err
}

// pair splits the tokens of a context and its continuation as lm-evaluation-harness does (TemplateLM._encode_pair): white space at
// the end of the context belongs to the continuation, whose tokens are those of the whole text behind as many as the context
// alone has.
func (x *Model) pair(context, continuation string) (before, after []int32, err error) {
	if context == "" && x.prefix >= 0 {
		if after, err = x.plain(continuation); err != nil {
			return nil, nil, err
		}
		if len(after) > 0 && after[0] == x.prefix {
			return after[:1], after[1:], nil
		}
		return []int32{x.prefix}, after, nil
	}
	head := strings.TrimRightFunc(context, pyre.IsSpace)
	if before, err = x.encode(head); err != nil {
		return nil, nil, err
	}
	whole, err := x.encode(context + continuation)
	if err != nil {
		return nil, nil, err
	}
	return before, whole[min(len(before), len(whole)):], nil
}

// window is a piece of a text that is read at once: tokens of which those from from on are scored.
type window struct {
	ids  []int32
	from int
}

// windows cuts a text for reading it whole (lm-evaluation-harness' get_rolling_token_windows with one token of context, made
// disjoint): each token is scored once, with the prefix before the first; windows are full, and the last one reaches back as far
// as the model can see.
func windows(ids []int32, prefix int32, context int) (out []window) {
	n := len(ids)
	if n == 0 {
		return nil
	}
	first := min(context, n)
	out = append(out, window{slices.Concat([]int32{prefix}, ids[:first]), 1})
	for done := first; done < n; {
		count := min(n-done, context)
		end := done + count
		begin := end - context - 1
		out = append(out, window{ids[begin:end], done - begin})
		done = end
	}
	return out
}
