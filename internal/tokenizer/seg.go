package tokenizer

import (
	"math"
	"strings"
	"unicode/utf8"
)

// A seg is a part of the (normalised) text together with the bytes of the original text it stands for.
type seg struct {
	s   string
	off int      // where s begins in the original text, when pos is nil
	pos []origin // per byte of s the range of the original it came from; nil: byte k is byte off+k
}

// An origin is a half-open range of bytes of the original text. There is one for every byte of a normalised text, so they are small.
type origin = [2]int32

// maxText is the longest text whose bytes an origin can name.
const maxText = math.MaxInt32

func (g seg) sub(a, b int) seg {
	r := seg{s: g.s[a:b], off: g.off + a}
	if g.pos != nil {
		r.pos = g.pos[a:b]
	}
	return r
}

// span returns the range of the original text that bytes [a, b) of s stand for, widened to whole characters.
func (g seg) span(a, b int) origin {
	if len(g.s) == 0 {
		return origin{int32(g.off), int32(g.off)}
	}
	if g.pos != nil {
		if a >= b {
			at := g.pos[min(a, len(g.s)-1)][0]
			return origin{at, at}
		}
		return origin{g.pos[a][0], g.pos[b-1][1]}
	}
	for a > 0 && a < len(g.s) && !utf8.RuneStart(g.s[a]) && widens(g.s, a) {
		a--
	}
	for b < len(g.s) && !utf8.RuneStart(g.s[b]) && widens(g.s, b) {
		b++
	}
	return origin{int32(g.off + a), int32(g.off + b)}
}

// widens says whether the continuation byte at i belongs to a valid character that began before it; a stray one stands alone.
func widens(s string, i int) bool {
	for k := i - 1; k >= 0 && k >= i-3; k-- {
		if utf8.RuneStart(s[k]) {
			_, n := utf8.DecodeRuneInString(s[k:])
			return k+n > i
		}
	}
	return false
}

// aligned returns per byte of s the original range of its character, as an explicit table.
func (g seg) aligned() []origin {
	if g.pos != nil {
		return g.pos
	}
	return g.appendAligned(make([]origin, 0, len(g.s)))
}

// appendAligned appends what aligned returns.
func (g seg) appendAligned(pos []origin) []origin {
	if g.pos != nil {
		return append(pos, g.pos...)
	}
	for i := 0; i < len(g.s); {
		n := runeLen(g.s, i)
		at := origin{int32(g.off + i), int32(g.off + i + n)}
		for range n {
			pos = append(pos, at)
		}
		i += n
	}
	return pos
}

// prepend puts text before s; the new bytes stand for the first character, as the reference library has it.
func (g seg) prepend(text string) seg {
	pos := g.appendAligned(make([]origin, len(text), len(text)+len(g.s)))
	first := origin{int32(g.off), int32(g.off)}
	if len(g.s) > 0 {
		first = pos[len(text)]
	}
	_, n := utf8.DecodeRuneInString(g.s)
	for i := range len(text) + n {
		pos[i] = first
	}
	return seg{s: text + g.s, pos: pos}
}

// replaceAll puts text in place of every literal; the new bytes stand for the last character that was replaced.
func (g seg) replaceAll(literal, text string) seg {
	count := strings.Count(g.s, literal)
	if count == 0 {
		return g
	}
	src := g.aligned()
	size := len(g.s) + count*(len(text)-len(literal))
	s, pos := make([]byte, 0, size), make([]origin, 0, size)
	at := 0
	for range count {
		k := at + strings.Index(g.s[at:], literal)
		s, pos = append(append(s, g.s[at:k]...), text...), append(pos, src[at:k]...)
		at = k + len(literal)
		for range len(text) {
			pos = append(pos, src[at-1])
		}
	}
	return seg{s: string(append(s, g.s[at:]...)), pos: append(pos, src[at:]...)}
}
