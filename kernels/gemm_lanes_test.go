package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"
)

// TestLanesBits: products whose rows are the lanes have the bits of the blocked product, for every number of rows, with every term.
func TestLanesBits(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	codecs := []*Codec{F32, BF16, F16, testCodec(32, false)}
	for _, ty := range []storedType{typeQ4_1, typeQ8_0, typeQ4_K, typeQ6_K, typeINT4} {
		codecs = append(codecs, storedCodec(ty))
	}
	eachLevel(t, func(t *testing.T) {
		if engineFor(true).lanes == nil {
			t.Skip("this level has no such tile")
		}
		for i, c := range codecs {
			for _, k := range []int{1, 39, 64, 576, 1280} {
				if k%c.Block != 0 {
					continue
				}
				for _, n := range []int{1, 7, 70} {
					checkLanes(t, p, c, k, n, i%2 == 0)
				}
			}
		}
	})
}

// checkLanes compares products of some rows with the first of a product of more rows than are lanes.
func checkLanes(t *testing.T, p *Pool, c *Codec, k, n int, rich bool) {
	t.Helper()
	b := randomMatrix(c, n, k, 2)
	if ty, ok := storedTypeOf(c); ok {
		b = storedMatrix(ty, n, k)
	}
	product := func(m int) []float32 {
		out := newGuarded(m*n, k)
		x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 1), Exact: true, Blocked: true, Outs: []Out{{N: n, C: out.x, B: b}}}
		if o := &x.Outs[0]; rich {
			o.Scale, o.R = 0.75, 19
			o.Add, o.Bias = normals(make([]float32, m*n), 3), normals(make([]float32, n), 4)
			o.U, o.V = normals(make([]float32, m*o.R), 5), Floats(normals(make([]float32, n*o.R), 6), n, o.R)
		}
		scratch := newGuarded(x.Scratch(), 1)
		p.MatMul(x, scratch.x)
		out.check(t, c.Name)
		scratch.check(t, c.Name+": scratch")
		return out.x
	}
	whole := product(mostLanes + 1)
	for _, m := range []int{1, 7, 8, 9, 15, 16, 17, 24, 25, 32, 33, mostLanes} {
		if !slices.Equal(product(m), whole[:m*n]) {
			t.Errorf("%s, K %d, N %d: %d rows have other bits than %d", c.Name, k, n, m, mostLanes+1)
		}
	}
}

// TestLaneTiles compares the tiles with the plain one: all depths to 40, all numbers of rows, every term or none; rows that are not
// wanted, and what lies between rows, are left alone.
func TestLaneTiles(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		tile := engineFor(true).lanes
		if tile == nil {
			t.Skip("this level has no such tile")
		}
		for _, lanes := range []int{8, 16, 24} {
			cols := laneSums / lanes
			const most = 40
			a, a2 := normals(make([]float32, most*lanes), 1), normals(make([]float32, most*lanes), 2)
			b := normals(make([]float32, cols*laneStride), 3)
			ldc, lda := cols+3, cols+1
			add, bias := normals(make([]float32, lanes*lda), 4), normals(make([]float32, cols), 5)
			for kd := range most + 1 {
				rows := 1 + kd%lanes
				q := laneArgs{a: unsafe.Pointer(&a[0]), a2: unsafe.Pointer(&a2[0]), b: unsafe.Pointer(&b[0]), kd: kd, ldc: ldc, lda: lda, rows: rows, scale: 1}
				if kd%2 == 1 {
					q.scale, q.kd2 = 0.5, kd/3
				}
				if kd%3 > 0 {
					q.add = &add[0]
				}
				if kd%5 > 1 {
					q.bias = &bias[0]
				}
				got, want := newGuarded((rows-1)*ldc+cols, kd), make([]float32, (rows-1)*ldc+cols)
				for i := range want {
					got.x[i], want[i] = 7, 7
				}
				q.c = &want[0]
				lanesPlain(lanes, &q)
				q.c = &got.x[0]
				tile(lanes, &q)
				what := fmt.Sprintf("%d lanes, %d rows, depth %d", lanes, rows, kd)
				got.check(t, what)
				for i, v := range want {
					// The tile rounds once where plain Go rounds twice: values are some units in size, sums at most 60 long.
					if d := math.Abs(float64(got.x[i] - v)); !(d <= 1e-4) || i%ldc >= cols && d != 0 {
						t.Fatalf("%s: value %d is %g, want %g", what, i, got.x[i], v)
					}
				}
			}
		}
	})
}
