package tokenizer

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A scanner cuts one word off the front: it returns the end of the word that begins at i. Scanners are regular expressions
// written by hand, one for each pattern that published models use.
type scanner func(c classer, s string, i int) int

// The patterns of the scanners, as they stand in tokenizer.json.
const (
	patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	patternO200k  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

func scannerOf(pattern string) scanner {
	switch pattern {
	case patternGPT2:
		return scanGPT2
	case patternLlama3:
		return scanLlama3
	case patternQwen2:
		return scanQwen2
	case patternDeepseekV3:
		return scanDeepseekV3
	case patternO200k:
		return scanO200k
	case patternTekken:
		return scanTekken
	}
	return nil
}

func scanGPT2(c classer, s string, i int) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:], false); n > 0 {
			return i + 1 + n
		}
	}
	j := i
	if s[i] == ' ' {
		j++
	}
	if class, n := c.at(s, j); n > 0 && class != space {
		return c.run(s, j, class)
	}
	return c.blank(s, i)
}

func scanLlama3(c classer, s string, i int) int { return scanCL(c, s, i, 3) }
func scanQwen2(c classer, s string, i int) int  { return scanCL(c, s, i, 1) }

// scanCL is the family of patterns that began with cl100k; digits is the longest run of numbers taken as one word.
func scanCL(c classer, s string, i, digits int) int {
	class, n := c.at(s, i)
	if class == letter {
		return c.run(s, i+n, letter)
	}
	if s[i] == '\'' {
		if n := contraction(s[i+1:], true); n > 0 {
			return i + 1 + n
		}
	}
	if class == number {
		return c.numbers(s, i, digits)
	}
	if s[i] != '\r' && s[i] != '\n' {
		if next, m := c.at(s, i+n); next == letter {
			return c.run(s, i+n+m, letter)
		}
	}
	return c.others(s, i, "\r\n")
}

func scanO200k(c classer, s string, i int) int  { return scanCased(c, s, i, 3, true) }
func scanTekken(c classer, s string, i int) int { return scanCased(c, s, i, 1, false) }

// scanCased is the family of patterns that began with o200k: words change at a change from lower to upper case.
func scanCased(c classer, s string, i, digits int, contractions bool) int {
	class, n := c.at(s, i)
	if class == number {
		return c.numbers(s, i, digits)
	}
	from := i
	if class != letter && s[i] != '\r' && s[i] != '\n' {
		from += n // [^\r\n\p{L}\p{N}]?
	}
	end := -1
	for _, word := range []func(string, int) int{casedTail, casedHead} {
		if end < 0 {
			end = word(s, from)
		}
		if end < 0 && from > i { // a mark may begin the word itself
			end = word(s, i)
		}
	}
	if end >= 0 {
		if contractions && end < len(s) && s[end] == '\'' {
			if n := contraction(s[end+1:], true); n > 0 {
				end += 1 + n
			}
		}
		return end
	}
	return c.others(s, i, "\r\n/")
}

// Bits of caseOf.
const (
	upper = 1 // \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}
	lower = 2 // \p{Ll}\p{Lm}\p{Lo}\p{M}
)

// casedTail is [upper]*[lower]+ : the end of the word that begins at i, -1 if there is none.
func casedTail(s string, i int) int {
	head, last := i, -1 // last: where the last character of the head begins that may also be in the tail
	for head < len(s) {
		k, n := caseOf(s, head)
		if k&upper == 0 {
			break
		}
		if k&lower != 0 {
			last = head
		}
		head += n
	}
	end := caseRun(s, head, lower)
	if end == head && last >= 0 { // the head gives back all behind its last character without case
		return last + runeLen(s, last)
	}
	if end == head {
		return -1
	}
	return end
}

// casedHead is [upper]+[lower]* where casedTail finds nothing.
func casedHead(s string, i int) int {
	if end := caseRun(s, i, upper); end > i {
		return end
	}
	return -1
}

func caseRun(s string, i int, bit uint8) int {
	for i < len(s) {
		k, n := caseOf(s, i)
		if k&bit == 0 {
			break
		}
		i += n
	}
	return i
}

func caseOf(s string, i int) (bits uint8, n int) {
	if b := s[i]; b < utf8.RuneSelf {
		switch {
		case b >= 'a' && b <= 'z':
			return lower, 1
		case b >= 'A' && b <= 'Z':
			return upper, 1
		}
		return 0, 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	switch {
	case unicode.Is(unicode.Ll, r):
		return lower, n
	case unicode.In(r, unicode.Lu, unicode.Lt):
		return upper, n
	case unicode.IsLetter(r) || unicode.IsMark(r) || in(newRanges["M"], r) || in(newRanges["L"], r):
		return upper | lower, n
	}
	return 0, n
}

// scanDeepseekV3 is the last pattern of DeepSeek V3: a mark with letters, letters and marks, punctuation and symbols, white space.
// What none of them matches is a piece of its own, up to where one does.
func scanDeepseekV3(c classer, s string, i int) int {
	if k := deepseekWord(c, s, i); k > i {
		return k
	}
	end := i
	for end < len(s) {
		end += runeLen(s, end)
		if end == len(s) || deepseekWord(c, s, end) > end {
			break
		}
	}
	return end
}

// deepseekWord returns the end of the match that begins at i, i when there is none.
func deepseekWord(c classer, s string, i int) int {
	b := s[i]
	if isPunct(rune(b)) && b < utf8.RuneSelf && i+1 < len(s) && asciiLetter(s[i+1]) {
		for i += 2; i < len(s) && asciiLetter(s[i]); i++ {
		}
		return i
	}
	sets := deepseekSets()
	r, n := utf8.DecodeRuneInString(s[i:])
	from := i
	if b != '\r' && b != '\n' && !sets.letters.has(r) && !sets.marks.has(r) {
		from += n
	}
	end := sets.words.run(s, from)
	if end == from && from > i {
		end = sets.words.run(s, i)
		from = i
	}
	if end > from {
		return end
	}
	j := i
	if b == ' ' {
		j++
	}
	if k := sets.marks.run(s, j); k > j {
		for k < len(s) && (s[k] == '\r' || s[k] == '\n') {
			k++
		}
		return k
	}
	if class, _ := c.at(s, i); class == space {
		return c.lines(s, i)
	}
	return i
}

func asciiLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// deepseekSets are \p{L}, \p{P}\p{S} and \p{L}\p{M}.
var deepseekSets = sync.OnceValue(func() (s struct{ letters, marks, words runeSet }) {
	set := func(class string) runeSet { return simplePattern("[" + class + "]").class }
	s.letters, s.marks, s.words = set(`\p{L}`), set(`\p{P}\p{S}`), set(`\p{L}\p{M}`)
	return s
})

// numbers returns the end of the run of at most so many numbers that begins at i.
func (c classer) numbers(s string, i, most int) int {
	for range most {
		class, n := c.at(s, i)
		if class != number {
			break
		}
		i += n
	}
	return i
}

// others is ` ?[^\s\p{L}\p{N}]+[tail]*` where that matches, otherwise what lines has.
func (c classer) others(s string, i int, tail string) int {
	j := i
	if s[i] == ' ' {
		j++
	}
	k := c.run(s, j, other)
	if k == j {
		return c.lines(s, i)
	}
	for k < len(s) && strings.IndexByte(tail, s[k]) >= 0 {
		k++
	}
	return k
}

// lines is \s*[\r\n]+|\s+(?!\S)|\s+ : white space up to its last line end, or as blank has it.
func (c classer) lines(s string, i int) int {
	end, line := i, -1
	for end < len(s) {
		class, n := c.at(s, end)
		if class != space {
			break
		}
		if s[end] == '\r' || s[end] == '\n' {
			line = end + 1
		}
		end += n
	}
	if line >= 0 {
		return line
	}
	return c.blank(s, i)
}

// blank is \s+(?!\S)|\s+ : all of the white space at the end of the text, otherwise all but its last character (which goes with
// the next word), but at least one.
func (c classer) blank(s string, i int) int {
	end, last := i, i
	for end < len(s) {
		class, n := c.at(s, end)
		if class != space {
			break
		}
		last = end
		end += n
	}
	if end == len(s) || last == i {
		return end
	}
	return last
}

// contraction returns the length of s, t, re, ve, m, ll or d at the front of s. With fold letters may be upper case, and the
// long s is an s.
func contraction(s string, fold bool) int {
	if s == "" {
		return 0
	}
	at := func(i int) (byte, int) {
		if i >= len(s) {
			return 0, 0
		}
		b := s[i]
		if !fold || b < utf8.RuneSelf {
			if fold && b >= 'A' && b <= 'Z' {
				b |= 0x20
			}
			return b, 1
		}
		if r, n := utf8.DecodeRuneInString(s[i:]); r == 'ſ' {
			return 's', n
		}
		return 0, 0
	}
	a, n := at(0)
	switch a {
	case 's', 't', 'm', 'd':
		return n
	}
	b, m := at(n)
	switch {
	case (a == 'r' || a == 'v') && b == 'e', a == 'l' && b == 'l':
		return n + m
	}
	return 0
}
