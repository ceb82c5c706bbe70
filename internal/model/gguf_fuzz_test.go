package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/tensor"
)

// FuzzSpecFromGGUF feeds metadata of any kind to the reader of a model: an error or a Spec, never a panic.
func FuzzSpecFromGGUF(f *testing.F) {
	meta := &gguf.Meta{}
	meta.Set("general.architecture", "llama")
	for _, k := range []string{"embedding_length", "feed_forward_length", "block_count", "attention.head_count", "vocab_size"} {
		meta.Set("llama."+k, uint32(8))
	}
	meta.Set("llama.rope.scaling.type", "yarn")
	meta.Set("llama.rope.scaling.factor", float32(2))
	meta.Set("tokenizer.ggml.eos_token_id", uint32(2))
	path := filepath.Join(f.TempDir(), "x.gguf")
	src := tensor.NewMap(tensor.FromFloats("token_embd.weight", []int{1, 8}, make([]float32, 8)), tensor.FromFloats("blk.0.attn_q.weight", []int{8, 1}, make([]float32, 8)),
		tensor.FromFloats("model.norm.weight", []int{1}, []float32{1}))
	if err := gguf.Write(path, meta, src, gguf.WriteOptions{}); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Parse("fuzz", data)
		if err != nil {
			return
		}
		s, err := SpecFromGGUF(file)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, name := range NewRenamed(file, &s).Names() {
			if seen[name] {
				t.Fatalf("%q twice", name)
			}
			seen[name] = true
			NewRenamed(file, &s).Tensor(name)
		}
	})
}

func FuzzSentencePiece(f *testing.F) {
	data, err := os.ReadFile("testdata/gguf/llama/tokenizer.model")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{10, 6, 10, 1, 'a', 24, 3})
	f.Add([]byte{10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) { readPieces(data) })
}

func TestUnknownKeys(t *testing.T) {
	meta := &gguf.Meta{}
	meta.Set("general.architecture", "llama")
	meta.Set("llama.embedding_length", "wide")
	meta.Set("llama.expert_count", uint32(8))
	meta.Set("llama.new_key", uint32(1))
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := gguf.Write(path, meta, &tensor.Map{}, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	for _, part := range []string{"llama.embedding_length: expected an integer, found string", "num_experts_per_tok: expected 1 to 8, found 0", "llama.new_key: unknown key",
		"llama.block_count: expected a number"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %q in it", err, part)
		}
	}
}

// A part of a split model whose other parts are missing is an error that names them.
func TestSplitFile(t *testing.T) {
	meta := &gguf.Meta{}
	meta.Set("general.architecture", "llama")
	meta.Set("split.no", uint16(0))
	meta.Set("split.count", uint16(3))
	meta.Set("split.tensors.count", int32(0))
	path := filepath.Join(t.TempDir(), "x-00001-of-00003.gguf")
	if err := gguf.Write(path, meta, &tensor.Map{}, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "x-00002-of-00003.gguf") {
		t.Errorf("%v", err)
	}
}

// tokenizer.ggml.pre is found from the structure of the pre-tokenizer.
func TestPre(t *testing.T) {
	quote := func(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }
	split := func(p string) string {
		return `{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"` + quote(p) + `"}},{"type":"ByteLevel","use_regex":false}]}`
	}
	for _, c := range []struct{ pre, normalizer, model, want string }{
		{split(splitLlama3), "null", `"ignore_merges":true`, "llama-bpe"},
		{split(splitLlama3), "null", `"ignore_merges":false`, "smaug-bpe"},
		{split(splitQwen2), `{"type":"NFC"}`, `"type":"BPE"`, "qwen2"},
		{`{"type":"ByteLevel","use_regex":true}`, "null", `"type":"BPE"`, "gpt-2"},
		{`{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel"}]}`, "null", `"type":"BPE"`, "smollm"},
		{split(`\\s+`), "null", `"type":"BPE"`, ""},
		{`{"type":"Metaspace"}`, "null", `"type":"BPE"`, ""},
	} {
		var j tokenizerJSON
		if err := json.Unmarshal([]byte(`{"pre_tokenizer":`+c.pre+`,"normalizer":`+c.normalizer+`,"model":{`+c.model+`}}`), &j); err != nil {
			t.Fatal(err)
		}
		got, err := j.pre()
		if got != c.want || (err == nil) != (c.want != "") || err != nil && hint.Of(err) == "" {
			t.Errorf("%s: %q, %v, want %q", c.pre, got, err, c.want)
		}
	}
}

func TestNotesAndLabels(t *testing.T) {
	s := readSpec(t, "mistral")
	if n := s.ggufNotes(); len(n) != 1 || !strings.Contains(n[0], "3 layers") {
		t.Errorf("mistral: %q", n)
	}
	s = readSpec(t, "smollm3")
	if n := s.ggufNotes(); len(n) != 1 || !strings.Contains(n[0], "rotation") {
		t.Errorf("smollm3: %q", n)
	}
	for values, want := range map[int64]string{192832: "193K", 134515008: "135M", 8030261248: "8.0B", 70553706496: "71B", 1500: "1.5K", 999: "1.0K"} {
		if got := sizeLabel(values); got != want {
			t.Errorf("%d is %s, want %s", values, got, want)
		}
	}
	for path, want := range map[string]string{"x/llama3": "Llama3", "x/SmolLM2-135M-instruct": "SmolLM2 135M Instruct", "x/a_b-7b-v0.2.gguf": "A_B 7b v0.2"} {
		if got := (&Checkpoint{Path: path}).title(); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}
