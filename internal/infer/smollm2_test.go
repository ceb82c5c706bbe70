package infer

import (
	"math"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

// realLimit is for log-probabilities of 30 layers in float32 on both sides; 3e-5 was measured, and the reference
// itself changes by about as much from one kind of CPU to another.
const realLimit = 2e-4

// The log-probabilities that transformers gives for 255 tokens of real text after 256 others, SmolLM2-135M.
func TestRealModel(t *testing.T) {
	if kernels.Level() == "plain" {
		t.Skip("plain kernels take minutes for 135M weights")
	}
	gold, err := safetensors.Open(testkit.Shared(t, "evalgold/ppl.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer gold.Close()
	c, err := model.Open(testkit.SmolLM2(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Weights = tensor.Converted{Source: c.Weights, To: func(tensor.Info) qtype.Type { return qtype.BF16 }}
	m, err := model.New(c, model.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(0)
	defer pool.Close()
	b, err := NewBatch(m, nil, pool)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var ids []int32
	for d := read(t, gold, "ids_first_5120").Data[:4*512]; len(d) > 0; d = d[4:] {
		ids = append(ids, int32(d[0])|int32(d[1])<<8|int32(d[2])<<16)
	}
	logp := scores(t, b, []Text{{ids, 257}})[0].LogProbs
	want := floats(t, gold, "logprob_f32_chunks0_9")[:255]
	d, sum := worst(logp, want), 0.0
	for _, v := range logp {
		sum -= float64(v)
	}
	t.Logf("greatest difference %.1e, perplexity %.6f", d, math.Exp(sum/255))
	if d > realLimit {
		t.Errorf("log-probabilities differ by %g", d)
	}
}
