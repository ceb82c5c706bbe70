package tokenizer

import "unicode/utf8"

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
		for k := 0; k < digits; k++ {
			class, n := c.at(s, i)
			if class != number || n == 0 {
				break
			}
			i += n
		}
		return i
	}
	if s[i] != '\r' && s[i] != '\n' {
		if next, m := c.at(s, i+n); next == letter {
			return c.run(s, i+n+m, letter)
		}
	}
	j := i
	if s[i] == ' ' {
		j++
	}
	if k := c.run(s, j, other); k > j {
		for k < len(s) && (s[k] == '\r' || s[k] == '\n') {
			k++
		}
		return k
	}
	// \s*[\r\n]+ : up to the last line end of the white space
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
