package infer

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"tune/kernels"
)

// Scoring many texts. In the order of their tokens, each text shares with the one before it all that it shares with any: the texts
// are a tree, written down branch by branch. The branches make one stream of tokens, cut into passes. Tokens of a pass see the
// rows of their own branch, wherever in the pass they lie, and what passes before left of it in pages. Between two passes only the
// path to the next token stays.

// branch is consecutive tokens of a text that no text before it has.
type branch struct {
	first  int // position of the first token
	row, n int // tokens row ... row+n-1 of the stream
	parent int // branch that position first-1 is on; -1: none
	pass   int
}

// want is a token whose log-probability is asked for.
type want struct {
	row   int // of the stream: the token before it
	text  int32
	k     int32 // its number among the scored tokens of the text
	label int32
}

// scoring is the scoring of some texts.
type scoring struct {
	b        *Batch
	texts    []Text
	done     func(i int, s Score) error
	ids, pos []int32 // the stream
	branches []branch
	wants    []want // by row
	pages    int    // most pages of a pass
	scores   []Score
	left     []int     // tokens of each text that wait for their score
	path     []int32   // pages of the first tokens of the next pass' first branch
	tables   [][]int32 // of the branches of this pass: their pages, as numbers in pass.paged.Pages
}

func newScoring(b *Batch, texts []Text, done func(i int, s Score) error) *scoring {
	s := &scoring{b: b, texts: texts, done: done, scores: make([]Score, len(texts)), left: make([]int, len(texts))}
	order := make([]int, len(texts))
	longest := 0
	for i, t := range texts {
		order[i], s.left[i] = i, len(t.IDs)-t.From
		s.scores[i] = Score{LogProbs: make([]float32, s.left[i]), Greedy: true}
		longest = max(longest, len(t.IDs))
	}
	slices.SortStableFunc(order, func(i, j int) int { return slices.Compare(texts[i].read(), texts[j].read()) })
	s.pages = longest/kernels.PageRows + passRows/4
	var path []int // branches from the root
	var before []int32
	for _, i := range order {
		path = s.grow(path, before, int32(i))
		before = texts[i].read()
	}
	slices.SortStableFunc(s.wants, func(x, y want) int { return cmp.Compare(x.row, y.row) })
	return s
}

// read is the tokens that are read: all but the last.
func (t *Text) read() []int32 { return t.IDs[:len(t.IDs)-1] }

// grow adds the branches of a text to the stream; path is that of the text before it, whose tokens are before.
func (s *scoring) grow(path []int, before []int32, text int32) []int {
	t := &s.texts[text]
	ids, same := t.read(), 0
	for same < min(len(ids), len(before)) && ids[same] == before[same] {
		same++
	}
	for len(path) > 0 && s.branches[path[len(path)-1]].first >= same {
		path = path[:len(path)-1]
	}
	for at := same; at < len(ids); {
		x := branch{first: at, row: len(s.ids), parent: -1}
		if len(path) > 0 {
			x.parent = path[len(path)-1]
		}
		x.pass, x.n = s.room(at)
		x.n = min(x.n, len(ids)-at)
		for i := range x.n {
			s.ids, s.pos = append(s.ids, ids[at+i]), append(s.pos, int32(at+i))
		}
		path = append(path, len(s.branches))
		s.branches = append(s.branches, x)
		at += x.n
	}
	on := len(path) - 1
	for p := len(ids) - 1; p >= t.From-1; p-- {
		for s.branches[path[on]].first > p {
			on--
		}
		x := &s.branches[path[on]]
		s.wants = append(s.wants, want{x.row + p - x.first, text, int32(p + 1 - t.From), t.IDs[p+1]})
	}
	return path
}

// room is the pass the next branch belongs to, beginning at a position, and how many tokens of it.
func (s *scoring) room(first int) (pass, tokens int) {
	used, pages, last := 0, 0, -1
	for i := len(s.branches) - 1; i >= 0; i-- {
		x := &s.branches[i]
		if last >= 0 && x.pass != last {
			break
		}
		last = x.pass
		used += x.n
		pages += newPagesOf(x)
		if i == 0 || s.branches[i-1].pass != last {
			pages += x.first / kernels.PageRows // of the path
		}
	}
	spare := s.pages - pages
	if last < 0 || used == passRows || spare < 1 {
		return last + 1, min(passRows, (s.pages-first/kernels.PageRows)*kernels.PageRows-first%kernels.PageRows)
	}
	return last, min(passRows-used, spare*kernels.PageRows-first%kernels.PageRows)
}

// newPagesOf is how many pages a branch has that its parent has not.
func newPagesOf(x *branch) int {
	return (x.first+x.n+kernels.PageRows-1)/kernels.PageRows - x.first/kernels.PageRows
}

// run reads the stream.
func (s *scoring) run(ctx context.Context) error {
	defer func() { s.b.pages.drop(s.path) }()
	for at := 0; at < len(s.branches); {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := at + 1
		for end < len(s.branches) && s.branches[end].pass == s.branches[at].pass {
			end++
		}
		s.lay(at, end)
		first := s.branches[at].row
		last := s.branches[end-1].row + s.branches[end-1].n
		hidden, err := s.b.read(s.ids[first:last], s.pos[first:last], s.pages)
		if err != nil {
			return err
		}
		if err := s.score(hidden, first, last); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// lay prepares the pass of branches at ... end-1: which pages each sees, and what stays for the next pass.
func (s *scoring) lay(at, end int) {
	p := &s.b.pass
	p.paged.Pages, p.paged.Spans, p.kept = p.paged.Pages[:0], p.paged.Spans[:0], p.kept[:0]
	s.tables = s.tables[:0]
	whole := s.branches[at].first / kernels.PageRows
	inherited := make([]int32, whole) // pages of the path
	for j := range whole {
		inherited[j] = int32(len(p.paged.Pages))
		p.paged.Pages = append(p.paged.Pages, kernels.Page{{Source: s.path[j], N: kernels.PageRows}})
	}
	for i := at; i < end; i++ {
		x := &s.branches[i]
		table := inherited
		if x.parent >= at {
			table = s.tables[x.parent-at]
		}
		whole := x.first / kernels.PageRows
		table = slices.Clone(table[:whole])
		for j := whole; j*kernels.PageRows < x.first+x.n; j++ {
			table = append(table, int32(len(p.paged.Pages)))
			p.paged.Pages = append(p.paged.Pages, s.rows(nil, i, at, j*kernels.PageRows, min((j+1)*kernels.PageRows, x.first+x.n)))
		}
		s.tables = append(s.tables, table)
		p.paged.Spans = append(p.paged.Spans, kernels.Span{Row: x.row - s.branches[at].row, N: x.n, First: x.first, Pages: table})
	}
	if end == len(s.branches) {
		return
	}
	next := &s.branches[end]
	for len(s.path)*kernels.PageRows < next.first {
		s.path = append(s.path, s.b.pages.take())
	}
	pos := 0
	for _, r := range s.rows(nil, next.parent, at, 0, next.first) {
		if r.Source == 0 {
			p.kept = keep(p.kept, int(r.At), int(r.N), pos, s.path)
		}
		pos += int(r.N)
	}
	used := (next.first + kernels.PageRows - 1) / kernels.PageRows
	s.b.pages.drop(s.path[used:]) // what they hold is read before another pass writes to them
	s.path = s.path[:used]
}

// rows adds where positions lo ... hi-1 of the way to branch i lie: rows of this pass, which begins with branch at, or pages of the
// path.
func (s *scoring) rows(out kernels.Page, i, at, lo, hi int) kernels.Page {
	if i < at {
		for lo < hi {
			n := min(hi-lo, kernels.PageRows-lo%kernels.PageRows)
			out = append(out, kernels.Rows{Source: s.path[lo/kernels.PageRows], At: int32(lo % kernels.PageRows), N: int32(n)})
			lo += n
		}
		return out
	}
	x := &s.branches[i]
	if lo < x.first {
		out = s.rows(out, x.parent, at, lo, min(hi, x.first))
		lo = x.first
	}
	if lo < hi {
		out = append(out, kernels.Rows{At: int32(x.row - s.branches[at].row + lo - x.first), N: int32(hi - lo)})
	}
	return out
}

// score computes what is wanted of rows first ... last-1 of the stream from their hidden states.
func (s *scoring) score(hidden []float32, first, last int) error {
	n := 0
	for n < len(s.wants) && s.wants[n].row < last {
		n++
	}
	wants := s.wants[:n]
	s.wants = s.wants[n:]
	var picked []float32
	var of []int // of each picked row, its first want
	for i, w := range wants {
		if i == 0 || wants[i-1].row != w.row {
			picked = append(picked, hidden[(w.row-first)*s.b.m.C:(w.row-first+1)*s.b.m.C]...)
			of = append(of, i)
		}
	}
	of = append(of, len(wants))
	v := s.b.m.V
	hits := make([]bool, len(wants))
	err := s.b.logits(picked, func(row int, z []float32) error {
		s.b.pool.Run(len(z)/v, func(_, r int) {
			z := z[r*v : (r+1)*v]
			lse, top := kernels.LogSumExp(z), int32(kernels.ArgMax(z))
			for i := of[row+r]; i < of[row+r+1]; i++ {
				w := &wants[i]
				s.scores[w.text].LogProbs[w.k] = z[w.label] - lse
				hits[i] = top == w.label
			}
		})
		return nil
	})
	if err != nil {
		return err
	}
	for i, w := range wants {
		x := &s.scores[w.text]
		x.Greedy = x.Greedy && hits[i]
		if p := x.LogProbs[w.k]; p != p {
			return fmt.Errorf("text %d, token %d: expected a log-probability, found NaN", w.text, s.texts[w.text].From+int(w.k))
		}
		if s.left[w.text]--; s.left[w.text] == 0 {
			if err := s.done(int(w.text), *x); err != nil {
				return err
			}
			s.scores[w.text] = Score{}
		}
	}
	return nil
}
