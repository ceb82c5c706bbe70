package bench

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/testkit"
	"tune/internal/tokenizer"
	"tune/kernels"
)

// Every part of a small model gives rows with a rate, a share of the peak and a name of its own.
func TestRows(t *testing.T) {
	c, err := model.Open(testkit.Golden(t, "models/llama"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pool := kernels.NewPool(2)
	defer pool.Close()
	var told []string
	r, err := Run(context.Background(), Options{Parts: []string{"train", "prefill", "decode"}, Models: []Model{{Suffix: "/x", Base: c, Full: true}}, Pool: pool,
		Progress: func(r Row) { told = append(told, r.Name) }})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range r.Rows {
		names = append(names, x.Name)
		// The share may be any: other jobs take from the one measurement and not the other.
		if !(x.Value > 0 && x.Best >= x.Value && x.Share > 0 && x.Spread >= 0) {
			t.Errorf("%+v", x)
		}
	}
	want := []string{"train/lora/4x128/x", "train/full/4x128/x", "prefill/128/x", "decode/1/x", "decode/16/x"}
	if !slices.Equal(names, want) || !slices.Equal(told, names) {
		t.Errorf("got %v, told %v, want %v", names, told, want)
	}
	if r.Peak.F32 <= 0 || r.Peak.Bytes <= 0 || (kernels.Level() == "avx512bf16") != (r.Peak.BF16 > 0) {
		t.Errorf("%+v", r.Peak)
	}
}

// The part data measures the built-in vocabulary as it is and on characters, which spells the same text.
func TestData(t *testing.T) {
	base, err := model.Open("../recipes/base")
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	pool := kernels.NewPool(2)
	defer pool.Close()
	r, err := Run(context.Background(), Options{Parts: []string{"data"}, Text: base, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range r.Rows {
		names = append(names, x.Name+" "+x.Unit)
		if !(x.Value > 0 && x.Best >= x.Value) {
			t.Errorf("%+v", x)
		}
	}
	want := []string{"data/tokenize/bpe MB/s", "data/tokenize/sentencepiece MB/s", "data/tokenize/bpe/long-word/64k MB/s",
		"data/tokenize/sentencepiece/long-word/64k MB/s", "data/tokenize/bpe/long-word/1M MB/s", "data/tokenize/sentencepiece/long-word/1M MB/s",
		"data/render+tokenize+pack tokens/s", "data/render+tokenize+pack/training times"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	tok, err := base.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	other, err := onCharacters(tok.JSON())
	if err != nil {
		t.Fatal(err)
	}
	e, err := other.Encode("the Licensor grants\tyou 12 \u00e9", tokenizer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var spelled string
	for _, id := range e.IDs {
		spelled += other.Token(id)
	}
	if want := "\u2581the\u2581Licensor\u2581grants\tyou\u258112\u2581<0xC3><0xA9>"; spelled != want || len(e.IDs) > 16 {
		t.Errorf("%d tokens spell %q, want %q", len(e.IDs), spelled, want)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	pool := kernels.NewPool(1)
	defer pool.Close()
	if _, err := Run(ctx, Options{Parts: []string{"kernels"}, Pool: pool}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The synthetic model loads in every type it is offered in, with the number of weights of its pattern.
func TestSynthetic(t *testing.T) {
	for _, ty := range []qtype.Type{qtype.BF16, qtype.Q4_1} {
		c, err := Synthetic(ty)
		if err != nil {
			t.Fatal(err)
		}
		m, err := model.New(c, model.Options{})
		if err != nil {
			t.Fatal(err)
		}
		size, err := ty.RowBytes(134_479_872) // weights of the matrices; the norms are another 35,136 of float32
		if err != nil || m.WeightBytes() < int64(size) || m.WeightBytes() > int64(size)+4*40_000 {
			t.Errorf("%s: %d bytes, %v, matrices %d", ty, m.WeightBytes(), err, size)
		}
	}
}

// Encoders give a row for each way to call them, and processes one for each run of a program.
func TestQuantizeRows(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	// true is a program that takes any arguments and ends well
	program, err := exec.LookPath("true")
	if err != nil {
		t.Skip("no program to time")
	}
	r, err := Run(context.Background(), Options{Parts: []string{"quantize"}, Types: []qtype.Type{qtype.IQ2_XXS, qtype.Q4_0}, Pool: pool, Tune: program, LlamaQuantize: program})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range r.Rows {
		names = append(names, x.Name)
	}
	want := []string{"quantize/q4_0", "quantize/q4_0+imatrix", "quantize/iq2_xxs+imatrix", "file/q4_0/tune", "file/q4_0/llama-quantize",
		"file/q4_0+imatrix/tune", "file/q4_0+imatrix/llama-quantize", "file/iq2_xxs+imatrix/tune", "file/iq2_xxs+imatrix/llama-quantize"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}
