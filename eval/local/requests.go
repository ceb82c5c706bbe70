package local

import (
	"context"
	"strings"

	"tune/eval/ask"
	"tune/internal/hint"
	"tune/internal/infer"
	"tune/internal/tokenizer"
)

// scoring is texts to be scored. A request has one or more, its windows.
type scoring struct {
	texts   []infer.Text
	request []int // of each text
	left    map[int]int
	answers map[int]ask.Answer
}

func (s *scoring) add(i int, a ask.Answer, texts ...infer.Text) {
	if s.left == nil {
		s.left, s.answers = map[int]int{}, map[int]ask.Answer{}
	}
	s.left[i], s.answers[i] = len(texts), a
	for _, t := range texts {
		s.texts, s.request = append(s.texts, t), append(s.request, i)
	}
}

// run scores the texts and puts those of a request together. An answer's sum is in the order of the text, whatever the order in
// which its windows come.
func (s *scoring) run(ctx context.Context, b *infer.Batch, done func(i int, a ask.Answer) error) error {
	if len(s.answers) == 0 {
		return nil
	}
	for i, left := range s.left {
		if left == 0 {
			if err := done(i, s.answers[i]); err != nil {
				return err
			}
		}
	}
	sums := make([]float64, len(s.texts))
	first := map[int]int{}
	for k := len(s.texts) - 1; k >= 0; k-- {
		first[s.request[k]] = k
	}
	return b.Score(ctx, s.texts, func(k int, x infer.Score) error {
		for _, v := range x.LogProbs {
			sums[k] += float64(v)
		}
		i := s.request[k]
		a := s.answers[i]
		a.Greedy = a.Greedy && x.Greedy
		s.answers[i] = a
		if s.left[i]--; s.left[i] > 0 {
			return nil
		}
		for k := first[i]; k < len(s.texts) && s.request[k] == i; k++ {
			a.LogProb += sums[k]
		}
		return done(i, a)
	})
}

func (x *Model) loglikelihood(s *scoring, i int, r ask.Request) error {
	before, after, err := x.pair(r.Context, r.Continuation)
	if err != nil {
		return err
	}
	if len(after) == 0 || len(before) == 0 {
		return hint.Errorf("a continuation begins with what separates it from the context, usually a space",
			"expected tokens of a context and of a continuation, found %d and %d for %q and %q", len(before), len(after), tail(r.Context), r.Continuation)
	}
	a := ask.Answer{Greedy: true, Read: len(before), Tokens: len(after)}
	ids := append(before[:len(before):len(before)], after...)
	if over := len(ids) - 1 - x.o.Context; over > 0 { // the last token is not read
		if err := x.cut(over, len(before)-1, len(ids)); err != nil {
			return err
		}
		ids, a.Read, a.Truncated = ids[over:], a.Read-over, over
	}
	s.add(i, a, infer.Text{IDs: ids, From: a.Read})
	return nil
}

// cut says whether over tokens of a context may be dropped, of which spare ones can.
func (x *Model) cut(over, spare, all int) error {
	switch {
	case over > spare:
		return hint.Errorf("use a model with a longer context", "expected a continuation that fits %d tokens, the model's context, found %d too many", x.o.Context, over-spare)
	case !x.o.Truncate:
		return hint.Errorf("allow truncation, or use fewer examples or a model with a longer context",
			"expected at most %d tokens, the model's context, found %d", x.o.Context, all)
	}
	return nil
}

// tail is the end of a text, for messages.
func tail(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		return "…" + string(r[len(r)-most:])
	}
	return s
}

func (x *Model) rolling(s *scoring, i int, r ask.Request) error {
	ids, err := x.encode(r.Context)
	if err != nil {
		return err
	}
	if x.prefix < 0 {
		return hint.Errorf("name its beginning- or end-of-text token in tokenizer_config.json", "%s: the tokenizer has no token to begin a text with", x.o.Name)
	}
	var texts []infer.Text
	a := ask.Answer{Greedy: true, Tokens: len(ids)}
	for _, w := range windows(ids, x.prefix, x.o.Context) {
		texts = append(texts, infer.Text{IDs: w.ids, From: w.from})
		a.Read += w.from
	}
	s.add(i, a, texts...)
	return nil
}

// generating is prompts to be continued.
type generating struct {
	prompts []infer.Prompt
	writers []*writer
	request []int
}

// writer watches an answer come.
type writer struct {
	tok    *tokenizer.Tokenizer
	until  []string
	stream *tokenizer.Stream
	text   string // special tokens included: a stop string may be one
	answer ask.Answer
}

func (x *Model) generate(g *generating, i int, r ask.Request) error {
	ids, err := x.encode(r.Context)
	if err != nil {
		return err
	}
	if len(ids) == 0 && x.prefix >= 0 {
		ids = []int32{x.prefix}
	}
	if len(ids) == 0 {
		return hint.Errorf("give some text to continue", "expected a prompt, found none")
	}
	w := &writer{tok: x.tok, stream: x.tok.Stream(false)}
	for _, s := range r.Generation.Until {
		if s != "" {
			w.until = append(w.until, s)
		}
	}
	// One token at least is written, and the last one is not read.
	if over := len(ids) + max(r.Generation.MaxTokens, 1) - 1 - x.o.Context; over > 0 {
		if err := x.cut(over, len(ids)-1, len(ids)+r.Generation.MaxTokens); err != nil {
			return err
		}
		ids, w.answer.Truncated = ids[over:], over
	}
	w.answer.Read = len(ids)
	most := x.o.Context - len(ids) + 1
	if n := r.Generation.MaxTokens; n > 0 {
		most = min(most, n)
	}
	o := infer.Options{MaxTokens: most, Stops: x.stops, Sampling: infer.Sampling{
		Temperature: r.Generation.Temperature, TopP: r.Generation.TopP, TopK: r.Generation.TopK, Seed: r.Generation.Seed}}
	if err := o.Check(); err != nil {
		return err
	}
	g.prompts, g.writers, g.request = append(g.prompts, infer.Prompt{IDs: ids, Options: o, More: w.more}), append(g.writers, w), append(g.request, i)
	return nil
}

// more takes the next token and says whether the answer goes on: until it holds a stop string.
func (w *writer) more(id int32) bool {
	old := len(w.text)
	w.text += w.stream.Add(id)
	for _, s := range w.until {
		if strings.Contains(w.text[max(0, old-len(s)+1):], s) {
			return false
		}
	}
	return true
}

// cut ends a text before the first occurrence of each stop string, one after the other.
func (w *writer) cut(text string) string {
	for _, s := range w.until {
		text, _, _ = strings.Cut(text, s)
	}
	return text
}

func (g *generating) run(ctx context.Context, b *infer.Batch, done func(i int, a ask.Answer) error) error {
	return b.Generate(ctx, g.prompts, func(k int, x infer.Answer) error {
		w := g.writers[k]
		a := w.answer
		a.Text, a.Tokens = w.cut(w.tok.Decode(x.IDs, true)), len(x.IDs)
		return done(g.request[k], a)
	})
}
