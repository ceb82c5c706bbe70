package tokenizer

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/testkit"
)

// ggufVectors are llama.cpp's vocabularies with the vectors published for them: text by text.
var ggufVectors = []string{"gpt-2", "llama-spm", "mpt", "phi-3", "starcoder", "falcon", "deepseek-llm", "deepseek-coder", "bert-bge"}

// ggufTwins are the tokenizer.json files of the same vocabularies: all their cases must come out of the GGUF too.
var ggufTwins = map[string]string{"gpt-2": "gpt2", "llama-spm": "llama2", "falcon": "falcon", "bert-bge": "bert-bge", "deepseek-llm": "deepseek-llm",
	"deepseek-coder": "deepseek-coder"}

func TestSharedGGUF(t *testing.T) {
	dir := testkit.Shared(t, "tokenizers/vocab-gguf")
	for _, name := range ggufVectors {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "ggml-vocab-"+name+".gguf")
			f, err := gguf.Parse(path, readFile(t, path))
			if err != nil {
				t.Fatal(err)
			}
			tk, err := FromGGUF(f.Meta().Get)
			if err != nil {
				t.Fatal(err)
			}
			if twin := ggufTwins[name]; twin != "" {
				cases := readFile(t, filepath.Join(testkit.Shared(t, "tokenizers/cases"), twin+".jsonl"))
				if name == "deepseek-llm" { // one text names a padding row, which is a token in the GGUF alone
					cases = regexp.MustCompile(`(?m)^.*\[PAD100020\].*\n`).ReplaceAll(cases, nil)
				}
				checkCases(t, tk, cases)
			}
			texts := strings.Split(string(readFile(t, path+".inp")), "\n__ggml_vocab_test__\n")
			wants := strings.Split(string(readFile(t, path+".out")), "\n")
			if len(texts) != 47 {
				t.Fatalf("expected 47 texts, found %d", len(texts))
			}
			for i, text := range texts {
				var want []int32
				for _, s := range strings.Fields(wants[i]) {
					n, err := strconv.Atoi(s)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, int32(n))
				}
				e, err := tk.Encode(text, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(e.IDs, want) {
					t.Errorf("%q: got %v, want %v", text, e.IDs, want)
				}
			}
		})
	}
}

func TestGGUFErrors(t *testing.T) {
	full := map[string]any{"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": []string{"a", "b", "ab"},
		"tokenizer.ggml.merges": []string{"a b"}, "tokenizer.ggml.token_type": []int32{1, 1, 1}}
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"pre", "banana", `found "banana"`},
		{"model", "rwkv", `found "rwkv"`},
		{"tokens", []string{}, "found none"},
		{"tokens", []int32{1}, "expected []string, found []int32"},
		{"token_type", []int32{1}, "expected 3 entries, found 1"},
		{"merges", []string{"ab"}, "expected two tokens"},
		{"merges", []string{"a c"}, "not in the vocabulary"},
		{"bos_token_id", uint32(7), "expected an id below 3, found 7"},
	} {
		_, err := FromGGUF(func(key string) (any, bool) {
			if key == "tokenizer.ggml."+c.key {
				return c.value, true
			}
			v, ok := full[key]
			return v, ok
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: got %v, want %q", c.key, c.value, err, c.want)
		}
		if c.key == "pre" && hint.Of(err) == "" {
			t.Error("an unknown pre-tokenizer gives no hint")
		}
	}
}
