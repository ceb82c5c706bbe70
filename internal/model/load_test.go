package model

import (
	"encoding/binary"
	"math"
	"os"
	"strings"
	"testing"

	"tune/internal/hint"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

func open(t *testing.T, name string) *Checkpoint {
	t.Helper()
	c, err := Open(testkit.Golden(t, "models/"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func load(t *testing.T, name string, exact bool) *Model {
	t.Helper()
	m, err := New(open(t, name), Options{Exact: exact})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A Source with tensors hidden, added or changed.
type edited struct {
	tensor.Source
	hide, add map[string]bool
	change    func(*tensor.Tensor)
}

func (e edited) Names() (names []string) {
	for _, n := range e.Source.Names() {
		if !e.hide[n] {
			names = append(names, n)
		}
	}
	for n := range e.add {
		names = append(names, n)
	}
	return names
}

func (e edited) Info(name string) (tensor.Info, error) {
	t, err := e.Tensor(name)
	return t.Info, err
}

func (e edited) Tensor(name string) (tensor.Tensor, error) {
	if e.hide[name] {
		return tensor.Tensor{}, tensor.Missing(name)
	}
	t, err := e.Source.Tensor(name)
	if e.add[name] {
		t, err = e.Source.Tensor("model.embed_tokens.weight")
	}
	if err == nil && e.change != nil {
		e.change(&t)
	}
	return t, err
}

func TestStrictLoad(t *testing.T) {
	c := open(t, "llama")
	base := c.Weights
	c.Weights = edited{Source: base, hide: map[string]bool{"model.norm.weight": true, "model.layers.1.mlp.up_proj.weight": true}, add: map[string]bool{"model.extra.weight": true},
		change: func(x *tensor.Tensor) {
			if x.Name == "model.layers.0.self_attn.q_proj.weight" {
				x.Shape = []int{32, 128}
			}
		}}
	_, err := New(c, Options{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"missing model.norm.weight", "missing model.layers.1.mlp.up_proj.weight", "unused model.extra.weight", "expected shape [64 64], found [32 128]"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	c.Weights = edited{Source: base, add: map[string]bool{"model.layers.0.self_attn.rotary_emb.inv_freq": true}}
	if _, err := New(c, Options{}); err != nil {
		t.Errorf("old files carry frequencies: %v", err)
	}
}

// A tied model may carry its head as well, if it is the embedding.
func TestTiedHead(t *testing.T) {
	c := open(t, "llama3")
	base := c.Weights
	c.Weights = edited{Source: base, add: map[string]bool{"lm_head.weight": true}}
	if _, err := New(c, Options{}); err != nil {
		t.Error(err)
	}
	c.Weights = edited{Source: base, add: map[string]bool{"lm_head.weight": true}, change: func(x *tensor.Tensor) {
		if x.Name == "lm_head.weight" || len(x.Shape) != 2 {
			return
		}
		x.Data = append([]byte(nil), x.Data...)
	}}
	e := c.Weights.(edited)
	e.Source = tensor.NewMap(append(all(t, base), tensor.FromFloats("lm_head.weight", []int{320, 256}, make([]float32, 320*256)))...)
	e.add = nil
	c.Weights = e
	if _, err := New(c, Options{}); err == nil || !strings.Contains(err.Error(), "unused lm_head.weight") {
		t.Errorf("another head than the embedding: %v", err)
	}
}

func all(t *testing.T, s tensor.Source) (ts []tensor.Tensor) {
	for _, n := range s.Names() {
		x, err := s.Tensor(n)
		if err != nil {
			t.Fatal(err)
		}
		ts = append(ts, x)
	}
	return ts
}

func TestNaN(t *testing.T) {
	c := open(t, "llama")
	for _, name := range []string{"model.norm.weight", "model.layers.2.mlp.down_proj.weight"} {
		c.Weights = edited{Source: open(t, "llama").Weights, change: func(x *tensor.Tensor) {
			if x.Name == name {
				x.Data = append([]byte(nil), x.Data...)
				binary.LittleEndian.PutUint32(x.Data[12:], math.Float32bits(float32(math.NaN())))
			}
		}}
		if _, err := New(c, Options{}); err == nil || !strings.Contains(err.Error(), name+": expected finite numbers, found NaN at 3") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	_, err := Open(t.TempDir() + "/none")
	if err == nil || hint.Of(err) == "" {
		t.Errorf("no such path: %v", err)
	}
	if _, err = Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("empty directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/config.json", []byte(`{"model_type":"llama",`+tiny+`}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(dir); err == nil {
		t.Error("a directory without weights was opened")
	}
	if err := os.WriteFile(dir+"/x.gguf", []byte("GGML"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(dir + "/x.gguf"); err == nil {
		t.Error("a broken file was opened")
	}
}

// The hash is that of the weights, not of how they are spread over files.
func TestHash(t *testing.T) {
	c := open(t, "qwen2")
	a, err := c.Hash()
	if err != nil {
		t.Fatal(err)
	}
	fsys := os.DirFS(testkit.Golden(t, "models/llama"))
	e, err := OpenFS(fsys, "embedded")
	if err != nil {
		t.Fatal(err)
	}
	x, err := e.Hash()
	if err != nil {
		t.Fatal(err)
	}
	y, err := open(t, "llama").Hash()
	if err != nil || x != y || x == a || len(x) != 64 {
		t.Errorf("hashes %s %s %s, %v", a, x, y, err)
	}
	c.raw = tensor.NewMap(all(t, c.raw)...)
	if b, err := c.Hash(); err != nil || b != a {
		t.Errorf("one file: %s, shards: %s, %v", b, a, err)
	}
	c.raw = tensor.Converted{Source: c.raw, To: func(tensor.Info) qtype.Type { return qtype.BF16 }}
	if b, err := c.Hash(); err != nil || b == a {
		t.Errorf("bf16 has the hash of f32, %v", err)
	}
}
