package lora

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

func config(change func(*Config)) Config {
	c := Default()
	c.Rank, c.Alpha = 4, 8
	change(&c)
	return c
}

func attached4(t *testing.T, m *model.Model, change func(*Config)) *Adapter {
	t.Helper()
	a, err := Attach(m, config(change), 1)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var document = []int32{5, 17, 200, 31, 8, 99, 102, 7}

// A new adapter of any kind leaves the model as it is, and says the same for the same seed.
func TestStart(t *testing.T) {
	_, m := open(t, "qwen3")
	base := logits(t, m, nil, document)
	for name, change := range map[string]func(*Config){
		"default":  func(*Config) {},
		"gaussian": func(c *Config) { c.Init = "gaussian" },
		"dora":     func(c *Config) { c.DoRA = true },
		"pissa":    func(c *Config) { c.Init = "pissa" },
		"rslora":   func(c *Config) { c.RSLoRA, c.Init = true, "pissa" },
		"save":     func(c *Config) { c.ModulesToSave = []string{"embed_tokens", "norm"} },
		"whole":    func(c *Config) { c.Targets, c.ModulesToSave = Names{}, []string{"lm_head"} },
	} {
		a := attached4(t, m, change)
		check(t, name, worst(logits(t, m, a, document), base), 5e-5)
		for i, p := range attached4(t, m, change).params {
			if !slices.Equal(p.Data, a.params[i].Data) {
				t.Errorf("%s: %s differs for the same seed", name, p.Name)
			}
		}
		if b, err := Attach(m, config(change), 2); err != nil || name == "default" && slices.Equal(a.params[0].Data, b.params[0].Data) {
			t.Errorf("%s: another seed gives the same numbers, %v", name, err)
		}
	}
}

// A is uniform within 1/sqrt(in), or normal with deviation 1/R; one module's numbers do not depend on the others.
func TestInitialValues(t *testing.T) {
	_, m := open(t, "qwen3")
	a := attached4(t, m, func(c *Config) { c.Rank = 64 })
	name := prefix + "model.layers.1.mlp.down_proj.lora_A.weight"
	data := a.Data(name)
	bound := float32(1 / math.Sqrt(256))
	var sum, squares float64
	for _, v := range data {
		sum, squares = sum+float64(v), squares+float64(v)*float64(v)
	}
	n := float64(len(data))
	if slices.Max(data) > bound || slices.Min(data) < -bound || math.Abs(sum/n) > 1e-3 || math.Abs(squares/n*3*256-1) > 0.05 {
		t.Errorf("A: mean %g, variance times 3 in %g, bound %g", sum/n, squares/n*3*256, slices.Max(data))
	}
	if b := attached4(t, m, func(c *Config) { c.Rank, c.Targets = 64, Names{List: []string{"down_proj"}} }); !slices.Equal(b.Data(name), data) {
		t.Error("numbers depend on which other modules have adapters")
	}
	g := attached4(t, m, func(c *Config) { c.Rank, c.Init = 64, "gaussian" }).Data(name)
	squares = 0
	for _, v := range g {
		squares += float64(v) * float64(v)
	}
	if d := math.Sqrt(squares/n) * 64; math.Abs(d-1) > 0.05 {
		t.Errorf("gaussian: deviation times R %g", d)
	}
	e := attached4(t, m, func(c *Config) { c.Targets = Names{List: []string{"embed_tokens"}} })
	if x := e.Data(prefix + "model.embed_tokens.lora_embedding_A"); slices.Max(x) != 0 || len(x) != 4*320 {
		t.Error("an embedding's A is not zero")
	}
	if norms := rowNorms([]float32{3, 4, 0, 2}, 2); !slices.Equal(norms, []float32{5, 2}) {
		t.Errorf("norms %v", norms)
	}
}

// The singular values of a matrix with known ones, and of one without full rank.
func TestTopSVD(t *testing.T) {
	w := []float32{0, 3, 0, 0, 0, 0, -5, 0, 0, 0, 0, 1} // (3, 4): 5, 3, 1
	s, u, v := topSVD(w, 3, 4, 2, 100)
	if math.Abs(s[0]-5) > 1e-12 || math.Abs(s[1]-3) > 1e-12 {
		t.Errorf("values %v", s)
	}
	if math.Abs(u[0][1]*v[0][2]+1) > 1e-12 || math.Abs(u[1][0]*v[1][1]-1) > 1e-12 {
		t.Errorf("vectors %v %v", u, v)
	}
	if s, _, _ := topSVD(make([]float32, 12), 3, 4, 2, 100); s[0] != 0 || s[1] != 0 {
		t.Errorf("values of zero %v", s)
	}
}

// Going on from an adapter takes its numbers, and only from one of the same form.
func TestGoOn(t *testing.T) {
	_, m := open(t, "qwen3")
	dir := filepath.Join(testkit.Golden(t, "lora/qwen3_dora"), "adapter_final")
	same := func(c *Config) {
		c.Init, c.DoRA, c.Targets = dir, true, Names{List: []string{"q_proj", "k_proj", "v_proj", "o_proj"}}
	}
	a, from := attached4(t, m, same), load(t, m, dir)
	for i, p := range from.params {
		if !slices.Equal(p.Data, a.params[i].Data) {
			t.Errorf("%s differs", p.Name)
		}
	}
	for what, change := range map[string]func(*Config){
		"rank": func(c *Config) { same(c); c.Rank, c.Alpha = 8, 16 }, "alpha": func(c *Config) { same(c); c.Alpha = 9 },
		"dora": func(c *Config) { same(c); c.DoRA = false }, "more": func(c *Config) { same(c); c.Targets = Names{Pattern: allLinear} },
		"none": func(c *Config) { same(c); c.Init = t.TempDir() },
	} {
		if _, err := Attach(m, config(change), 1); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// copyAdapter copies a golden adapter with its configuration and tensors changed.
func copyAdapter(t *testing.T, run string, keys func(map[string]any), edit func(*tensor.Map)) string {
	t.Helper()
	from, dir := filepath.Join(testkit.Golden(t, "lora/"+run), "adapter_final"), t.TempDir()
	text, err := os.ReadFile(filepath.Join(from, configFile))
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	keys(c)
	text, _ = json.Marshal(c)
	if err := os.WriteFile(filepath.Join(dir, configFile), text, 0o666); err != nil {
		t.Fatal(err)
	}
	m, src := tensor.NewMap(), tensors(t, filepath.Join(from, weightsFile))
	for _, n := range src.Names() {
		x, _ := src.Tensor(n)
		m.Add(x)
	}
	edit(m)
	if err := safetensors.WriteFile(filepath.Join(dir, weightsFile), m, safetensors.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBadAdapters(t *testing.T) {
	_, m := open(t, "qwen3")
	none := func(map[string]any) {}
	still := func(*tensor.Map) {}
	q := prefix + "model.layers.0.self_attn.q_proj.lora_A.weight"
	set := func(key string, v any) func(map[string]any) { return func(c map[string]any) { c[key] = v } }
	for want, dir := range map[string]string{
		"unused " + prefix + "x":        copyAdapter(t, "qwen3_plain", none, func(m *tensor.Map) { m.Add(tensor.FromFloats(prefix+"x", []int{1}, []float32{1})) }),
		"expected shape [4 256], found": copyAdapter(t, "qwen3_plain", none, func(m *tensor.Map) { m.Add(tensor.FromFloats(q, []int{256, 4}, make([]float32, 1024))) }),
		"expected finite numbers": copyAdapter(t, "qwen3_plain", none, func(m *tensor.Map) {
			m.Add(tensor.FromFloats(q, []int{4, 256}, slices.Repeat([]float32{float32(math.Inf(1))}, 1024)))
		}),
		"missing " + prefix:             copyAdapter(t, "qwen3_plain", set("target_modules", []string{"q_proj", "k_proj", "v_proj", "o_proj", "up_proj"}), still),
		"peft_type: expected LORA":      copyAdapter(t, "qwen3_plain", set("peft_type", "VERA"), still),
		"lora_bias: not supported":      copyAdapter(t, "qwen3_plain", set("lora_bias", true), still),
		"trainable_token_indices: not":  copyAdapter(t, "qwen3_plain", set("trainable_token_indices", []int{4}), still),
		"init_lora_weights: olora":      copyAdapter(t, "qwen3_plain", set("init_lora_weights", "olora"), still),
		"expected 1 to":                 copyAdapter(t, "qwen3_plain", set("r", 0), still),
		"cannot unmarshal":              copyAdapter(t, "qwen3_plain", set("r", "four"), still),
		"layers_to_transform: expected": copyAdapter(t, "qwen3_plain", set("layers_to_transform", "all"), still),
		"expected the model's own weights": copyAdapter(t, "qwen3_embed", none, func(m *tensor.Map) {
			m.Add(tensor.FromFloats(prefix+"lm_head.base_layer.weight", []int{320, 256}, make([]float32, 320*256)))
		}),
		"expected adapter_config.json": t.TempDir(),
	} {
		if _, err := Load(dir, m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	// What has no effect, and what older versions wrote, is read.
	for _, dir := range []string{
		copyAdapter(t, "qwen3_plain", func(c map[string]any) { c["new_feature"], c["layers_to_transform"] = nil, []int{0, 1} }, still),
		copyAdapter(t, "qwen3_plain", set("layers_to_transform", nil), still),
	} {
		if _, err := Load(dir, m); err != nil {
			t.Error(err)
		}
	}
}

// Merging: counts, types, the head of a tied model, and a base that is quantized.
func TestMerged(t *testing.T) {
	c, m := open(t, "llama3") // bf16, tied
	a := attached4(t, m, func(*Config) {})
	for i, p := range a.params {
		for k := range p.Data {
			a.params[i].Data[k] = float32(math.Sin(float64(i+k))) / 16
		}
	}
	w, err := NewMerged(c.Weights, a)
	if err != nil {
		t.Fatal(err)
	}
	if w.Added != 14 || w.Replaced != 0 || w.Kept != 6 || w.Untied() {
		t.Errorf("%d added, %d replaced, %d kept, untied %v", w.Added, w.Replaced, w.Kept, w.Untied())
	}
	for _, n := range w.Names() {
		x, err := w.Tensor(n)
		i, _ := w.Info(n)
		if err != nil || x.Type != qtype.BF16 || i.Type != x.Type || int64(len(x.Data)) != x.Bytes() {
			t.Errorf("%s: %v %v", n, x.Info, err)
		}
	}
	q := tensor.Converted{Source: c.Weights, To: func(i tensor.Info) qtype.Type {
		if len(i.Shape) == 2 {
			return qtype.Q8_0
		}
		return qtype.F32
	}}
	if w, err = NewMerged(q, a); err != nil {
		t.Fatal(err)
	}
	if i, _ := w.Info("model.layers.0.mlp.up_proj.weight"); i.Type != qtype.BF16 {
		t.Errorf("a merged quantized tensor is %s", i.Type)
	}
	if i, _ := w.Info("model.embed_tokens.weight"); i.Type != qtype.Q8_0 {
		t.Errorf("an unchanged quantized tensor is %s", i.Type)
	}
}

// Adapters on one side of a tied weight leave the other side as it was.
func TestUntied(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"embedding": func(c *Config) { c.Targets = Names{List: []string{"embed_tokens", "q_proj"}} },
		"head":      func(c *Config) { c.Targets = Names{List: []string{"lm_head", "q_proj"}} },
		"saved":     func(c *Config) { c.ModulesToSave = []string{"lm_head"} },
		"both":      func(c *Config) { c.ModulesToSave = []string{"embed_tokens", "lm_head"} },
	} {
		c, m := open(t, "llama3")
		a := attached4(t, m, change)
		for i, p := range a.params {
			for k := range p.Data {
				a.params[i].Data[k] += float32(math.Cos(float64(i+k))) / 16
			}
		}
		one := mergedModel(t, c, a)
		if one.Tied {
			t.Errorf("%s: still tied", name)
		}
		check(t, name+": merged", worst(logits(t, one, nil, document), logits(t, m, a, document)), 2e-4)
	}
}

// Overlapping patterns are written so that sorting their keys, as PEFT does, changes nothing.
func TestOverlappingPatterns(t *testing.T) {
	_, m := open(t, "qwen3")
	a := attached4(t, m, func(c *Config) {
		c.RankPattern = Patterns{{"z.*|q_proj", 2}, {"a.*|.*proj", 3}}
		c.AlphaPattern = Patterns{{"q_proj", 5}}
	})
	dir := t.TempDir()
	if err := a.Save(dir, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	again := load(t, m, dir)
	for n, x := range a.modules {
		if y := again.modules[n]; y == nil || y.rank != x.rank || y.scale != x.scale {
			t.Errorf("%s: rank %d, scale %g came back as %+v", n, x.rank, x.scale, y)
		}
	}
}
