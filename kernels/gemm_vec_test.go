package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"tune/internal/rng"
)

// fusedTypes are the stored types whose small products decode on the way, at AVX2 and above.
var fusedTypes = []storedType{typeQ4_0, typeQ4_1, typeQ5_0, typeQ5_1, typeQ8_0, typeQ4_K, typeQ5_K, typeQ6_K}

// TestFusedValues multiplies unit vectors: each stored value must come out with the bits of its float32 formula, which shows
// that nothing is rounded on the way.
func TestFusedValues(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, ty := range fusedTypes {
			c := storedCodec(ty)
			f := fusedFor(c)
			if !fuses() {
				if f != nil {
					t.Fatal("this level has no kernel")
				}
				continue
			}
			const blocks = 5
			n := blocks * c.Block
			src := randomBlocks(ty, blocks, 3)
			want := make([]float32, n)
			c.F32(want, src)
			for k := range n {
				x := make([]float32, 4*n)
				for i := range 4 {
					x[i*n+k] = 1
				}
				for m := 1; m <= 4; m++ {
					var y [4]float32
					f[m-1](&y[0], 1, &x[0], n, unsafe.Pointer(&src[0]), len(src), blocks, 1)
					for i, v := range y[:m] {
						if v != want[k] {
							t.Fatalf("%s, value %d, row %d of %d: got %v, want %v", c.Name, k, i, m, v, want[k])
						}
					}
				}
			}
		}
	})
}

// fuses says whether the level decodes on the way: plain Go and NEON do not.
func fuses() bool { return level != levelPlain && runtime.GOARCH == "amd64" }

// TestFusedProducts: all numbers of blocks to 9, all numbers of rows, gaps between the rows, vectors off alignment and next to guard
// words; what follows the last block and the last of x is NaN, which a read past the end would spread.
func TestFusedProducts(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		if !fuses() {
			t.Skip("this level decodes first")
		}
		for _, ty := range fusedTypes {
			c := storedCodec(ty)
			f := fusedFor(c)
			for blocks := 1; blocks < 10; blocks++ {
				for m := 1; m <= 4; m++ {
					checkFused(t, c, f[m-1], randomBlocks(ty, 3*(blocks+1), uint64(blocks)), blocks, m)
				}
			}
		}
	})
}

// checkFused multiplies m rows with three rows of blocks, one block apart.
func checkFused(t *testing.T, c *Codec, f fusedProduct, src []byte, blocks, m int) {
	t.Helper()
	const rows = 3
	n, stride := blocks*c.Block, (blocks+1)*c.Bytes
	for r := range rows { // what lies between the rows is NaN: halves of all ones
		for i := range c.Bytes {
			src[r*stride+blocks*c.Bytes+i] = 0xff
		}
	}
	ldx := n + 3
	x := normals(make([]float32, m*ldx+1), 1)[1:]
	for i := range m {
		for j := n; j < ldx; j++ {
			x[i*ldx+j] = float32(math.NaN())
		}
	}
	g := newGuarded(m*(rows+1), m%3)
	f(&g.x[0], rows+1, &x[0], ldx, unsafe.Pointer(&src[0]), stride, blocks, rows)
	g.check(t, c.Name)
	w := make([]float32, n)
	for r := range rows {
		c.F32(w, src[r*stride:][:blocks*c.Bytes])
		for i := range m {
			sum, mag := 0.0, 0.0
			for k, v := range w {
				p := float64(v) * float64(x[i*ldx+k])
				sum += p
				mag += math.Abs(p)
			}
			if got := g.x[i*(rows+1)+r]; !(math.Abs(float64(got)-sum) <= tolSum*mag) {
				t.Fatalf("%s, %d blocks, row %d of %d, column %d: got %v, want %v", c.Name, blocks, i, m, r, got, sum)
			}
		}
	}
	for i := range m {
		if g.x[i*(rows+1)+rows] != guard {
			t.Fatalf("%s: wrote past the rows of w", c.Name)
		}
	}
}

// TestVecF16 goes through all lengths to 200: whole registers, tails, single values.
func TestVecF16(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		f := fusedFor(F16)
		if !fuses() {
			t.Skip("this level decodes first")
		}
		for n := 1; n <= 200; n++ {
			for m := 1; m <= 4; m++ {
				w := randomMatrix(F16, 3, n, uint64(n))
				x := normals(make([]float32, m*n), 5)
				g := newGuarded(m*3, n%3)
				f[m-1](&g.x[0], 3, &x[0], n, unsafe.Pointer(&w.Data[0]), w.Stride, n, 3)
				g.check(t, "F16")
				b := expand(&w, false)
				for i := range m * 3 {
					sum, mag := 0.0, 0.0
					for k := range n {
						p := float64(x[i/3*n+k]) * float64(b[i%3*n+k])
						sum += p
						mag += math.Abs(p)
					}
					if !(math.Abs(float64(g.x[i])-sum) <= tolSum*mag) {
						t.Fatalf("n %d, m %d, %d: got %v, want %v", n, m, i, g.x[i], sum)
					}
				}
			}
		}
	})
}

// TestSmallStored multiplies few rows with every stored type, those without a kernel too, and gives the same bits for any workers.
func TestSmallStored(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for ty := range numStored {
			for _, m := range []int{1, 3, 8} {
				const n, k = 70, 768
				// Rows that are not exact may be rounded: TestWordsExact.
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 7), Exact: m < 8, Outs: []Out{{N: n, B: storedMatrix(ty, n, k), Bias: normals(make([]float32, n), 8)}}}
				checkProduct(t, fmt.Sprint(storedRows[ty].name, " M ", m), p, x)
				first := slices.Clone(x.Outs[0].C)
				p3 := NewPool(3)
				p3.MatMul(x, make([]float32, x.Scratch()))
				p3.Close()
				if !slices.Equal(first, x.Outs[0].C) {
					t.Errorf("%s, M %d: other bits with 3 workers", storedRows[ty].name, m)
				}
			}
		}
	})
}

// TestVecProduct compares products of some rows with plain ones: all lengths to 200, all numbers of rows of W to 9, rows apart and between guards;
// a row has the same bits wherever it stands.
func TestVecProduct(t *testing.T) {
	const most = 9
	eachLevel(t, func(t *testing.T) {
		for n := 1; n <= 200; n++ {
			for m := 1; m <= 4; m++ {
				for _, word := range []bool{false, true} {
					ldx, size := n+m, 4
					if word {
						size = 2
					}
					stride := (n + n%5) * size
					x, w := normals(make([]float32, m*ldx), 1), make([]byte, most*stride)
					for i := range len(w) / size {
						if v := normal(rng.FromKey(2), i); word {
							binary.LittleEndian.PutUint16(w[2*i:], roundBF16(v))
						} else {
							binary.LittleEndian.PutUint32(w[4*i:], math.Float32bits(v))
						}
					}
					rows := 1 + n%most
					ldy := rows + 2
					got, want := newGuarded((m-1)*ldy+rows, n), make([]float32, (m-1)*ldy+rows)
					vecProduct(m, word, &got.x[0], ldy, &x[0], ldx, unsafe.Pointer(&w[0]), stride, n, rows)
					vecPlain(m, word, &want[0], ldy, &x[0], ldx, unsafe.Pointer(&w[0]), stride, n, rows)
					got.check(t, "y")
					for i := range m {
						last := make([]float32, m)
						vecProduct(m, word, &last[0], 1, &x[0], ldx, unsafe.Pointer(&w[(rows-1)*stride]), stride, n, 1)
						for r := range rows {
							v := got.x[i*ldy+r]
							if d := math.Abs(float64(v - want[i*ldy+r])); !(d <= 3e-6*float64(n+10)) {
								t.Fatalf("n %d, %d rows of x, word %v: sum %d %d is %g, want %g", n, m, word, i, r, v, want[i*ldy+r])
							}
						}
						if last[i] != got.x[i*ldy+rows-1] {
							t.Fatalf("n %d, %d rows of x, word %v: a row alone has other bits", n, m, word)
						}
					}
				}
			}
		}
	})
}
