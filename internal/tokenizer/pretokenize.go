package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// A step is one element of the "pre_tokenizer" of a tokenizer.json: it appends the words of a seg to dst.
type step func(dst []seg, g seg) ([]seg, error)

func stepScan(scan scanner) step {
	return func(dst []seg, g seg) ([]seg, error) {
		c := classer{classTable()}
		for i := 0; i < len(g.s); {
			k := scan(c, g.s, i)
			dst = append(dst, g.sub(i, k))
			i = k
		}
		return dst, nil
	}
}

// stepPrefix puts a space before a text that has none (add_prefix_space of ByteLevel).
func stepPrefix(dst []seg, g seg) ([]seg, error) {
	if g.s != "" && g.s[0] != ' ' {
		g = g.prepend(" ")
	}
	return append(dst, g), nil
}

// isDigit is the class of the pre-tokenizer Digits: numbers, of a newer Unicode than those of the patterns.
func isDigit(r rune) bool {
	return classer{classTable()}.of(r) == number || r >= 0x11de0 && r <= 0x11de9 || r >= 0x16ff4 && r <= 0x16ff6
}

func stepDigits(individual bool) step {
	return func(dst []seg, g seg) ([]seg, error) {
		start, before := 0, false
		for i, r := range g.s {
			digit := r >= '0' && r <= '9' || r >= utf8.RuneSelf && isDigit(r)
			if i > start && (digit != before || digit && individual) {
				dst = append(dst, g.sub(start, i))
				start = i
			}
			before = digit
		}
		if start < len(g.s) {
			dst = append(dst, g.sub(start, len(g.s)))
		}
		return dst, nil
	}
}

// stepMetaspace writes spaces as mark (U+2581) and puts one in front: always, or only at the very beginning ("first").
func stepMetaspace(mark, scheme string, split bool) step {
	findSpace := findString(" ")
	return func(dst []seg, g seg) ([]seg, error) {
		first := g.s != "" && g.span(0, 1)[0] == 0
		if strings.Contains(g.s, " ") {
			parts, _ := findSpace(g.s) // a literal is always found without an error
			g = g.replace(parts, mark)
		}
		if g.s != "" && !strings.HasPrefix(g.s, mark) && (scheme == "always" || scheme == "first" && first) {
			g = g.prepend(mark)
		}
		if !split {
			return append(dst, g), nil
		}
		start := 0
		for i := 0; i < len(g.s); {
			k := strings.Index(g.s[i:], mark)
			if k < 0 {
				break
			}
			if i+k > start {
				dst = append(dst, g.sub(start, i+k))
			}
			start = i + k
			i = start + len(mark)
		}
		if start < len(g.s) {
			dst = append(dst, g.sub(start, len(g.s)))
		}
		return dst, nil
	}
}

// A part is a piece of a text cut by a pattern.
type part struct {
	a, b  int
	match bool
}

// A finder cuts a whole text into what matches a pattern and what lies between.
type finder func(s string) ([]part, error)

// stepSplit cuts by the matches of a pattern; behaviour says where the matches go.
func stepSplit(find finder, behaviour string, invert bool) (step, error) {
	switch behaviour {
	case "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous":
	default:
		return nil, fmt.Errorf("expected a split behaviour, found %q", behaviour)
	}
	return func(dst []seg, g seg) ([]seg, error) {
		parts, err := find(g.s)
		if err != nil {
			return nil, err
		}
		for i := range parts {
			parts[i].match = parts[i].match != invert
		}
		for _, p := range arrange(parts, behaviour) {
			if p.a < p.b {
				dst = append(dst, g.sub(p.a, p.b))
			}
		}
		return dst, nil
	}, nil
}

func arrange(parts []part, behaviour string) []part {
	var out []part
	switch behaviour {
	case "Isolated":
		return parts
	case "Removed":
		for _, p := range parts {
			if !p.match {
				out = append(out, p)
			}
		}
	case "Contiguous":
		for _, p := range parts {
			if n := len(out); n > 0 && out[n-1].match == p.match {
				out[n-1].b = p.b
			} else {
				out = append(out, p)
			}
		}
	case "MergedWithPrevious":
		previous := false
		for _, p := range parts {
			if n := len(out); p.match && !previous && n > 0 {
				out[n-1].b = p.b
			} else {
				out = append(out, p)
			}
			previous = p.match
		}
	case "MergedWithNext":
		previous := false
		for i := len(parts) - 1; i >= 0; i-- {
			p := parts[i]
			if n := len(out); p.match && !previous && n > 0 {
				out[n-1].a = p.a
			} else {
				out = append(out, p)
			}
			previous = p.match
		}
		for i, k := 0, len(out)-1; i < k; i, k = i+1, k-1 {
			out[i], out[k] = out[k], out[i]
		}
	}
	return out
}

func findString(pattern string) finder {
	return func(s string) ([]part, error) {
		var out []part
		last := 0
		for {
			k := strings.Index(s[last:], pattern)
			if k < 0 || pattern == "" {
				break
			}
			if k > 0 {
				out = append(out, part{last, last + k, false})
			}
			out = append(out, part{last + k, last + k + len(pattern), true})
			last += k + len(pattern)
		}
		if last < len(s) {
			out = append(out, part{last, len(s), false})
		}
		return out, nil
	}
}

// findChars finds characters one by one.
func findChars(is func(rune) bool) finder {
	return func(s string) ([]part, error) {
		var out []part
		last := 0
		for i, r := range s {
			if !is(r) {
				continue
			}
			if last < i {
				out = append(out, part{last, i, false})
			}
			last = i + runeLen(s, i)
			out = append(out, part{i, last, true})
		}
		if last < len(s) {
			out = append(out, part{last, len(s), false})
		}
		return out, nil
	}
}

// stepBert cuts at white space, which it drops, and around each punctuation mark.
func stepBert(dst []seg, g seg) ([]seg, error) {
	start := 0
	for i, r := range g.s {
		blank := unicode.IsSpace(r)
		if !blank && !isPunct(r) {
			continue
		}
		if start < i {
			dst = append(dst, g.sub(start, i))
		}
		start = i + runeLen(g.s, i)
		if !blank {
			dst = append(dst, g.sub(i, start))
		}
	}
	if start < len(g.s) {
		dst = append(dst, g.sub(start, len(g.s)))
	}
	return dst, nil
}

// stepWhitespace is \w+|[^\w\s]+ : runs of word characters and runs of others, without white space.
func stepWhitespace(dst []seg, g seg) ([]seg, error) {
	kind := func(r rune) int {
		switch {
		case unicode.IsSpace(r):
			return 0
		case isWord(r):
			return 1
		}
		return 2
	}
	start, before := 0, 0
	for i, r := range g.s {
		k := kind(r)
		if k != before && before > 0 {
			dst = append(dst, g.sub(start, i))
		}
		if k != before {
			start, before = i, k
		}
	}
	if before > 0 {
		dst = append(dst, g.sub(start, len(g.s)))
	}
	return dst, nil
}

// onLetters lets a step that only cuts see a word as ByteLevel writes it, in byte letters: some bytes of characters are digits or
// punctuation marks there.
func onLetters(f step) step {
	return func(dst []seg, g seg) ([]seg, error) {
		letters := string(appendByteLetters(nil, g.s))
		cuts, err := f(nil, seg{s: letters})
		if err != nil {
			return nil, err
		}
		if len(cuts) == 1 && len(cuts[0].s) == len(letters) {
			return append(dst, g), nil
		}
		g.pos = g.aligned() // a cut may go through a character
		at, i := 0, 0
		place := func(want int) int {
			for ; at < want; i++ {
				at += utf8.RuneLen(alphabet.letter[g.s[i]])
			}
			return i
		}
		for _, c := range cuts {
			from := place(c.off)
			dst = append(dst, g.sub(from, place(c.off+len(c.s))))
		}
		return dst, nil
	}
}

// findRegex finds by a regular expression that has no scanner of its own.
func findRegex(pattern string) (finder, error) {
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
