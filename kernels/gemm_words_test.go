package kernels

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"unsafe"
)

// wordTypes are the stored types that a row of 16 bits is multiplied with, at one level or more.
var wordTypes = append([]storedType{typeINT4, typeIQ4_NL, typeMXFP4, typeQ2_K, typeQ3_K}, fusedTypes...)

// TestRoundWords: rounding to 16 bits equals the plain one, and a value is off by at most half a step.
func TestRoundWords(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for n := 1; n < 6; n++ {
			x := normals(make([]float32, n*wordGroup), uint64(n))
			clear(x[:wordGroup/2])
			if n == 3 {
				clear(x[wordGroup : 2*wordGroup])
			}
			q, want := make([]int16, len(x)+8), make([]int16, len(x)+8)
			codes, pairs := make([]int16, len(x)), make([]float32, 2*n, 4*n)
			roundWordsPlain(&codes[0], &pairs[0], &x[0], n)
			copy(want, codes)
			if vnni() {
				pairs = append(pairs, apart(want[:len(x)], codes, pairs)...)
			}
			got := newGuarded(len(pairs), n)
			roundWords(&q[0], &got.x[0], &x[0], n)
			got.check(t, "pairs")
			if !slices.Equal(q, want) || !slices.Equal(got.x, pairs) {
				t.Fatalf("%d groups: got %v %v, want %v %v", n, q, got.x, want, pairs)
			}
			for i, v := range x {
				if d := math.Abs(float64(v) - float64(codes[i])*float64(pairs[i/wordGroup*2])); d > 0.5001*float64(pairs[i/wordGroup*2]) {
					t.Fatalf("value %d: off by %g", i, d)
				}
			}
		}
	})
}

// apart writes the low bytes of codes, then the high ones, over dst and returns scales times sums of 16 codes: what VNNI multiplies.
func apart(dst, codes []int16, pairs []float32) []float32 {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 2*len(dst))
	sums := make([]int, len(codes)/16)
	for i, c := range codes {
		bytes[i], bytes[len(codes)+i] = byte(c), byte(c>>8)
		sums[i/16] += int(c)
	}
	scaled := make([]float32, len(sums))
	for i, s := range sums {
		scaled[i] = pairs[i/2*2] * float32(s)
	}
	return scaled
}

// TestWordProducts: all numbers of blocks to 9 and of rows to 9, gaps of NaN between rows; results are those of the rounded row, and next
// to them nothing is written.
func TestWordProducts(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, ty := range wordTypes {
			c := storedCodec(ty)
			f := wordsFor(c, 1)
			if f == nil {
				continue
			}
			for blocks := 1; blocks < 10; blocks++ {
				for rows := 1; rows < 10; rows++ {
					checkWords(t, c, ty, f, blocks, rows)
				}
			}
		}
	})
}

func checkWords(t *testing.T, c *Codec, ty storedType, f wordProduct, blocks, rows int) {
	t.Helper()
	n, stride := blocks*c.Block, (blocks+1)*c.Bytes
	src := make([]byte, rows*stride)
	for i := range src {
		src[i] = 0xff // a half that is NaN
	}
	for r := range rows {
		copy(src[r*stride:], randomBlocks(ty, blocks, uint64(10*rows+r)))
	}
	x := normals(make([]float32, n), uint64(blocks))
	q, codes, pairs := make([]int16, n), make([]int16, n), make([]float32, n/wordGroup*4)
	roundWords(&q[0], &pairs[0], &x[0], n/wordGroup)
	roundWordsPlain(&codes[0], &make([]float32, len(pairs))[0], &x[0], n/wordGroup)
	y := newGuarded(rows, blocks)
	f(&y.x[0], unsafe.Pointer(&q[0]), unsafe.Pointer(&pairs[0]), unsafe.Pointer(&src[0]), stride, blocks, rows)
	what := fmt.Sprintf("%s, %d blocks, %d rows", c.Name, blocks, rows)
	y.check(t, what)
	w := make([]float32, n)
	for r := range rows {
		c.F32(w, src[r*stride:][:blocks*c.Bytes])
		sum, mag := 0.0, 0.0
		for k, v := range w {
			p := float64(codes[k]) * float64(pairs[k/wordGroup*2])
			sum += p * float64(v)
			mag += math.Abs(p) * (math.Abs(float64(v)) + tolMinimum*math.Abs(float64(v-w[k/wordGroup*wordGroup])))
		}
		if d := math.Abs(float64(y.x[r]) - sum); !(d <= tolSum*mag+1e-38) { // scales of MXFP4 may be subnormal
			t.Fatalf("%s: row %d is %g, want %g (magnitude %g)", what, r, y.x[r], sum, mag)
		}
	}
}

// tolMinimum: codes and minima are added up apart, so that what they cancel counts too.
const tolMinimum = 4

// TestWordsNotFinite: an activation that is no number, or infinite, leaves no finite sum.
func TestWordsNotFinite(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			const k, n = 256, 9
			w := storedMatrix(typeQ8_0, n, k)
			x := &Product{M: 1, K: k, A: normals(make([]float32, k), 1), Outs: []Out{{N: n, C: make([]float32, n), B: w}}}
			x.A[77] = float32(bad)
			(*Pool)(nil).MatMul(x, make([]float32, x.Scratch()))
			for i, v := range x.Outs[0].C {
				if v-v == 0 {
					t.Errorf("%g: output %d is %g", bad, i, v)
				}
			}
		}
	})
}

// TestWordsExact: exact products do not round, others by no more than the step of 16 bits, and for any number of workers alike.
func TestWordsExact(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		const k, n = 512, 70
		for _, ty := range wordTypes {
			w := storedMatrix(ty, n, k)
			var c [2][]float32
			var x *Product
			for i := range c {
				c[i] = make([]float32, n)
				x = &Product{M: 1, K: k, A: normals(make([]float32, k), 1), Exact: i == 1, Outs: []Out{{N: n, C: c[i], B: w}}}
				(*Pool)(nil).MatMul(x, make([]float32, x.Scratch()))
			}
			sum, mag := want(x, &x.Outs[0], nil)
			x.Exact, x.Outs[0].C = false, make([]float32, n)
			p.MatMul(x, make([]float32, x.Scratch()))
			if !slices.Equal(x.Outs[0].C, c[0]) {
				t.Errorf("%s: other bits with 3 workers", w.Name)
			}
			for i := range sum {
				if d := math.Abs(float64(c[1][i]) - sum[i]); d > tolSum*mag[i] {
					t.Errorf("%s, output %d: exact %g, want %g", w.Name, i, c[1][i], sum[i])
				}
				if d := math.Abs(float64(c[0][i]) - sum[i]); d > mag[i]/(1<<12) { // steps are of the largest of 32; bf16, where it is used, is the coarser
					t.Errorf("%s, output %d: %g, want %g", w.Name, i, c[0][i], sum[i])
				}
			}
		}
	})
}

// TestWordRows: what a row gets is what it gets alone, where two to four are rounded.
func TestWordRows(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const k, n = 512, 70
		for _, ty := range wordTypes {
			w := storedMatrix(ty, n, k)
			for m := 2; m <= 4 && wordsFor(w.Codec, m) != nil; m++ {
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 1), Outs: []Out{{N: n, C: make([]float32, m*n), B: w}}}
				(*Pool)(nil).MatMul(x, make([]float32, x.Scratch()))
				for r := range m {
					one := &Product{M: 1, K: k, A: x.A[r*k : (r+1)*k], Outs: []Out{{N: n, C: make([]float32, n), B: w}}}
					(*Pool)(nil).MatMul(one, make([]float32, one.Scratch()))
					if !slices.Equal(one.Outs[0].C, x.Outs[0].C[r*n:(r+1)*n]) {
						t.Errorf("%s: row %d of %d has other bits than alone", w.Name, r, m)
					}
				}
			}
		}
	})
}

// BenchmarkWords is BenchmarkFused of a row rounded to 16 bits, from the second cache and from memory, beside float32.
func BenchmarkWords(b *testing.B) {
	const k = 1536
	for _, ty := range wordTypes {
		c := storedCodec(ty)
		word, float := wordsFor(c, 1), fusedFor(c)
		if word == nil {
			continue
		}
		x, y := normals(make([]float32, k), 1), make([]float32, vecTask)
		q, pairs := make([]int16, k), make([]float32, k/wordGroup*4)
		roundWords(&q[0], &pairs[0], &x[0], k/wordGroup)
		for _, rows := range []int{vecTask, 65536} {
			src := randomBlocks(ty, rows*k/c.Block, 1)
			b.Run(fmt.Sprintf("%s/%d", c.Name, rows), func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				best, stride := [2]float64{math.Inf(1), math.Inf(1)}, len(src)/rows
				for round := range 20 * len(best) {
					if round%2 == 1 && float == nil {
						continue
					}
					start, times := threadTime(), max(1, 20*vecTask/rows)
					for range times {
						for r := 0; r < rows; r += vecTask {
							if w := unsafe.Pointer(&src[r*stride]); round%2 == 0 {
								word(&y[0], unsafe.Pointer(&q[0]), unsafe.Pointer(&pairs[0]), w, stride, k/c.Block, vecTask)
							} else {
								float[0](&y[0], vecTask, &x[0], k, w, stride, k/c.Block, vecTask)
							}
						}
					}
					best[round%2] = min(best[round%2], float64(threadTime()-start)/float64(times))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(len(src))/best[0], "GB/s")
				if float != nil {
					b.ReportMetric(float64(len(src))/best[1], "float-GB/s")
				}
			})
		}
	}
}
