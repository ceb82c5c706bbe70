package model

import (
	"math"
	"os"
	"slices"
	"testing"

	"tune/internal/qtype"
	"tune/internal/testkit"
)

// Random weights have the configured deviation, depend on nothing but the seed, and norms start at one.
func TestFresh(t *testing.T) {
	text, err := os.ReadFile(testkit.Golden(t, "models/qwen2/config.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Fresh(text, "fresh", nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := NewFull(m, 1)
	var values int64
	for i, p := range f.Params() {
		values += int64(len(p.Data))
		switch {
		case p.Decay:
			if n := norm(p.Data) / math.Sqrt(float64(len(p.Data))); math.Abs(n-0.02) > 0.002 {
				t.Errorf("%s: deviation %g, want 0.02", p.Name, n)
			}
		case p.Data[0] != 1 && p.Data[0] != 0 || slices.Min(p.Data) != slices.Max(p.Data):
			t.Errorf("%s: %v", p.Name, p.Data)
		}
		if !slices.Equal(p.Data, NewFull(m, 1).Params()[i].Data) {
			t.Errorf("%s: another number for the same seed", p.Name)
		}
	}
	if values != c.Spec.Values() || slices.Equal(f.Params()[0].Data, NewFull(m, 2).Params()[0].Data) {
		t.Errorf("%d values, want %d, or the seed does nothing", values, c.Spec.Values())
	}
}

// What was not trained is written as it was read.
func TestFullSource(t *testing.T) {
	c := open(t, "llama3") // bf16
	m, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	src := NewFull(m, 0).Source(qtype.BF16)
	for _, name := range src.Names() {
		got, err := src.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.Weights.Tensor(name)
		if err != nil || !slices.Equal(got.Data, want.Data) || !slices.Equal(got.Shape, want.Shape) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
	c.Weights = src
	if _, err := New(c, Options{}); err != nil {
		t.Error(err)
	}
	if i, err := NewFull(m, 0).Source(qtype.Q8_0).Info("model.norm.weight"); err != nil || i.Type != qtype.F32 {
		t.Errorf("a norm in q8_0: %v, %v", i, err)
	}
	if _, err := src.Tensor("none"); err == nil {
		t.Error("a tensor of no name")
	}
}
