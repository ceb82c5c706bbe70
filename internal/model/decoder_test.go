package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"tune/internal/graph"
	"tune/internal/nn"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

// Limits of the goldens' README for another float32 implementation.
const (
	logitsLimit = 1e-4
	hiddenLimit = 1e-5 // of the greatest value
)

// golden reads a safetensors file under testdata/goldens.
func golden(t *testing.T, name string) *safetensors.Dir {
	t.Helper()
	f, err := safetensors.Open(testkit.Golden(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func floats(t *testing.T, s tensor.Source, name string) []float32 {
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

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(testkit.Golden(t, name))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
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

func ofLargest(got, want []float32) float64 {
	return worst(got, want) / worst(want, make([]float32, len(want)))
}

func norm(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s)
}

func check(t *testing.T, what string, got, limit float64) {
	t.Helper()
	t.Logf("%-44s %.2e (limit %.0e)", what, got, limit)
	if !(got <= limit) {
		t.Errorf("%s: %g > %g", what, got, limit)
	}
}

// run binds a program, sets the inputs it has and runs it.
func run(t *testing.T, p *graph.Program, in map[string][]int32, params []Param) *graph.Session {
	t.Helper()
	pool := kernels.NewPool(2)
	t.Cleanup(pool.Close)
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
	for name, v := range in {
		if s.Ints(name) != nil {
			if err := s.SetInts(name, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.RunAll(); err != nil {
		t.Fatal(err)
	}
	return s
}

// documents packs whole documents one after the other; every token is the label of the one before it.
func documents(docs ...[]int32) map[string][]int32 {
	in := map[string][]int32{}
	for _, ids := range docs {
		at := int32(len(in["ids"]))
		for i, id := range ids {
			next := int32(-1)
			if i+1 < len(ids) {
				next = ids[i+1]
			}
			for k, v := range map[string]int32{"ids": id, "pos": int32(i), "start": at, "labels": next} {
				in[k] = append(in[k], v)
			}
		}
	}
	return in
}

func TestLogits(t *testing.T) {
	for _, name := range families {
		for _, exact := range []bool{true, false} {
			m, gold := load(t, name, exact), golden(t, "models/"+name+"/goldens.safetensors")
			if !exact && m.Experts.N > 0 {
				continue // a hidden state that was rounded may choose other experts: no bound holds
			}
			for _, doc := range []string{"doc0", "doc1"} {
				ids := ints(t, gold, doc+".input_ids")
				g := graph.New()
				b := m.Batch(g, len(ids))
				logits := nn.Linear(m.Hidden(b, nil), m.Exact, m.Head(b, nil))[0]
				p, err := g.Compile(graph.Options{}, logits)
				if err != nil {
					t.Fatal(err)
				}
				got, want := run(t, p, documents(ids), nil).Output(0), floats(t, gold, doc+".logits")
				if exact {
					check(t, name+" "+doc+" logits", worst(got, want), logitsLimit)
				} else {
					check(t, name+" "+doc+" logits in bf16 (of largest)", ofLargest(got, want), bf16Limit)
				}
			}
		}
	}
}

// All layers rotate by the same angles, which are computed once.
func TestAnglesOnce(t *testing.T) {
	for _, name := range families {
		m := load(t, name, true)
		g := graph.New()
		p, err := g.Compile(graph.Options{}, m.Hidden(m.Batch(g, 8), nil))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, i := range p.Instrs {
			if i.Op.Info().Name == "angles" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d layers, angles computed %d times", name, m.L, n)
		}
	}
}

// bf16Limit: products of bf16 inputs have relative errors of 2^-9 each; these tiny random models without training amplify
// them to a few percent of the largest logit.
const bf16Limit = 0.15

func TestHidden(t *testing.T) {
	for _, name := range families {
		m, gold := load(t, name, true), golden(t, "models/"+name+"/goldens.safetensors")
		ids := ints(t, gold, "doc0.input_ids")
		var outs []*graph.Node
		names := map[string]string{EmbedModule: "doc0.hidden.embed", "model.norm": "doc0.hidden.norm"}
		var order, seen []string
		m.Tap.Out = func(module string, x *graph.Node) {
			if names[module] == "" {
				names[module] = "doc0.hidden.layer." + filepath.Ext(module)[1:]
			}
			outs, order = append(outs, x), append(order, names[module])
		}
		m.Tap.In = func(module string, x *graph.Node) { seen = append(seen, module) }
		m.Tap.Experts = func(modules []string, x *graph.Node, r nn.Routing) { seen = append(seen, modules...) }
		g := graph.New()
		m.Hidden(m.Batch(g, len(ids)), nil)
		p, err := g.Compile(graph.Options{}, outs...)
		if err != nil {
			t.Fatal(err)
		}
		s := run(t, p, documents(ids), nil)
		for i, what := range order {
			check(t, name+" "+what, ofLargest(s.Output(i), floats(t, gold, what)), hiddenLimit)
		}
		want := 0
		for _, x := range m.Modules() {
			if x.Layer >= 0 {
				want++
			}
		}
		if len(seen) != want || len(order) != m.L+2 {
			t.Errorf("%s: taps saw %d inputs and %d outputs", name, len(seen), len(order))
		}
	}
}
