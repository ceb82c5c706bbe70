package quantize

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/grouped"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/quantize/solve"
)

// calibrated is a small model with its calibration on 1,000 tokens.
func calibrated(t *testing.T, name string) (*model.Checkpoint, *model.Model, Text, *Calibration) {
	c, m, ids := goldenModel(t, name, 1000)
	text, path := Text{ids, 100}, filepath.Join(t.TempDir(), "x.calib")
	if _, err := Calibrate(context.Background(), path, m, c.Weights, CalibrateOptions{Text: text}); err != nil {
		t.Fatal(err)
	}
	cal, err := OpenCalibration(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cal.Close() })
	return c, m, text, cal
}

// solveAll quantizes all linears whose names from accepts.
func solveAll(t *testing.T, s *Solver, from func(name string) bool) map[string]*grouped.Linear {
	defer s.Close()
	out := map[string]*grouped.Linear{}
	for _, mod := range s.m.Modules() {
		if mod.Kind != model.Linear || !from(mod.Name) {
			continue
		}
		l, err := s.Linear(context.Background(), mod.Name)
		if err != nil {
			t.Fatal(err)
		}
		out[mod.Name] = l
	}
	return out
}

func everything(string) bool { return true }

// sumErrors of the reports of one run, which are relative.
func sumErrors(s *Solver) (sum float64) {
	for _, r := range s.Reports {
		sum += r.Error
	}
	return sum
}

// TestSolver: every order corrects what plain rounding leaves, with and without AWQ's scales and propagation; codes do not depend on
// threads, nor on whether an interrupted run had finished the first layer.
func TestSolver(t *testing.T) {
	c, m, text, cal := calibrated(t, "llama3")
	grid := solve.IntsOptions{Bits: 4, Group: 32, Symmetric: true}
	solver := func(f *Folds, o SolverOptions) *Solver {
		s, err := NewSolver(m, c.Weights, cal, f, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain := solver(nil, SolverOptions{Grid: grid})
	solveAll(t, plain, everything)
	pool := kernels.NewPool(3)
	defer pool.Close()
	folds, err := SearchFolds(context.Background(), m, c.Weights, cal, AWQOptions{Grid: grid})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		f    *Folds
		o    SolverOptions
	}{
		{"none", nil, SolverOptions{GPTQ: true, Order: OrderNone}},
		{"static", nil, SolverOptions{GPTQ: true, Order: OrderStatic}},
		{"gar", nil, SolverOptions{GPTQ: true}},
		{"desc-act", nil, SolverOptions{GPTQ: true, Order: OrderIndex}},
		{"propagated", nil, SolverOptions{GPTQ: true, Propagate: &text}},
		{"awq", folds, SolverOptions{GPTQ: true}},
		{"awq propagated", folds, SolverOptions{GPTQ: true, Propagate: &text}},
	} {
		x.o.Grid = grid
		s := solver(x.f, x.o)
		whole := solveAll(t, s, everything)
		if a, b := sumErrors(s), sumErrors(plain); a > 0.8*b {
			t.Errorf("%s: expected less than plain rounding's error of %.4f, found %.4f", x.name, b, a)
		}
		x.o.Pool = pool
		for name, l := range solveAll(t, solver(x.f, x.o), func(n string) bool { return bytes.HasPrefix([]byte(n), []byte("model.layers.1.")) }) {
			if !bytes.Equal(l.Codes, whole[name].Codes) || !slices.Equal(l.Scale, whole[name].Scale) {
				t.Errorf("%s: %s depends on threads or on what was quantized before", x.name, name)
			}
			if (l.GroupOf != nil) != (x.o.Order == OrderIndex) {
				t.Errorf("%s: %s: index of groups: %v", x.name, name, l.GroupOf != nil)
			}
		}
	}
	if _, err := NewSolver(m, c.Weights, cal, nil, SolverOptions{Grid: solve.IntsOptions{Bits: 4, Group: 96}}); err == nil {
		t.Error("a group that does not divide the widths is no error")
	}
}

// TestFolds: a model after folding computes what it did, for families with biases, with norms of queries and keys, with values
// that heads share and that they do not; a table that misses a reader is found out.
func TestFolds(t *testing.T) {
	const tolLogits = 2e-4
	for _, name := range []string{"llama", "mistral", "qwen2", "qwen3", "smollm3"} {
		c, m, text, cal := calibrated(t, name)
		f, err := SearchFolds(context.Background(), m, c.Weights, cal, AWQOptions{Grid: solve.IntsOptions{Bits: 3, Group: 16}})
		if err != nil {
			t.Fatal(name, err)
		}
		if len(f.Ratios) == 0 {
			t.Errorf("%s: nothing is scaled", name)
		}
		whole := *c
		whole.Weights = f.Source(c.Weights)
		after, err := model.New(&whole, model.Options{Exact: true})
		if err != nil {
			t.Fatal(name, err)
		}
		var hidden [2][]float32
		for i, x := range []*model.Model{m, after} {
			run, err := newForward(x, nil, 64, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := run.run(text.IDs[:64]); err != nil {
				t.Fatal(err)
			}
			hidden[i] = slices.Clone(run.body.Output(0))
			run.close()
		}
		for i, v := range hidden[0] {
			if d := hidden[1][i] - v; d > tolLogits || -d > tolLogits {
				t.Fatalf("%s: hidden value %d: expected %v, found %v", name, i, v, hidden[1][i])
			}
		}
	}
	c, m, _ := goldenModel(t, "llama", 1)
	f := &Folds{columns: map[string][]float64{}, rows: map[string][]float64{}, norms: map[string]tensor.Tensor{}}
	scale := make([]float64, m.C)
	for i := range scale {
		scale[i] = 2
	}
	if err := f.norm("model.layers.0.input_layernorm.weight", scale, c.Weights); err != nil {
		t.Fatal(err)
	}
	f.columns["model.layers.0.self_attn.q_proj"] = scale // but not keys and values
	check, err := newFoldCheck(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer check.close()
	if err := check.layer(0, f, c.Weights); err == nil {
		t.Error("half a fold is no error")
	}
}

// TestFeedback: a GGUF file whose codes carry errors on has the size and types of the plain one and less error in the outputs;
// its bytes do not depend on threads.
func TestFeedback(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c, _, _, cal := calibrated(t, "llama3")
	src, err := FromCheckpoint(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	importance, err := cal.Importance()
	if err != nil {
		t.Fatal(err)
	}
	mix, err := ParseMix("Q3_K_M")
	if err != nil {
		t.Fatal(err)
	}
	var files [3][]byte
	for i, threads := range []int{1, 3, 0} {
		o := PlanOptions{Importance: importance}
		if threads > 0 {
			o.Feedback = NewFeedback(cal, 0, nil)
		}
		p, err := NewPlan(src, mix, o)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "x.gguf")
		if err := p.Write(ctx, path, WriteOptions{Threads: threads}); err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		if threads > 0 && len(o.Feedback.Reports) != 14 {
			t.Errorf("expected reports of the 14 linears, found %d", len(o.Feedback.Reports))
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the bytes depend on the number of threads")
	}
	if len(files[0]) != len(files[2]) || bytes.Equal(files[0], files[2]) {
		t.Errorf("expected other bytes in a file of %d, found %d", len(files[2]), len(files[0]))
	}
	down, err := cal.read(cal.inputs[0][3])
	if err != nil {
		t.Fatal(err)
	}
	var errorsOf [2]float64
	for i, k := range []int{0, 2} {
		path := filepath.Join(dir, "y.gguf")
		if err := os.WriteFile(path, files[k], 0o666); err != nil {
			t.Fatal(err)
		}
		q, err := model.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		errorsOf[i] = storedError(t, c.Weights, q.Weights, "model.layers.0.mlp.down_proj", down.Gram)
		q.Close()
	}
	if errorsOf[0] > 0.95*errorsOf[1] {
		t.Errorf("expected less than the encoder's error of %v, found %v", errorsOf[1], errorsOf[0])
	}
	other, _, _, _ := calibrated(t, "qwen3")
	m, _ := model.New(other, model.Options{})
	if err := cal.Check(m, other.Weights); !errors.Is(err, ErrCalibration) {
		t.Errorf("a calibration of another model: %v", err)
	}
}

// storedError is the squared error of a linear's outputs.
func storedError(t *testing.T, want, got tensor.Source, module string, g *solve.Gram) (sum float64) {
	var w [2][]float32
	for i, s := range []tensor.Source{want, got} {
		x, err := s.Tensor(module + ".weight")
		if err != nil {
			t.Fatal(err)
		}
		if w[i], err = tensor.Floats(x); err != nil {
			t.Fatal(err)
		}
		if i == 1 && x.Type == qtype.F32 {
			t.Fatal("it is not quantized")
		}
	}
	for r := 0; r < len(w[0]); r += g.N {
		for i := range g.N {
			for j := range g.N {
				sum += float64(w[0][r+i]-w[1][r+i]) * g.At(i, j) * float64(w[0][r+j]-w[1][r+j])
			}
		}
	}
	return sum
}
