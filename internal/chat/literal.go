package chat

import (
	"fmt"
	"strconv"
	"strings"
)

// Literal is ast.literal_eval(s) for lists, tuples, dictionaries with text keys, texts, numbers, True, False and None.
func Literal(s string) (any, error) {
	p := &literalParser{s: s}
	v, err := p.value(0)
	if err != nil {
		return nil, fmt.Errorf("expected a Python literal, found %.80q: %w", s, err)
	}
	if p.space(); p.i < len(s) {
		return nil, fmt.Errorf("expected a Python literal, found more behind byte %d of %.80q", p.i, s)
	}
	return v, nil
}

type literalParser struct {
	s string
	i int
}

const maxLiteralDepth = 100

func (p *literalParser) space() {
	p.i += len(p.s[p.i:]) - len(strings.TrimLeft(p.s[p.i:], " \t\n\r"))
}

func (p *literalParser) accept(c byte) bool {
	if p.space(); p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *literalParser) value(depth int) (any, error) {
	p.space()
	if depth > maxLiteralDepth || p.i == len(p.s) {
		return nil, fmt.Errorf("unexpected end or nesting at byte %d", p.i)
	}
	rest := p.s[p.i:]
	for word, v := range map[string]any{"None": nil, "True": true, "False": false} {
		if strings.HasPrefix(rest, word) {
			p.i += len(word)
			return v, nil
		}
	}
	switch c := rest[0]; {
	case c == '[':
		p.i++
		return p.items(']', depth)
	case c == '(':
		p.i++
		items, err := p.items(')', depth)
		if err == nil && len(items) == 1 && !strings.Contains(rest[:p.i-(len(p.s)-len(rest))], ",") {
			return items[0], nil
		}
		return items, err
	case c == '{':
		p.i++
		return p.dict(depth)
	case c == '\'' || c == '"':
		return p.text()
	}
	n := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("+-0123456789.eE_xabcdfABCDF", r) })
	if n < 0 {
		n = len(rest)
	}
	p.i += n
	if v, err := strconv.ParseInt(rest[:n], 0, 64); err == nil {
		return v, nil
	}
	if f, err := strconv.ParseFloat(rest[:n], 64); err == nil && n > 0 {
		return f, nil
	}
	return nil, fmt.Errorf("unexpected %.20q at byte %d", rest, p.i-n)
}

func (p *literalParser) items(end byte, depth int) ([]any, error) {
	items := []any{}
	for {
		if p.accept(end) {
			return items, nil
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if !p.accept(',') && (p.i == len(p.s) || p.s[p.i] != end) {
			return nil, fmt.Errorf("expected , or %c at byte %d", end, p.i)
		}
	}
}

func (p *literalParser) dict(depth int) (any, error) {
	d := NewDict()
	for {
		if p.accept('}') {
			return d, nil
		}
		k, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.accept(':') {
			return nil, fmt.Errorf("expected : at byte %d", p.i)
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		d.Set(Str(k), v)
		if !p.accept(',') && (p.i == len(p.s) || p.s[p.i] != '}') {
			return nil, fmt.Errorf("expected , or } at byte %d", p.i)
		}
	}
}

func (p *literalParser) text() (any, error) {
	quote := p.s[p.i]
	var b strings.Builder
	for i := p.i + 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == quote:
			p.i = i + 1
			return b.String(), nil
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(p.s):
			n, ok := escape(&b, p.s[i+1:])
			if !ok {
				return nil, fmt.Errorf("escape %.4q at byte %d: expected digits", p.s[i:], i)
			}
			i += 1 + n
		}
	}
	return nil, fmt.Errorf("text without end at byte %d", p.i)
}
