package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// What Python makes of public values (nil, bool, int, int64, float64, string, []any and *Dict), for code that reads or
// checks what Python programs wrote.

// JSON is json.dumps(v, ensure_ascii=ascii, indent=indent), where an indent of 0 stands for none. A value of another type
// is written as the text that it prints as.
func JSON(v any, indent int, ascii bool) string {
	w := &jsonWriter{item: ", ", colon: ": ", indent: oneLine, ascii: ascii}
	if indent > 0 {
		w.item, w.indent = ",", strings.Repeat(" ", indent)
	}
	if err := w.value(v, 0); err != nil {
		panic(err) // only what a template may make is bounded
	}
	return string(w.b)
}

// Str is str(v).
func Str(v any) string { return toStr(v).s }

// Repr is repr(v).
func Repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v, 0)
	return b.String()
}

// Equal is a == b.
func Equal(a, b any) bool { return equal(a, b) }

// Lower is s.lower(): with the letters whose lower case is more than a letter or depends on its place.
func Lower(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return cases.Lower(language.Und).String(s)
		}
	}
	return strings.ToLower(s)
}

// Capitalize is s.capitalize(): the first letter in title case, the others in lower case.
func Capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToTitle(r)) + Lower(s[n:])
}

// view is a public value as an evaluation has it, one level deep; other values are themselves.
func view(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case string:
		return text(v)
	case []any:
		return &list{items: v}
	case *Dict:
		d := &dict{keys: make([]any, len(v.keys)), vals: make([]any, len(v.keys))}
		for i, k := range v.keys {
			d.keys[i], d.vals[i] = text(k), v.values[k]
		}
		return d
	}
	return v
}
