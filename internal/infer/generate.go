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
	room    int     // pages it may come to need
	n       int     // tokens read
	rest    []int32 // of the prompt, not read yet
	last    int32
	answer  []int32
	ended   bool
}

// generation is the continuing of some prompts.
type generation struct {
	b       *Batch
	prompts []Prompt
	done    func(i int, a Answer) error
	waiting []int // in the order of their tokens, so that neighbours begin alike
	live    []*sequence
	room    int             // pages all of them may come to need
	pages   []int32         // of the prompt read last
	before  []int32         // its tokens
	all     []kernels.Page  // every page there is, by its number
	laid    map[int32]int32 // pages of earlier passes that this one sees, by their number: where they are in it
}

// Generate calls done once for every prompt, in any order. Up to b.many answers grow together, as many as there is
// memory for, a token of each at a time; where one ends, the next begins.
func (b *Batch) Generate(ctx context.Context, prompts []Prompt, done func(i int, a Answer) error) error {
	g := &generation{b: b, prompts: prompts, done: done, laid: map[int32]int32{}}
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
		next := g.step
		if g.fits() {
			next = g.admit
		}
		if err := next(); err != nil {
			return err
		}
		g.live = slices.DeleteFunc(g.live, func(s *sequence) bool { return s.ended })
	}
	return nil
}

// shared is how many tokens of a prompt other ones begin with. The last one is read in any case: its logits are wanted.
func (g *generation) shared(prompt int, before []int32) (n int) {
	ids := g.prompts[prompt].IDs
	for n < min(len(ids)-1, len(before)) && ids[n] == before[n] {
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
	return (most+kernels.PageRows-1)/kernels.PageRows - g.shared(prompt, g.before)/kernels.PageRows
}

// fits tells whether the next prompt may join the answers under way.
func (g *generation) fits() bool {
	return len(g.waiting) > 0 && (len(g.live) == 0 || len(g.live) < g.b.many && g.room+g.need(g.waiting[0]) <= g.b.most)
}

// admit reads the next prompt, and those behind it that share no more with each other than with what was read before, as many as fit
// into a pass. It writes the first tokens of their answers.
func (g *generation) admit() error {
	b, old := g.b, len(g.live)
	s := g.begin()
	for len(s.rest) > passRows {
		if _, err := g.read([]*sequence{s}, passRows); err != nil {
			return err
		}
	}
	for rows := len(s.rest); g.fits(); rows += len(s.rest) {
		next := g.waiting[0]
		same := g.shared(next, g.before)
		if rows+len(g.prompts[next].IDs)-same > passRows || same < g.shared(next, g.prompts[s.prompt].IDs) {
			break
		}
		s = g.begin()
	}
	group := g.live[old:]
	hidden, err := g.read(group, passRows)
	if err != nil {
		return err
	}
	b.pages.drop(g.pages)
	g.pages, g.before = b.pages.share(s.pages, s.n), g.prompts[s.prompt].IDs
	return b.logits(hidden, func(row int, z []float32) error { return g.write(group[row:], z) })
}

// begin makes the next prompt a sequence that shares pages with what was read before.
func (g *generation) begin() *sequence {
	b, i := g.b, g.waiting[0]
	g.waiting = g.waiting[1:]
	ids, same := g.prompts[i].IDs, g.shared(i, g.before)
	s := &sequence{prompt: i, sampler: newSampler(g.prompts[i].Sampling, b.m.V), pages: b.pages.share(g.pages, same), room: g.need(i), n: same, rest: ids[same:]}
	g.live, g.room = append(g.live, s), g.room+s.room
	for _, id := range ids {
		s.sampler.seen[id] = true
	}
	return s
}

// read takes up to so many tokens of each of some prompts in and returns the hidden state of the last one of each (prompts, C).
func (g *generation) read(group []*sequence, most int) ([]float32, error) {
	b, p := g.b, &g.b.pass
	p.paged.Pages, p.paged.Spans, p.kept = p.paged.Pages[:0], p.paged.Spans[:0], p.kept[:0]
	clear(g.laid)
	var ids, pos []int32
	for _, s := range group {
		n, row := min(most, len(s.rest)), len(ids)
		g.lay(s, row, n)
		for i := range n {
			pos = append(pos, int32(s.n+i))
		}
		ids = append(ids, s.rest[:n]...)
		s.n, s.rest = s.n+n, s.rest[n:]
	}
	hidden, err := b.read(ids, pos, len(p.paged.Pages))
	if err != nil {
		return nil, err
	}
	last := make([]float32, 0, len(group)*b.m.C)
	for i := range group {
		x := &p.paged.Spans[i]
		last = append(last, hidden[(x.Row+x.N-1)*b.m.C:(x.Row+x.N)*b.m.C]...)
	}
	return last, nil
}

// lay adds the next n tokens of a sequence to the pass, from a row on.
func (g *generation) lay(s *sequence, row, n int) {
	b, p, first, end := g.b, &g.b.pass, s.n, s.n+n
	for len(s.pages)*kernels.PageRows < end {
		s.pages = append(s.pages, b.pages.take())
	}
	span := kernels.Span{Row: row, N: n, First: first}
	for j := 0; j*kernels.PageRows < end; j++ {
		lo, hi := j*kernels.PageRows, min((j+1)*kernels.PageRows, end)
		if at, ok := g.laid[s.pages[j]]; ok && hi <= first {
			span.Pages = append(span.Pages, at)
			continue
		}
		g.laid[s.pages[j]] = int32(len(p.paged.Pages))
		var page kernels.Page
		if old := min(hi, first); old > lo {
			page = append(page, kernels.Rows{Source: s.pages[j], N: int32(old - lo)})
		}
		if from := max(lo, first); from < hi {
			page = append(page, kernels.Rows{At: int32(row + from - first), N: int32(hi - from)})
		}
		span.Pages = append(span.Pages, int32(len(p.paged.Pages)))
		p.paged.Pages = append(p.paged.Pages, page)
	}
	p.paged.Spans = append(p.paged.Spans, span)
	p.kept = keep(p.kept, row, n, first, s.pages)
}

// step adds a token to every answer.
func (g *generation) step() error {
	b := g.b
	session, err := b.step(len(g.live))
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
	return g.write(g.live, session.Output(0)[:len(g.live)*b.m.V])
}

// write chooses the next tokens of some answers, a row of logits each.
func (g *generation) write(group []*sequence, z []float32) error {
	v := g.b.m.V
	for row := range len(z) / v {
		if err := g.choose(group[row], z[row*v:(row+1)*v]); err != nil {
			return err
		}
	}
	return nil
}

// choose chooses the next token of an answer from its logits. A sequence that ended has given its pages back.
func (g *generation) choose(s *sequence, z []float32) error {
	p := &g.prompts[s.prompt]
	finish := func(reason string) error {
		g.b.pages.drop(s.pages)
		g.room -= s.room
		s.pages, s.ended = nil, true
		return g.done(s.prompt, Answer{s.answer, reason})
	}
	if v := z[0]; v-v != 0 {
		return fmt.Errorf("prompt %d, token %d: expected finite logits, found %g", s.prompt, s.n, v)
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
	return nil
}
