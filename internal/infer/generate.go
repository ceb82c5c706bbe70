package infer

import (
	"context"
	"fmt"
	"slices"

	"tune/kernels"
)

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

// sequence is a prompt that is being continued.
type sequence struct {
	prompt  int
	sampler *sampler
	pages   []int32
	room    int // pages it may come to need
	n       int // tokens read
	last    int32
	answer  []int32
}

// generation is the continuing of some prompts.
type generation struct {
	b       *Batch
	prompts []Prompt
	done    func(i int, a Answer) error
	waiting []int // in the order of their tokens, so that neighbours begin alike
	live    []*sequence
	room    int            // pages all of them may come to need
	pages   []int32        // of the prompt read last
	before  []int32        // its tokens
	all     []kernels.Page // every page there is, by its number
}

// Generate calls done once for every prompt, in any order. Up to b.many answers grow together, as many as there is
// memory for, a token of each at a time; where one ends, the next begins.
func (b *Batch) Generate(ctx context.Context, prompts []Prompt, done func(i int, a Answer) error) error {
	g := &generation{b: b, prompts: prompts, done: done}
	for i, p := range prompts {
		if err := p.Check(); err != nil {
			return fmt.Errorf("prompt %d: %w", i, err)
		}
		if err := check(b.m, p.IDs, b.m.Positions); err != nil {
			return fmt.Errorf("prompt %d: %w", i, err)
		}
		g.waiting = append(g.waiting, i)
	}
	slices.SortStableFunc(g.waiting, func(i, j int) int { return slices.Compare(prompts[i].IDs, prompts[j].IDs) })
	defer func() {
		b.pages.drop(g.pages)
		for _, s := range g.live {
			b.pages.drop(s.pages)
		}
	}()
	for len(g.waiting) > 0 || len(g.live) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(g.waiting) > 0 && (len(g.live) == 0 || len(g.live) < b.many && g.room+g.need(g.waiting[0]) <= b.most) {
			if err := g.admit(); err != nil {
				return err
			}
			continue
		}
		if err := g.step(); err != nil {
			return err
		}
	}
	return nil
}

// same is how many tokens of a prompt the one before it began with. The last one is read in any case: its logits are wanted.
func (g *generation) same(prompt int) (n int) {
	ids := g.prompts[prompt].IDs
	for n < min(len(ids)-1, len(g.before)) && ids[n] == g.before[n] {
		n++
	}
	return n
}

// need is how many pages of its own a prompt and its answer may take.
func (g *generation) need(prompt int) int {
	p, most := &g.prompts[prompt], g.b.m.Positions
	if p.MaxTokens > 0 {
		most = min(most, len(p.IDs)+p.MaxTokens)
	}
	return (most+kernels.PageRows-1)/kernels.PageRows - g.same(prompt)/kernels.PageRows
}

// admit reads the next prompt and writes the first token of its answer.
func (g *generation) admit() error {
	b, i := g.b, g.waiting[0]
	g.waiting = g.waiting[1:]
	ids, same := g.prompts[i].IDs, g.same(i)
	s := &sequence{prompt: i, sampler: newSampler(g.prompts[i].Sampling, b.m.V), pages: b.pages.share(g.pages, same), room: g.need(i), n: same}
	g.live, g.room = append(g.live, s), g.room+s.room
	for _, id := range ids {
		s.sampler.seen[id] = true
	}
	b.pages.drop(g.pages)
	g.pages, g.before = nil, nil
	var hidden []float32
	for s.n < len(ids) {
		n := min(passRows, len(ids)-s.n)
		var err error
		if hidden, err = g.read(s, ids[s.n:s.n+n]); err != nil {
			return err
		}
		hidden = hidden[(n-1)*b.m.C : n*b.m.C]
	}
	g.pages, g.before = b.pages.share(s.pages, s.n), ids
	return b.logits(slices.Clone(hidden), func(_ int, z []float32) error {
		ended, err := g.write(s, z)
		if ended {
			g.live = g.live[:len(g.live)-1]
		}
		return err
	})
}

// read takes the next tokens of a sequence in.
func (g *generation) read(s *sequence, ids []int32) ([]float32, error) {
	b, first, end := g.b, s.n, s.n+len(ids)
	for len(s.pages)*kernels.PageRows < end {
		s.pages = append(s.pages, b.pages.take())
	}
	p := &b.pass
	p.paged.Pages, p.paged.Spans = p.paged.Pages[:0], p.paged.Spans[:0]
	span, pos := kernels.Span{N: len(ids), First: first}, make([]int32, len(ids))
	for j := 0; j*kernels.PageRows < end; j++ {
		lo, hi := j*kernels.PageRows, min((j+1)*kernels.PageRows, end)
		var page kernels.Page
		if old := min(hi, first); old > lo {
			page = append(page, kernels.Rows{Source: s.pages[j], N: int32(old - lo)})
		}
		if from := max(lo, first); from < hi {
			page = append(page, kernels.Rows{At: int32(from - first), N: int32(hi - from)})
		}
		p.paged.Pages, span.Pages = append(p.paged.Pages, page), append(span.Pages, int32(j))
	}
	for i := range pos {
		pos[i] = int32(first + i)
	}
	p.paged.Spans = append(p.paged.Spans, span)
	p.kept = keep(p.kept[:0], 0, len(ids), first, s.pages)
	s.n = end
	return b.read(ids, pos, len(p.paged.Pages))
}

// step adds a token to every answer.
func (g *generation) step() error {
	b, size := g.b, g.b.many
	if len(g.live) <= b.few {
		size = b.few
	}
	session, err := b.step(size)
	if err != nil {
		return err
	}
	p := &b.pass
	p.paged.Pages, p.paged.Spans, p.kept = p.paged.Pages[:0], p.paged.Spans[:0], p.kept[:0]
	var ids, pos []int32
	for row, s := range g.live {
		if len(s.pages)*kernels.PageRows == s.n {
			s.pages = append(s.pages, b.pages.take())
		}
		p.kept = keep(p.kept, row, 1, s.n, s.pages)
		p.paged.Spans = append(p.paged.Spans, kernels.Span{Row: row, N: 1, First: s.n, Pages: s.pages})
		ids, pos = append(ids, s.last), append(pos, int32(s.n))
		s.n++
	}
	for id := len(g.all); id < len(b.pages.users); id++ {
		g.all = append(g.all, kernels.Page{{Source: int32(id), N: kernels.PageRows}})
	}
	p.paged.Pages = append(p.paged.Pages, g.all...)
	if err := b.feed(session, ids, pos); err != nil {
		return err
	}
	z, v := session.Output(0), b.m.V
	left := g.live[:0]
	for row, s := range g.live {
		ended, err := g.write(s, z[row*v:(row+1)*v])
		if err != nil {
			g.live = append(left, g.live[row+1:]...)
			return err
		}
		if !ended {
			left = append(left, s)
		}
	}
	g.live = left
	return nil
}

// write chooses the next token of an answer from its logits. A sequence that ended, also by an error, has given its pages back.
func (g *generation) write(s *sequence, z []float32) (ended bool, err error) {
	p := &g.prompts[s.prompt]
	leave := func() {
		g.b.pages.drop(s.pages)
		g.room -= s.room
	}
	finish := func(reason string) (bool, error) {
		leave()
		return true, g.done(s.prompt, Answer{s.answer, reason})
	}
	if v := z[0]; v-v != 0 {
		leave()
		return true, fmt.Errorf("prompt %d, token %d: expected finite logits, found %g", s.prompt, s.n, v)
	}
	id := s.sampler.next(z, len(s.answer))
	if slices.Contains(p.Stops, id) {
		return finish(Stopped)
	}
	s.answer, s.last = append(s.answer, id), id
	s.sampler.seen[id] = true
	switch {
	case p.More != nil && !p.More(id):
		return finish(Enough)
	case p.MaxTokens > 0 && len(s.answer) == p.MaxTokens:
		return finish(Length)
	case s.n == g.b.m.Positions:
		return finish(Full)
	}
	return false, nil
}
