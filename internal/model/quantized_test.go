package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/graph"
	"tune/internal/nn"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

// quantizedLimit: the recorded logits are float32 products of the same weights in another order; they reach 3.
const quantizedLimit = 1e-4

// Models stored as GPTQ, AWQ and compressed-tensors give the logits that were recorded of their files.
func TestQuantizedLogits(t *testing.T) {
	root := testkit.Shared(t, "gptqgold")
	var gold struct {
		IDs    []int32 `json:"input_ids"`
		Logits map[string]json.RawMessage
	}
	text, err := os.ReadFile(filepath.Join(root, "tiny/logits.json"))
	if err == nil {
		err = json.Unmarshal(text, &gold)
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := safetensors.Open(filepath.Join(root, "tiny/logits.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	bytes := map[string]int64{} // of weights
	for name := range gold.Logits {
		dir := filepath.Join(root, filepath.FromSlash(strings.Replace(name, ".", "/", 1)))
		if !strings.Contains(name, ".") {
			dir = filepath.Join(root, "tiny", name)
		}
		c, err := Open(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m, err := New(c, Options{Exact: true})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		g := graph.New()
		b := m.Batch(g, len(gold.IDs))
		logits := nn.Linear(m.Hidden(b, nil), m.Exact, m.Head(b, nil))[0]
		p, err := g.Compile(graph.Options{}, logits)
		if err != nil {
			t.Fatal(err)
		}
		w := floats(t, want, name)
		check(t, name, worst(run(t, p, documents(gold.IDs), nil).Output(0)[:len(w)], w), quantizedLimit)
		for _, x := range m.Modules() { // act-order or not, a matrix that is asked for has the model's columns
			stored, err := c.Weights.Tensor(x.Name + ".weight")
			if err != nil {
				t.Fatal(err)
			}
			want, err := tensor.Floats(stored)
			if err != nil {
				t.Fatal(err)
			}
			if w, _ := m.Matrix(x.Name + ".weight"); !slices.Equal(decode(w), want) {
				t.Errorf("%s: %s has other numbers than the file", name, x.Name)
			}
		}
		bytes[name] = m.WeightBytes()
		c.Close()
	}
	if act, plain := bytes["tiny.gptq_sym_g64_act"], bytes["tiny.gptq_sym_g64_plain"]; act != plain || act == 0 {
		t.Errorf("weights of act-order take %d bytes, those of the same layout without %d", act, plain)
	}
}
