package model

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tune/internal/testkit"
)

var families = []string{"llama", "llama3", "mistral", "mixtral", "olmoe", "qwen2", "qwen3", "qwen3_moe", "smollm3"}

func readSpec(t *testing.T, name string) Spec {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Golden(t, "models/"+name), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSpecs(t *testing.T) {
	s := readSpec(t, "llama")
	if s.Rope.Theta != 10000 || s.D != 16 || s.K != 4 || s.Tied || s.Positions != 128 || s.BOS[0] != 1 || s.EOS[0] != 2 {
		t.Errorf("llama: %+v", s)
	}
	if s = readSpec(t, "llama3"); s.Rope.Scaling != "llama3" || s.Rope.Original != 64 || !s.Tied || s.K != 2 {
		t.Errorf("llama3: %+v", s)
	}
	if s = readSpec(t, "mistral"); s.Layers[0].Window != 8 || s.Layers[2].Window != 8 || s.D != 32 {
		t.Errorf("mistral: %+v", s)
	}
	if s = readSpec(t, "qwen2"); s.Layers[2].Window != 0 || !s.QKVBias || s.OutBias || s.QKNorm {
		t.Errorf("qwen2: %+v", s)
	}
	if s = readSpec(t, "qwen3"); !s.QKNorm || s.QKVBias {
		t.Errorf("qwen3: %+v", s)
	}
	if s = readSpec(t, "smollm3"); s.Layers[0].NoRope || !s.Layers[1].NoRope || !s.Layers[3].NoRope {
		t.Errorf("smollm3: %+v", s)
	}
}

const tiny = `"vocab_size":8,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":4,"num_attention_heads":2,"num_key_value_heads":2`

// Old and new spellings say the same; rules that give a layer its window.
func TestSpellings(t *testing.T) {
	parse := func(s string) Spec {
		t.Helper()
		spec, err := ParseConfig([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	before := parse(`{"model_type":"llama","rope_theta":5e5,"torch_dtype":"bfloat16","rope_scaling":{"type":"linear","factor":2},` + tiny + `}`)
	after := parse(`{"model_type":"llama","dtype":"bfloat16","rope_parameters":{"rope_theta":5e5,"rope_type":"linear","factor":2.0},` + tiny + `}`)
	if before.Rope.Theta != after.Rope.Theta || before.Rope.Factor != after.Rope.Factor || after.Rope.Scaling != "linear" {
		t.Errorf("before %+v, after %+v", before.Rope, after.Rope)
	}
	windows := func(s Spec) (w []int) {
		for _, l := range s.Layers {
			w = append(w, l.Window)
		}
		return w
	}
	for config, want := range map[string][]int{
		`{"model_type":"qwen2","sliding_window":4,"use_sliding_window":true,"max_window_layers":3,`:                                          {0, 0, 0, 4},
		`{"model_type":"qwen3","sliding_window":4,"use_sliding_window":false,`:                                                               {0, 0, 0, 0},
		`{"model_type":"mistral","sliding_window":null,`:                                                                                     {0, 0, 0, 0},
		`{"model_type":"mistral","sliding_window":5,"layer_types":["full_attention","sliding_attention","full_attention","full_attention"],`: {0, 5, 0, 0},
	} {
		if got := windows(parse(config + tiny + `}`)); !slices.Equal(got, want) {
			t.Errorf("%s: windows %v, want %v", config, got, want)
		}
	}
	if s := parse(`{"model_type":"smollm3",` + tiny + `}`); s.Layers[2].NoRope || !s.Layers[3].NoRope || !s.Tied {
		t.Errorf("smollm3 without a list: %+v", s)
	}
	if s := parse(`{"model_type":"qwen3",` + tiny + `}`); s.D != 128 {
		t.Errorf("qwen3: head width %d, want 128", s.D)
	}
}

// Every problem of a file is named in one error, and none of them allocates or panics.
func TestBadConfigs(t *testing.T) {
	_, err := ParseConfig([]byte(`{"model_type":"llama","vocab_size":8,"hidden_size":9e99,"intermediate_size":8.5,"num_hidden_layers":-1,"num_attention_heads":3,
		"num_key_value_heads":2,"head_dim":7,"hidden_act":"gelu","attention_dropout":0.5,"new_norm":true,"rope_scaling":{"rope_type":"yarn","fast":1}}`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"hidden_size", "intermediate_size", "num_hidden_layers", "multiple of num_key_value_heads 2", "head_dim", "gelu", "attention_dropout",
		"new_norm: unknown key", "rope_scaling.fast: unknown key", "rope factor"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	for config, part := range map[string]string{
		`{"model_type":"mamba"}`: "expected one of llama, mistral, mixtral, olmoe, qwen2, qwen3, qwen3_moe, smollm3", `null`: "null", `[]`: "array",
		`{"model_type":"llama","architectures":["LlamaForSequenceClassification"],` + tiny + `}`: "causal",
		`{"model_type":"llama"}`: "vocab_size",
	} {
		if _, err := ParseConfig([]byte(config)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error %v, want %q in it", config, err, part)
		}
	}
}

// Frequencies against their definitions, worked out by hand for d = 8, theta = 16: 1, 1/2, 1/4, 1/8.
func TestFrequencies(t *testing.T) {
	base := Rope{Theta: 16}
	linear := Rope{Theta: 16, Scaling: "linear", Factor: 4}
	// Turns over 16 positions: 2.546, 1.273, 0.637, 0.318. Pair 0 is above High, pair 3 below Low, the others blend.
	llama3 := Rope{Theta: 16, Scaling: "llama3", Factor: 4, Original: 16, Low: 0.5, High: 2}
	k1, k2 := (8/(2*math.Pi)-0.5)/1.5, (4/(2*math.Pi)-0.5)/1.5
	// The pair of two turns is 8 ln(16/(4 pi)) / (2 ln 16) = 0.35 -> 0, that of half a turn 2.35 -> 3: ramp 0, 1/3, 2/3, 1.
	yarn := Rope{Theta: 16, Scaling: "yarn", Factor: 4, Original: 16, BetaFast: 2, BetaSlow: 0.5}
	for name, c := range map[string]struct {
		r      Rope
		want   []float64
		factor float64
	}{
		"default":  {base, []float64{1, 0.5, 0.25, 0.125}, 1},
		"divisors": {Rope{Theta: 16, Divisors: []float32{1, 2, 4, 8}}, []float64{1, 0.25, 0.0625, 0.015625}, 1},
		"linear":   {linear, []float64{0.25, 0.125, 0.0625, 0.03125}, 1},
		"llama3":   {llama3, []float64{1, 0.5 * (k1 + (1-k1)/4), 0.25 * (k2 + (1-k2)/4), 0.03125}, 1},
		"yarn":     {yarn, []float64{1, 0.5 * (2./3 + 1./12), 0.25 * (1./3 + 2./12), 0.03125}, 0.1*math.Log(4) + 1},
	} {
		got, factor := c.r.Frequencies(8)
		for i := range got {
			if math.Abs(float64(got[i])/c.want[i]-1) > 1e-7 {
				t.Errorf("%s: frequency %d is %g, want %g", name, i, got[i], c.want[i])
			}
		}
		if math.Abs(factor-c.factor) > 1e-12 {
			t.Errorf("%s: factor %g, want %g", name, factor, c.factor)
		}
	}
	if f := (&Rope{Scaling: "yarn", Factor: 4, Mscale: 1, MscaleAll: 0.5}).yarnFactor(); math.Abs(f-(0.1*math.Log(4)+1)/(0.05*math.Log(4)+1)) > 1e-12 {
		t.Errorf("mscale: factor %g", f)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"model_type":"llama",` + tiny + `}`))
	f.Add([]byte(`{"model_type":"qwen3","layer_types":[],"rope_scaling":{"type":"yarn","factor":1e300},"eos_token_id":[1,2],` + tiny + `}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := ParseConfig(data); err == nil {
			s.Tensors()
			s.Rope.Frequencies(min(s.D, 1<<12) &^ 1)
		}
	})
}

// A written configuration means the same Spec.
func TestConfigJSON(t *testing.T) {
	yarn := readSpec(t, "qwen3")
	yarn.Rope = Rope{Theta: 1e6, Scaling: "yarn", Factor: 4, Original: 32, BetaFast: 32, BetaSlow: 1, Mscale: 1, MscaleAll: 0.5, Untruncated: true}
	yarn.Layers[1].Window = 7
	yarn.EOS = []int32{2, 5}
	specs := []Spec{yarn}
	for _, name := range families {
		specs = append(specs, readSpec(t, name))
	}
	for _, s := range specs {
		text, err := s.ConfigJSON()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(s, back) {
			t.Errorf("%s: %+v came back as %+v", s.Arch, s, back)
		}
	}
	llama3 := Rope{Theta: 5e5, Scaling: "llama3", Factor: 32, Original: 8192, Low: 1, High: 4}
	scaled, _ := llama3.Frequencies(64)
	plain, _ := (&Rope{Theta: 5e5}).Frequencies(64)
	gguf := Rope{Theta: 5e5}
	for i := range plain {
		gguf.Divisors = append(gguf.Divisors, plain[i]/scaled[i])
	}
	if found, err := gguf.llama3(64); err != nil || math.Abs(found.Factor-32) > 1e-4 {
		t.Errorf("found %+v, %v", found, err)
	}
	gguf.Divisors[3] = 7
	if _, err := gguf.llama3(64); err == nil {
		t.Error("any divisors are llama3's")
	}
}
