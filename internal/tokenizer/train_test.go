package tokenizer

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// naiveMerges trains by counting all pairs anew for every merge: the definition that the trainer must agree with.
func naiveMerges(words map[string]int, vocab []string, n int) (merges [][2]string) {
	type word struct {
		parts []string
		count int
	}
	var list []word
	for w, c := range words {
		var parts []string
		for _, r := range string(appendByteLetters(nil, w)) {
			parts = append(parts, string(r))
		}
		list = append(list, word{parts, c})
	}
	for range n {
		counts := map[[2]string]int{}
		for _, w := range list {
			for i := 1; i < len(w.parts); i++ {
				counts[[2]string{w.parts[i-1], w.parts[i]}] += w.count
			}
		}
		var best [2]string
		order := func(p [2]string) [2]int { return [2]int{slices.Index(vocab, p[0]), slices.Index(vocab, p[1])} }
		for p, c := range counts {
			a, b := order(p), order(best)
			if c > counts[best] || c == counts[best] && (a[0] < b[0] || a[0] == b[0] && a[1] < b[1]) {
				best = p
			}
		}
		if counts[best] < 2 {
			break
		}
		merges = append(merges, best)
		if !slices.Contains(vocab, best[0]+best[1]) {
			vocab = append(vocab, best[0]+best[1])
		}
		for k, w := range list {
			var out []string
			for i := 0; i < len(w.parts); i++ {
				if i+1 < len(w.parts) && w.parts[i] == best[0] && w.parts[i+1] == best[1] {
					out = append(out, best[0]+best[1])
					i++
				} else {
					out = append(out, w.parts[i])
				}
			}
			list[k].parts = out
		}
	}
	return merges
}

const trainText = "aaaa aaaaa banana bananas ban can canal \u00e9t\u00e9 \u00e9t\u00e9s was it, it was; 2024 2025 20 \"the\" the then them THE\n\n\nthe cat's"

func TestTrainAgreesWithDefinition(t *testing.T) {
	texts := []string{trainText, strings.Repeat("the banana ", 3), "<|end|> <|end|> <|end|> <|end|>"}
	o := TrainOptions{Vocab: 330, Special: []string{"<|end|>"}, EOS: "<|end|>", Pattern: "gpt2"}
	tk, err := Train(slices.Values(texts), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]int{}
	for _, text := range texts {
		if err := stepScan(scanGPT2)(seg{s: text}, func(g seg) { words[g.s]++ }); err != nil {
			t.Fatal(err)
		}
	}
	s, err := o.spec()
	if err != nil {
		t.Fatal(err)
	}
	want := naiveMerges(words, slices.Clone(s.tokens), 40)
	if len(want) < 25 {
		t.Fatalf("the texts give only %d merges", len(want))
	}
	for rank, p := range want {
		a, okA := tk.model.ids[p[0]]
		b, okB := tk.model.ids[p[1]]
		if g, ok := tk.model.merges.get(a, b); !okA || !okB || !ok || int(g.rank) != rank {
			t.Fatalf("merge %d: expected %q, found rank %d (%v)", rank, p, g.rank, ok)
		}
	}
	if id, ok := tk.EOS(); !ok || id != 0 {
		t.Errorf("end of text: expected token 0, found %d", id)
	}
	if e, err := tk.Encode("a<|end|>", Options{}); err != nil || len(e.IDs) != 2 || e.IDs[1] != 0 {
		t.Errorf("the special token in a text: %v %v", e, err)
	}
}

// TestTrainIsDeterministic also checks that every text comes back from its tokens: all 256 bytes are in the vocabulary.
func TestTrainIsDeterministic(t *testing.T) {
	for _, pattern := range Patterns() {
		o := TrainOptions{Vocab: 280, Special: []string{"<s>", "</s>"}, BOS: "<s>", EOS: "</s>", Pad: "</s>", Pattern: pattern, ChatTemplate: "{{ x }}"}
		var first []byte
		for range 3 {
			tk, err := Train(slices.Values([]string{trainText, trainText}), o, nil)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = tk.JSON()
			} else if !bytes.Equal(first, tk.JSON()) {
				t.Fatalf("%s: two trainings on the same texts differ", pattern)
			}
			if tk.VocabSize() != 280 || tk.ChatTemplate() != "{{ x }}" {
				t.Errorf("%s: %d tokens, template %q", pattern, tk.VocabSize(), tk.ChatTemplate())
			}
			text := trainText + "\x00\xff\u0416\U0001f600"
			e, err := tk.Encode(text, Options{Plain: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := tk.Decode(e.IDs, false); got != lossy([]byte(text)) {
				t.Errorf("%s: got %q, want %q", pattern, got, text)
			}
		}
	}
}

func TestTrainErrors(t *testing.T) {
	for _, o := range []TrainOptions{
		{Vocab: 255}, {Vocab: 257, Special: []string{"<a>", "<b>"}}, {Vocab: 300, Pattern: "word"}, {Vocab: 300, EOS: "</s>"},
		{Vocab: 300, Special: []string{"<a>", "<a>"}}, {Vocab: 300, Special: []string{""}},
	} {
		if _, err := Train(slices.Values([]string{"a"}), o, nil); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	if tk, err := Train(slices.Values([]string{}), TrainOptions{Vocab: 300}, nil); err != nil || tk.VocabSize() != 256 {
		t.Errorf("no text: expected the bytes alone, found %v %v", tk, err)
	}
}
