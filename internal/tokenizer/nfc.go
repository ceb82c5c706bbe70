package tokenizer

import (
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A unicodeForm is a Unicode normalisation form. Offsets follow the reference library, where a composed character stands for the
// first character it was composed from.
type unicodeForm struct {
	form, decomposed norm.Form
	composes         bool
}

var (
	formNFC  = unicodeForm{norm.NFC, norm.NFD, true}
	formNFD  = unicodeForm{norm.NFD, norm.NFD, false}
	formNFKC = unicodeForm{norm.NFKC, norm.NFKD, true}
	formNFKD = unicodeForm{norm.NFKD, norm.NFKD, false}
)

func (u unicodeForm) apply(g seg) seg {
	first := u.form.QuickSpanString(g.s)
	if first == len(g.s) {
		return g
	}
	a := newAligner(g)
	a.keep(0, first)
	for i := first; i < len(g.s); {
		if k := asciiRun(g.s, i) - 1; k > i { // the last one may compose with what follows
			a.keep(i, k)
			i = k
		}
		n := u.form.NextBoundaryInString(g.s[i:], true)
		if n <= 0 {
			n = len(g.s) - i
		}
		part := g.s[i : i+n]
		if u.form.IsNormalString(part) {
			a.keep(i, i+n)
			i += n
			continue
		}
		changes := decompose(part, u.decomposed)
		if u.composes {
			changes = compose(changes)
		}
		for _, c := range changes {
			a.put(c)
		}
		a.flush()
		a.at = i + n
		i += n
	}
	return a.seg()
}

// asciiRun returns the end of the ASCII characters from i on.
func asciiRun(s string, i int) int {
	for i < len(s) && s[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// compose joins decomposed characters again, counting how many source characters each result stands for.
func compose(in []change) []change {
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
			if r, ok := composite(base.r, c.r); ok {
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

// decompose returns the decomposition with marks in order.
func decompose(part string, form norm.Form) []change {
	var out []change
	for _, r := range part {
		k := 0
		for _, d := range form.String(string(r)) {
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

// composite returns the primary composite of two characters.
func composite(a, b rune) (rune, bool) {
	s := norm.NFC.String(string(a) + string(b))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s) && n > 0
}
