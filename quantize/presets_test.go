package quantize

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tune/internal/qtype"
	"tune/internal/testkit"
)

// What presets give the kinds of matrices: the first pattern that matches decides. Rows that are no whole blocks of 256 take
// the usual fallback, which is at least as fine.
var presetPatterns = map[string][]struct{ pattern, to string }{
	"deepseek-v2-lite.json TUNE_Q4": {
		{`^output\.weight`, "Q6_K"}, {`^token_embd`, "Q4_K"},
		{`blk\.\d+\.attn_`, "Q8_0"}, {`shexp`, "Q6_K"}, {`blk\.0\.ffn_`, "Q6_K"}, // a dense layer
		{`blk\.[12]\.ffn_down_exps`, "Q6_K"}, {`blk\.[12]\.ffn_(gate|up)_exps`, "Q5_K"}, {`exps`, "Q4_K"},
	},
	"qwen3-coder-next.json TUNE_Q2": {
		{`^output\.weight`, "Q6_K"}, {`^token_embd`, "Q3_K"}, {`shexp`, "Q5_K"},
		{`blk\.[012]\.ffn_down_exps`, "Q4_K"}, {`blk\.[012]\.ffn_(gate|up)_exps`, "Q3_K"},
		{`ffn_down_exps`, "Q3_K"}, {`exps`, "Q2_K"}, {`blk`, "Q6_K"}, // attention and recurrence
	},
	"smollm2-135m.json TUNE_Q3": { // no experts: feed-forward matrices are the bulk; the embedding is the head
		{`^token_embd`, "Q6_K"}, {`blk\.[01]\.ffn_down`, "Q5_K"}, {`blk\.[01]\.ffn_`, "Q4_K"}, {`ffn_`, "Q3_K"}, {`attn_`, "Q6_K"},
	},
}

func readSelection(t *testing.T, path string) (selection, Facts) {
	var s selection
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, Facts{s.Arch, s.Layers, s.Heads, s.KVHeads, s.Experts}
}

func TestPresets(t *testing.T) {
	dir := testkit.Shared(t, "quant/selection")
	for name, patterns := range presetPatterns {
		file, mixName, _ := strings.Cut(name, " ")
		s, f := readSelection(t, filepath.Join(dir, file))
		mix, err := ParseMix(strings.ToLower(mixName))
		if err != nil {
			t.Fatal(err)
		}
		choices, err := Select(f, s.shapes(t), mix, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range choices {
			if !allowed(c.Shape) {
				continue
			}
			for _, p := range patterns {
				if !regexp.MustCompile(p.pattern).MatchString(c.Name) {
					continue
				}
				if c.Wanted.String() != p.to {
					t.Errorf("%s: %s: %s, want %s", name, c.Name, c.Wanted, p.to)
				}
				break
			}
		}
	}
}

// In each mixture: what every token passes through is at least as fine as any expert; a file is smaller than with the mix
// of llama.cpp whose number it carries (with two bits a little larger).
func TestPresetsOfMixtures(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(testkit.Shared(t, "quant/selection"), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range append(paths, filepath.Join("testdata", "selection", "mixtral-8x7b.json")) {
		s, f := readSelection(t, path)
		if f.Experts == 0 {
			continue
		}
		seen++
		shapes := s.shapes(t)
		for _, mix := range Presets() {
			size := map[string]int64{}
			for _, m := range append(Mixes(), mix) {
				if m.Number != mix.Number {
					continue
				}
				choices, err := Select(f, shapes, m, Options{})
				if err != nil {
					t.Fatalf("%s: %s: %v", path, m.Name, err)
				}
				for i := range choices {
					size[m.Name] += choices[i].Bytes()
				}
				if m.Name == mix.Name {
					checkFineness(t, path+": "+m.Name, choices)
				}
				if m.Name != mix.Name {
					size["theirs"] = size[m.Name]
				}
			}
			most := 1.0
			if mix.Default == qtype.Q2_K {
				most = 1.08
			}
			if r := float64(size[mix.Name]) / float64(size["theirs"]); r > most {
				t.Errorf("%s: %s: %.3f of the size of the mix of llama.cpp", path, mix.Name, r)
			}
		}
	}
	if seen < 2 {
		t.Errorf("%d mixtures of experts", seen)
	}
}

func checkFineness(t *testing.T, name string, choices []Choice) {
	t.Helper()
	bits := func(c *Choice) float64 { return 8 * float64(c.Wanted.Row().Bytes) / float64(c.Wanted.Row().Block) }
	coarsest, finest := 32.0, 0.0
	for i := range choices {
		c := &choices[i]
		switch {
		case !allowed(c.Shape) || layerOf(c.Name) < 0:
		case strings.Contains(c.Name, "_exps"):
			finest = max(finest, bits(c))
		default:
			coarsest = min(coarsest, bits(c))
		}
	}
	if coarsest < finest || finest == 0 {
		t.Errorf("%s: attention and shared experts down to %g bits, routed experts up to %g", name, coarsest, finest)
	}
}
