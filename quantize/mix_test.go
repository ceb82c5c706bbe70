package quantize

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tune/internal/qtype"
	"tune/internal/testkit"
)

// selection is one file of the golden data: a model's shapes and the types that llama-quantize gives them.
type selection struct {
	Arch      string              `json:"arch"`
	Layers    int                 `json:"n_layer"`
	Heads     int                 `json:"n_head"`
	KVHeads   int                 `json:"n_head_kv"`
	Experts   int                 `json:"n_expert"`
	Is70B     bool                `json:"is_70b"`
	Tensors   [][3]any            `json:"tensors"`
	Kept      [][3]any            `json:"not_quantizable"`
	Errors    map[string]string   `json:"errors"`
	FileTypes map[string]fileType `json:"file_types"`
}

type fileType struct {
	Number     uint32   `json:"number"`
	Default    string   `json:"default"`
	Exceptions [][3]any `json:"exceptions"`
}

// expand lists the names of a row: "blk.*" stands for the layers of "0-2,5".
func expand(t *testing.T, row [3]any) (names []string) {
	name, layers := row[0].(string), row[1].(string)
	if layers == "" {
		return []string{name}
	}
	for _, part := range strings.Split(layers, ",") {
		a, b, ok := strings.Cut(part, "-")
		if !ok {
			b = a
		}
		from, err1 := strconv.Atoi(a)
		to, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil {
			t.Fatalf("layers %q", layers)
		}
		for l := from; l <= to; l++ {
			names = append(names, strings.Replace(name, "*", strconv.Itoa(l), 1))
		}
	}
	return names
}

func (s *selection) shapes(t *testing.T) (shapes []Shape) {
	for _, row := range s.Tensors {
		var dims []int
		for _, d := range row[2].([]any) {
			dims = append(dims, int(d.(float64)))
		}
		slices.Reverse(dims)
		for _, n := range expand(t, row) {
			shapes = append(shapes, Shape{n, qtype.F32, dims})
		}
	}
	return shapes
}

func checkSelection(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s selection
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	f := Facts{s.Arch, s.Layers, s.Heads, s.KVHeads, s.Experts}
	if f.is70B() != s.Is70B {
		t.Errorf("is70B: got %v", f.is70B())
	}
	shapes := s.shapes(t)
	keep := map[string]bool{}
	for _, row := range s.Kept {
		for _, n := range expand(t, row) {
			keep[n] = true
		}
	}
	for _, x := range shapes {
		if allowed(x) == keep[x.Name] {
			t.Errorf("%s %v: allowed is %v", x.Name, x.Dims, allowed(x))
		}
	}
	for _, mix := range Mixes() {
		want, ok := s.FileTypes[mix.Name]
		choices, err := Select(f, shapes, mix, Options{})
		if (err != nil) != (s.Errors[mix.Name] != "") {
			t.Errorf("%s: error %v, want %q", mix.Name, err, s.Errors[mix.Name])
		}
		if !ok || err != nil {
			continue
		}
		if want.Number != mix.Number || !strings.EqualFold(want.Default, mix.Default.String()) {
			t.Errorf("%s: number %d, default %s", mix.Name, mix.Number, mix.Default)
		}
		types := map[string]string{}
		for _, row := range want.Exceptions {
			for _, n := range expand(t, row) {
				types[n] = row[2].(string)
			}
		}
		for _, c := range choices {
			expected := want.Default
			if x, ok := types[c.Name]; ok {
				expected = x
			}
			if !keep[c.Name] && !strings.EqualFold(expected, c.To.String()) {
				t.Errorf("%s: %s: got %s, want %s", mix.Name, c.Name, c.To, expected)
			}
		}
	}
}

func checkSelections(t *testing.T, dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(paths), err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) { checkSelection(t, p) })
	}
}

func TestSelection(t *testing.T)    { checkSelections(t, filepath.Join("testdata", "selection")) }
func TestSelectionAll(t *testing.T) { checkSelections(t, testkit.Shared(t, "quant/selection")) }

func TestParseMix(t *testing.T) {
	for name, want := range map[string]string{"q4_k_m": "Q4_K_M", "Q4_K": "Q4_K_M", "iq1_s": "IQ1_S", "Q9": ""} {
		m, err := ParseMix(name)
		if m.Name != want || (err == nil) != (want != "") {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

func TestParseOverride(t *testing.T) {
	for text, want := range map[string]string{"FFN_down=q8_0": "ffn_down=Q8_0", "a=b=Q4_K": "a=b=Q4_K", "x": "", "=Q4_K": "", "(=Q4_K": "", "x=Q": ""} {
		o, err := ParseOverride(text)
		if (err == nil) != (want != "") || err == nil && o.Pattern.String()+"="+o.Type.String() != want {
			t.Errorf("%s: %v, %v", text, o, err)
		}
	}
}
