package quantize

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/model"
	"tune/internal/packed"
	"tune/internal/testkit"
	"tune/internal/tokenizer"
	"tune/kernels"
)

// What a folder of SmolLM2 may lose: perplexity on 20 windows of 512 tokens of WikiText's test text, calibrated on 64 x 512 tokens of its
// valid text, 4 bits in groups of 64. The best of the recorded peers have 46.26 (GPTQ) and 42.76 (AWQ), the model itself 35.21.
var qualityLimits = []struct {
	format, method string
	perplexity     float64
}{
	{"gptq", "gptq", 45.5},
	{"awq", "awq", 42.5},
	{"awq", "awq+gptq", 40.5},
}

// The model itself, by transformers in float32, and how far float32 sums in another order may be off.
const (
	qualityPlain = 35.2133
	tolPlain     = 0.002
)

// TestMethodsQuality: GPTQ and AWQ of a real model are better than the peers'.
func TestMethodsQuality(t *testing.T) {
	if !*full {
		t.Skip("takes ten minutes of a processor: give -full")
	}
	ctx, dir := context.Background(), t.TempDir()
	input, calib := filepath.Join(dir, "bf16.gguf"), filepath.Join(dir, "x.calib")
	smolLM2BF16(t, input)
	ref, ids := openText(t, input, model.Options{Exact: true})
	c, m, err := openLazy(input)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pool := kernels.NewPool(0)
	defer pool.Close()
	text := Text{IDs: readIDs(t, c, "data/text/wikitext-2/valid.txt", 64*512), Length: 512}
	if _, err := Calibrate(ctx, calib, m, c.Weights, CalibrateOptions{Text: text, Pool: pool}); err != nil {
		t.Fatal(err)
	}
	cal, err := OpenCalibration(calib)
	if err != nil {
		t.Fatal(err)
	}
	defer cal.Close()
	var cands []Side
	for _, q := range qualityLimits {
		group, out := 64, filepath.Join(dir, q.method)
		writeMethod(t, out, c, m, cal, packed.Options{Format: q.format, Group: &group}, q.method, pool)
		s, err := model.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		x, err := model.New(s, model.Options{Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		cands = append(cands, Side{Model: x})
	}
	found, err := DivergeAll(ctx, Side{Model: ref}, cands, ids[:20*512], pool, DivergeOptions{ChunkSize: 512, Whole: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range qualityLimits {
		d := found[i]
		t.Logf("%s: perplexity %.4f (bf16 %.4f), mean KL %.4f, top-1 %.2f %%", q.method, d.Candidate, d.Reference, d.Mean, 100*d.Top1)
		if relative(d.Reference, qualityPlain) > tolPlain || d.Candidate > q.perplexity {
			t.Errorf("%s: expected at most %g", q.method, q.perplexity)
		}
	}
}

// writeMethod writes a folder of a scheme.
func writeMethod(t *testing.T, out string, c *model.Checkpoint, m *model.Model, cal *Calibration, scheme packed.Options, method string, pool *kernels.Pool) {
	t.Helper()
	po := PackedOptions{Scheme: scheme, Method: method, Loader: "transformers"}
	p, err := PlanPacked(c, nil, po)
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultMethod()
	o.Pool = pool
	s, err := StartMethod(context.Background(), p, m, c.Weights, cal, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	po.Stamp = s.Stamp
	if p, err = PlanPacked(c, s.Weights, po); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(context.Background(), out, WriteOptions{}, s.Linear); err != nil {
		t.Fatal(err)
	}
}

// readIDs are the first tokens of a text.
func readIDs(t *testing.T, c *model.Checkpoint, name string, n int) []int32 {
	t.Helper()
	text, err := os.ReadFile(testkit.Shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := c.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	const most = 16 // bytes of a token
	e, err := tok.Encode(strings.ToValidUTF8(string(text[:min(len(text), most*n)]), ""), tokenizer.Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	return e.IDs[:n]
}
