// Package pyre is the part of Python's re module that task files rely on: findall, sub and split, with look-around and
// back references, on a backtracking engine.
package pyre

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dlclark/regexp2/v2"
)

// patience bounds one match: a pattern of a foreign file may backtrack for ever. Running out of it is an error.
const patience = 10 * time.Second

// Regexp is a compiled pattern; safe for concurrent use.
type Regexp struct{ re *regexp2.Regexp }

// Compile reads a pattern in Python's syntax; flags such as (?si) may stand at its begin.
func Compile(pattern string) (*Regexp, error) {
	re, err := regexp2.Compile(translate(pattern), regexp2.None, regexp2.OptionMaintainCaptureOrder())
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	re.MatchTimeout = patience
	return &Regexp{re}, nil
}

// MustCompile is Compile for the patterns of a program.
func MustCompile(pattern string) *Regexp {
	r, err := Compile(pattern)
	if err != nil {
		panic(err)
	}
	return r
}

// translate writes the few things differently that the engine spells like .NET.
func translate(p string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		rest := p[i:]
		switch {
		case strings.HasPrefix(rest, `\Z`) && !class:
			b.WriteString(`\z`)
			i++
		case p[i] == '\\' && i+1 < len(p):
			b.WriteString(rest[:2])
			i++
		case class:
			class = p[i] != ']'
			if p[i] == '[' { // .NET would subtract a class
				b.WriteByte('\\')
			}
			b.WriteByte(p[i])
		case p[i] == '[':
			class = true
			b.WriteByte('[')
			for _, lead := range []string{"^", "]"} { // a bracket that stands first is itself
				if strings.HasPrefix(p[i+1:], lead) {
					if lead == "]" {
						b.WriteByte('\\')
					}
					b.WriteString(lead)
					i++
				}
			}
		case strings.HasPrefix(rest, "(?P<"):
			b.WriteString("(?<")
			i += 3
		case strings.HasPrefix(rest, "(?P="):
			b.WriteString(`\k<`)
			name, _, _ := strings.Cut(rest[4:], ")")
			b.WriteString(name + ">")
			i += 4 + len(name)
		default:
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

// FindAll returns for every match what re.findall puts into its list: the groups, or the whole match where the pattern
// has none. A group that took no part is "".
func (r *Regexp) FindAll(s string) ([][]string, error) {
	var out [][]string
	m, err := r.re.FindStringMatch(s)
	for ; m != nil && err == nil; m, err = r.re.FindNextMatch(m) {
		groups := m.Groups()
		if len(groups) > 1 {
			groups = groups[1:]
		}
		texts := make([]string, len(groups))
		for i, g := range groups {
			texts[i] = g.String()
		}
		out = append(out, texts)
	}
	return out, r.failed(err)
}

// Match says whether the pattern occurs in s.
func (r *Regexp) Match(s string) (bool, error) {
	ok, err := r.re.MatchString(s)
	return ok, r.failed(err)
}

// Sub is re.sub: count replacements at most, 0 for all. The replacement may hold \1, \g<1>, \g<name> and \n.
func (r *Regexp) Sub(replacement, s string, count int) (string, error) {
	if count <= 0 {
		count = -1
	}
	out, err := r.re.ReplaceFunc(s, func(m regexp2.Match) string { return expand(replacement, &m) }, -1, count)
	return out, r.failed(err)
}

// expand fills the groups of a match into a replacement.
func expand(t string, m *regexp2.Match) string {
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		if t[i] != '\\' || i+1 == len(t) {
			b.WriteByte(t[i])
			continue
		}
		i++
		switch c := t[i]; {
		case c == 'n':
			b.WriteByte('\n')
		case c == 't':
			b.WriteByte('\t')
		case c == 'g' && strings.HasPrefix(t[i+1:], "<") && strings.Contains(t[i:], ">"):
			name, _, _ := strings.Cut(t[i+2:], ">")
			if n, err := strconv.Atoi(name); err == nil {
				b.WriteString(group(m.GroupByNumber(n)))
			} else {
				b.WriteString(group(m.GroupByName(name)))
			}
			i += 2 + len(name)
		case c >= '1' && c <= '9':
			n := int(c - '0')
			if i+1 < len(t) && t[i+1] >= '0' && t[i+1] <= '9' {
				i++
				n = 10*n + int(t[i]-'0')
			}
			b.WriteString(group(m.GroupByNumber(n)))
		case c == '\\':
			b.WriteByte('\\')
		default:
			b.WriteString(t[i-1 : i+1])
		}
	}
	return b.String()
}

func group(g *regexp2.Group) string {
	if g == nil {
		return ""
	}
	return g.String()
}

// Split is re.split for a pattern without groups.
func (r *Regexp) Split(s string) ([]string, error) {
	var out []string
	runes := []rune(s)
	last := 0
	m, err := r.re.FindStringMatch(s)
	for ; m != nil && err == nil; m, err = r.re.FindNextMatch(m) {
		out = append(out, string(runes[last:m.RuneIndex]))
		last = m.RuneIndex + m.RuneLength
	}
	return append(out, string(runes[last:])), r.failed(err)
}

func (r *Regexp) failed(err error) error {
	if err != nil {
		return fmt.Errorf("pattern %q: %w", r.re.String(), err)
	}
	return nil
}

// Quote is re.escape: a pattern that matches s itself.
func Quote(s string) string { return regexp2.Escape(s) }

// IsSpace is \s of a pattern and str.isspace: Unicode's white space and the four separators of ASCII.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// Words is len(re.split(r"\s+", s)), which counts an empty word before or behind white space at an end.
func Words(s string) int {
	n, space := 1, false
	for _, r := range s {
		was := space
		if space = IsSpace(r); space && !was {
			n++
		}
	}
	return n
}
