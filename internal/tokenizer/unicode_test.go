package tokenizer

import (
	"encoding/json"
	"os"
	"testing"
	"unicode"
)

// TestClasses: every class of characters is that of the reference library, character for character.
func TestClasses(t *testing.T) {
	data, err := os.ReadFile("testdata/classes.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][][2]rune
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	for name, is := range map[string]func(rune) bool{
		"punctuation": isPunct, "digit": isDigit, "space": unicode.IsSpace, "word": isWord, "accent": isAccent, "mark": isMark,
		"control": isControl, "upper": func(r rune) bool { return normLowercase(seg{s: string(r)}).s != string(r) },
	} {
		if len(want[name]) == 0 {
			t.Fatalf("no class %q", name)
		}
		wrong := 0
		for r := rune(0); r <= unicode.MaxRune; r++ {
			if r == 0xd800 {
				r = 0xe000
			}
			if is(r) != in(want[name], r) {
				if wrong++; wrong < 5 {
					t.Errorf("%s: U+%04X is wrong", name, r)
				}
			}
		}
	}
}
