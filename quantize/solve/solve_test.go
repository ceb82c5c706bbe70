package solve

import (
	"bytes"
	"math"
	"testing"

	"tune/kernels"
)

// TestFactor: H⁻¹ = UᵀU, that is U·H·Uᵀ = 1, for widths that fill no block and no tile, in another order.
func TestFactor(t *testing.T) {
	for _, n := range []int{1, 7, 96, 109} {
		_, x := generate(7, 1, n, 2*n+5)
		g := NewGram(n)
		g.AddExact(x, 2*n+5, nil)
		order := ByActivation(g.Diagonal())
		f, err := NewFactor(g, order, 0.01, nil)
		if err != nil {
			t.Fatal(err)
		}
		mean := 0.0
		for _, v := range g.Diagonal() {
			mean += v / float64(n)
		}
		u := func(i, j int) float64 { return f.x[(n-1-i)*f.ld+n-1-j] }
		for i := range n {
			for j := range n {
				sum := 0.0
				for a := i; a < n; a++ {
					for b := j; b < n; b++ {
						h := g.At(int(order[a]), int(order[b]))
						if a == b {
							h += 0.01 * mean
						}
						sum += u(i, a) * h * u(j, b)
					}
				}
				want := 0.0
				if i == j {
					want = 1
				}
				if math.Abs(sum-want) > tolFactor {
					t.Fatalf("n %d: (%d, %d): expected %v, found %v", n, i, j, want, sum)
				}
			}
		}
	}
}

// TestThreads: the same bits with one worker and with three, of every step.
func TestThreads(t *testing.T) {
	const out, in, rows = 70, 264, 300
	w, x := generate(3, out, in, rows)
	x32 := make([]float32, len(x))
	for i, v := range x {
		x32[i] = float32(v)
	}
	var first []byte
	for _, workers := range []int{1, 3} {
		pool := kernels.NewPool(workers)
		g := NewGram(in)
		g.Add(x32, rows, false, pool)
		f, err := NewFactor(g, ByGroup(g.Diagonal(), 24), 0.01, pool)
		if err != nil {
			t.Fatal(err)
		}
		s := SearchScale([]Weights{{w, out}}, g, g.Diagonal(), ScaleOptions{Grid: IntsOptions{Bits: 4, Group: 24}, Rows: 33}, pool)
		grid := NewInts(out, in, IntsOptions{Bits: 3, Group: 24, Search: 10})
		f.Solve(w, out, grid, Current, 0, pool)
		codes := append(grid.codes, byte(s.Best))
		if first == nil {
			first = codes
		} else if !bytes.Equal(first, codes) {
			t.Error("codes depend on the number of threads")
		}
		pool.Close()
	}
}

// TestGram: float32 sums of a piece are those of float64 to float32's precision.
func TestGram(t *testing.T) {
	const in, rows = 200, 300
	_, x := generate(3, 1, in, rows)
	x32 := make([]float32, len(x))
	for i, v := range x {
		x32[i] = float32(v)
	}
	a, b := NewGram(in), NewGram(in)
	a.Add(x32[:100*in], 100, true, nil)
	a.Add(x32[100*in:], rows-100, true, nil)
	b.AddExact(x, rows, nil)
	const tolFloat32 = 2e-6
	for i := range in {
		for j := i; j < in; j++ {
			if d := math.Abs(a.At(i, j) - b.At(i, j)); d > tolFloat32*math.Sqrt(b.At(i, i)*b.At(j, j)) {
				t.Fatalf("(%d, %d): expected %v, found %v", i, j, b.At(i, j), a.At(i, j))
			}
		}
	}
	if a.Tokens != rows {
		t.Errorf("expected %d tokens, found %d", rows, a.Tokens)
	}
}

// TestDamping: fewer tokens than inputs and no damping are not positive definite; the damping is raised and told. A column that
// saw only zeros keeps its nearest value, and what is not finite is an error.
func TestDamping(t *testing.T) {
	const out, in, rows, dead = 8, 64, 20, 11
	w, x := generate(5, out, in, rows)
	for n := range rows {
		x[n*in+dead] = 0
	}
	g := NewGram(in)
	g.AddExact(x, rows, nil)
	f, err := NewFactor(g, nil, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Tries == 0 || f.Damp == 0 || f.Dead != 1 {
		t.Errorf("expected a raised damping and a dead column, found %g after %d tries and %d columns", f.Damp, f.Tries, f.Dead)
	}
	corrected, plain := NewInts(out, in, IntsOptions{Bits: 4, Group: 32, Static: true}), NewInts(out, in, IntsOptions{Bits: 4, Group: 32, Static: true})
	corrected.Fix(w)
	plain.Fix(w)
	f.Solve(w, out, corrected, Current, 0, nil)
	Nearest(w, out, in, plain, nil)
	for r := range out {
		if a, b := corrected.codes[r*in+dead], plain.codes[r*in+dead]; a != b {
			t.Errorf("row %d: the dead column: expected code %d, found %d", r, b, a)
		}
	}
	x[3] = math.NaN()
	bad := NewGram(in)
	bad.AddExact(x, rows, nil)
	if _, err := NewFactor(bad, nil, 0.01, nil); err == nil {
		t.Error("a NaN among the activations is no error")
	}
}

// TestSearch: a smaller range is taken where it rounds better, and never a worse one.
func TestSearch(t *testing.T) {
	const out, in = 64, 256
	w, _ := generate(9, out, in, 1)
	errorOf := func(o IntsOptions) (sum float64) {
		g := NewInts(out, in, o)
		Nearest(w, out, in, g, nil)
		l, q := g.Linear(), make([]float32, in)
		for r := range out {
			l.Decode(q, r)
			for i, v := range q {
				d := float64(v - w[r*in+i])
				sum += d * d
			}
		}
		return sum
	}
	for _, symmetric := range []bool{true, false} {
		o := IntsOptions{Bits: 3, Group: 64, Symmetric: symmetric}
		whole := errorOf(o)
		o.Search = 20
		if found := errorOf(o); found >= whole {
			t.Errorf("symmetric %v: expected less than %v, found %v", symmetric, whole, found)
		}
	}
}

// BenchmarkSolve is one layer's down projection of a model of 1536 inner and 576 outer values.
func BenchmarkSolve(b *testing.B) {
	const out, in, rows = 576, 1536, 2048
	w, x := generate(1, out, in, rows)
	x32 := make([]float32, len(x))
	for i, v := range x {
		x32[i] = float32(v)
	}
	pool := kernels.NewPool(0)
	defer pool.Close()
	g := NewGram(in)
	b.Run("gram", func(b *testing.B) {
		for b.Loop() {
			g.Add(x32, rows, false, pool)
		}
	})
	var f *Factor
	b.Run("factor", func(b *testing.B) {
		for b.Loop() {
			f, _ = NewFactor(g, nil, 0.01, pool)
		}
	})
	b.Run("solve", func(b *testing.B) {
		for b.Loop() {
			f.Solve(w, out, NewInts(out, in, IntsOptions{Bits: 4, Group: 64, Symmetric: true}), Current, 0, pool)
		}
	})
	b.Run("scale", func(b *testing.B) {
		for b.Loop() {
			SearchScale([]Weights{{w, out}}, g, g.Diagonal(), ScaleOptions{Grid: IntsOptions{Bits: 4, Group: 64}, Rows: 144}, pool)
		}
	})
}

// TestRefine: every sweep lowers the error that GPTQ leaves, for both kinds of grid.
func TestRefine(t *testing.T) {
	const out, in, rows = 40, 192, 500
	w, x := generate(13, out, in, rows)
	g := NewGram(in)
	g.AddExact(x, rows, nil)
	f, err := NewFactor(g, ByGroup(g.Diagonal(), 64), 0.001, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := NewHessian(g, 0.001, nil)
	for _, symmetric := range []bool{true, false} {
		last := math.Inf(1)
		for sweeps := range 4 {
			grid := NewInts(out, in, IntsOptions{Bits: 4, Group: 64, Symmetric: symmetric})
			f.Solve(w, out, grid, Current, 0, nil)
			grid.Refine(w, h, sweeps, nil)
			e := outputError(w, grid.Linear(), x, rows)
			t.Logf("symmetric %v, %d sweeps: %v", symmetric, sweeps, e)
			if e >= last*(1+tolObjective) || sweeps == 1 && e > 0.97*last {
				t.Errorf("symmetric %v: sweep %d: expected less than %v, found %v", symmetric, sweeps, last, e)
			}
			last = e
		}
	}
}
