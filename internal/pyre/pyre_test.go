package pyre

import (
	"reflect"
	"testing"
)

// The wants are what CPython 3.11 gives.
func TestFindAll(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          [][]string
	}{
		{`#### (\-?[0-9\.\,]+)`, "a\n#### 1,234.", [][]string{{"1,234."}}},
		{`(-?[$0-9.,]{2,})|(-?[0-9]+)`, "is $12, or -3", [][]string{{"$12,", ""}, {"", "-3"}}},
		{`(?P<a>x)(y)(?P<b>z)`, "xyz", [][]string{{"x", "y", "z"}}},
		{`(?<=a)b(?!c)`, "ab abc", [][]string{{"b"}}},
		{`[][]+`, "a[]b", [][]string{{"[]"}}},
		{`[a[b]+`, "a[b", [][]string{{"a[b"}}},
		{`(?P<q>['"]).(?P=q)`, `"a" 'b"`, [][]string{{`"`}}},
		{`x*`, "xa", [][]string{{"x"}, {""}, {""}}},
		{`é`, "café", [][]string{{"é"}}},
	} {
		r, err := Compile(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.FindAll(c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("findall(%q, %q) = %q, %v, want %q", c.pattern, c.text, got, err, c.want)
		}
	}
}

func TestSubAndSplit(t *testing.T) {
	for _, c := range []struct{ pattern, replacement, text, want string }{
		{`(?s).*#### `, "", "a\nb#### 5", "5"},
		{`\(\s*([^\)]*?)\s*\)`, `(\1)`, "( a b )( c)", "(a b)(c)"},
		{`(?P<x>a)`, `<\g<x>\g<1>>`, "ba", "b<aa>"},
		{`,`, "", "1,234,567", "1234567"},
	} {
		got, err := MustCompile(c.pattern).Sub(c.replacement, c.text, 0)
		if err != nil || got != c.want {
			t.Errorf("sub(%q, %q, %q) = %q, %v, want %q", c.pattern, c.replacement, c.text, got, err, c.want)
		}
	}
	parts, err := MustCompile(`\s+`).Split(" ä b\n\nc ")
	if want := []string{"", "ä", "b", "c", ""}; err != nil || !reflect.DeepEqual(parts, want) {
		t.Errorf("split = %q, %v, want %q", parts, err, want)
	}
}

func TestBadPattern(t *testing.T) {
	if _, err := Compile("(a"); err == nil {
		t.Error("a pattern with an open group was compiled")
	}
}

// The wants are Python's len(re.split(r"\s+", text)).
func TestWords(t *testing.T) {
	for text, want := range map[string]int{"": 1, "a": 1, "a b": 2, " a\t\nb ": 4, "  ": 2, " a": 2, "a b\n": 3, "a\x1cb": 2, "a\u00a0b\x1cc\u3000": 4, "a\u200bb": 1} {
		if got := Words(text); got != want {
			t.Errorf("%q has %d words, want %d", text, got, want)
		}
	}
}
