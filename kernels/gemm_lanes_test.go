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
		if engineFor(false).lanes == nil {
			t.Skip("this level has no such tile")
		}
		for i, c := range codecs {
			for _, k := range []int{0, 1, 39, 64, 576, 1280} {
				if k%c.Block != 0 {
					continue
				}
				for _, n := range []int{1, 7, 70, 512} {
					checkLanes(t, p, c, k, n, i%2 == 0, true)
					if engineFor(false) != engineFor(true) {
						checkLanes(t, p, c, k, n, i%2 == 0, false)
					}
				}
			}
		}
	})
}

// checkLanes compares products of some rows with the first of a product of more rows than are lanes.
func checkLanes(t *testing.T, p *Pool, c *Codec, k, n int, rich, exact bool) {
	t.Helper()
	b := randomMatrix(c, n, k, 2)
	if ty, ok := storedTypeOf(c); ok {
		b = storedMatrix(ty, n, k)
	}
	product := func(m int) []float32 {
		out := newGuarded(m*n, k)
		x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 1), Exact: exact, Blocked: true, Outs: []Out{{N: n, C: out.x, B: b}}}
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
	most := engineFor(exact).mostLanes
	whole := product(most + 1)
	for _, m := range []int{1, 7, 8, 9, 15, 16, 17, 24, 25, 32, 33, 48, 65, most} {
		if m > most {
			continue
		}
		if !slices.Equal(product(m), whole[:m*n]) {
			t.Errorf("%s, K %d, N %d: %d rows have other bits than %d", c.Name, k, n, m, most+1)
		}
	}
}

// TestLaneTiles compares the tiles with the plain one: all depths to 40, all numbers of rows, every term or none, columns near and far
// apart; rows that are not wanted, and what lies between rows, are left alone.
func TestLaneTiles(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, exact := range []bool{false, true} {
			e := engineFor(exact)
			if e.lanes == nil {
				t.Skip("this level has no such tile")
			}
			for lanes := e.unit; lanes <= 3*e.unit; lanes += e.unit {
				checkLaneTile(t, e, lanes)
			}
		}
	})
}

// laneUnits is n random units as an engine's tile reads them, and the values in them by depth: those of a depth are lanes apart.
func laneUnits(e *engine, n, lanes int, key uint64) (units, values []float32) {
	units = normals(make([]float32, n*lanes), key)
	if e.per == 1 {
		return units, units
	}
	values = make([]float32, 2*n*lanes)
	for i, v := range normals(make([]float32, n*lanes), key+100) {
		lo, hi := roundBF16(units[i]), roundBF16(v)
		units[i] = math.Float32frombits(uint32(hi)<<16 | uint32(lo))
		at := 2*(i/lanes)*lanes + i%lanes
		values[at], values[at+lanes] = widenBF16(lo), widenBF16(hi)
	}
	return units, values
}

func checkLaneTile(t *testing.T, e *engine, lanes int) {
	cols := e.laneSums / lanes
	const most = 40
	a, aValues := laneUnits(e, most, lanes, 1)
	a2, a2Values := laneUnits(e, most, lanes, 2)
	b, bValues := laneUnits(e, cols*laneStride, 1, 3)
	ldc, lda := cols+3, cols+1
	add, bias := normals(make([]float32, lanes*lda), 4), normals(make([]float32, cols), 5)
	sums := make([]float32, e.laneSums)
	for kd := range most + 1 {
		rows := 1 + kd%lanes
		step, second := laneStride, kd // AVX2 knows no other
		if e.unit == 16 {
			step, second = laneStride-kd, 3*kd
		}
		q := laneArgs{a: unsafe.Pointer(&a[0]), a2: unsafe.Pointer(&a2[0]), b: unsafe.Pointer(&b[0]), b2: unsafe.Pointer(&b[second]), kd: kd, bStep: 4 * step, b2Step: 4 * step, ldc: ldc, lda: lda, rows: rows, scale: 1, sums: &sums[0]}
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
		q.c = &got.x[0]
		e.lanes(lanes, &q)
		q.c = &want[0]
		q.a, q.a2, q.b, q.b2 = unsafe.Pointer(&aValues[0]), unsafe.Pointer(&a2Values[0]), unsafe.Pointer(&bValues[0]), unsafe.Pointer(&bValues[e.per*second])
		q.kd, q.kd2, q.bStep, q.b2Step = e.per*kd, e.per*q.kd2, e.per*q.bStep, e.per*q.b2Step
		lanesPlain(cols, lanes, &q)
		what := fmt.Sprintf("%d lanes, %d rows, depth %d", lanes, rows, kd)
		got.check(t, what)
		for i, v := range want {
			// The tile rounds once where plain Go rounds twice: values are some units in size, sums at most 120 long.
			if d := math.Abs(float64(got.x[i] - v)); !(d <= 2e-4) || i%ldc >= cols && d != 0 {
				t.Fatalf("%s: value %d is %g, want %g", what, i, got.x[i], v)
			}
		}
	}
}
