package infer

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

// Limits of goldens' README for a float32 implementation.
const (
	logitsLimit = 1e-4
	nllLimit    = 1e-4 // of one token; the README's 1e-5 is for means
)

func engine(t *testing.T, name string, exact bool) (*Engine, *safetensors.Dir) {
	t.Helper()
	dir := testkit.Golden(t, "models/"+name)
	c, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := model.New(c, model.Options{Exact: exact})
	if err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(2)
	t.Cleanup(pool.Close)
	e, err := New(m, nil, pool)
	if err != nil {
		t.Fatal(err)
	}
	g, err := safetensors.Open(filepath.Join(dir, "goldens.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return e, g
}

func read(t *testing.T, s tensor.Source, name string) tensor.Tensor {
	t.Helper()
	x, err := s.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func floats(t *testing.T, s tensor.Source, name string) []float32 {
	t.Helper()
	x, err := tensor.Floats(read(t, s, name))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func ints(t *testing.T, s tensor.Source, name string) (out []int32) {
	t.Helper()
	d := read(t, s, name).Data
	for i := 0; i < len(d); i += 8 {
		out = append(out, int32(d[i])|int32(d[i+1])<<8|int32(d[i+2])<<16|int32(d[i+3])<<24)
	}
	return out
}

func worst(a, b []float32) (d float64) {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

var families = []string{"llama", "llama3", "mistral", "mixtral", "olmoe", "qwen2", "qwen3", "qwen3_moe", "smollm3"}

// The greedy continuation and the logits behind each of its tokens, through the cache.
func TestGreedy(t *testing.T) {
	for _, name := range families {
		e, g := engine(t, name, true)
		prompt, want, logits := ints(t, g, "doc0.input_ids"), ints(t, g, "greedy.tokens"), floats(t, g, "greedy.logits")
		var streamed []int32
		got, reason, err := e.Generate(context.Background(), prompt, Options{MaxTokens: len(want)}, func(id int32) error { streamed = append(streamed, id); return nil })
		if err != nil || !slices.Equal(got, want) || !slices.Equal(streamed, want) || reason != Length {
			t.Fatalf("%s: got %v (%s, %v), want %v", name, got, reason, err, want)
		}
		var d float64
		for i := range want {
			row, err := e.Next(slices.Concat(prompt, want[:i]))
			if err != nil {
				t.Fatal(err)
			}
			d = max(d, worst(row, logits[i*len(row):][:len(row)]))
		}
		t.Logf("%s: logits differ by %.1e", name, d)
		if d > logitsLimit {
			t.Errorf("%s: logits differ by %g", name, d)
		}
	}
}

// A prompt read in chunks, reused in part, or read token by token gives the same logits up to the order of sums.
func TestCache(t *testing.T) {
	e, _ := engine(t, "mistral", true)
	var ids []int32
	for i := range 400 {
		ids = append(ids, int32(3+i*i%377))
	}
	next := func(ids []int32) []float32 {
		t.Helper()
		x, err := e.Next(ids)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(x)
	}
	whole := next(ids)
	next(ids[:100])
	next(slices.Concat(ids[:50], []int32{9, 9, 9}))
	again := next(ids)
	e.cache.ids = nil
	for i := range ids {
		if i%7 == 0 {
			next(ids[:i+1])
		}
	}
	if d := max(worst(whole, again), worst(whole, next(ids))); d > logitsLimit {
		t.Errorf("logits differ by %g", d)
	}
}

func TestEnds(t *testing.T) {
	e, g := engine(t, "llama", true)
	prompt, want := ints(t, g, "doc0.input_ids"), ints(t, g, "greedy.tokens")
	run := func(o Options, emit func(int32) error) ([]int32, string, error) {
		return e.Generate(context.Background(), prompt, o, emit)
	}
	at := slices.Index(want, want[4])
	if got, reason, err := run(Options{Stops: []int32{want[4]}}, nil); err != nil || reason != Stopped || len(got) != at {
		t.Errorf("stop id: %v %s %v", got, reason, err)
	}
	if got, reason, err := run(Options{}, nil); err != nil || reason != Full || len(got) != 128+1-len(prompt) {
		t.Errorf("context: %d tokens, %s, %v", len(got), reason, err)
	}
	stop := errors.New("enough")
	if got, _, err := run(Options{}, func(int32) error { return stop }); !errors.Is(err, stop) || len(got) != 1 {
		t.Errorf("emit: %v %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := e.Generate(ctx, prompt, Options{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, ids := range [][]int32{nil, {320}, {-1}, make([]int32, 129)} {
		if _, err := e.Next(ids); err == nil {
			t.Errorf("%d ids were accepted", len(ids))
		}
	}
}
