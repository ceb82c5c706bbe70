package quantize

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
)

// A folder of a family that nobody knows: its matrices are quantized under their own names, its configuration is copied, and
// what is missing is said.
func TestOpenFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "strange")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	src := tensor.NewMap(tensor.FromFloats("h.0.mix.weight", []int{3, 64}, gauss(1, 192)), tensor.FromFloats("h.0.ln.bias", []int{64}, gauss(2, 64)))
	if err := safetensors.Write(dir, src, safetensors.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type":"strange","d":64,"eps":1e-5,"flag":true,"sizes":[1]}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := model.Open(dir); err == nil || !strings.Contains(err.Error(), model.ErrUnknownArch.Error()) {
		t.Errorf("opened as a model: %v", err)
	}
	s, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mix, err := ParseMix("Q4_0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(s, mix, PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := p.Write(context.Background(), out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := OpenGGUF(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := f.Tensors.Tensor("h.0.mix.weight")
	if err != nil || x.Type != qtype.Q4_0 || !slices.Equal(x.Shape, []int{3, 64}) {
		t.Errorf("%v, %v", x.Info, err)
	}
	if b, err := f.Tensors.Info("h.0.ln.bias"); err != nil || b.Type != qtype.F32 {
		t.Errorf("%v, %v", b, err)
	}
	for key, want := range map[string]any{"general.architecture": "strange", "strange.d": uint32(64), "strange.eps": float32(1e-5), "strange.flag": true} {
		if v, _ := f.Meta.Get(key); v != want {
			t.Errorf("%s: %v, want %v", key, v, want)
		}
	}
	if n := strings.Join(p.Notes, "\n"); !strings.Contains(n, "no tokenizer") || !strings.Contains(n, "1 keys of config.json") {
		t.Errorf("notes: %s", n)
	}
}
