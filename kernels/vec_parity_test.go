package kernels

import (
	"math"
	"slices"
	"testing"
)

// Bounds of a kernel beside its plain form: tolFuse where only the fusing of a multiplication and an addition differs, tolTree
// where 200 terms are added in another order, tolExp for two exponentials that err by 2 units in the last place each.
const (
	tolFuse = 5e-7
	tolTree = 2e-5
	tolExp  = 2e-6
)

func TestVectorKernels(t *testing.T) {
	step := adamConst{0.5, 0.99, 0.9, 0.1, 0.99, 0.01, 1e-2, 3, 1e-8}
	// positive makes the second moment what it is.
	positive := func(x []float32) []float32 {
		for i, v := range x {
			x[i] = v * v
		}
		return x
	}
	testVectors(t, []vectorCase{
		{"add", 3, 1, func(v [][]float32) { Add(v[0], v[1], v[2]) }, func(v [][]float32) { addPlain(v[0], v[1], v[2]) }, 0, 0, [][2]int{{0, 1}, {0, 2}}},
		{"mul", 3, 1, func(v [][]float32) { Mul(v[0], v[1], v[2]) }, func(v [][]float32) { mulPlain(v[0], v[1], v[2]) }, 0, 0, [][2]int{{0, 1}, {0, 2}}},
		{"scale", 2, 1, func(v [][]float32) { Scale(v[0], 0.7, v[1]) }, func(v [][]float32) { scalePlain(v[0], 0.7, v[1]) }, 0, 0, [][2]int{{0, 1}}},
		{"axpy", 2, 1, func(v [][]float32) { Axpy(v[0], 0.7, v[1]) }, func(v [][]float32) { axpyPlain(v[0], 0.7, v[1]) }, tolFuse, tolFuse, [][2]int{{0, 1}}},
		{"scaleMul", 3, 1, func(v [][]float32) { scaleMul(v[0], 0.7, v[1], v[2]) }, func(v [][]float32) { scaleMulPlain(v[0], 0.7, v[1], v[2]) }, 0, 0, [][2]int{{0, 1}}},
		{"axpyMul", 3, 1, func(v [][]float32) { axpyMul(v[0], 0.7, v[1], v[2]) }, func(v [][]float32) { axpyMulPlain(v[0], 0.7, v[1], v[2]) }, tolExp, tolFuse, nil},
		{"normGrad", 4, 1, func(v [][]float32) { normGrad(v[0], 0.7, v[1], v[2], -0.3, v[3]) }, func(v [][]float32) { normGradPlain(v[0], 0.7, v[1], v[2], -0.3, v[3]) },
			tolExp, tolFuse, [][2]int{{0, 1}, {0, 3}}},
		{"swiGLU", 3, 1, func(v [][]float32) { SwiGLU(v[0], v[1], v[2]) }, func(v [][]float32) { swiGLUPlain(v[0], v[1], v[2]) }, 0, tolExp, [][2]int{{0, 1}, {0, 2}}},
		{"swiGLUBackward", 5, 2, func(v [][]float32) { SwiGLUBackward(v[0], v[1], v[2], v[3], v[4]) },
			func(v [][]float32) { swiGLUBackwardPlain(v[0], v[1], v[2], v[3], v[4]) }, tolExp, tolExp, [][2]int{{0, 2}, {0, 3}, {1, 2}, {1, 4}}},
		{"rope", 6, 2, func(v [][]float32) { rope(v[0], v[1], v[2], v[3], v[4], v[5], -1) },
			func(v [][]float32) { ropePlain(v[0], v[1], v[2], v[3], v[4], v[5], -1) }, tolExp, tolFuse, [][2]int{{0, 2}, {1, 3}}},
		{"scaleExp", 1, 1, func(v [][]float32) { SoftmaxGrad(v[0], 0.3, -2) }, func(v [][]float32) { scaleExpPlain(v[0], 0.3, -2) }, 0, tolExp, nil},
		{"expSum", 1, 1, func(v [][]float32) { ExpSum(v[0], 0.3) }, func(v [][]float32) { expSumPlain(v[0], 0.3) }, 0, tolExp, nil},
		{"adamW", 4, 4, func(v [][]float32) { adamW(v[0], v[1], v[2], positive(v[3]), &step) }, func(v [][]float32) { adamWPlain(v[0], v[1], v[2], positive(v[3]), &step) },
			tolFuse, tolExp, nil},
	})
}

// TestReductions compares the sums and searches with their plain forms for lengths 0 ... 200.
func TestReductions(t *testing.T) {
	cases := []struct {
		name     string
		f, plain func(x, y, z []float32) float64
		tol      float64
	}{
		{"Dot", func(x, y, _ []float32) float64 { return float64(Dot(x, y)) }, func(x, y, _ []float32) float64 { return float64(dotPlain(x, y)) }, tolTree},
		{"dot3", func(x, y, z []float32) float64 { return float64(dot3(x, y, z)) }, func(x, y, z []float32) float64 { return float64(dot3Plain(x, y, z)) }, tolTree},
		{"SumSquares", func(x, _, _ []float32) float64 { return SumSquares(x) }, func(x, _, _ []float32) float64 { return sumSquaresPlain(x) }, 0},
		{"sumExp", func(x, _, _ []float32) float64 { return sumExp(x, 0.5) }, func(x, _, _ []float32) float64 { return sumExpPlain(x, 0.5) }, tolExp},
		{"expSum", func(x, _, _ []float32) float64 { return expSum(slices.Clone(x), 0.5) }, func(x, _, _ []float32) float64 { return sumExpPlain(x, 0.5) }, tolExp},
		{"maxNum", func(x, _, _ []float32) float64 { return float64(maxNum(x)) }, func(x, _, _ []float32) float64 { return float64(maxNumPlain(x)) }, 0},
		{"indexOf", func(x, _, _ []float32) float64 { return float64(indexOf(x, maxNum(x))) }, func(x, _, _ []float32) float64 { return float64(indexOfPlain(x, maxNumPlain(x))) }, 0},
	}
	eachLevel(t, func(t *testing.T) {
		for n := range 201 {
			var v [3]guarded
			for i := range v { // what is around the slices would spoil a sum that took it in
				v[i] = newGuarded(n, (n+i)%3)
				for j := range v[i].whole {
					v[i].whole[j] = float32(math.NaN())
				}
				normals(v[i].x, uint64(100*n+i))
			}
			for _, c := range cases {
				got, want := c.f(v[0].x, v[1].x, v[2].x), c.plain(v[0].x, v[1].x, v[2].x)
				if got != want && !(math.Abs(got-want) <= c.tol*(1+math.Abs(want))) {
					t.Fatalf("%s of %d elements: %v, want %v", c.name, n, got, want)
				}
			}
		}
	})
}

// TestSpecialValues puts NaN, infinities and huge values at every place of a vector and its tail.
func TestSpecialValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	eachLevel(t, func(t *testing.T) {
		for at := range 37 {
			for _, v := range []float32{nan, inf, -inf, 3e38, -3e38, 1e-40} {
				x, up := values(37, 9), values(37, 10)
				x[at] = v
				want := indexOfPlain(x, maxNumPlain(x))
				if got := ArgMax(x); got != want {
					t.Fatalf("ArgMax with %v at %d: %d, want %d", v, at, got, want)
				}
				lse := float64(LogSumExp(x))
				if bad := v != v || v == inf; bad != (math.IsNaN(lse) || math.IsInf(lse, 0)) {
					t.Fatalf("LogSumExp with %v at %d: %v", v, at, lse)
				}
				y, plain := make([]float32, 37), make([]float32, 37)
				SwiGLU(y, x, up)
				swiGLUPlain(plain, x, up)
				for i := range y {
					if !within(y[i], plain[i], 1e-30, tolExp) && !(math.IsNaN(float64(plain[i])) || math.IsInf(float64(plain[i]), 0)) {
						t.Fatalf("SwiGLU with %v at %d: element %d is %v, want %v", v, at, i, y[i], plain[i])
					}
				}
				if v != v && y[at] == y[at] {
					t.Fatalf("SwiGLU lost a NaN at %d", at)
				}
			}
		}
	})
}

// TestHalfKernels compares conversions for lengths 0 ... 200, with guards, on normal values and on raw bits.
func TestHalfKernels(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		TestHalf(t)
		for n := range 201 {
			bits := make([]uint16, n)
			f := newGuarded(n, n%3)
			for i := range bits {
				bits[i] = uint16(40503 * (n*201 + i))
			}
			for _, c := range []struct {
				name         string
				wide, plainW func([]float32, []uint16)
				thin, plainT func([]uint16, []float32)
			}{{"bf16", F32FromBF16, f32FromBF16Plain, BF16FromF32, bf16FromF32Plain}, {"f16", F32FromF16, f32FromF16Plain, F16FromF32, f16FromF32Plain}} {
				want := make([]float32, n)
				c.wide(f.x, bits)
				c.plainW(want, bits)
				f.check(t, c.name)
				for i := range want {
					if math.Float32bits(f.x[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%s to float32, n %d: %#x became %v, want %v", c.name, n, bits[i], f.x[i], want[i])
					}
				}
				for i := range f.x { // any bits: subnormal numbers, infinities, NaN, ties
					f.x[i] = math.Float32frombits(uint32(2654435761 * (n*201 + i)))
					if i%4 == 0 {
						f.x[i] = math.Float32frombits(math.Float32bits(f.x[i])&0x9fffffff | 0x8000 | 0x20000000*uint32(i%8/4))
					}
				}
				got, wantBits := make([]uint16, n+8), make([]uint16, n)
				c.thin(got[:n], f.x)
				c.plainT(wantBits, f.x)
				for i, w := range wantBits {
					if got[i] != w {
						t.Fatalf("float32 to %s, n %d: %#x became %#x, want %#x", c.name, n, math.Float32bits(f.x[i]), got[i], w)
					}
				}
				for _, w := range got[n:] {
					if w != 0 {
						t.Fatalf("%s, n %d: wrote past the end", c.name, n)
					}
				}
			}
		}
	})
}
