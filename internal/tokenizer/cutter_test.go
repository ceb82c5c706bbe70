package tokenizer

import (
	"fmt"
	"slices"
	"testing"

	"tune/internal/rng"
)

// TestCutter compares a cutter with its steps carried out one inside of the other, each by itself, on random texts.
func TestCutter(t *testing.T) {
	patterns := []string{`[\r\n]`, `\s?\p{L}+`, `\s?[!-/:-~！-／]+`, patternTail, `[一-龥]+`, `\p{N}{1,3}`, `[0-9][0-9]`}
	letters := []rune("aBé 一!！\n\r\t1٣2\u00a0")
	random := rng.New(3, "cutter")
	draw := 0
	number := func(n int) int {
		draw++
		return random.Intn(uint64(draw), n)
	}
	for range 3000 {
		var c cutter
		var steps []step
		for range 1 + number(5) {
			pattern := patterns[number(len(patterns))]
			find, err := findRegex(pattern)
			if err != nil {
				t.Fatal(err)
			}
			s, err := stepSplit(find, "Isolated", false)
			if err != nil {
				t.Fatal(err)
			}
			steps = append(steps, s)
			if pattern == patternTail {
				c.tail = s
				c.add(nil)
			} else {
				c.add(simplePattern(pattern))
			}
		}
		var text []rune
		for range number(12) {
			text = append(text, letters[number(len(letters))])
		}
		g := seg{s: string(text), off: 3}
		cuts := func(steps ...step) (list []string) {
			if err := words(steps, g, func(w seg) { list = append(list, fmt.Sprintf("%d:%q", w.off, w.s)) }); err != nil {
				t.Fatal(err)
			}
			return list
		}
		if g.s == "" {
			continue
		}
		if got, want := cuts(c.cut), cuts(steps...); !slices.Equal(got, want) {
			t.Fatalf("%q: got %v, want %v", g.s, got, want)
		}
	}
}
