package quantize

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"tune/internal/model"
	"tune/internal/testkit"
	"tune/kernels"
)

// goldenModel opens a committed model with deterministic tokens for it.
func goldenModel(t *testing.T, name string, tokens int) (*model.Checkpoint, *model.Model, []int32) {
	c, err := model.Open(testkit.Golden(t, "models/"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := model.New(c, model.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := someTokens(m, tokens)
	return c, m, ids
}

// tolImportance: sums over tokens in float32 pieces beside sums in float64.
const tolImportance = 1e-5

// TestCalibration: the diagonal of the products is the imatrix of the same text, bytes do not depend on threads, a file of another
// model is refused, and hidden states that are spooled to disk as bf16 change little.
func TestCalibration(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c, m, ids := goldenModel(t, "qwen3", 1000)
	want, err := Collect(ctx, m, nil, ids, nil, CollectOptions{ChunkSize: 96})
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	var most int64
	for i, o := range []CalibrateOptions{{Pool: kernels.NewPool(1)}, {Pool: kernels.NewPool(3)}, {Memory: 1}} {
		path := filepath.Join(dir, "x.calib")
		o.Text = Text{ids, 96}
		if o.Memory > 0 {
			o.Memory = most - 1
		}
		r, err := Calibrate(ctx, path, m, c.Weights, o)
		if most = r.Memory; err != nil {
			t.Fatal(err)
		}
		o.Pool.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = b
		}
		if i == 1 && !bytes.Equal(b, first) {
			t.Error("the file depends on the number of threads")
		}
		got, err := ReadImportance(path)
		if err != nil {
			t.Fatal(err)
		}
		tol := tolImportance
		if o.Memory > 0 {
			tol = 0.02 // bf16 has 8 bits
		}
		if len(got.Names()) != len(want.Names()) {
			t.Fatalf("expected %d tensors, found %d", len(want.Names()), len(got.Names()))
		}
		for _, name := range want.Names() {
			a, b := got.Weights(name), want.Weights(name)
			for j := range b {
				if math.Abs(float64(a[j]-b[j])) > tol*float64(b[j]) {
					t.Fatalf("memory %d: %s, column %d: expected %v, found %v", o.Memory, name, j, b[j], a[j])
				}
			}
		}
	}
	cal, err := OpenCalibration(filepath.Join(dir, "x.calib"))
	if err != nil {
		t.Fatal(err)
	}
	defer cal.Close()
	if err := cal.Check(m, c.Weights); err != nil {
		t.Error(err)
	}
	other, om, _ := goldenModel(t, "llama", 1)
	if err := cal.Check(om, other.Weights); !errors.Is(err, ErrCalibration) {
		t.Errorf("another model: %v", err)
	}
	for _, bad := range []Text{{ids[:50], 96}, {ids, m.Positions + 1}, {[]int32{int32(m.V)}, 1}} {
		if _, err := Calibrate(ctx, filepath.Join(dir, "bad"), m, c.Weights, CalibrateOptions{Text: bad}); err == nil {
			t.Errorf("%d tokens in pieces of %d are no error", len(bad.IDs), bad.Length)
		}
	}
	for n := range 64 { // cut files are errors
		if _, err := ParseCalibration("cut", first[:n*len(first)/64]); err == nil {
			t.Errorf("a file cut to %d of 64 parts is read", n)
		}
	}
}

// someTokens are n tokens of a text that means nothing.
func someTokens(m *model.Model, n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((31*i + i*i%29) % m.V)
	}
	return ids
}
