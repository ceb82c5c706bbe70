package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"
)

// TestIntegerForms: code, scale and minimum of every type give its value, and opened blocks are those codes at every level.
func TestIntegerForms(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for ty := range numStored {
			f, row := &intForms[ty], &storedRows[ty]
			codec, _ := intCodecOf(storedCodec(ty))
			for n := 1; n < 5; n++ {
				src := randomBlocks(ty, n, uint64(n))
				step := f.kind.record + 8
				got, want := make([]byte, n*row.block/32*step+32), make([]byte, n*row.block/32*step+32)
				for i := range got {
					got[i], want[i] = 0xab, 0xab
				}
				codec.open(unsafe.Pointer(&got[0]), step, unsafe.Pointer(&src[0]), n)
				f.opener(row)(unsafe.Pointer(&want[0]), step, unsafe.Pointer(&src[0]), n)
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("%s, %d blocks, byte %d of record %d: got %#x, want %#x", row.name, n, i%step, i/step, got[i], want[i])
					}
				}
				for i := range n * row.block {
					b, at := src[i/row.block*row.bytes:], i%row.block
					d, low := f.scale(b, at/f.kind.group)
					if f.zero > 0 && low != float32(-f.zero)*d {
						t.Fatalf("%s, value %d: low is %v with d %v and a zero of %d", row.name, i, low, d, f.zero)
					}
					v, w := float64(d)*float64(f.code(b, at))+float64(low), float64(row.value(b, at))
					if math.Abs(v-w) > 1e-6*(math.Abs(float64(d)*float64(f.code(b, at)))+math.Abs(float64(low))) {
						t.Fatalf("%s, value %d: the form says %v, the type %v", row.name, i, v, w)
					}
				}
			}
		}
	})
}

// extremes fills x with what rounds to the codes that strain sums most, or with what is no number.
func extremes(x []float32, what int) []float32 {
	for i := range x {
		x[i] = []float32{1, -1, 1 - 2*float32(i%2), float32(i%32) / 31, 0, 1e-38, float32(math.NaN()), float32(math.Inf(-1))}[what]
	}
	return x
}

// TestQuantize: the codes, scales and sums of rows are the same bits at every level, from any numbers, and lie in -127..127.
func TestQuantize(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for n := 1; n < 8; n++ {
			for what := range 10 {
				x := normals(make([]float32, 32*n), uint64(n))
				if what < 8 {
					extremes(x[:32], what)
				}
				got, want := make([]byte, intRow*n+64), make([]byte, intRow*n+64)
				for i := range got {
					got[i], want[i] = 0xab, 0xab
				}
				quantizeRow(unsafe.Pointer(&got[0]), x)
				q, s, s32, s16 := rowsOf(unsafe.Pointer(&want[0]), n)
				quantizePlain((*int8)(q), (*float32)(s), (*float32)(s32), (*float32)(s16), &x[0], n)
				if what == 6 || what == 7 { // the payload of a NaN is anything, its codes too
					if v := math.Float32frombits(binary.LittleEndian.Uint32(got[32*n:])); v-v == 0 {
						t.Fatalf("case %d: a scale of %v", what, v)
					}
					continue
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%d groups, case %d: got %v, want %v", n, what, got, want)
				}
				for _, c := range got[:32*n] {
					if c == 0x80 {
						t.Fatal("a code of -128")
					}
				}
			}
		}
	})
}

// wantInteger is one value of C in float64: exact sums of codes, scaled; and the sum of magnitudes.
func wantInteger(x *Product, o *Out, ty storedType, m, n int) (sum, mag float64) {
	f, row := &intForms[ty], &storedRows[ty]
	buf := make([]byte, x.K/intGroup*intRow)
	q, s, s32, s16 := rowsOf(unsafe.Pointer(&buf[0]), x.K/intGroup)
	quantizePlain((*int8)(q), (*float32)(s), (*float32)(s32), (*float32)(s16), &x.A[m*x.K], x.K/intGroup)
	for g := 0; g < x.K/f.kind.group; g++ {
		src, _ := o.B.span(n, 0, x.K)
		b, at := src[g*f.kind.group/row.block*row.bytes:], g*f.kind.group%row.block
		dot, total, size := 0, 0, 0
		for i := range f.kind.group {
			a, w := int(int8(buf[g*f.kind.group+i])), f.code(b, at+i)
			dot, total, size = dot+a*w, total+a, size+max(a*w, -a*w)
		}
		d, low := f.scale(b, at/f.kind.group)
		scale := float64(math.Float32frombits(binary.LittleEndian.Uint32(buf[x.K+g*f.kind.group/intGroup*4:])))
		sum += scale * (float64(d)*float64(dot) + float64(low)*float64(total))
		mag += scale * (math.Abs(float64(d))*float64(size) + math.Abs(float64(low)*float64(total)))
	}
	sum, mag = sum*float64(o.scale()), mag*float64(o.scale())
	term := func(v float64) { sum += v; mag += math.Abs(v) }
	for r := range o.R {
		term(float64(o.U[m*o.R+r]) * float64(view[float32](o.V.Data, o.V.Rows*o.V.Cols)[n*o.R+r]))
	}
	if o.Bias != nil {
		term(float64(o.Bias[n]))
	}
	return sum, mag
}

// tolLow is relative to the sum of absolute products where a low-rank term may be rounded to bf16.
const tolLow = 8e-3

// TestIntegerProducts: every type, few and many rows, edges of all kinds, long K, several Outs of one A: within rounding of the exact sums of
// what the codes are; C and scratch lie between guard words; the bits are those of any number of workers.
func TestIntegerProducts(t *testing.T) {
	shapes := [][3]int{{1, 70, 256}, {3, 9, 512}, {8, 33, 768}, {9, 1, 256}, {13, 65, 512}, {16, 24, 2304}, {41, 130, 256}, {300, 20, 256}, {6, 20, 256}, {7, 35, 512}}
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for ty := range numStored {
			for si, s := range shapes {
				m, n, k := s[0], s[1], s[2]
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 7), Blocked: si%2 == 0}
				guards := make([]guarded, 3)
				for i := range guards {
					guards[i] = newGuarded(m*n, i)
					o := Out{N: n, C: guards[i].x, B: storedMatrix(ty, n, k)}
					o.B.Int8 = true
					switch i {
					case 1:
						o.Scale, o.Bias, o.R = 0.5, normals(make([]float32, n), 3), 5
						o.U, o.V = normals(make([]float32, m*5), 4), Floats(normals(make([]float32, n*5), 5), n, 5)
					case 2:
						o.B.Int8 = false
					}
					x.Outs = append(x.Outs, o)
				}
				checkInteger(t, p, x, ty)
				for _, g := range guards {
					g.check(t, storedRows[ty].name)
				}
			}
		}
	})
}

// checkInteger runs x and compares its Outs.
func checkInteger(t *testing.T, p *Pool, x *Product, ty storedType) {
	t.Helper()
	scratch := newGuarded(x.Scratch(), 1)
	p.MatMul(x, scratch.x)
	scratch.check(t, "scratch")
	what := fmt.Sprintf("%s M %d N %d K %d", storedRows[ty].name, x.M, x.Outs[0].N, x.K)
	var first [][]float32
	for i := range x.Outs {
		o := &x.Outs[i]
		first = append(first, slices.Clone(o.C))
		if !x.integer(o) {
			tol, words := tolSum, x.few() && wordsFor(o.B.Codec, x.M) != nil
			if words {
				tol = 1.0 / (1 << 12) // TestWordsExact
			}
			x.Exact = words // with these weights are not rounded
			sum, mag := want(x, o, nil)
			x.Exact = false
			for j, v := range o.C {
				if !(math.Abs(float64(v)-sum[j]) <= tol*mag[j]+1e-30) {
					t.Fatalf("%s, out %d, place %d: got %v, want %v", what, i, j, v, sum[j])
				}
			}
			continue
		}
		tol := tolSum
		if o.R > 0 && engineFor(false).per == 2 {
			tol = tolLow
		}
		for j, v := range o.C {
			if sum, mag := wantInteger(x, o, ty, j/o.N, j%o.N); !(math.Abs(float64(v)-sum) <= tol*mag+1e-30) {
				t.Fatalf("%s, out %d, row %d, column %d: got %v, want %v (magnitude %v)", what, i, j/o.N, j%o.N, v, sum, mag)
			}
		}
	}
	for _, workers := range []int{1, 3, 8} {
		other := NewPool(workers)
		other.MatMul(x, scratch.x)
		other.Close()
		for i := range x.Outs {
			if !slices.Equal(first[i], x.Outs[i].C) {
				t.Fatalf("%s, out %d: other bits with %d workers", what, i, workers)
			}
		}
	}
}

// TestIntegerExtremes: codes and activations as large as they come, of equal and of alternating signs. With scales of 1 every sum is a whole
// number below 2^24, so that a saturated or wrapped one would show as another number.
func TestIntegerExtremes(t *testing.T) {
	const k, n = 256, 9
	p := NewPool(1)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for ty := range numStored {
			for _, fill := range []byte{0x00, 0xff, 0x80, 0x7f, 0x81, 0x0f, 0xf0} {
				for _, m := range []int{1, 4, 24} {
					for what := range 3 {
						w := storedMatrix(ty, n, k)
						w.Int8 = true
						for i := range w.Data {
							w.Data[i] = fill
						}
						unitScales(ty, w.Data)
						x := &Product{M: m, K: k, A: extremes(make([]float32, m*k), what), Outs: []Out{{N: n, C: make([]float32, m*n), B: w}}}
						for i := range x.A {
							x.A[i] *= 127 // a scale of 1
						}
						p.MatMul(x, make([]float32, x.Scratch()))
						for j, v := range x.Outs[0].C {
							sum, _ := want1(x, &x.Outs[0], j/n, j%n)
							if x.integer(&x.Outs[0]) && float64(v) != sum {
								t.Fatalf("%s filled with %#x, M %d, case %d: got %v, want %v", storedRows[ty].name, fill, m, what, v, sum)
							}
						}
					}
				}
			}
		}
	})
}

// want1 is one value of C by the formula of the stored type, in float64.
func want1(x *Product, o *Out, m, n int) (sum float64, ok bool) {
	row := make([]float32, x.K)
	src, _ := o.B.span(n, 0, x.K)
	o.B.F32(row, src)
	for i, v := range row {
		sum += float64(v) * float64(x.A[m*x.K+i])
	}
	return sum, true
}

// unitScales sets the halves of blocks to 1.
func unitScales(ty storedType, b []byte) {
	row := &storedRows[ty]
	at := map[storedType][]int{typeQ4_1: {0, 2}, typeQ5_1: {0, 2}, typeQ2_K: {80, 82}, typeQ3_K: {108}, typeQ4_K: {0, 2}, typeQ5_K: {0, 2}, typeQ6_K: {208}}[ty]
	if at == nil {
		at = []int{0}
	}
	for i := 0; i < len(b); i += row.bytes {
		if ty == typeINT4 {
			binary.LittleEndian.PutUint32(b[i:], math.Float32bits(1)|8)
			continue
		}
		if ty == typeMXFP4 {
			b[i] = 128
			continue
		}
		for _, a := range at {
			binary.LittleEndian.PutUint16(b[i+a:], 0x3c00)
		}
	}
}

// TestIntegerNotFinite: a value that is none spoils its row of C and no other.
func TestIntegerNotFinite(t *testing.T) {
	const k, n = 256, 24
	p := NewPool(1)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for _, m := range []int{3, 16} {
			w := storedMatrix(typeQ8_0, n, k)
			w.Int8 = true
			x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 1), Outs: []Out{{N: n, C: make([]float32, m*n), B: w}}}
			x.A[k+5] = float32(math.NaN())
			p.MatMul(x, make([]float32, x.Scratch()))
			for i, v := range x.Outs[0].C {
				if bad := v-v != 0; bad != (i/n == 1) {
					t.Fatalf("M %d, row %d: %v", m, i/n, v)
				}
			}
		}
	})
}

// TestIntegerAllocates: nothing after the first product.
func TestIntegerAllocates(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	w := storedMatrix(typeQ4_1, 40, 512)
	w.Int8 = true
	for _, m := range []int{2, 20} {
		x := &Product{M: m, K: 512, A: normals(make([]float32, m*512), 1), Outs: []Out{{N: 40, C: make([]float32, m*40), B: w, R: 4,
			U: make([]float32, m*4), V: Floats(make([]float32, 160), 40, 4)}}}
		scratch := make([]float32, x.Scratch())
		if n := testing.AllocsPerRun(10, func() { p.MatMul(x, scratch) }); n > 0 {
			t.Errorf("M %d: %v allocations", m, n)
		}
	}
}

// TestRoundPanel: 16 rows rounded and packed at once are the bytes of rows rounded one by one, and what lies behind a panel stays.
func TestRoundPanel(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		if !vnni() {
			t.Skip("this level packs rows that are rounded already")
		}
		const lanes = 16
		for n := 1; n < 8; n++ {
			var rows [lanes]unsafe.Pointer
			got, want := make([]byte, lanes*intLane*n+64), make([]byte, lanes*intLane*n+64)
			for i := range got {
				got[i], want[i] = 0xab, 0xab
			}
			for r := range lanes {
				x := normals(make([]float32, 32*n), uint64(r))
				extremes(x[32*(n-1):], r%6)
				rows[r] = unsafe.Pointer(&x[0])
				buf := make([]byte, intRow*n)
				quantizePlain((*int8)(unsafe.Pointer(&buf[0])), (*float32)(unsafe.Pointer(&buf[32*n])), (*float32)(unsafe.Pointer(&buf[36*n])), (*float32)(unsafe.Pointer(&buf[40*n])), &x[0], n)
				for g := range n {
					p := want[g*lanes*intLane:]
					for k := range 8 {
						copy(p[4*(lanes*k+r):], buf[32*g+4*k:][:4])
					}
					for i, at := range []int{32*n + 4*g, 36*n + 4*g, 40*n + 8*g, 40*n + 8*g + 4} {
						copy(p[4*(lanes*(8+i)+r):], buf[at:][:4])
					}
				}
			}
			roundPanel(unsafe.Pointer(&got[0]), &rows, n)
			if !slices.Equal(got, want) {
				t.Fatalf("%d groups: other bytes than row by row", n)
			}
		}
	})
}
