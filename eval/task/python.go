package task

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"tune/internal/chat"
)

// Values of documents are those of package chat: nil, bool, int64, float64, string, []any and *chat.Dict. This file does
// with them what Python does.

// JSON is json.dumps(v, ensure_ascii=False, indent=indent), indent 0 for none.
func JSON(v any, indent int) string { return string((&jsonWriter{indent: indent}).append(nil, v, 0)) }

// asciiJSON is json.dumps(v): everything beyond ASCII escaped.
func asciiJSON(v any) string { return string((&jsonWriter{ascii: true}).append(nil, v, 0)) }

type jsonWriter struct {
	indent int
	ascii  bool
}

func (w *jsonWriter) append(b []byte, v any, depth int) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return append(b, floatText(v, "NaN", "Infinity")...)
	case string:
		return w.quote(b, v)
	case []string:
		list := make([]any, len(v))
		for i, x := range v {
			list[i] = x
		}
		return w.append(b, list, depth)
	case []any:
		b = append(b, '[')
		for i, x := range v {
			b = w.append(w.separate(b, i, depth+1), x, depth+1)
		}
		return w.end(b, len(v), depth, ']')
	case *chat.Dict:
		b = append(b, '{')
		for i, k := range v.Keys() {
			x, _ := v.Get(k)
			b = append(w.quote(w.separate(b, i, depth+1), k), ": "...)
			b = w.append(b, x, depth+1)
		}
		return w.end(b, v.Len(), depth, '}')
	}
	return w.quote(b, fmt.Sprint(v))
}

func (w *jsonWriter) separate(b []byte, i, depth int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	if w.indent > 0 {
		return append(append(b, '\n'), strings.Repeat(" ", w.indent*depth)...)
	}
	if i > 0 {
		b = append(b, ' ')
	}
	return b
}

func (w *jsonWriter) end(b []byte, n, depth int, close byte) []byte {
	if w.indent > 0 && n > 0 {
		b = append(append(b, '\n'), strings.Repeat(" ", w.indent*depth)...)
	}
	return append(b, close)
}

func (w *jsonWriter) quote(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r < 0x20 || w.ascii && r > 0x7e && r < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			hi, lo := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

// floatText is repr(f): the shortest digits that give f back.
func floatText(f float64, nan, inf string) string {
	switch {
	case math.IsNaN(f):
		return nan
	case math.IsInf(f, 0):
		return strings.Repeat("-", b2i(f < 0)) + inf
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pyLower is s.lower(): with the letters whose lower case is more than a letter or depends on its place.
func pyLower(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return cases.Lower(language.Und).String(s)
		}
	}
	return strings.ToLower(s)
}

// pyString is str(v).
func pyString(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return pyRepr(v)
}

// pyRepr is repr(v).
func pyRepr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return floatText(v, "nan", "inf")
	case string:
		return chat.Repr(v)
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = pyRepr(x)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *chat.Dict:
		var parts []string
		for _, k := range v.Keys() {
			x, _ := v.Get(k)
			parts = append(parts, chat.Repr(k)+": "+pyRepr(x))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// equal is ==.
func equal(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case *chat.Dict:
		b, ok := b.(*chat.Dict)
		if !ok || a.Len() != b.Len() {
			return false
		}
		if a == b {
			return true
		}
		for _, k := range a.Keys() {
			x, _ := a.Get(k)
			if y, have := b.Get(k); !have || !equal(x, y) {
				return false
			}
		}
		return true
	case int64:
		if f, ok := b.(float64); ok {
			return float64(a) == f
		}
	case float64:
		if n, ok := b.(int64); ok {
			return a == float64(n)
		}
	}
	return a == b
}

// literal is ast.literal_eval(s) for lists, tuples, dictionaries with text keys, texts, numbers, True, False and None.
func literal(s string) (any, error) {
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
	d := chat.NewDict()
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
		d.Set(pyString(k), v)
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
			n, err := escape(&b, p.s[i+1:])
			if err != nil {
				return nil, err
			}
			i += n
		}
	}
	return nil, fmt.Errorf("text without end at byte %d", p.i)
}

// escape writes what a backslash before s stands for and returns the bytes of s it takes.
func escape(b *strings.Builder, s string) (int, error) {
	if at := strings.IndexByte(`abfnrtv\'"`, s[0]); at >= 0 {
		b.WriteByte("\a\b\f\n\r\t\v\\'\""[at])
		return 1, nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if digits == 0 {
		b.WriteString("\\" + s[:1])
		return 1, nil
	}
	if len(s) < 1+digits {
		return 0, fmt.Errorf("escape \\%c: expected %d digits", s[0], digits)
	}
	n, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("escape \\%c: %w", s[0], err)
	}
	b.WriteRune(rune(n))
	return 1 + digits, nil
}
