package model

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"

	"tune/internal/gguf"
	"tune/internal/testkit"
	"tune/internal/tokenizer"
)

func unpack(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(path) != ".zst" {
		return data
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if data, err = d.DecodeAll(data, nil); err != nil {
		t.Fatal(err)
	}
	return data
}

// The largest vocabularies only say how they cut texts; building them takes too long for a test.
func TestPreOfReal(t *testing.T) {
	dir := testkit.Shared(t, "tokenizers/files")
	for name, want := range map[string]string{"llama3": "llama-bpe", "qwen3": "qwen2"} {
		var j tokenizerJSON
		if err := json.Unmarshal(unpack(t, filepath.Join(dir, name, "tokenizer.json.zst")), &j); err != nil {
			t.Fatal(err)
		}
		if got, err := j.pre(); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}

// Real tokenizers cut texts into the same ids after their way through GGUF metadata.
func TestTokenizersSurvive(t *testing.T) {
	dir := testkit.Shared(t, "tokenizers")
	var texts []string
	for _, line := range bytes.Split(unpack(t, filepath.Join(dir, "texts.jsonl")), []byte("\n")) {
		var row struct{ Text string }
		if len(line) > 0 && json.Unmarshal(line, &row) == nil {
			texts = append(texts, row.Text)
		}
	}
	for _, c := range []struct {
		name, arch, pre string
		model           bool // from tokenizer.model
	}{
		{"smollm2", "llama", "smollm", false}, {"gpt2", "llama", "gpt-2", false}, {"llama2", "llama", "default", false}, {"mistral-v1", "mistral", "default", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := unpack(t, filepath.Join(dir, "files", c.name, "tokenizer.json.zst"))
			files := fstest.MapFS{"tokenizer.json": {Data: text}}
			if c.model {
				files["tokenizer.model"] = &fstest.MapFile{Data: unpack(t, filepath.Join(dir, "files", c.name, "tokenizer.model"))}
			}
			want, err := tokenizer.FromJSON(text, nil)
			if err != nil {
				t.Fatal(err)
			}
			m := &gguf.Meta{}
			ck := &Checkpoint{Spec: Spec{Arch: c.arch, V: want.VocabSize()}, Config: []byte(`{"bos_token_id":1}`), files: files}
			if err := ck.ggufTokenizer(m, ""); err != nil {
				t.Fatal(err)
			}
			if pre, _ := m.String("tokenizer.ggml.pre"); pre != c.pre {
				t.Errorf("pre-tokenizer %q, want %q", pre, c.pre)
			}
			got, err := tokenizer.FromGGUF(m.Get)
			if err != nil {
				t.Fatal(err)
			}
			wrong := 0
			for _, s := range texts {
				a, err := want.Encode(s, tokenizer.Options{})
				if err != nil {
					t.Fatal(err)
				}
				b, err := got.Encode(s, tokenizer.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(a.IDs, b.IDs) {
					if wrong++; wrong < 3 {
						t.Errorf("%.60q: found %v, want %v", s, b.IDs[:min(20, len(b.IDs))], a.IDs[:min(20, len(a.IDs))])
					}
				}
			}
			if len(texts) < 100 || wrong > 0 {
				t.Errorf("%d of %d texts differ", wrong, len(texts))
			}
		})
	}
}
