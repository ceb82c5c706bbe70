package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/gguf"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

// Each tensor of each family has a GGUF name, and that name leads back.
func TestNames(t *testing.T) {
	for _, family := range families {
		s := readSpec(t, family)
		for _, ts := range s.Tensors() {
			g, ok := GGUFName(ts.Name)
			if !ok {
				t.Errorf("%s: no GGUF name for %s", family, ts.Name)
			}
			if back := s.hfNames(g); !slices.Contains(back, ts.Name) {
				t.Errorf("%s: %s -> %s -> %s", family, ts.Name, g, back)
			}
		}
	}
	for _, name := range []string{"", "blk.1", "blk.01.attn_q.weight", "blk.-1.attn_q.weight", "blk.N.attn_q.weight", "blk.1.attn_q", "attn_q.weight",
		"blk.1.attn_q.scale", "blk..attn_q.weight", "output", "model.layers.1.self_attn.q_proj.weight"} {
		if hf, ok := HFName(name); ok {
			t.Errorf("%q became %q", name, hf)
		}
	}
}

// Moving rows there and back is the identity for any row width and type; two heads of four rows by hand.
func TestMoveRows(t *testing.T) {
	x := tensor.FromFloats("w", []int{8, 1}, []float32{0, 1, 2, 3, 4, 5, 6, 7})
	g, err := moveRows(x, 2, true)
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := tensor.Floats(g); !slices.Equal(f, []float32{0, 2, 1, 3, 4, 6, 5, 7}) {
		t.Errorf("moved %v", f)
	}
	back, err := moveRows(g, 2, false)
	if err != nil || !slices.Equal(back.Data, x.Data) {
		t.Errorf("back %v, %v", back, err)
	}
	if _, err := moveRows(x, 3, true); err == nil {
		t.Error("8 rows in 3 heads were accepted")
	}
	q := tensor.Tensor{Info: tensor.Info{Name: "b", Type: qtype.Q8_0, Shape: []int{64}}, Data: make([]byte, 68)}
	if _, err := moveRows(q, 2, true); err == nil {
		t.Error("a quantized vector was accepted")
	}
}

func smolLM2(t *testing.T) *gguf.File {
	t.Helper()
	f, err := gguf.Open(testkit.SmolLM2(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestSmolLM2(t *testing.T) {
	f := smolLM2(t)
	s, err := SpecFromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	if s.V != 49152 || s.C != 576 || s.F != 1536 || s.L != 30 || s.H != 9 || s.K != 3 || s.D != 64 || !s.Tied || s.Rope.Theta != 100000 || s.Positions != 8192 ||
		!slices.Equal(s.EOS, []int32{2}) || s.Values() != 134515008 {
		t.Errorf("%+v", s)
	}
	r := NewRenamed(f, &s)
	for _, want := range s.Tensors() {
		i, err := r.Info(want.Name)
		if err != nil || !slices.Equal(i.Shape, want.Shape) {
			t.Errorf("%s: %v %v, want %v", want.Name, i.Shape, err, want.Shape)
		}
	}
	if len(r.Names()) != len(s.Tensors()) {
		t.Errorf("%d tensors, want %d", len(r.Names()), len(s.Tensors()))
	}
	// a matrix is the same numbers in another order of rows
	a, err := r.Tensor("model.layers.0.self_attn.k_proj.weight")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := f.Tensor("blk.0.attn_k.weight")
	x, err := tensor.Floats(a)
	if err != nil {
		t.Fatal(err)
	}
	y, _ := tensor.Floats(b)
	if !slices.Equal(x[33*576:34*576], y[3*576:4*576]) || slices.Equal(x[576:2*576], y[576:2*576]) {
		t.Error("rows of k_proj are not where the rotation expects them")
	}
}

// A real quantized file as bfloat16: every tensor equal to the one the reference made of it, and the tokenizer's keys too.
func TestSmolLM2AsBF16(t *testing.T) {
	path := testkit.SmolLM2(t)
	var want struct {
		Metadata []json.RawMessage
		Tensors  []struct{ Name, Type, SHA256 string }
	}
	text, err := os.ReadFile(filepath.Join(testkit.Shared(t, "quant/smollm2"), "input.json"))
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, err := c.GGUF(nil, GGUFOptions{Type: qtype.BF16, Name: "Smollm2 Bf16"})
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want.Tensors {
		name := x.Src.Names()[i]
		v, err := x.Src.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if name != w.Name || v.Type.String() != w.Type || sum(v.Data) != w.SHA256 {
			t.Errorf("tensor %d: found %s %s, want %s %s, or the data differ", i, name, v.Type, w.Name, w.Type)
		}
	}
	for _, m := range want.Metadata {
		var v []any
		if err := json.Unmarshal(m, &v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if key := v[0].(string); fact(t, x.Meta, key) != string(text) {
			t.Errorf("found %s, want %s", fact(t, x.Meta, key), text)
		}
	}
}
