package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
)

// A normalizer is one step of the "normalizer" of a tokenizer.json.
type normalizer func(seg) seg

// normalizerKinds makes the normalisers by their types. Sequence is not among them.
var normalizerKinds = map[string]func(*stepFile) (normalizer, error){
	"NFC":          func(*stepFile) (normalizer, error) { return formNFC.apply, nil },
	"NFD":          func(*stepFile) (normalizer, error) { return formNFD.apply, nil },
	"NFKC":         func(*stepFile) (normalizer, error) { return formNFKC.apply, nil },
	"NFKD":         func(*stepFile) (normalizer, error) { return formNFKD.apply, nil },
	"Lowercase":    func(*stepFile) (normalizer, error) { return normLowercase, nil },
	"StripAccents": func(*stepFile) (normalizer, error) { return normDropMarks, nil },
	"Prepend":      func(f *stepFile) (normalizer, error) { return normPrepend(f.Prepend), nil },
	"Strip": func(f *stepFile) (normalizer, error) {
		return normStrip(orTrue(f.StripLeft), orTrue(f.StripRight)), nil
	},
	"Replace":        func(f *stepFile) (normalizer, error) { return normReplace(f.Pattern, f.Content) },
	"BertNormalizer": func(f *stepFile) (normalizer, error) { return normBert(f), nil },
	"Precompiled":    func(f *stepFile) (normalizer, error) { return newCharsMap(f.CharsMap) },
}

func normPrepend(text string) normalizer {
	return func(g seg) seg {
		if g.s == "" {
			return g
		}
		return g.prepend(text)
	}
}

// normStrip cuts white space off the ends.
func normStrip(left, right bool) normalizer {
	return func(g seg) seg {
		a, b := 0, len(g.s)
		if left {
			a = b - len(strings.TrimLeftFunc(g.s, unicode.IsSpace))
		}
		if right {
			b = a + len(strings.TrimRightFunc(g.s[a:], unicode.IsSpace))
		}
		if a == 0 && b == len(g.s) {
			return g
		}
		return g.sub(a, b)
	}
}

func normReplace(p *patternFile, content string) (normalizer, error) {
	find, err := p.finder()
	if err != nil {
		return nil, fmt.Errorf("in Replace: %w", err)
	}
	if p.String != nil {
		return func(g seg) seg { return g.replaceAll(*p.String, content) }, nil
	}
	return func(g seg) (out seg) {
		parts, err := find(g.s)
		if err != nil { // the pattern ran away on this text; it is left as it is, which the reference does too
			return g
		}
		return g.replace(parts, content)
	}, nil
}

// replace puts text in place of every match; the new bytes stand for the last character that was replaced.
func (g seg) replace(parts []part, text string) seg {
	found := false
	for _, p := range parts {
		found = found || p.match
	}
	if !found {
		return g
	}
	src := g.aligned()
	var b strings.Builder
	pos := make([]origin, 0, len(g.s))
	for _, p := range parts {
		if !p.match {
			b.WriteString(g.s[p.a:p.b])
			pos = append(pos, src[p.a:p.b]...)
			continue
		}
		b.WriteString(text)
		for range len(text) {
			pos = append(pos, src[p.b-1])
		}
	}
	return seg{s: b.String(), pos: pos}
}

func normLowercase(g seg) seg {
	return g.mapRunes(func(r rune) []change {
		if r == 'İ' { // the only character whose lower case is two
			return []change{{'i', 0}, {'\u0307', 1}}
		}
		if l := lowered(r); l != r {
			return []change{{l, 0}}
		}
		return nil
	})
}

func lowered(r rune) rune {
	for _, p := range newLower {
		if r >= p.from && r <= p.to {
			return r + p.by
		}
	}
	return unicode.ToLower(r)
}

// newLower is what Unicode 15.1 to 17 added.
var newLower = []struct{ from, to, by rune }{
	{0x1c89, 0x1c89, 1}, {0xa7cb, 0xa7cb, 0x264 - 0xa7cb}, {0xa7cc, 0xa7cc, 1}, {0xa7da, 0xa7da, 1}, {0xa7dc, 0xa7dc, 0x19b - 0xa7dc},
	{0xa7ce, 0xa7ce, 1}, {0xa7d2, 0xa7d2, 1}, {0xa7d4, 0xa7d4, 1}, {0x10d50, 0x10d65, 0x20}, {0x16ea0, 0x16eb8, 0x1b},
}

func normDropMarks(g seg) seg {
	return g.filter(isMark)
}

// normBert is the normaliser of BERT: cleaning, spaces around Chinese characters, no accents, lower case.
func normBert(f *stepFile) normalizer {
	var steps []normalizer
	if orTrue(f.CleanText) {
		steps = append(steps, bertClean)
	}
	if orTrue(f.Chinese) {
		steps = append(steps, bertChinese)
	}
	lowercase := orTrue(f.Lowercase)
	if f.StripAccents != nil && *f.StripAccents || f.StripAccents == nil && lowercase {
		steps = append(steps, formNFD.apply, func(g seg) seg { return g.filter(isAccent) })
	}
	if lowercase {
		steps = append(steps, normLowercase)
	}
	return func(g seg) seg {
		for _, n := range steps {
			g = n(g)
		}
		return g
	}
}

// bertClean drops control characters and writes every white space as a space.
func bertClean(g seg) seg {
	g = g.filter(isControl)
	return g.mapRunes(func(r rune) []change {
		if r != ' ' && unicode.IsSpace(r) {
			return []change{{' ', 0}}
		}
		return nil
	})
}

func bertChinese(g seg) seg {
	return g.mapRunes(func(r rune) []change {
		for _, x := range chineseRanges {
			if r >= x[0] && r <= x[1] {
				return []change{{' ', 0}, {r, 1}, {' ', 1}}
			}
		}
		return nil
	})
}

// chineseRanges as the reference has them; the gap before U+2B920 is its own.
var chineseRanges = [][2]rune{{0x4e00, 0x9fff}, {0x3400, 0x4dbf}, {0x20000, 0x2a6df}, {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf},
	{0xf900, 0xfaff}, {0x2f800, 0x2fa1f}}
