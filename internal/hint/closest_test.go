package hint

import "testing"

func TestClosest(t *testing.T) {
	names := []string{"arc_easy", "arc_challenge", "mmlu", "piqa"}
	for word, want := range map[string]string{"arc_esay": "arc_easy", "MMLU": "mmlu", "pica": "piqa", "something": ""} {
		if got := Closest(word, names); got != want {
			t.Errorf("Closest(%q) = %q, want %q", word, got, want)
		}
	}
}
