package tokenizer

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// findRegex finds by a regular expression that has no scanner of its own.
func findRegex(pattern string) (finder, error) {
	if m := simplePattern(pattern); m != nil {
		return m.find, nil
	}
	if strings.Contains(pattern, "&&") {
		return nil, fmt.Errorf("class intersection (&&) in the pattern %q cannot be carried out", pattern)
	}
	re, err := regexp2.Compile(unicode16(pattern))
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return func(s string) ([]part, error) {
		runes := make([]rune, 0, len(s))
		at := make([]int, 0, len(s)+1) // byte offset of each rune
		for i := 0; i < len(s); {
			r, n := utf8.DecodeRuneInString(s[i:])
			runes, at = append(runes, r), append(at, i)
			i += n
		}
		at = append(at, len(s))
		var out []part
		last := 0
		err := re.FindRunesMatches(runes, 0, func(m regexp2.MatchView) bool {
			a, n, ok := m.GroupRange(0)
			if !ok || n == 0 {
				return true
			}
			b := a + n
			if last < at[a] {
				out = append(out, part{last, at[a], false})
			}
			out = append(out, part{at[a], at[b], true})
			last = at[b]
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		if last < len(s) {
			out = append(out, part{last, len(s), false})
		}
		return out, nil
	}, nil
}

// unicode16 adds to the classes \p{L}, \p{N}, \p{P}, \p{S} and \p{M} of a pattern what Go's tables do not have yet.
func unicode16(pattern string) string {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '[':
			depth++
		case ']':
			depth = max(depth-1, 0)
		case '\\':
			if name, ok := strings.CutPrefix(pattern[i:], `\p{`); ok && len(name) > 1 && name[1] == '}' && newRanges[name[:1]] != nil {
				if depth == 0 {
					b.WriteByte('[')
				}
				b.WriteString(pattern[i : i+5])
				for _, r := range newRanges[name[:1]] {
					b.WriteString(string(r[0]) + "-" + string(r[1]))
				}
				if depth == 0 {
					b.WriteByte(']')
				}
				i += 4
				continue
			}
			b.WriteByte('\\')
			if i++; i == len(pattern) {
				return b.String()
			}
		}
		b.WriteByte(pattern[i])
	}
	return b.String()
}

// A runeSet is a set of characters: a bit for each.
type runeSet []uint64

func (s runeSet) has(r rune) bool { return int(r>>6) < len(s) && s[r>>6]>>(r&63)&1 != 0 }

// run returns the end of the run of characters of s that begins at i.
func (s runeSet) run(text string, i int) int {
	for i < len(text) {
		r, n := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(text[i:])
		}
		if !s.has(r) {
			break
		}
		i += n
	}
	return i
}

func newRuneSet(ranges []rune) runeSet {
	var s runeSet
	if n := len(ranges); n > 0 {
		s = make(runeSet, ranges[n-1]>>6+1)
	}
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			s[r>>6] |= 1 << (r & 63)
		}
	}
	return s
}

// A simple pattern is an optional character of a class followed by least to most characters of another one: what most steps of
// pipelines of several patterns are.
type simple struct {
	optional, class runeSet
	least, most     int // most -1: no bound
}

// simplePattern returns nil when the pattern is more than that.
func simplePattern(pattern string) *simple {
	if strings.Contains(pattern, "&&") { // an intersection there, two characters here
		return nil
	}
	re, err := syntax.Parse(goClasses(unicode16(pattern)), syntax.Perl&^syntax.OneLine)
	if err != nil {
		return nil
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	m := &simple{}
	if parts[0].Op == syntax.OpQuest && len(parts) > 1 && parts[0].Flags&syntax.NonGreedy == 0 {
		if m.optional = classOf(parts[0].Sub[0]); m.optional == nil {
			return nil
		}
		parts = parts[1:]
	}
	for i, p := range parts {
		least, most := 1, 1
		sub := p
		switch p.Op {
		case syntax.OpPlus:
			most, sub = -1, p.Sub[0]
		case syntax.OpRepeat:
			least, most, sub = p.Min, p.Max, p.Sub[0]
		}
		class := classOf(sub)
		if class == nil || p.Flags&syntax.NonGreedy != 0 || least == 0 || i > 0 && (most < 0 || m.most < 0 || least != most || !slices.Equal(class, m.class)) {
			return nil
		}
		m.class, m.least = class, m.least+least
		if m.most += most; most < 0 {
			m.most = -1
		}
	}
	return m
}

func classOf(re *syntax.Regexp) runeSet {
	switch {
	case re.Op == syntax.OpCharClass:
		return newRuneSet(re.Rune)
	case re.Op == syntax.OpLiteral && len(re.Rune) == 1 && re.Flags&syntax.FoldCase == 0:
		return newRuneSet([]rune{re.Rune[0], re.Rune[0]})
	}
	return nil
}

// goClasses writes \s out, which in Go is ASCII alone.
func goClasses(pattern string) string {
	const spaces = `\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`
	var b strings.Builder
	depth := 0
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth = max(depth-1, 0)
		case c == '\\' && i+1 < len(pattern):
			i++
			switch {
			case pattern[i] != 's':
				b.WriteByte('\\')
				b.WriteByte(pattern[i])
			case depth > 0:
				b.WriteString(spaces)
			default:
				b.WriteString("[" + spaces + "]")
			}
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// match returns the end of the match that begins at i, -1 if there is none.
func (m *simple) match(s string, i int) int {
	if m.optional != nil {
		if r, n := utf8.DecodeRuneInString(s[i:]); m.optional.has(r) {
			if end := m.body(s, i+n); end >= 0 {
				return end
			}
		}
	}
	return m.body(s, i)
}

func (m *simple) body(s string, i int) int {
	k := 0
	for i < len(s) && k != m.most {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		if !m.class.has(r) {
			break
		}
		i += n
		k++
	}
	if k < m.least {
		return -1
	}
	return i
}

// find finds what matches and what lies between, in order.
func (m *simple) find(s string) (out []part, _ error) {
	last := 0
	for i := 0; i < len(s); {
		end := m.match(s, i)
		if end < 0 {
			i += runeLen(s, i)
			continue
		}
		if last < i {
			out = append(out, part{last, i, false})
		}
		out = append(out, part{i, end, true})
		i, last = end, end
	}
	if last < len(s) {
		out = append(out, part{last, len(s), false})
	}
	return out, nil
}
