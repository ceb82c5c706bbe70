package quantize

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/model"
	"tune/internal/packed"
	"tune/kernels"
	"tune/quantize/solve"
)

// TestExpertStatistics: what each expert has read is what llama-imatrix's collection finds for it, whole batches or not and however
// many runs of a layer its memory allows; routers have no statistics.
func TestExpertStatistics(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	for _, name := range []string{"mixtral", "olmoe"} {
		c, m, ids := goldenModel(t, name, 700)
		want, err := Collect(ctx, m, nil, ids, nil, CollectOptions{ChunkSize: 100})
		if err != nil {
			t.Fatal(err)
		}
		text := Text{ids, 100}
		lazy, err := model.New(c, model.Options{Exact: true, Lazy: true})
		if err != nil {
			t.Fatal(err)
		}
		b, err := planWalk(lazy, text, mustInputs(t, lazy), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []CalibrateOptions{{}, {Memory: b.total - 1}, {Memory: b.total - b.grams + gramBytes(m.Experts.F) + gramBytes(m.C)}} {
			path := filepath.Join(dir, "x.calib")
			o.Text = text
			if _, err := Calibrate(ctx, path, lazy, c.Weights, o); err != nil {
				t.Fatal(err)
			}
			cal, err := OpenCalibration(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := cal.Importance()
			if err != nil {
				t.Fatal(err)
			}
			tol := tolImportance
			if o.Memory > 0 {
				tol = 0.02 // hidden states were bf16
			}
			for _, n := range want.Names() {
				if strings.Contains(n, "gate_inp") {
					continue // the router
				}
				a, b := got.Entry(n), want.Entry(n)
				if a == nil || len(a.Counts) != len(b.Counts) {
					t.Fatalf("%s: %s: %v", name, n, a)
				}
				for e := range b.Counts {
					if math.Abs(float64(a.Counts[e]-b.Counts[e])) > tol*700 {
						t.Errorf("%s: %s: expert %d: expected %g tokens, found %g", name, n, e, b.Counts[e], a.Counts[e])
					}
				}
				if o.Memory > 0 {
					continue // a token that goes elsewhere changes a sum by more than rounding
				}
				for j := range b.Squares {
					if math.Abs(float64(a.Squares[j]-b.Squares[j])) > tol*float64(b.Squares[j]) {
						t.Fatalf("%s: %s, column %d: expected %v, found %v", name, n, j, b.Squares[j], a.Squares[j])
					}
				}
			}
			list, err := cal.Coverage()
			if err != nil || len(list) != 2*m.L {
				t.Fatalf("coverage %v, %v", list, err)
			}
			sum := 0
			for _, n := range list[0].Tokens {
				sum += n
			}
			if sum != 700*m.Experts.Used {
				t.Errorf("%s: %s: expected %d rows, found %v", name, list[0].Experts, 700*m.Experts.Used, list[0].Tokens)
			}
			cal.Close()
		}
	}
}

func mustInputs(t *testing.T, m *model.Model) (all [][]Input) {
	for l := range m.L {
		in, err := inputsOf(m, l)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	return all
}

// TestFewTokens: what stands in for an expert that has seen few tokens, by formula.
func TestFewTokens(t *testing.T) {
	_, _, _, cal := calibrated(t, "mixtral")
	inputs := cal.inputs[0]
	first := -1
	var own []*Statistics
	for i, in := range inputs {
		if in.Experts != inputs[len(inputs)-1].Experts {
			continue
		}
		if first < 0 {
			first = i
		}
		s, err := cal.read(in)
		if err != nil {
			t.Fatal(err)
		}
		own = append(own, s)
	}
	sum, rows := 0.0, 0
	for _, s := range own {
		sum, rows = sum+s.Gram.At(0, 1), rows+s.Gram.Tokens
	}
	n := own[0].Gram.Tokens
	for _, x := range []struct {
		few  Few
		want Policy
		gram float64
	}{
		{Few{Tokens: n}, "", own[0].Gram.At(0, 1)},
		{Few{Tokens: n + 60}, PolicyShrink, own[0].Gram.At(0, 1) + 60*sum/float64(rows)},
		{Few{Tokens: n + 1, Policy: PolicyShared}, PolicyShared, sum},
		{Few{Tokens: n + 1, Policy: PolicyRTN}, PolicyRTN, own[0].Gram.At(0, 1)},
	} {
		s, tokens, p, err := cal.layer(0, x.few).of(first)
		if err != nil || tokens != n || p != x.want || relative(s.Gram.At(0, 1), x.gram) > 1e-9 {
			t.Errorf("%+v: expected %q and %v, found %q, %v, %d tokens, %v", x.few, x.want, x.gram, p, s.Gram.At(0, 1), tokens, err)
		}
	}
}

func relative(a, b float64) float64 { return math.Abs(a-b) / math.Max(math.Abs(b), 1e-300) }

// TestMixture: GPTQ and AWQ on a mixture correct what plain rounding leaves, report every expert, and touch no router.
func TestMixture(t *testing.T) {
	c, m, text, cal := calibrated(t, "mixtral")
	grid := solve.IntsOptions{Bits: 4, Group: 16, Symmetric: true}
	pool := kernels.NewPool(3)
	defer pool.Close()
	folds, err := SearchFolds(context.Background(), m, c.Weights, cal, AWQOptions{Grid: grid, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	run := func(f *Folds, o SolverOptions) *Solver {
		o.Grid, o.Pool = grid, pool
		s, err := NewSolver(m, c.Weights, cal, f, o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, x := range m.Modules() {
			if x.Kind == model.Linear || x.Kind == model.Expert {
				if _, err := s.Linear(context.Background(), x.Name); err != nil {
					t.Fatal(err)
				}
			}
		}
		return s
	}
	plain := run(nil, SolverOptions{})
	for name, s := range map[string]*Solver{
		"gptq":      run(nil, SolverOptions{GPTQ: true}),
		"shared":    run(nil, SolverOptions{GPTQ: true, Few: Few{Policy: PolicyShared, Tokens: 400}}),
		"awq+gptq":  run(folds, SolverOptions{GPTQ: true}),
		"propagate": run(nil, SolverOptions{GPTQ: true, Propagate: &text}),
	} {
		if a, b := sumErrors(s), sumErrors(plain); a > 0.9*b {
			t.Errorf("%s: expected less than the error of %v, found %v", name, b, a)
		}
		if len(s.Reports) != m.L*(4+3*m.Experts.N) {
			t.Errorf("%s: %d reports", name, len(s.Reports))
		}
	}
	few := 0
	for _, r := range run(nil, SolverOptions{GPTQ: true, Few: Few{Policy: PolicyRTN, Tokens: 1000}}).Reports {
		if r.Policy == PolicyRTN {
			few++
		}
	}
	if few != m.L*3*m.Experts.N {
		t.Errorf("rtn: expected all experts, found %d", few)
	}
	writeMixture(t, c, m, cal, pool)
	for name := range folds.columns {
		if strings.HasSuffix(name, ".gate") {
			t.Errorf("%s: a router is scaled", name)
		}
	}
}

// writeMixture writes a mixture with GPTQ and reads it again: experts are quantized, routers are what they were.
func writeMixture(t *testing.T, c *model.Checkpoint, m *model.Model, cal *Calibration, pool *kernels.Pool) {
	group, out := 16, filepath.Join(t.TempDir(), "out")
	writeMethod(t, out, c, m, cal, packed.Options{Format: "compressed-tensors", Scheme: "W4A16", Group: &group}, "gptq", pool)
	q, err := model.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	routers := 0
	for _, x := range m.Modules() {
		name := x.Name + ".weight"
		if got := q.Quantized.Quantized(name); got != (x.Kind == model.Linear || x.Kind == model.Expert) {
			t.Errorf("%s: quantized %v", name, got)
		}
		if x.Kind == model.Router {
			a, _ := c.Weights.Tensor(name)
			b, err := q.Weights.Tensor(name)
			if routers++; err != nil || !bytes.Equal(a.Data, b.Data) {
				t.Errorf("%s is not what it was: %v", name, err)
			}
		}
	}
	if routers != m.L {
		t.Errorf("%d routers", routers)
	}
}
