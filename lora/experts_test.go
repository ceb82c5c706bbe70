package lora

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"tune/internal/model"
)

// An adapter on experts is what merging it gives, and is refused where the grouped operation cannot have it.
func TestExperts(t *testing.T) {
	c, m := open(t, "mixtral")
	config := Default()
	config.Rank, config.Targets = 3, Names{List: []string{"w1", "w2", "q_proj"}}
	a, err := Attach(m, config, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		for i := range p.Data { // nothing is 0, as B would be
			p.Data[i] = float32(math.Sin(float64(i))) / 20
		}
	}
	merged, err := NewMerged(c.Weights, a)
	if err != nil {
		t.Fatal(err)
	}
	whole := *c
	whole.Weights = merged
	other, err := model.New(&whole, model.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{3, 50, 99, 7, 200, 11, 12, 13}
	got, want := logits(t, m, a, ids), logits(t, other, nil, ids)
	for i := range got {
		if d := math.Abs(float64(got[i] - want[i])); d > logitsLimit {
			t.Fatalf("logit %d: %g with the adapter, %g merged", i, got[i], want[i])
		}
	}
	for text, change := range map[string]func(c *Config){
		"expected no dora, dropout":            func(c *Config) { c.Dropout = 0.1 },
		"all of the layer's 6 experts or none": func(c *Config) { c.Targets = Names{Pattern: `.*experts\.[0-3]\.w3`} },
		"the rank of the layer's other experts": func(c *Config) {
			c.RankPattern = Patterns{{Key: `experts\.1\.w1`, Value: 2}}
		},
	} {
		x := config
		change(&x)
		if _, err := Attach(m, x, 1); err == nil || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	all := Default()
	if a, err = Attach(m, all, 1); err != nil || len(a.order) != 4*m.L {
		t.Errorf("all-linear: %d modules, %v; want the attention's", len(a.order), err)
	}
}
