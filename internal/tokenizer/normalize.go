package tokenizer

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A normalizer is one step of the "normalizer" of a tokenizer.json.
type normalizer func(seg) seg

func normPrepend(text string) normalizer {
	return func(g seg) seg {
		if g.s == "" {
			return g
		}
		return g.prepend(text)
	}
}

func normReplace(old, new string) normalizer {
	return func(g seg) seg { return g.replace(old, new) }
}

// replace puts new in place of every old; the new bytes stand for the last character that was replaced.
func (g seg) replace(old, new string) seg {
	if !strings.Contains(g.s, old) {
		return g
	}
	src := g.aligned()
	var b strings.Builder
	pos := make([][2]int, 0, len(g.s))
	for i := 0; ; {
		k := strings.Index(g.s[i:], old)
		if k < 0 {
			b.WriteString(g.s[i:])
			pos = append(pos, src[i:]...)
			return seg{s: b.String(), pos: pos}
		}
		b.WriteString(g.s[i : i+k])
		b.WriteString(new)
		pos = append(pos, src[i:i+k]...)
		i += k + len(old)
		for range len(new) {
			pos = append(pos, src[i-1])
		}
	}
}

// A change is one character of a normalised text: n > 0 says it was inserted, 0 that it stands for one character of the
// source, n < 0 that it swallowed -n more of them.
type change struct {
	r rune
	n int
}

// normNFC is Unicode normalisation form C. Offsets follow the reference library, where a composed character stands for the
// first character it was composed from.
func normNFC(g seg) seg {
	if norm.NFC.IsNormalString(g.s) {
		return g
	}
	src := g.aligned()
	var b strings.Builder
	pos := make([][2]int, 0, len(g.s))
	for i := 0; i < len(g.s); {
		n := norm.NFC.NextBoundaryInString(g.s[i:], true)
		if n <= 0 {
			n = len(g.s) - i
		}
		part := g.s[i : i+n]
		if norm.NFC.IsNormalString(part) {
			b.WriteString(part)
			pos = append(pos, src[i:i+n]...)
			i += n
			continue
		}
		idx := i // next byte of the source
		for _, c := range composeNFC(part) {
			at := [2]int{g.off, g.off}
			if c.n > 0 {
				if idx > 0 {
					at = src[idx-1]
				}
			} else {
				at = src[min(idx, len(src)-1)]
				for range 1 - c.n {
					if idx < i+n {
						_, m := utf8.DecodeRuneInString(g.s[idx:])
						idx += m
					}
				}
			}
			b.WriteRune(c.r)
			for range utf8.RuneLen(c.r) {
				pos = append(pos, at)
			}
		}
		i += n
	}
	return seg{s: b.String(), pos: pos}
}

// composeNFC decomposes part, orders its marks and composes again, counting how many source characters each result stands for.
func composeNFC(part string) []change {
	in := decomposeNFD(part)
	var out, held []change
	var base change
	have := false
	last := -1 // combining class of the last held mark; -1: none
	flush := func() {
		if have {
			out = append(out, base)
		}
		out = append(out, held...)
		held, have, last = held[:0], false, -1
	}
	for _, c := range in {
		class := int(combining(c.r))
		if !have {
			if class != 0 {
				out = append(out, c)
				continue
			}
			base, have = c, true
			continue
		}
		if last < 0 || last < class {
			if r, ok := compose(base.r, c.r); ok {
				base = change{r, base.n + c.n - 1}
				continue
			}
		}
		if class == 0 {
			flush()
			base, have = c, true
			continue
		}
		held = append(held, c)
		last = class
	}
	flush()
	return out
}

// decomposeNFD returns the canonical decomposition with marks in order.
func decomposeNFD(part string) []change {
	var out []change
	for _, r := range part {
		k := 0
		for _, d := range norm.NFD.String(string(r)) {
			out = append(out, change{d, min(k, 1)})
			k++
		}
	}
	for i := 1; i < len(out); i++ { // marks are few: insertion sort, stable
		for k := i; k > 0; k-- {
			a, b := combining(out[k-1].r), combining(out[k].r)
			if b == 0 || a <= b {
				break
			}
			out[k-1], out[k] = out[k], out[k-1]
		}
	}
	return out
}

func combining(r rune) uint8 { return norm.NFD.PropertiesString(string(r)).CCC() }

// compose returns the primary composite of two characters.
func compose(a, b rune) (rune, bool) {
	s := norm.NFC.String(string(a) + string(b))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s) && n > 0
}
