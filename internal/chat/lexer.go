package chat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"tune/internal/pyre"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokData
	tokBlockBegin // {%
	tokBlockEnd
	tokPrintBegin // {{
	tokPrintEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
)

type token struct {
	kind tokenKind
	s    string // data, name, contents of a string, operator
	num  any    // value of a number
	line int
}

// A lexer cuts a template into tokens, with the options that chat templates are written for: trim_blocks and lstrip_blocks on,
// one final newline dropped; or with none of them.
type lexer struct {
	src    string
	i      int
	line   int
	fresh  bool // the last tag took its newline with it, or this is the start: a new line begins at i
	exact  bool // white space stays as it is written
	tokens []token
}

func lex(src string, exact bool) ([]token, error) {
	src = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(src)
	if !exact {
		src = strings.TrimSuffix(src, "\n")
	}
	l := &lexer{src: src, line: 1, fresh: true, exact: exact}
	for l.i < len(l.src) {
		if err := l.step(); err != nil {
			return nil, fmt.Errorf("template: line %d: %w", l.line, err)
		}
	}
	l.add(token{kind: tokEnd})
	return l.tokens, nil
}

func (l *lexer) add(t token) {
	t.line = l.line
	l.tokens = append(l.tokens, t)
}

// take advances by n bytes and counts lines.
func (l *lexer) take(n int) string {
	s := l.src[l.i : l.i+n]
	l.line += strings.Count(s, "\n")
	l.i += n
	return s
}

// step reads data up to the next tag, and the tag.
func (l *lexer) step() error {
	rest := l.src[l.i:]
	at := -1
	for k := 0; k+1 < len(rest); k++ {
		if rest[k] == '{' && (rest[k+1] == '%' || rest[k+1] == '{' || rest[k+1] == '#') {
			at = k
			break
		}
	}
	if at < 0 {
		l.add(token{kind: tokData, s: l.take(len(rest))})
		return nil
	}
	data, kind := l.take(at), rest[at+1]
	sign := byte(0)
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2]
	}
	switch {
	case sign == '-':
		data = strings.TrimRightFunc(data, pyre.IsSpace)
	case sign == 0 && kind != '{' && !l.exact:
		if k := strings.LastIndexByte(data, '\n') + 1; (k > 0 || l.fresh) && strings.TrimFunc(data[k:], pyre.IsSpace) == "" {
			data = data[:k]
		}
	}
	if data != "" {
		l.add(token{kind: tokData, s: data})
	}
	l.take(2)
	if sign != 0 && kind != '#' {
		l.take(1)
	}
	l.fresh = false
	switch kind {
	case '#':
		n := strings.Index(l.src[l.i:], "#}")
		if n < 0 {
			return fmt.Errorf("comment without end")
		}
		mark := byte(0)
		if n > 0 {
			mark = l.src[l.i+n-1]
		}
		l.take(n + 2)
		l.after(mark, true)
		return nil
	case '%':
		if done, err := l.raw(); done || err != nil {
			return err
		}
		l.add(token{kind: tokBlockBegin})
		return l.inside(tokBlockEnd, "%}")
	}
	l.add(token{kind: tokPrintBegin})
	return l.inside(tokPrintEnd, "}}")
}

// after takes the white space that the end of a tag swallows.
func (l *lexer) after(sign byte, block bool) {
	rest := l.src[l.i:]
	switch {
	case sign == '-':
		n := len(rest) - len(strings.TrimLeftFunc(rest, pyre.IsSpace))
		l.fresh = strings.HasSuffix(l.take(n), "\n")
	case sign != '+' && block && !l.exact && strings.HasPrefix(rest, "\n"):
		l.take(1)
		l.fresh = true
	}
}

// raw reads {% raw %} ... {% endraw %}, if that is what begins here.
func (l *lexer) raw() (bool, error) {
	body := strings.TrimLeftFunc(l.src[l.i:], pyre.IsSpace)
	if !strings.HasPrefix(body, "raw") {
		return false, nil
	}
	body = strings.TrimLeftFunc(body[3:], pyre.IsSpace)
	sign := byte(0)
	if body != "" && (body[0] == '-' || body[0] == '+') {
		sign, body = body[0], body[1:]
	}
	if !strings.HasPrefix(body, "%}") {
		return false, nil
	}
	l.take(len(l.src) - l.i - len(body) + 2)
	l.after(sign, true)
	for k := l.i; ; k++ {
		n := strings.Index(l.src[k:], "{%")
		if n < 0 {
			return true, fmt.Errorf("raw without endraw")
		}
		k += n
		tag := l.src[k+2:]
		left := byte(0)
		if tag != "" && (tag[0] == '-' || tag[0] == '+') {
			left, tag = tag[0], tag[1:]
		}
		tag, ok := strings.CutPrefix(strings.TrimLeftFunc(tag, pyre.IsSpace), "endraw")
		if !ok {
			continue
		}
		tag = strings.TrimLeftFunc(tag, pyre.IsSpace)
		right := byte(0)
		if tag != "" && (tag[0] == '-' || tag[0] == '+') {
			right, tag = tag[0], tag[1:]
		}
		if !strings.HasPrefix(tag, "%}") {
			continue
		}
		data := l.take(k - l.i)
		if left == '-' {
			data = strings.TrimRightFunc(data, pyre.IsSpace)
		} else if j := strings.LastIndexByte(data, '\n') + 1; left == 0 && !l.exact && j > 0 && strings.TrimFunc(data[j:], pyre.IsSpace) == "" {
			data = data[:j]
		}
		l.add(token{kind: tokData, s: data})
		l.take(len(l.src) - l.i - len(tag) + 2)
		l.after(right, true)
		return true, nil
	}
}

// operators, longest first.
var operators = []string{"//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",",
	".", ":", "|", ";"}

// inside reads the tokens of a tag up to its end mark.
func (l *lexer) inside(end tokenKind, mark string) error {
	depth := 0
	for {
		rest := strings.TrimLeftFunc(l.src[l.i:], pyre.IsSpace)
		l.take(len(l.src) - l.i - len(rest))
		if rest == "" {
			return fmt.Errorf("tag without %s", mark)
		}
		if depth == 0 {
			sign := byte(0)
			if (rest[0] == '-' || rest[0] == '+') && strings.HasPrefix(rest[1:], mark) {
				sign = rest[0]
			}
			if sign != 0 || strings.HasPrefix(rest, mark) {
				l.add(token{kind: end})
				if sign != 0 {
					l.take(1)
				}
				l.take(2)
				l.after(sign, end == tokBlockEnd)
				return nil
			}
		}
		c, _ := utf8.DecodeRuneInString(rest)
		switch {
		case c == '"' || c == '\'':
			if err := l.quoted(byte(c)); err != nil {
				return err
			}
		case c >= '0' && c <= '9':
			if err := l.number(rest); err != nil {
				return err
			}
		case c == '_' || unicode.IsLetter(c):
			n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			if n < 0 {
				n = len(rest)
			}
			l.add(token{kind: tokName, s: l.take(n)})
		default:
			op := ""
			for _, o := range operators {
				if strings.HasPrefix(rest, o) {
					op = o
					break
				}
			}
			switch op {
			case "":
				return fmt.Errorf("unexpected %q", c)
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				if depth--; depth < 0 {
					return fmt.Errorf("unexpected %q", op)
				}
			}
			l.add(token{kind: tokOp, s: op})
			l.take(len(op))
		}
	}
}

// quoted reads a string literal with Python's escapes.
func (l *lexer) quoted(quote byte) error {
	src := l.src[l.i:]
	var b strings.Builder
	for k := 1; k < len(src); k++ {
		switch c := src[k]; {
		case c == quote:
			l.add(token{kind: tokString, s: b.String()})
			l.take(k + 1)
			return nil
		case c != '\\':
			b.WriteByte(c)
		default:
			k++
			if k == len(src) {
				return fmt.Errorf("string without end")
			}
			n, _ := escape(&b, src[k:])
			k += n
		}
	}
	return fmt.Errorf("string without end")
}

// escape writes what the escape sequence behind a backslash stands for and returns how many bytes it has beyond the first.
// It is not ok, and written as it is, without the digits it needs.
func escape(b *strings.Builder, s string) (n int, ok bool) {
	plain := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'a': 7, 'b': 8, 'f': 12, 'v': 11, '\\': '\\', '\'': '\'', '"': '"'}
	if c, ok := plain[s[0]]; ok {
		b.WriteByte(c)
		return 0, true
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if digits > 0 && len(s) > digits {
		if n, err := strconv.ParseUint(s[1:1+digits], 16, 32); err == nil && n <= unicode.MaxRune {
			b.WriteRune(rune(n))
			return digits, true
		}
	}
	octal := 0
	for octal < 3 && octal < len(s) && s[octal] >= '0' && s[octal] <= '7' {
		octal++
	}
	switch {
	case octal > 0:
		n, _ := strconv.ParseUint(s[:octal], 8, 32)
		b.WriteRune(rune(n))
		return octal - 1, true
	case s[0] == '\n': // a continued line
		return 0, true
	}
	b.WriteByte('\\')
	b.WriteByte(s[0])
	return 0, digits == 0
}

func (l *lexer) number(rest string) error {
	n := strings.IndexFunc(rest, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	})
	if n < 0 {
		n = len(rest)
	}
	isFloat := false
	if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' && !strings.ContainsAny(rest[:n], "xXoObBeE") {
		isFloat = true
		for n++; n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '_' || rest[n]|0x20 == 'e'); n++ {
		}
	}
	if !strings.HasPrefix(rest, "0x") && n > 0 && rest[n-1]|0x20 == 'e' && n+1 < len(rest) && (rest[n] == '-' || rest[n] == '+') {
		for n++; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
		}
	}
	word := strings.ReplaceAll(rest[:n], "_", "")
	if isFloat || !strings.HasPrefix(word, "0x") && strings.ContainsAny(word, "eE") {
		f, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return fmt.Errorf("number %q: %w", rest[:n], err)
		}
		l.add(token{kind: tokFloat, num: f})
	} else {
		i, err := strconv.ParseInt(word, 0, 64)
		if err != nil {
			return fmt.Errorf("number %q: %w", rest[:n], err)
		}
		l.add(token{kind: tokInt, s: word, num: i})
	}
	l.take(n)
	return nil
}
