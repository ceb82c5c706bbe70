package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// values returns n pseudo-random numbers of a normal distribution.
func values(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// near fails when got differs from want by more than tol·(1 + |want|).
func near(t *testing.T, what string, got []float32, want []float64, tol float64) {
	t.Helper()
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= tol*(1+math.Abs(w))) {
			t.Fatalf("%s[%d] = %g, want %g", what, i, got[i], w)
		}
	}
}

// tolVec allows for float32 sums of a few hundred terms.
const tolVec = 2e-6

func TestExp(t *testing.T) {
	worst := 0.0
	for i := 0; i < 400000; i++ {
		x := float32(expMin + (expMax-expMin)*float64(i)/400000)
		want := math.Exp(float64(x))
		ulp := float64(math.Nextafter32(float32(want), math.MaxFloat32)) - float64(float32(want))
		worst = max(worst, math.Abs(float64(exp(x))-want)/ulp)
	}
	if worst > 2 {
		t.Errorf("error of %.2f units in the last place", worst)
	}
	if exp(-100) != 0 || exp(float32(math.Inf(-1))) != 0 || exp(0) != 1 || exp(1000) < 2e38 || exp(float32(math.NaN())) == exp(0) {
		t.Error("special values")
	}
}

func TestRMSNorm(t *testing.T) {
	const n, eps = 37, 1e-5
	x, w, dy := values(n, 1), values(n, 2), values(n, 3)
	f := func(x []float64) (y []float64, rstd float64) {
		ss := 0.0
		for _, v := range x {
			ss += v * v
		}
		rstd = 1 / math.Sqrt(ss/n+eps)
		for i, v := range x {
			y = append(y, v*rstd*float64(w[i]))
		}
		return y, rstd
	}
	y := make([]float32, n)
	rstd := RMSNorm(y, x, w, eps)
	want, wantR := f(wide(x))
	near(t, "y", y, want, tolVec)
	near(t, "rstd", []float32{rstd}, []float64{wantR}, tolVec)
	dx, dw := make([]float32, n), values(n, 4)
	wantDw := wide(dw)
	for i := range x {
		wantDw[i] += float64(dy[i]) * float64(x[i]) * wantR
	}
	RMSNormBackward(dx, dw, dy, x, w, rstd)
	near(t, "dw", dw, wantDw, tolVec)
	near(t, "dx", dx, slope(x, dy, func(x []float64) []float64 { y, _ := f(x); return y }), tolSlope)
	RMSNormBackward(dy, nil, dy, x, w, rstd)
	near(t, "dx over dy", dy, wide(dx), 0)
}

// tolSlope is the error of central differences with step 1e-4 in float64 beside float32 arithmetic.
const tolSlope = 5e-6

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// slope returns Σ_j dy_j·∂f_j/∂x_i by central differences in float64.
func slope(x, dy []float32, f func([]float64) []float64) []float64 {
	const h = 1e-4
	at, d := wide(x), make([]float64, len(x))
	for i := range at {
		v := at[i]
		at[i] = v + h
		a := f(at)
		at[i] = v - h
		b := f(at)
		at[i] = v
		for j := range a {
			d[i] += float64(dy[j]) * (a[j] - b[j]) / (2 * h)
		}
	}
	return d
}

func TestSwiGLU(t *testing.T) {
	const n = 41
	g, u, dy := values(n, 1), values(n, 2), values(n, 3)
	f := func(g, u []float64) (y []float64) {
		for i := range g {
			y = append(y, g[i]/(1+math.Exp(-g[i]))*u[i])
		}
		return y
	}
	y, dg, du := make([]float32, n), make([]float32, n), make([]float32, n)
	SwiGLU(y, g, u)
	near(t, "y", y, f(wide(g), wide(u)), tolVec)
	SwiGLUBackward(dg, du, dy, g, u)
	near(t, "dgate", dg, slope(g, dy, func(x []float64) []float64 { return f(x, wide(u)) }), tolSlope)
	near(t, "dup", du, slope(u, dy, func(x []float64) []float64 { return f(wide(g), x) }), tolSlope)
}

func TestRope(t *testing.T) {
	const d, h = 20, 8 // 4 elements pass unrotated
	x := values(d, 1)
	cos, sin := make([]float32, h), make([]float32, h)
	for i := range cos {
		s, c := math.Sincos(float64(i) * 0.7)
		cos[i], sin[i] = float32(c), float32(s)
	}
	y := make([]float32, d)
	Rope(y, x, cos, sin, false)
	for i := range h {
		a, b, c, s := float64(x[i]), float64(x[i+h]), float64(cos[i]), float64(sin[i])
		near(t, "pair", []float32{y[i], y[i+h]}, []float64{a*c - b*s, b*c + a*s}, tolVec)
	}
	Rope(y, y, cos, sin, true)
	near(t, "back", y, wide(x), tolVec)
}

func TestLogSumExp(t *testing.T) {
	x := values(150, 1)
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v))
	}
	lse := LogSumExp(x)
	near(t, "lse", []float32{lse}, []float64{math.Log(sum)}, tolVec)
	want := make([]float64, len(x))
	for i, v := range x {
		want[i] = 0.5 * math.Exp(float64(v)) / sum
	}
	SoftmaxGrad(x, lse, 0.5)
	near(t, "grad", x, want, tolVec)
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	if v := LogSumExp([]float32{1000, 1000}); math.Abs(float64(v)-1000.6931) > 1e-3 {
		t.Errorf("large values: %g", v)
	}
	if LogSumExp(nil) != -inf || LogSumExp([]float32{-inf, -inf}) != -inf || LogSumExp([]float32{1, inf}) != inf {
		t.Error("infinities")
	}
	if v := LogSumExp([]float32{1, nan, 2}); v == v {
		t.Error("NaN was lost")
	}
}

func TestArgMax(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct {
		x    []float32
		want int
	}{{nil, -1}, {[]float32{3}, 0}, {[]float32{1, 5, 5, 2}, 1}, {[]float32{nan, 1, nan, 2}, 3}, {[]float32{nan, nan}, 0},
		{[]float32{inf, inf}, 0}, {[]float32{nan, inf}, 1}, {append(make([]float32, 100), 7, 7), 100}} {
		if got := ArgMax(c.x); got != c.want {
			t.Errorf("ArgMax(%v) = %d, want %d", c.x, got, c.want)
		}
	}
}

func TestSumSquares(t *testing.T) {
	x := values(1001, 5)
	want := 0.0
	for _, v := range x {
		want += float64(v) * float64(v)
	}
	if got := SumSquares(x); math.Abs(got-want) > 1e-12*want {
		t.Errorf("%g, want %g", got, want)
	}
}

// TestAdamW compares three steps with PyTorch's formula in float64.
func TestAdamW(t *testing.T) {
	const n = 23
	p, m, v := values(n, 1), make([]float32, n), make([]float32, n)
	wp, wm, wv := wide(p), wide(m), wide(v)
	h := AdamWStep{LR: 1e-2, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Decay: 0.1, GradScale: 0.25}
	for step := 1; step <= 3; step++ {
		g := values(n, uint64(10+step))
		AdamW(p, g, m, v, h.Corrected(step))
		for i := range wp {
			x := float64(g[i]) * 0.25
			wp[i] *= 1 - 1e-2*0.1
			wm[i] = 0.9*wm[i] + 0.1*x
			wv[i] = 0.99*wv[i] + 0.01*x*x
			c1, c2 := 1-math.Pow(0.9, float64(step)), 1-math.Pow(0.99, float64(step))
			wp[i] -= 1e-2 / c1 * wm[i] / (math.Sqrt(wv[i])/math.Sqrt(c2) + 1e-8)
		}
		near(t, "p", p, wp, tolVec)
		near(t, "m", m, wm, tolVec)
		near(t, "v", v, wv, tolVec)
	}
}

func TestHalf(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	f, back := make([]float32, len(all)), make([]uint16, len(all))
	quiet := func(x, exponent, bit uint16) uint16 { // what a NaN becomes
		if x&exponent == exponent && x&^0x8000 != exponent {
			return x | bit
		}
		return x
	}
	F32FromBF16(f, all)
	BF16FromF32(back, f)
	for i, b := range back {
		if b != quiet(uint16(i), 0x7f80, 0x40) {
			t.Fatalf("bf16 %#x became %#x", i, b)
		}
	}
	F32FromF16(f, all)
	F16FromF32(back, f)
	for i, b := range back {
		if b != quiet(uint16(i), 0x7c00, 0x200) {
			t.Fatalf("f16 %#x became %#x", i, b)
		}
	}
	one := func(conv func([]uint16, []float32), x float32) uint16 {
		var d [1]uint16
		conv(d[:], []float32{x})
		return d[0]
	}
	for _, c := range []struct {
		x         float32
		bf16, f16 uint16
	}{{1, 0x3f80, 0x3c00}, {1.00390625, 0x3f80, 0x3c04}, {1.01171875, 0x3f82, 0x3c0c}, {65519.996, 0x4780, 0x7bff}, {65520, 0x4780, 0x7c00},
		{3.4e38, 0x7f80, 0x7c00}, {0x1p-25, 0x3300, 0}, {0x1.8p-25, 0x3340, 1}, {-0x1p-24, 0xb380, 0x8001}, {0x1.8p-24, 0x33c0, 2}, {0x1p-140, 0, 0}} {
		if b := one(BF16FromF32, c.x); b != c.bf16 && c.x != 0x1p-140 {
			t.Errorf("bf16(%g) = %#x, want %#x", c.x, b, c.bf16)
		}
		if b := one(F16FromF32, c.x); b != c.f16 {
			t.Errorf("f16(%g) = %#x, want %#x", c.x, b, c.f16)
		}
	}
}
