package tokenizer

import (
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A cutter is a sequence of steps of which each cuts a text around the matches of a simple pattern, and keeps all of it. It carries
// them out as one: what it has seen of the characters of a piece says which of the later steps find nothing there.
type cutter struct {
	runs  []*simple // nil: patternTail
	tail  step      // carries out patternTail where a piece has several lines
	tails uint32    // a bit for each step that is patternTail; no class rules it out
	// class and optional have a bit for each step in whose classes the character is.
	class, optional [utf8.RuneSelf]uint32
}

// maxRuns is how many steps a cutter takes.
const maxRuns = 32

// add appends a step.
func (c *cutter) add(m *simple) {
	bit := uint32(1) << len(c.runs)
	c.runs = append(c.runs, m)
	if m == nil {
		c.tails |= bit
		return
	}
	for r := range rune(utf8.RuneSelf) {
		if m.class.has(r) {
			c.class[r] |= bit
		}
		if m.optional.has(r) {
			c.optional[r] |= bit
		}
	}
}

// touches is false for characters around which no step cuts.
func (c *cutter) touches(r rune) bool {
	for _, m := range c.runs {
		if m == nil || m.class.has(r) {
			return true
		}
	}
	return false
}

// at returns the steps in whose class the character at i is, and its length.
func (c *cutter) at(s string, i int) (steps uint32, n int) {
	if b := s[i]; b < utf8.RuneSelf {
		return c.class[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	for k, m := range c.runs {
		if m != nil && m.class.has(r) {
			steps |= 1 << k
		}
	}
	return steps, n
}

// cut is a step.
func (c *cutter) cut(g seg, emit func(seg)) error {
	p := &cutting{cutter: c, g: g, emit: emit}
	p.piece(0, 0, len(g.s), 1<<len(c.runs)-1)
	return p.err
}

// cutting is a text being cut.
type cutting struct {
	*cutter
	g    seg
	emit func(seg)
	err  error
}

// piece carries out the steps from k on for bytes a to b, of which only those in steps can find anything.
func (p *cutting) piece(k, a, b int, steps uint32) {
	rest := (steps | p.tails) >> k
	if rest == 0 {
		p.emit(p.g.sub(a, b))
		return
	}
	k += bits.TrailingZeros32(rest)
	if p.runs[k] == nil {
		p.cutTail(k, a, b, steps)
		return
	}
	s := p.g.s[:b]
	from, between := a, uint32(0)
	for i := a; i < b; {
		if c := s[i]; c < utf8.RuneSelf && (p.class[c]|p.optional[c])>>k&1 == 0 { // no match begins with it
			between |= p.class[c]
			i++
			continue
		}
		end, seen := p.match(k, s, i)
		if end < 0 {
			steps, n := p.at(s, i)
			between |= steps
			i += n
			continue
		}
		if from < i {
			p.piece(k+1, from, i, between)
		}
		p.piece(k+1, i, end, seen)
		i, from, between = end, end, 0
	}
	if from < b {
		p.piece(k+1, from, b, between)
	}
}

// match returns the end of the match of step k that begins at i, -1 if there is none, and the steps whose classes it holds.
func (p *cutting) match(k int, s string, i int) (end int, steps uint32) {
	if m := p.runs[k]; m.optional != nil {
		first, n := p.at(s, i)
		var is bool
		if b := s[i]; b < utf8.RuneSelf {
			is = p.optional[b]>>k&1 != 0
		} else {
			r, _ := utf8.DecodeRuneInString(s[i:])
			is = m.optional.has(r)
		}
		if is {
			if end, steps := p.body(k, s, i+n); end >= 0 {
				return end, steps | first
			}
		}
	}
	return p.body(k, s, i)
}

func (p *cutting) body(k int, s string, i int) (end int, steps uint32) {
	m := p.runs[k]
	count := 0
	for i < len(s) && count != m.most {
		here, n := p.at(s, i)
		if here>>k&1 == 0 {
			break
		}
		steps |= here
		i += n
		count++
	}
	if count < m.least {
		return -1, 0
	}
	return i, steps
}

// patternTail is white space at the end; the end of a line is an end, too.
const patternTail = `\s+$`

// cutTail carries out patternTail. A piece of white space alone is its match, and one of a single line has one at its end at most.
func (p *cutting) cutTail(k, a, b int, steps uint32) {
	s := p.g.s[a:b]
	last, _ := utf8.DecodeLastRuneInString(s)
	blank := unicode.IsSpace(last)
	if !blank && strings.IndexByte(s, '\n') < 0 {
		p.piece(k+1, a, b, steps)
		return
	}
	end := b
	if blank {
		end = a + len(strings.TrimRightFunc(s, unicode.IsSpace))
	}
	switch {
	case end == a:
		p.piece(k+1, a, b, steps)
	case strings.IndexByte(s, '\n') < 0:
		p.piece(k+1, a, end, steps)
		p.piece(k+1, end, b, steps)
	default:
		p.cutTails(k, a, b, steps)
	}
}

// cutTails carries out patternTail for a piece of several lines.
func (p *cutting) cutTails(k, a, b int, steps uint32) {
	err := p.tail(p.g.sub(a, b), func(g seg) {
		p.piece(k+1, a, a+len(g.s), steps)
		a += len(g.s)
	})
	if p.err == nil {
		p.err = err
	}
}
