package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// A change is one character of a normalised text: n > 0 says it was inserted, 0 that it stands for one character of the
// source, n < 0 that it swallowed -n more of them.
type change struct {
	r rune
	n int
}

// An aligner writes a normalised text next to the ranges its bytes came from, by the rules of the reference library: an inserted
// character gets the range of the byte before the place reached in the source, every other one that of the character there.
type aligner struct {
	src  seg
	from []origin // src.aligned()
	b    strings.Builder
	pos  []origin
	at   int // place reached in the source
	last change
	have bool // last is held back, because it may still swallow characters
}

func newAligner(g seg) *aligner {
	a := &aligner{src: g, from: g.aligned(), pos: make([]origin, 0, len(g.s)+16)}
	a.b.Grow(len(g.s) + 16)
	return a
}

func (a *aligner) flush() {
	if !a.have {
		return
	}
	a.have = false
	c := a.last
	at := origin{int32(a.src.off), int32(a.src.off)}
	switch {
	case c.n > 0 && a.at > 0:
		at = a.from[a.at-1]
	case c.n <= 0:
		at = a.from[min(a.at, len(a.from)-1)]
		a.skip(1 - c.n)
	}
	a.b.WriteRune(c.r)
	for range utf8.RuneLen(c.r) {
		a.pos = append(a.pos, at)
	}
}

// put appends a character.
func (a *aligner) put(c change) {
	a.flush()
	a.last, a.have = c, true
}

// drop lets the last character swallow n more; there may be none yet, then they are not accounted for (as in the reference).
func (a *aligner) drop(n int) {
	if a.have {
		a.last.n -= n
	}
}

// skip passes n characters of the source by.
func (a *aligner) skip(n int) {
	for ; n > 0 && a.at < len(a.src.s); n-- {
		_, k := utf8.DecodeRuneInString(a.src.s[a.at:])
		a.at += k
	}
}

// keep appends the bytes [i, k) of the source as they are.
func (a *aligner) keep(i, k int) {
	a.flush()
	if a.at == i && k-i > utf8.UTFMax {
		end := k - 1
		for !utf8.RuneStart(a.src.s[end]) && end > i {
			end--
		}
		a.b.WriteString(a.src.s[i:end])
		a.pos = append(a.pos, a.from[i:end]...)
		a.at, i = end, end
	}
	for _, r := range a.src.s[i:k] {
		a.put(change{r, 0})
	}
}

// seg returns the text.
func (a *aligner) seg() seg {
	a.flush()
	return seg{s: a.b.String(), pos: a.pos}
}

// mapRunes maps each character by f to any number of characters; f returns nil to leave it as it is.
func (g seg) mapRunes(f func(rune) []change) seg {
	var a *aligner
	start := 0
	for i, r := range g.s {
		to := f(r)
		if to == nil {
			continue
		}
		if a == nil {
			a = newAligner(g)
		}
		a.keep(start, i)
		for _, c := range to {
			a.put(c)
		}
		start = i + runeLen(g.s, i)
	}
	if a == nil {
		return g
	}
	a.keep(start, len(g.s))
	return a.seg()
}

// filter drops the characters for which drop holds.
func (g seg) filter(drop func(rune) bool) seg {
	if strings.IndexFunc(g.s, drop) < 0 {
		return g
	}
	a := newAligner(g)
	for _, r := range g.s {
		switch {
		case !drop(r):
			a.put(change{r, 0})
		case a.have:
			a.drop(1)
		default:
			a.skip(1)
		}
	}
	return a.seg()
}

func runeLen(s string, i int) int {
	_, n := utf8.DecodeRuneInString(s[i:])
	return n
}
