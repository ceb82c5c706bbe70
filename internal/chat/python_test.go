package chat

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

// The wants are what Python 3.11 prints.
func TestPythonValues(t *testing.T) {
	v := NewDict(Field{"a", []any{int64(1), 2.0, 1e16, true, nil, math.Inf(-1)}}, Field{"é", "it's\t\U0001F600\u007f"}, Field{"n", NewDict()}, Field{"l", []any{}}, Field{"i", 3})
	for _, c := range []struct{ got, want string }{
		{JSON(v, 0, false), "{\"a\": [1, 2.0, 1e+16, true, null, -Infinity], \"é\": \"it's\\t\U0001F600\x7f\", \"n\": {}, \"l\": [], \"i\": 3}"},
		{JSON(v, 0, true), `{"a": [1, 2.0, 1e+16, true, null, -Infinity], "\u00e9": "it's\t\ud83d\ude00\u007f", "n": {}, "l": [], "i": 3}`},
		{JSON([]any{int64(1), NewDict(Field{"k", "v"})}, 2, false), "[\n  1,\n  {\n    \"k\": \"v\"\n  }\n]"},
		{JSON(math.NaN(), 0, false), "NaN"},
		{Str("it's"), "it's"}, {Str(nil), "None"}, {Str(0.5), "0.5"}, {Str(false), "False"},
		{Repr("it's"), `"it's"`}, {Repr(v), `{'a': [1, 2.0, 1e+16, True, None, -inf], 'é': "it's\t😀\x7f", 'n': {}, 'l': [], 'i': 3}`},
		{Lower("İΑΣ"), "i̇ας"}, {Capitalize("ǆX é"), "ǅx é"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for _, c := range []struct {
		a, b any
		want bool
	}{{int64(1), 1.0, true}, {int64(1), true, true}, {"1", int64(1), false}, {[]any{"a", int64(2)}, []any{"a", 2.0}, true}, {[]any{"a"}, []any{"a", "b"}, false},
		{NewDict(Field{"a", int64(1)}, Field{"b", nil}), NewDict(Field{"b", nil}, Field{"a", 1.0}), true}, {NewDict(Field{"a", nil}), NewDict(Field{"b", nil}), false}} {
		if Equal(c.a, c.b) != c.want {
			t.Errorf("%s == %s is %v, want %v", Repr(c.a), Repr(c.b), !c.want, c.want)
		}
	}
}

func TestLiteral(t *testing.T) {
	for text, want := range map[string]any{
		`['a', "it's", 'x\n\u00e9']`: []any{"a", "it's", "x\né"}, `[1, -2.5, None, True]`: []any{int64(1), -2.5, nil, true},
		`(1,)`: []any{int64(1)}, `(1)`: int64(1), ` [ ] `: []any{}, `['a' , ]`: []any{"a"}, `[['a'], []]`: []any{[]any{"a"}, []any{}},
	} {
		if got, err := Literal(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("literal(%q) = %#v, %v, want %#v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "[", "['a", "[1 2]", "['a'] x", "f(1)", `'\x1'`, strings.Repeat("[", 1000)} {
		if got, err := Literal(text); err == nil {
			t.Errorf("literal(%.20q) = %#v, want an error", text, got)
		}
	}
	for _, s := range []string{"plain", "it's \"both\"", "tab\tnewline\n\\", "\x00\x7f é 東京 \U0001F600"} {
		if got, err := Literal(Repr([]any{s})); err != nil || !reflect.DeepEqual(got, []any{s}) {
			t.Errorf("literal(repr(%q)) = %q, %v", s, got, err)
		}
	}
}
