package quantize

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

func openSide(t *testing.T, path string, change func(tensor.Source) tensor.Source) Side {
	c, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if change != nil {
		c.Weights = change(c.Weights)
	}
	m, err := model.New(c, model.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	return Side{Model: m, Weights: c.Weights}
}

func as(typ qtype.Type) func(tensor.Source) tensor.Source {
	return func(s tensor.Source) tensor.Source {
		return tensor.Converted{Source: s, To: func(i tensor.Info) qtype.Type {
			if len(i.Shape) > 1 && i.Cols()%typ.Row().Block == 0 {
				return typ
			}
			return i.Type
		}}
	}
}

func TestVerify(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	path := testkit.Golden(t, "models/llama")
	ref := openSide(t, path, nil)
	ids := make([]int32, 100)
	for i := range ids {
		ids[i] = int32(i * 7 % ref.Model.V)
	}
	ctx, o := context.Background(), DivergeOptions{ChunkSize: 40}
	same, err := Diverge(ctx, ref, openSide(t, path, nil), ids, pool, o)
	if err != nil {
		t.Fatal(err)
	}
	if same.Tokens != 2*19 || same.Mean != 0 || same.Max != 0 || same.Top1 != 1 || same.Ratio != 1 || same.RatioLow != 1 || same.Reference != same.Candidate {
		t.Errorf("the same model: %+v", same)
	}
	last := 0.0
	for _, typ := range []qtype.Type{qtype.BF16, qtype.Q8_0, qtype.Q4_0} {
		cand := openSide(t, path, as(typ))
		d, err := Diverge(ctx, ref, cand, ids, pool, o)
		if err != nil {
			t.Fatal(err)
		}
		if !(d.Mean >= last) || d.Median > d.P999 || d.P999 > d.Max || d.RatioLow > d.Ratio || d.Ratio > d.RatioHigh {
			t.Errorf("%s: %+v after a mean of %g", typ, d, last)
		}
		last = d.Mean
		list, err := CompareTensors(ctx, ref, cand, pool)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if quantized := e.To == typ.String(); quantized != (e.RMSE > 0) && typ.Row().Block > 1 {
				t.Errorf("%s: %+v", typ, e)
			}
		}
	}
	if last < 1e-4 {
		t.Errorf("Q4_0 diverges by %g only", last)
	}
	if _, err := CompareTensors(ctx, ref, openSide(t, testkit.Golden(t, "models/qwen3"), nil), pool); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("another model: %v", err)
	}
	if _, err := Diverge(ctx, ref, ref, ids[:5], pool, o); err == nil {
		t.Error("a text without a whole piece")
	}
}

// Two tokens, by hand.
func TestCompareLogits(t *testing.T) {
	p := compareLogits([]float32{0, 0}, []float32{float32(math.Log(3)), 0}, 1)
	kl := 0.5*math.Log(0.5/0.75) + 0.5*math.Log(0.5/0.25)
	if math.Abs(p.kl-kl) > 1e-7 || math.Abs(p.nll[0]-math.Log(2)) > 1e-7 || math.Abs(p.nll[1]-math.Log(4)) > 1e-7 || !p.same {
		t.Errorf("%+v, want %g", p, kl)
	}
	d := summarize([]prediction{{kl: 1, nll: [2]float64{1, 2}, same: true}, {kl: 3, nll: [2]float64{3, 2}}})
	if d.Mean != 2 || d.Median != 2 || d.Max != 3 || d.Top1 != 0.5 || d.Ratio != 1 || d.Reference != math.Exp(2) || !(d.RatioHigh > 1) || d.MeanError != 1 {
		t.Errorf("%+v", d)
	}
}

// Sums of a small model by observers, of all matrices of its layers; what several read is summed once.
func TestCollectSmall(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	s := openSide(t, testkit.Golden(t, "models/llama"), nil)
	ids := make([]int32, 65)
	for i := range ids {
		ids[i] = int32(i % s.Model.V)
	}
	m, err := Collect(context.Background(), s.Model, nil, ids, pool, CollectOptions{ChunkSize: 16, Dataset: "d"})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Names()) != 7*s.Model.L || m.Chunks != 4 || m.ChunkSize != 16 {
		t.Errorf("%d entries, %d chunks of %d", len(m.Names()), m.Chunks, m.ChunkSize)
	}
	q, k, o := m.Entry("blk.0.attn_q.weight"), m.Entry("blk.0.attn_k.weight"), m.Entry("blk.0.attn_output.weight")
	for i := range q.Squares {
		if q.Squares[i] != k.Squares[i] || !(q.Squares[i] > 0) {
			t.Fatalf("column %d: %v and %v", i, q.Squares[i], k.Squares[i])
		}
	}
	if q.Counts[0] != 64 || o.Squares[0] == q.Squares[0] || s.Model.Tap.In != nil {
		t.Errorf("%v, %v", q.Counts, o.Squares[0])
	}
}

// The sums of a layer's experts add up to those of the router, which reads the same, each token as often as it has experts; the
// file can be read again.
func TestCollectExperts(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	s := openSide(t, testkit.Golden(t, "models/mixtral"), nil)
	ids := make([]int32, 64)
	for i := range ids {
		ids[i] = int32(7 * i % s.Model.V)
	}
	m, err := Collect(context.Background(), s.Model, nil, ids, pool, CollectOptions{ChunkSize: 32, Dataset: "d"})
	if err != nil {
		t.Fatal(err)
	}
	router, gate, down := m.Entry("blk.1.ffn_gate_inp.weight"), m.Entry("blk.1.ffn_gate_exps.weight"), m.Entry("blk.1.ffn_down_exps.weight")
	x := s.Model.Experts
	if len(m.Names()) != 8*s.Model.L || len(gate.Counts) != x.N || len(gate.Squares) != x.N*s.Model.C || len(down.Squares) != x.N*x.F {
		t.Fatalf("%v: %d counts, %d and %d sums", m.Names(), len(gate.Counts), len(gate.Squares), len(down.Squares))
	}
	total := float32(0)
	for _, n := range gate.Counts {
		total += n
	}
	if total != float32(x.Used*len(ids)) {
		t.Errorf("%v tokens, want %d", gate.Counts, x.Used*len(ids))
	}
	for j, all := range router.Squares {
		sum := float32(0)
		for e := range x.N {
			sum += gate.Squares[e*s.Model.C+j]
		}
		if want := float32(x.Used) * all; math.Abs(float64(sum/want-1)) > 1e-5 { // a few float32 sums
			t.Errorf("column %d: %g over experts, want %g", j, sum, want)
		}
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := m.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := ReadImportance(path)
	if err != nil || !slices.Equal(back.Entry("blk.1.ffn_down_exps.weight").Squares, down.Squares) || !slices.Equal(back.Entry("blk.0.ffn_up_exps.weight").Counts, m.Entry("blk.0.ffn_up_exps.weight").Counts) {
		t.Errorf("read again: %v", err)
	}
	for _, c := range m.Coverage() {
		if strings.Contains(c.Name, "exps") != (len(c.Counts) == x.N) || c.Unseen > 0 || c.Dead > 0 {
			t.Errorf("%+v", c)
		}
	}
}
