package quantize

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/rng"
	"tune/internal/testkit"
	"tune/kernels"
)

// bruteForce is the least loss within a budget, infinite when nothing fits.
func bruteForce(tensors [][]option, budget int64) float64 {
	if len(tensors) == 0 {
		return 0
	}
	best := math.Inf(1)
	for _, o := range tensors[0] {
		if o.bytes <= budget {
			best = min(best, o.loss+bruteForce(tensors[1:], budget-o.bytes))
		}
	}
	return best
}

func spent(tensors [][]option, pick []int) (bytes int64, loss float64) {
	for i, j := range pick {
		bytes, loss = bytes+tensors[i][j].bytes, loss+tensors[i][j].loss
	}
	return bytes, loss
}

// Tensors of one size whose losses fall ever slower, as those of types do, get the optimum; others at most a little more.
func TestAllocate(t *testing.T) {
	const tensors, types = 5, 4
	r, drawn := rng.New(7, "allocate"), uint64(0)
	draw := func(n int) int { drawn++; return r.Intn(drawn, n) }
	missed, runs := 0, 0
	for round := range 200 {
		even := round%2 == 0
		list := make([][]option, tensors)
		least, most := int64(0), int64(0)
		for i := range list {
			size, loss := int64(1+draw(20)), float64(1+draw(1000))
			if even {
				size = 8
			}
			for j := range types {
				list[i] = append(list[i], option{size * int64(2+j), loss})
				loss /= float64(2 + draw(3))
			}
			least, most = least+size*2, most+size*(1+types)
		}
		for k := range 7 {
			budget := least + (most-least)*int64(k)/6
			pick := allocate(list, budget)
			if pick == nil {
				t.Fatalf("round %d: nothing fits %d bytes, expected %d to do", round, budget, least)
			}
			bytes, loss := spent(list, pick)
			want := bruteForce(list, budget)
			if bytes > budget {
				t.Fatalf("round %d: %d bytes of %d", round, bytes, budget)
			}
			const rounding = 1 + 1e-12 // sums in another order
			runs++
			if loss > want*rounding {
				missed++
				if even || loss > 1.5*want {
					t.Errorf("round %d, budget %d: loss %g, the least is %g", round, budget, loss, want)
				}
			}
		}
		if allocate(list, least-1) != nil {
			t.Errorf("round %d: less than the least fits", round)
		}
	}
	if missed*20 > runs { // the gap of the relaxation exists but is rare
		t.Errorf("%d of %d choices are not optimal", missed, runs)
	}
}

// measured is the sensitivity of a small model with some threads.
func measured(t *testing.T, threads int) (*Source, *model.Checkpoint, SensitivityOptions, *Sensitivity) {
	c, err := model.Open(testkit.Golden(t, "models/llama"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	src, err := FromCheckpoint(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(threads)
	t.Cleanup(pool.Close)
	o := SensitivityOptions{ChunkSize: 40, Pool: pool}
	for i := range 80 {
		o.IDs = append(o.IDs, int32(i*7%c.Spec.V))
	}
	m, err := model.New(c, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if o.Importance, err = Collect(ctx, m, nil, o.IDs, pool, CollectOptions{ChunkSize: 40}); err != nil {
		t.Fatal(err)
	}
	s, err := MeasureSensitivity(ctx, src, c, o)
	if err != nil {
		t.Fatal(err)
	}
	return src, c, o, s
}

func TestSensitivity(t *testing.T) {
	src, _, o, s := measured(t, 1)
	if _, _, _, other := measured(t, 3); !reflect.DeepEqual(s, other) {
		t.Error("three threads measure something else than one")
	}
	for _, x := range s.Tensors {
		if _, ok := x.Errors["Q4_0"]; !ok { // a width for no block
			continue
		}
		low, _ := x.loss(qtype.Q4_0)
		high, ok := x.loss(qtype.Q8_0)
		if !ok || !(high < low) || !(x.KL > 0) {
			t.Errorf("%s: KL %g, loss of Q4_0 %g, of Q8_0 %g", x.Name, x.KL, low, high)
		}
	}
	path := filepath.Join(t.TempDir(), "s.json")
	if err := s.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSensitivity(path, src, o)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("read back: %v, equal %v", err, reflect.DeepEqual(got, s))
	}
	fewer := o
	fewer.Types = []qtype.Type{qtype.Q4_0, qtype.Q8_0}
	if _, err := ReadSensitivity(path, src, fewer); err != nil {
		t.Error("fewer types:", err)
	}
	fewer.Types = append(fewer.Types, qtype.MXFP4)
	if _, err := ReadSensitivity(path, src, fewer); !errors.Is(err, ErrSensitivity) {
		t.Errorf("a type that was not measured: %v", err)
	}
	changed := o
	changed.IDs = o.IDs[:40]
	if _, err := ReadSensitivity(path, src, changed); !errors.Is(err, ErrSensitivity) {
		t.Errorf("another text: %v", err)
	}
	c, err := model.Open(testkit.Golden(t, "models/qwen3"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := FromCheckpoint(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSensitivity(path, other, o); !errors.Is(err, ErrSensitivity) {
		t.Errorf("another model: %v", err)
	}
	for _, text := range []string{"", "{}", "[1]", `{"version":1,"tensors":[{"kl":-1}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSensitivity(path, src, o); !errors.Is(err, ErrSensitivity) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Files of a wanted size are never larger and lose less the larger they may be; fixed types stay.
func TestPlanTarget(t *testing.T) {
	src, _, o, s := measured(t, 2)
	p := PlanOptions{Importance: o.Importance}
	last := math.Inf(1)
	for _, bits := range []float64{9, 10, 11, 12} {
		r, err := PlanTarget(src, s, Target{Bits: bits}, p)
		if err != nil {
			t.Fatal(err)
		}
		if r.Layout.Size > r.Wanted || float64(r.Layout.Size) < 0.98*float64(r.Wanted) { // a tensor is 1 % of this small model
			t.Errorf("%g bits: %d bytes, wanted %d", bits, r.Layout.Size, r.Wanted)
		}
		if !(r.Loss < last) {
			t.Errorf("%g bits: a loss of %g after %g", bits, r.Loss, last)
		}
		last = r.Loss
	}
	x, err := ParseOverride("ffn_up=q5_1")
	if err != nil {
		t.Fatal(err)
	}
	embedding := qtype.Q4_0
	p.Overrides, p.Embedding = []Override{x}, &embedding
	r, err := PlanTarget(src, s, Target{Bits: 10}, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Choices {
		if fixed := x.Pattern.MatchString(c.Name); fixed && c.To != qtype.Q5_1 || c.Name == embedName && c.To != embedding {
			t.Errorf("%s is %s", c.Name, c.To)
		}
	}
	if _, err := PlanTarget(src, s, Target{Bytes: 1000}, p); err == nil {
		t.Error("a file of 1000 bytes was planned")
	}
	s.Tensors = slices.Delete(s.Tensors, 0, 1)
	if _, err := PlanTarget(src, s, Target{Bits: 10}, p); !errors.Is(err, ErrSensitivity) {
		t.Errorf("a tensor without an entry: %v", err)
	}
}
