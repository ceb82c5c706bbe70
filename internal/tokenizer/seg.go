package tokenizer

import "unicode/utf8"

// A seg is a part of the (normalised) text together with the bytes of the original text it stands for.
type seg struct {
	s   string
	off int      // where s begins in the original text, when pos is nil
	pos [][2]int // per byte of s the range of the original it came from; nil: byte k is byte off+k
}

func (g seg) sub(a, b int) seg {
	r := seg{s: g.s[a:b], off: g.off + a}
	if g.pos != nil {
		r.pos = g.pos[a:b]
	}
	return r
}

// span returns the range of the original text that bytes [a, b) of s stand for, widened to whole characters.
func (g seg) span(a, b int) [2]int {
	if len(g.s) == 0 {
		return [2]int{g.off, g.off}
	}
	if g.pos != nil {
		if a >= b {
			return [2]int{g.pos[min(a, len(g.s)-1)][0], g.pos[min(a, len(g.s)-1)][0]}
		}
		return [2]int{g.pos[a][0], g.pos[b-1][1]}
	}
	for a > 0 && a < len(g.s) && !utf8.RuneStart(g.s[a]) && widens(g.s, a) {
		a--
	}
	for b < len(g.s) && !utf8.RuneStart(g.s[b]) && widens(g.s, b) {
		b++
	}
	return [2]int{g.off + a, g.off + b}
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
func (g seg) aligned() [][2]int {
	if g.pos != nil {
		return g.pos
	}
	pos := make([][2]int, 0, len(g.s))
	for i := 0; i < len(g.s); {
		_, n := utf8.DecodeRuneInString(g.s[i:])
		for k := 0; k < n; k++ {
			pos = append(pos, [2]int{g.off + i, g.off + i + n})
		}
		i += n
	}
	return pos
}

// prepend puts text before s; the new bytes stand for the first character, as the reference library has it.
func (g seg) prepend(text string) seg {
	pos := g.aligned()
	first := [2]int{g.off, g.off}
	if len(pos) > 0 {
		first = pos[0]
	}
	_, n := utf8.DecodeRuneInString(g.s)
	q := make([][2]int, 0, len(text)+len(pos))
	for range text {
		q = append(q, first)
	}
	for len(q) < len(text)+n {
		q = append(q, first)
	}
	return seg{s: text + g.s, pos: append(q, pos[n:]...)}
}
