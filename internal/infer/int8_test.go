package infer

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

// stored opens the built-in base model with its matrices stored as a type.
func stored(t *testing.T, as qtype.Type, int8 bool) *model.Model {
	t.Helper()
	c, err := model.OpenFS(os.DirFS(filepath.Join(testkit.Root(t), "recipes", "base")), "builtin:lex-5m")
	if err != nil {
		t.Fatal(err)
	}
	c.Weights = tensor.Converted{Source: c.Weights, To: func(i tensor.Info) qtype.Type {
		if len(i.Shape) == 1 {
			return i.Type
		}
		return as
	}}
	m, err := model.New(c, model.Options{Int8: int8})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mostKL bounds the divergence, in nats, that rounding activations to 8 bits brings: random tokens give 1e-4 to 1e-3. Without scales, or with
// those of another block, it would be above 0.1.
const mostKL = 4e-3

// TestIntegers: with integer products the logits are others, but hardly, whether a text is read at once, token by token or in a batch; and a
// model whose weights are no codes has none.
func TestIntegers(t *testing.T) {
	if stored(t, qtype.BF16, true).Integers() {
		t.Error("a bf16 model multiplies integers")
	}
	for _, as := range []qtype.Type{qtype.Q8_0, qtype.Q4_1, qtype.Q6_K, qtype.IQ4_NL, qtype.MXFP4} {
		for _, with := range []func(*model.Model) model.Trained{nil, adapter(t)} {
			var logits [2][][]float32
			for i, int8 := range []bool{false, true} {
				m := stored(t, as, int8)
				pool := kernels.NewPool(2)
				defer pool.Close()
				e, err := New(m, trainedOf(with, m), pool)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				ids := tokens(5, 40, m.V)
				for _, n := range []int{33, 34, 35, 40} {
					z, err := e.Next(ids[:n])
					if err != nil {
						t.Fatal(err)
					}
					logits[i] = append(logits[i], append([]float32(nil), z...))
				}
			}
			for i, p := range logits[0] {
				if kl := divergence(p, logits[1][i]); !(kl > 0 && kl < mostKL) {
					t.Errorf("%s, text %d: a divergence of %g nats", as, i, kl)
				}
			}
		}
	}
}

// divergence is the KL divergence of the predictions of two rows of logits.
func divergence(p, q []float32) (kl float64) {
	lp, lq := float64(kernels.LogSumExp(p)), float64(kernels.LogSumExp(q))
	for i := range p {
		a := float64(p[i]) - lp
		kl += math.Exp(a) * (a - float64(q[i]) + lq)
	}
	return kl
}

// TestIntegersAlone: with integer products too, what a text scores and how a prompt is continued does not depend on what else is asked, nor on
// the workers.
func TestIntegersAlone(t *testing.T) {
	m := stored(t, qtype.Q4_1, true)
	var batches []*Batch
	for _, workers := range []int{1, 3} {
		pool := kernels.NewPool(workers)
		defer pool.Close()
		b, err := NewBatch(m, nil, pool)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		batches = append(batches, b)
	}
	ts := texts(m.V)[:12]
	all := scores(t, batches[0], ts)
	for i, x := range scores(t, batches[1], ts) {
		if !equal(x, all[i]) {
			t.Errorf("text %d: other bits with 3 workers", i)
		}
	}
	for _, i := range []int{0, 7} {
		if !equal(scores(t, batches[1], ts[i:i+1])[0], all[i]) {
			t.Errorf("text %d: other bits alone", i)
		}
	}
	ps := prompts(m.V)
	together := generated(t, batches[0], ps)
	for _, i := range []int{1, 4} {
		if a := generated(t, batches[1], ps[i:i+1])[0]; !slices.Equal(a.IDs, together[i].IDs) {
			t.Errorf("prompt %d: another answer alone", i)
		}
	}
}
