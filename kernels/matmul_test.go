package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"tune/internal/rng"
)

// testCodec is a quantized type of the tests: a float32 scale and int8 values.
func testCodec(block int, fast bool) *Codec {
	c := &Codec{Name: fmt.Sprint("T", block), Block: block, Bytes: 4 + block}
	c.F32 = func(dst []float32, src []byte) {
		for i := range dst {
			b := src[i/block*c.Bytes:]
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b)) * float32(int8(b[4+i%block]))
		}
	}
	if fast {
		c.BF16 = func(dst []uint16, src []byte) {
			f := make([]float32, len(dst))
			c.F32(f, src)
			for i, v := range f {
				dst[i] = roundBF16(v)
			}
		}
	}
	return c
}

// randomMatrix makes rows x cols values of a codec, with some bytes between the rows.
func randomMatrix(c *Codec, rows, cols int, key uint64) Matrix {
	s := rng.FromKey(key)
	m := Matrix{Rows: rows, Cols: cols, Codec: c}
	m.Stride = m.rowBytes(cols) + 4*c.Bytes
	m.Data = make([]byte, rows*m.Stride)
	randomBytes(m.Data, s)
	for r := range rows {
		for b := 0; b < m.rowBytes(cols); b += c.Bytes {
			d, v := m.Data[r*m.Stride+b:], normal(s, r*m.Stride+b)
			switch c {
			case BF16:
				binary.LittleEndian.PutUint16(d, roundBF16(v))
			case F16:
				binary.LittleEndian.PutUint16(d, uint16(s.Uint64(uint64(b)))&0xb7ff) // below 1
			case F32:
				binary.LittleEndian.PutUint32(d, math.Float32bits(v))
			default:
				binary.LittleEndian.PutUint32(d, math.Float32bits(0.01*v))
			}
		}
	}
	return m
}

func randomBytes(b []byte, s rng.Stream) {
	var word [8]byte
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(word[:], s.Uint64(uint64(i)))
		copy(b[i:], word[:])
	}
}

// want computes one Out in float64 and the sum of absolute products, with operands rounded as the level says.
func want(x *Product, o *Out, add []float32) (sum, mag []float64) {
	bf16 := engineFor(x.Exact).per == 2
	vec := (&multiply{x: x}).small()
	round := func(v float32, act bool, c *Codec) float32 {
		if !bf16 || vec && (act || c.BF16 == nil || fusedFor(c) != nil) { // few rows stay float32, and so do types with a kernel
			return v
		}
		return widenBF16(roundBF16(v))
	}
	a := make([]float32, x.M*x.K)
	for i := range a {
		a[i] = x.A[i]
		if x.TransA {
			a[i] = x.A[i%x.K*x.M+i/x.K]
		}
		a[i] = round(a[i], true, nil)
	}
	b := expand(&o.B, o.Rowwise)
	for i := range b {
		b[i] = round(b[i], false, o.B.Codec)
	}
	var v []float32
	if o.R > 0 {
		v = expand(&o.V, o.Rowwise)
	}
	sum, mag = make([]float64, x.M*o.N), make([]float64, x.M*o.N)
	for i := range sum {
		m, n := i/o.N, i%o.N
		s, g, w := 0.0, 0.0, b[n*x.K:]
		for k, e := range a[m*x.K : (m+1)*x.K] {
			t := float64(e) * float64(w[k])
			s += t
			g += math.Abs(t)
		}
		s *= float64(o.scale())
		g *= float64(o.scale())
		term := func(t float64) { s += t; g += math.Abs(t) }
		for r := range o.R {
			term(float64(round(o.U[m*o.R+r], true, nil)) * float64(round(v[n*o.R+r], false, o.V.Codec)))
		}
		if add != nil {
			term(float64(add[m*o.N+n]))
		}
		if o.Bias != nil {
			term(float64(o.Bias[n]))
		}
		sum[i], mag[i] = s, g
	}
	return sum, mag
}

// expand decodes m to float32, transposed when asked.
func expand(m *Matrix, transpose bool) []float32 {
	x := make([]float32, m.Rows*m.Cols)
	row := make([]float32, m.Cols+m.Block)
	for r := range m.Rows {
		src, skip := m.span(r, 0, m.Cols)
		d := row[:(m.Cols+m.Block-1)/m.Block*m.Block]
		m.F32(d, src)
		for c, e := range d[skip : skip+m.Cols] {
			if transpose {
				x[c*m.Rows+r] = e
			} else {
				x[r*m.Cols+c] = e
			}
		}
	}
	return x
}

// tolSum is relative to the sum of absolute products: float32 sums of a few thousand terms, in blocks.
const tolSum = 2e-6

// checkProduct runs x and compares every Out; C lies between guard words.
func checkProduct(t *testing.T, what string, p *Pool, x *Product) {
	t.Helper()
	guards := make([]guarded, len(x.Outs))
	adds := make([][]float32, len(x.Outs))
	for i := range x.Outs {
		o := &x.Outs[i]
		guards[i] = newGuarded(x.M*o.N, i)
		adds[i] = slices.Clone(o.Add)
		if o.Add != nil && i%2 == 0 { // accumulate in place
			copy(guards[i].x, o.Add)
			o.Add = guards[i].x
		}
		o.C = guards[i].x
	}
	scratch := newGuarded(x.Scratch(), 1)
	p.MatMul(x, scratch.x)
	scratch.check(t, what+": scratch")
	for i := range x.Outs {
		guards[i].check(t, what)
		sum, mag := want(x, &x.Outs[i], adds[i])
		for j, v := range x.Outs[i].C {
			if d := math.Abs(float64(v) - sum[j]); !(d <= tolSum*mag[j]+1e-30) {
				t.Fatalf("%s: out %d, row %d, column %d: got %v, want %v (magnitude %v)", what, i, j/x.Outs[i].N, j%x.Outs[i].N, v, sum[j], mag[j])
			}
		}
	}
}

var testShapes = [][3]int{ // M, N, K
	{1, 1, 1}, {2, 3, 0}, {3, 17, 5}, {5, 64, 33}, {8, 100, 64}, {9, 1, 40}, {11, 5, 7}, {12, 64, 32}, {13, 49, 31}, {41, 130, 77},
	{50, 1, 301}, {16, 65, 1100}, {7, 33, 1030}, {400, 200, 20}, {43, 16, 70}, {38, 80, 65},
}

func TestMatMulShapes(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for si, s := range testShapes {
			m, n, k := s[0], s[1], s[2]
			for variant := range 16 {
				trans, rowwise, exact, rich := variant&1 != 0, variant&2 != 0, variant&4 != 0, variant&8 != 0
				codec := []*Codec{F32, BF16, F16}[(si+variant)%3]
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 1), TransA: trans, Exact: exact}
				rows, cols := n, k
				if rowwise {
					rows, cols = k, n
				}
				o := Out{N: n, B: randomMatrix(codec, rows, cols, 2), Rowwise: rowwise}
				if rich {
					o.Scale, o.R = 0.75, 1+si*3
					o.Add, o.Bias = normals(make([]float32, m*n), 3), normals(make([]float32, n), 4)
					o.U = normals(make([]float32, m*o.R), 5)
					o.V = Floats(normals(make([]float32, n*o.R), 6), n, o.R)
					if rowwise {
						o.V.Rows, o.V.Cols, o.V.Stride = o.R, n, 4*n
					}
				}
				x.Outs = []Out{o}
				checkProduct(t, fmt.Sprintf("M %d N %d K %d trans %v rowwise %v exact %v rich %v %s", m, n, k, trans, rowwise, exact, rich, codec.Name), p, x)
			}
		}
	})
}

// TestMatMulStored multiplies with block types, whose rows and column groups begin inside blocks or not.
func TestMatMulStored(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for _, c := range []*Codec{testCodec(32, true), testCodec(256, true), testCodec(32, false), testCodec(256, false)} {
			for _, s := range [][3]int{{1, 70, 256}, {4, 130, 512}, {20, 96, 256}, {7, 65, 1280}} {
				for _, rowwise := range []bool{false, true} {
					for _, exact := range []bool{false, true} {
						m, n, k := s[0], s[1], s[2]
						rows, cols := n, k
						if rowwise {
							n = 768
							rows, cols = k, n
						}
						x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 7), Exact: exact,
							Outs: []Out{{N: n, B: randomMatrix(c, rows, cols, 8), Rowwise: rowwise}}}
						checkProduct(t, fmt.Sprintf("%s M %d N %d K %d rowwise %v exact %v", c.Name, m, n, k, rowwise, exact), p, x)
					}
				}
			}
		}
	})
}

// TestMatMulRowsDecoded: types whose rows are decoded many at a time give the bits of the same codec under a name nobody knows.
func TestMatMulRowsDecoded(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for _, ty := range []storedType{typeQ8_0, typeQ4_1, typeQ4_K} {
			const m, n, k = 150, 768, 70
			known := storedCodec(ty)
			unknown := *known
			unknown.Name = "unknown"
			b := Matrix{Rows: k, Cols: n, Stride: n/known.Block*known.Bytes + 6, Codec: known}
			for r := range k {
				b.Data = append(append(b.Data, randomBlocks(ty, n/known.Block, uint64(r))...), make([]byte, 6)...)
			}
			var c [2][]float32
			for i, codec := range []*Codec{known, &unknown} {
				b.Codec, c[i] = codec, make([]float32, m*n)
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 7), Outs: []Out{{N: n, C: c[i], B: b, Rowwise: true}}}
				p.MatMul(x, make([]float32, x.Scratch()))
			}
			if !slices.Equal(c[0], c[1]) {
				t.Errorf("%s: other bits", known.Name)
			}
		}
	})
}

// TestMatMulLongRank has low-rank terms longer than can be folded.
func TestMatMulLongRank(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for _, r := range []int{256, 513, 1200} {
			for _, rowwise := range []bool{false, true} {
				m, n, k := 20, 70, 90
				b, v := randomMatrix(BF16, n, k, 2), randomMatrix(F32, n, r, 3)
				if rowwise {
					b, v = randomMatrix(BF16, k, n, 2), randomMatrix(F32, r, n, 3)
				}
				x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 1),
					Outs: []Out{{N: n, B: b, Rowwise: rowwise, Scale: 2, U: normals(make([]float32, m*r), 4), V: v, R: r}}}
				checkProduct(t, fmt.Sprint("rank ", r, rowwise), p, x)
			}
		}
	})
}

// several is a product of three Outs of different kinds.
func several(m, k int) *Product {
	x := &Product{M: m, K: k, A: normals(make([]float32, m*k), 1)}
	for i, n := range []int{576, 192, 33} {
		o := Out{N: n, B: randomMatrix([]*Codec{BF16, testCodec(32, true), F32}[i], n, k, uint64(i)), C: make([]float32, m*n)}
		if i != 1 {
			o.R = 16
			o.U, o.V = normals(make([]float32, m*16), 9), Floats(normals(make([]float32, n*16), 10), n, 16)
			o.Bias = normals(make([]float32, n), 11)
		}
		x.Outs = append(x.Outs, o)
	}
	return x
}

func TestMatMulSeveralOuts(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for _, m := range []int{1, 5, 65} {
			checkProduct(t, fmt.Sprint("several ", m), p, several(m, 320))
		}
		x := several(20, 64)
		x.Outs[1].N, x.Outs[1].B.Rows = 0, 0
		checkProduct(t, "an empty Out", p, x)
		x = &Product{M: 0, K: 64, Outs: x.Outs}
		p.MatMul(x, nil)
	})
}

// TestMatMulWorkers: the same bits whatever the number of workers.
func TestMatMulWorkers(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, m := range []int{3, 200} {
			var first [][]float32
			for _, workers := range []int{-1, 1, 2, 3, 7} {
				var p *Pool
				if workers > 0 {
					p = NewPool(workers)
				}
				x := several(m, 1056)
				p.MatMul(x, make([]float32, x.Scratch()))
				p.Close()
				for i := range x.Outs {
					if first == nil || len(first) <= i {
						first = append(first, x.Outs[i].C)
					} else if !slices.Equal(first[i], x.Outs[i].C) {
						t.Fatalf("M %d: %d workers give other bits", m, workers)
					}
				}
			}
		}
	})
}

// TestMatMulKept: a second product of the same A takes its packed rows where it can, and packs where the first went another way.
func TestMatMulKept(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	eachLevel(t, func(t *testing.T) {
		for _, m := range []int{3, 20, 200} {
			x := several(m, 1056)
			scratch := make([]float32, 2*x.Scratch()) // enough for float32
			p.MatMul(x, scratch)
			want := slices.Clone(x.Outs[0].C)
			first := &Product{M: m, K: x.K, A: x.A, Outs: []Out{{N: 16, C: make([]float32, m*16), B: x.Outs[0].B}}}
			first.Outs[0].B.Rows = 16
			for name, f := range map[string]func(){
				"the same":     func() {},
				"other":        func() { p.MatMul(first, scratch); x.Kept = first },
				"other, exact": func() { first.Exact = true; p.MatMul(first, scratch); x.Kept = first },
			} {
				first.Exact, x.Kept = false, x
				f()
				clear(x.Outs[0].C)
				p.MatMul(x, scratch)
				if !slices.Equal(x.Outs[0].C, want) {
					t.Errorf("M %d, kept from %s: other bits", m, name)
				}
			}
			x.Kept = x
			normals(x.A, 5) // a promise that is broken shows whether panels are kept
			p.MatMul(x, scratch)
			if kept := slices.Equal(x.Outs[0].C, want); kept != (x.packed != packing{}) || m == 200 && !kept {
				t.Errorf("M %d: kept %v", m, kept)
			}
		}
	})
}

func TestMatMulAllocatesNothing(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	for _, m := range []int{2, 100} {
		x := several(m, 320)
		x.Outs[1].B = randomMatrix(BF16, 192, 320, 1) // the codec of the test allocates
		scratch := make([]float32, x.Scratch())
		if n := testing.AllocsPerRun(10, func() { p.MatMul(x, scratch) }); n != 0 {
			t.Errorf("M %d: %v allocations per product", m, n)
		}
	}
}

func TestMatMulPanicsOnShapes(t *testing.T) {
	for name, breakIt := range map[string]func(x *Product){
		"A":      func(x *Product) { x.A = x.A[1:] },
		"C":      func(x *Product) { x.Outs[0].C = x.Outs[0].C[1:] },
		"B rows": func(x *Product) { x.Outs[0].B.Rows-- },
		"B data": func(x *Product) { x.Outs[1].B.Data = x.Outs[1].B.Data[:100] },
		"U":      func(x *Product) { x.Outs[0].U = nil },
		"bias":   func(x *Product) { x.Outs[0].Bias = x.Outs[0].Bias[1:] },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s too short: no panic", name)
				}
			}()
			x := several(10, 64)
			breakIt(x)
			(*Pool)(nil).MatMul(x, make([]float32, x.Scratch()))
		}()
	}
}

// TestMatMulBlocked: a row of a blocked product has the same bits however many rows there are.
func TestMatMulBlocked(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const most, k, n = 60, 600, 70
		a, b := values(most*k, 1), values(n*k, 2)
		for _, exact := range []bool{true, false} {
			product := func(m int) []float32 {
				c := make([]float32, m*n)
				x := &Product{M: m, K: k, A: a, Exact: exact, Blocked: true, Outs: []Out{{N: n, C: c, B: Floats(b, n, k)}}}
				(*Pool)(nil).MatMul(x, make([]float32, x.Scratch()))
				return c
			}
			whole := product(most)
			for _, m := range []int{1, 2, 5, 6, 7, 8, 9, 13} {
				if !slices.Equal(product(m), whole[:m*n]) {
					t.Errorf("exact %v: %d rows have other bits than %d", exact, m, most)
				}
			}
		}
	})
}
