package lora

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"tune/internal/model"
)

func smallModules() []model.Module {
	s := model.Spec{V: 8, C: 8, F: 8, L: 12, H: 2, K: 2, D: 4}
	return s.Modules()
}

func names(ts []target) (out []string) {
	for _, t := range ts {
		out = append(out, t.Name)
	}
	return out
}

func TestTargets(t *testing.T) {
	at := func(c Config) []string {
		t.Helper()
		c.Rank, c.Alpha = 4, 8
		ts, err := c.targets(smallModules())
		if err != nil {
			t.Fatal(err)
		}
		return names(ts)
	}
	if got := at(Config{Targets: Names{Pattern: "all-linear"}}); len(got) != 12*7 || slices.Contains(got, "lm_head") {
		t.Errorf("all-linear: %v", got)
	}
	if got := at(Config{Targets: Names{List: []string{"q_proj", "lm_head"}}, Layers: nil}); len(got) != 13 || got[12] != "lm_head" {
		t.Errorf("names: %v", got)
	}
	// A name is whole segments: "proj" is none, and the end of a path may be several.
	if got := at(Config{Targets: Names{List: []string{"layers.1.mlp.up_proj"}}}); !slices.Equal(got, []string{"model.layers.1.mlp.up_proj"}) {
		t.Errorf("path: %v", got)
	}
	if got := at(Config{Targets: Names{Pattern: `.*layers\.(1|11)\.self_attn\.[qk]_proj`}}); len(got) != 4 {
		t.Errorf("regular expression: %v", got)
	}
	if got := at(Config{Targets: Names{List: []string{"q_proj", "v_proj"}}, Layers: []int{0, 3}, Exclude: Names{Pattern: `.*\.0\..*v_proj`}}); len(got) != 3 {
		t.Errorf("layers and exclude: %v", got)
	}
	if got := at(Config{Targets: Names{List: []string{"embed_tokens", "q_proj"}}, ModulesToSave: []string{"embed_tokens"}, Layers: nil}); slices.Contains(got, "model.embed_tokens") {
		t.Errorf("a module that is trained whole gets no adapter: %v", got)
	}
	for _, c := range []Config{{Targets: Names{List: []string{"w_pack"}}}, {Targets: Names{List: []string{"proj"}}}, {Targets: Names{Pattern: "q_proj"}}, {Targets: Names{List: []string{"q_proj"}}, Layers: []int{40}}} {
		c.Rank, c.Alpha = 1, 1
		if _, err := c.targets(smallModules()); err == nil || !strings.Contains(err.Error(), "q_proj, k_proj") {
			t.Errorf("%s: error %v does not list the modules", c.Targets, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	c := Config{Rank: 8, Alpha: 16, Targets: Names{List: []string{"q_proj", "down_proj"}},
		RankPattern:  Patterns{{`layers\.1\.mlp\.down_proj`, 6}, {"down_proj", 2}},
		AlphaPattern: Patterns{{"q_proj", 4}, {`model\.layers\.0\..*`, 32}}}
	ts, err := c.targets(smallModules())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]float64{"model.layers.0.self_attn.q_proj": {8, 0.5}, "model.layers.0.mlp.down_proj": {2, 16}, "model.layers.1.mlp.down_proj": {6, 16. / 6},
		"model.layers.11.mlp.down_proj": {2, 8}, "model.layers.11.self_attn.q_proj": {8, 0.5}}
	for _, x := range ts {
		if w, ok := want[x.Name]; ok && (float64(x.rank) != w[0] || x.scale != w[1]) {
			t.Errorf("%s: rank %d scale %g, want %v", x.Name, x.rank, x.scale, w)
		}
	}
	c.RSLoRA = true
	if ts, _ = c.targets(smallModules()); ts[1].scale != 32/1.4142135623730951 {
		t.Errorf("rslora: scale %g", ts[1].scale)
	}
}

func TestValidate(t *testing.T) {
	if ps := Default().Validate(); ps != nil {
		t.Errorf("the default has problems: %v", ps)
	}
	c := Config{Rank: 0, Alpha: -1, Dropout: 1, Bias: "some", DoRA: true, Init: "pissa", Targets: Names{Pattern: "("}, Layers: []int{-1}, RankPattern: Patterns{{"q[", 1.5}}}
	var paths []string
	for _, p := range c.Validate() {
		paths = append(paths, p.Path)
	}
	for _, want := range []string{"rank", "alpha", "dropout", "bias", "dora", "target_modules", "layers_to_transform", "rank_pattern.q["} {
		if !slices.Contains(paths, want) {
			t.Errorf("no problem with %s in %v", want, paths)
		}
	}
}

// Both ways to write targets, and patterns in their order, survive YAML and JSON.
func TestWriting(t *testing.T) {
	const text = "rank: 4\nalpha: 8\ntarget_modules: [q_proj, v_proj]\nexclude_modules: .*lm_head\nrank_pattern: {z: 3, a: 2}\nalpha_pattern: {q: 0.5}\n"
	var c, d, e Config
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Targets.List, []string{"q_proj", "v_proj"}) || c.Exclude.Pattern != ".*lm_head" || c.RankPattern[0].Key != "z" || c.AlphaPattern[0].Value != 0.5 {
		t.Errorf("read %+v", c)
	}
	out, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(out, &d); err != nil {
		t.Fatal(err)
	}
	js, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(js, &e); err != nil {
		t.Fatal(err)
	}
	for _, x := range []Config{d, e} {
		if !slices.Equal(x.RankPattern, c.RankPattern) || !slices.Equal(x.AlphaPattern, c.AlphaPattern) || x.Exclude.Pattern != c.Exclude.Pattern || !slices.Equal(x.Targets.List, c.Targets.List) {
			t.Errorf("came back as %+v\n%s%s", x, out, js)
		}
	}
}
