package lora

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

// Limits of the goldens' README for another float32 implementation.
const (
	logitsLimit = 1e-4
	// The base that a PiSSA adapter left behind is computed here in float64, there in float32.
	pissaLimit = 3e-4
)

// runs are the golden runs and the model each was made with.
var runs = map[string]string{"llama3": "llama3", "mixtral": "mixtral", "qwen2_bias": "qwen2", "qwen3": "qwen3", "qwen3_dora": "qwen3", "qwen3_embed": "qwen3",
	"qwen3_modules_to_save": "qwen3", "qwen3_patterns": "qwen3", "qwen3_pissa": "qwen3", "qwen3_plain": "qwen3", "qwen3_rslora": "qwen3"}

func open(t *testing.T, name string) (*model.Checkpoint, *model.Model) {
	t.Helper()
	c, err := model.Open(testkit.Golden(t, "models/"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := model.New(c, model.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

func tensors(t *testing.T, name string) *safetensors.Dir {
	t.Helper()
	f, err := safetensors.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func floatsOf(t *testing.T, s tensor.Source, name string) []float32 {
	t.Helper()
	x, err := s.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tensor.Floats(x)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func ints(t *testing.T, s tensor.Source, name string) (out []int32) {
	t.Helper()
	x, err := s.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	for d := x.Data; len(d) > 0; d = d[8:] {
		out = append(out, int32(uint32(d[0])|uint32(d[1])<<8|uint32(d[2])<<16|uint32(d[3])<<24))
	}
	return out
}

func worst(a, b []float32) (d float64) {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for i := range a {
		if x := math.Abs(float64(a[i]) - float64(b[i])); !(x <= d) {
			d = x
		}
	}
	return d
}

func check(t *testing.T, what string, got, limit float64) {
	t.Helper()
	t.Logf("%-44s %.2e (limit %.0e)", what, got, limit)
	if !(got <= limit) {
		t.Errorf("%s: %g > %g", what, got, limit)
	}
}

// logits runs one document; a may be nil.
func logits(t *testing.T, m *model.Model, a *Adapter, ids []int32) []float32 {
	t.Helper()
	g := graph.New()
	b := m.Batch(g, len(ids))
	var tr model.Trainable
	var params []model.Param
	if a != nil {
		tr, params = a, a.Params()
	}
	p, err := g.Compile(graph.Options{}, nn.Linear(m.Hidden(b, tr), m.Exact, m.Head(b, tr))[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(2)
	defer pool.Close()
	store, err := graph.NewStore(graph.NewHost(pool), p)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Bind(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range params {
		copy(store.Param(x.Name), x.Data)
	}
	pos := make([]int32, len(ids))
	for i := range pos {
		pos[i] = int32(i)
	}
	copy(s.Ints("ids"), ids)
	copy(s.Ints("pos"), pos)
	if err := s.RunAll(); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(s.Output(0))
}

func load(t *testing.T, m *model.Model, dir string) *Adapter {
	t.Helper()
	a, err := Load(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// mergedModel merges in float32, as the goldens were made, whatever type the base stores.
func mergedModel(t *testing.T, c *model.Checkpoint, a *Adapter) *model.Model {
	t.Helper()
	wide := tensor.Converted{Source: c.Weights, To: func(tensor.Info) qtype.Type { return qtype.F32 }}
	w, err := NewMerged(wide, a)
	if err != nil {
		t.Fatal(err)
	}
	copied := *c
	copied.Weights = w
	copied.Spec.Tied = c.Spec.Tied && !w.Untied()
	m, err := model.New(&copied, model.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every golden run: logits with the adapter before and after training and merged into the weights.
func TestGoldens(t *testing.T) {
	for run, base := range runs {
		t.Run(run, func(t *testing.T) {
			c, m := open(t, base)
			dir := testkit.Golden(t, "lora/"+run)
			gold := tensors(t, filepath.Join(dir, "logits.safetensors"))
			start, final := load(t, m, filepath.Join(dir, "adapter_init")), load(t, m, filepath.Join(dir, "adapter_final"))
			one := mergedModel(t, c, final)
			limit := logitsLimit
			if final.frozen != nil { // adapter_init holds what left the base, without saying so
				limit = pissaLimit
				first := start.params
				start = load(t, m, filepath.Join(dir, "adapter_final"))
				for i := range first {
					copy(start.params[i].Data, first[i].Data)
				}
			}
			for _, doc := range []string{"doc0", "doc1"} {
				ids := ints(t, gold, doc+".input_ids")
				check(t, doc+" start", worst(logits(t, m, start, ids), floatsOf(t, gold, doc+".start")), limit)
				check(t, doc+" final", worst(logits(t, m, final, ids), floatsOf(t, gold, doc+".final")), limit)
				check(t, doc+" merged", worst(logits(t, one, nil, ids), floatsOf(t, gold, doc+".merged")), limit)
			}
		})
	}
}

// A saved adapter has the golden's tensors byte for byte, and a configuration that means the same.
func TestSave(t *testing.T) {
	for run, base := range runs {
		t.Run(run, func(t *testing.T) {
			_, m := open(t, base)
			from := filepath.Join(testkit.Golden(t, "lora/"+run), "adapter_final")
			a, dir := load(t, m, from), t.TempDir()
			if err := a.Save(dir, SaveOptions{Base: "models/" + base, Provenance: map[string]any{"seed": 7}}); err != nil {
				t.Fatal(err)
			}
			if a.frozen != nil {
				again := load(t, m, dir)
				gold := tensors(t, filepath.Join(testkit.Golden(t, "lora/"+run), "logits.safetensors"))
				ids := ints(t, gold, "doc1.input_ids")
				check(t, "portable form", worst(logits(t, m, again, ids), floatsOf(t, gold, "doc1.final")), pissaLimit)
				return
			}
			want, got := tensors(t, filepath.Join(from, weightsFile)), tensors(t, filepath.Join(dir, weightsFile))
			if x, y := slices.Sorted(slices.Values(want.Names())), got.Names(); !slices.Equal(x, slices.Sorted(slices.Values(y))) {
				t.Fatalf("tensors %v, want %v", y, x)
			}
			if got.Metadata()["format"] != "pt" {
				t.Errorf("metadata %v", got.Metadata())
			}
			for _, n := range want.Names() {
				x, _ := want.Tensor(n)
				y, _ := got.Tensor(n)
				if !slices.Equal(x.Data, y.Data) || !slices.Equal(x.Shape, y.Shape) || x.Type != y.Type {
					t.Errorf("%s differs", n)
				}
			}
			again := load(t, m, dir)
			if len(again.order) != len(a.order) {
				t.Fatalf("%d modules, want %d", len(again.order), len(a.order))
			}
			for _, n := range a.order {
				if x, y := a.modules[n], again.modules[n]; y == nil || x.scale != y.scale || x.rank != y.rank {
					t.Errorf("%s: %+v came back as %+v", n, x, y)
				}
			}
			text, err := os.ReadFile(filepath.Join(dir, configFile))
			if err != nil || !strings.Contains(string(text), `"tune": {`) || !strings.HasPrefix(string(text), "{\n  \"alpha_pattern\"") {
				t.Errorf("%v %.200s", err, text)
			}
		})
	}
}

// PEFT's own conversion of the PiSSA adapter is an ordinary adapter on the untouched base; the base it left is ours.
func TestPiSSAFiles(t *testing.T) {
	_, m := open(t, "qwen3")
	dir := testkit.Golden(t, "lora/qwen3_pissa")
	gold := tensors(t, filepath.Join(dir, "logits.safetensors"))
	ids := ints(t, gold, "doc0.input_ids")
	check(t, "converted", worst(logits(t, m, load(t, m, filepath.Join(dir, "adapter_converted")), ids), floatsOf(t, gold, "doc0.final")), logitsLimit)
	rest := tensors(t, filepath.Join(dir, "residual.safetensors"))
	a := load(t, m, filepath.Join(dir, "adapter_final"))
	var d, largest float64
	for name, w := range a.frozen {
		want := floatsOf(t, rest, "residual."+strings.TrimSuffix(name, ".weight"))
		d, largest = max(d, worst(floats(w), want)), max(largest, worst(want, make([]float32, len(want))))
	}
	check(t, "residual weights (of largest)", d/largest, 1e-5)
}
