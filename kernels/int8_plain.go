package kernels

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// The integer products in plain Go: what other CPUs run and what the tests compare with.

// The forms of codes, all unsigned: of 5 bits or less with a scale per 32, of 6 bits or less with one per 16, of 8 bits with one per 32.
var (
	codes5 = codeKind{record: 40, group: 32}
	codes6 = codeKind{record: 48, group: 16}
	codes8 = codeKind{record: 40, group: 32}
)

// intForm tells how blocks of a stored type are codes: value i is code(b, i) times d plus low of scale i/group.
type intForm struct {
	kind  *codeKind
	zero  int // low is -zero·d; 0: it is anything
	code  func(b []byte, i int) int
	scale func(b []byte, g int) (d, low float32)
}

var intForms = [numStored]intForm{
	typeQ4_0:   {&codes5, 8, func(b []byte, i int) int { return nibble(b[2:], i) }, centred(0, 8)},
	typeQ4_1:   {&codes5, 0, func(b []byte, i int) int { return nibble(b[4:], i) }, withMin},
	typeQ5_0:   {&codes5, 16, func(b []byte, i int) int { return nibble(b[6:], i) | fifth(b[2:], i) }, centred(0, 16)},
	typeQ5_1:   {&codes5, 0, func(b []byte, i int) int { return nibble(b[8:], i) | fifth(b[4:], i) }, withMin},
	typeQ8_0:   {&codes8, 128, func(b []byte, i int) int { return int(b[2+i] ^ 0x80) }, centred(0, 128)},
	typeQ2_K:   {&codes6, 0, func(b []byte, i int) int { return crumb(b[16:], i) }, scaleQ2_K},
	typeQ3_K:   {&codes6, 4, codeQ3_K, scaleQ3_K},
	typeQ4_K:   {&codes5, 0, codeQ4_K, scaleQ4_K},
	typeQ5_K:   {&codes5, 0, codeQ5_K, scaleQ4_K},
	typeQ6_K:   {&codes6, 32, codeQ6_K, scaleQ6_K},
	typeIQ4_NL: {&codes8, 128, func(b []byte, i int) int { return levels4[nibble(b[2:], i)] + 128 }, centred(0, 128)},
	typeMXFP4:  {&codes5, 12, func(b []byte, i int) int { return halves4[nibble(b[1:], i)] + 12 }, scaleMXFP4},
	typeINT4:   {&codes5, 0, func(b []byte, i int) int { return nibble(b[4:], i) }, scaleINT4},
}

// centred is the scale of a type whose half at a byte stands for all of a block, with codes around zero.
func centred(at int, zero float32) func(b []byte, g int) (d, low float32) {
	return func(b []byte, _ int) (d, low float32) { d = half(b[at:]); return d, -zero * d }
}

func withMin(b []byte, _ int) (d, low float32) { return half(b), half(b[2:]) }

func scaleQ2_K(b []byte, g int) (d, low float32) {
	return half(b[80:]) * float32(b[g]&15), -half(b[82:]) * float32(b[g]>>4)
}

func codeQ3_K(b []byte, i int) int { return crumb(b[32:], i) | int(b[i%32]>>(i/32)&1)<<2 }

func scaleQ3_K(b []byte, g int) (d, low float32) {
	d = half(b[108:]) * float32(signedQ3_K(b, g))
	return d, -4 * d
}

func codeQ4_K(b []byte, i int) int { return int(b[16+i/64*32+i%32] >> (i % 64 / 32 * 4) & 15) }

func codeQ5_K(b []byte, i int) int {
	return int(b[48+i/64*32+i%32]>>(i%64/32*4)&15 | b[16+i%32]>>(i/32)&1<<4)
}

func scaleQ4_K(b []byte, g int) (d, low float32) {
	s, m := scaleMin(b[4:], g)
	return half(b) * s, -half(b[2:]) * m
}

func scaleINT4(b []byte, _ int) (d, low float32) {
	d, zero := headINT4(b)
	return d, -(d * float32(zero))
}

func scaleMXFP4(b []byte, _ int) (d, low float32) {
	d = halfExponent(b[0])
	return d, -12 * d
}

func codeQ6_K(b []byte, i int) int {
	h, quarter, j := i/128, i%128/32, i%32
	return int(b[64*h+32*(quarter%2)+j]>>(4*(quarter/2))&15 | b[128+32*h+j]>>(2*quarter)&3<<4)
}

func scaleQ6_K(b []byte, g int) (d, low float32) {
	d = half(b[208:]) * float32(int8(b[192+g]))
	return d, -32 * d
}

// intPlain is, by type, the products in Go.
var intPlain = func() (t [numStored]intCodec) {
	for i := range t {
		f, row := &intForms[i], &storedRows[i]
		t[i] = intCodec{f.kind, f.zero, f.opener(row), &[4]intProduct{f.product(row, 1), f.product(row, 2), f.product(row, 3), f.product(row, 4)}}
	}
	return t
}()

// opener is intCodec.open.
func (f *intForm) opener(row *storedRow) func(dst unsafe.Pointer, step int, src unsafe.Pointer, n int) {
	return func(dst unsafe.Pointer, step int, src unsafe.Pointer, n int) {
		for at := range n * row.block / intGroup {
			b := unsafe.Slice((*byte)(src), n*row.bytes)[at*intGroup/row.block*row.bytes:]
			f.record(unsafe.Slice((*byte)(unsafe.Add(dst, at*step)), f.kind.record), b[:row.bytes], at*intGroup%row.block)
		}
	}
}

// record writes values i to i+31 of a block.
func (f *intForm) record(r, b []byte, i int) {
	for j := range intGroup {
		r[j] = byte(f.code(b, i+j))
	}
	for g := range intGroup / f.kind.group {
		d, low := f.scale(b, i/f.kind.group+g)
		binary.LittleEndian.PutUint32(r[intGroup+8*g:], math.Float32bits(d))
		binary.LittleEndian.PutUint32(r[intGroup+8*g+4:], math.Float32bits(low))
	}
}

// product is intCodec.dots for m rows.
func (f *intForm) product(row *storedRow, m int) intProduct {
	return func(y *float32, ldy int, x, scales, sums unsafe.Pointer, ldx int, w unsafe.Pointer, stride, n, rows int) {
		k, group := n*row.block, f.kind.group
		for r := range rows {
			b := unsafe.Slice((*byte)(unsafe.Add(w, r*stride)), n*row.bytes)
			for i := range m {
				q := unsafe.Slice((*int8)(unsafe.Add(x, i*ldx)), k)
				s := unsafe.Slice((*float32)(unsafe.Add(scales, i*ldx)), k/intGroup)
				t := unsafe.Slice((*float32)(unsafe.Add(sums, i*ldx)), k/group)
				total := float32(0)
				for g := range t {
					b, at := b[g*group/row.block*row.bytes:], g*group%row.block
					dot := 0
					for j := range group {
						dot += f.code(b, at+j) * int(q[g*group+j])
					}
					d, low := f.scale(b, at/group)
					total += d*(s[g*group/intGroup]*float32(dot)) + low*t[g]
				}
				*(*float32)(unsafe.Add(unsafe.Pointer(y), 4*(i*ldy+r))) = total
			}
		}
	}
}

// intTilePlain adds n groups of a panel of A times cols columns, whose records lie step bytes apart, to acc, [cols][intRows].
func intTilePlain(k *codeKind, acc *float32, a, w unsafe.Pointer, step, n, cols int) {
	c := unsafe.Slice(acc, cols*intRows)
	for g := range n {
		codes := unsafe.Slice((*int8)(unsafe.Add(a, g*intPanel)), intRows*intGroup)
		tail := unsafe.Slice((*float32)(unsafe.Add(a, g*intPanel+intRows*intGroup)), 4*intRows)
		scales, sums := tail[:intRows], tail[intRows:]
		if k.group == 16 {
			sums = tail[2*intRows:]
		}
		for j := range cols {
			r := unsafe.Slice((*byte)(unsafe.Add(w, g*step+j*k.record)), k.record)
			for at := 0; at < intGroup; at += k.group {
				d := math.Float32frombits(binary.LittleEndian.Uint32(r[intGroup+at/k.group*8:]))
				low := math.Float32frombits(binary.LittleEndian.Uint32(r[intGroup+at/k.group*8+4:]))
				for i := range intRows {
					dot := 0
					for v, code := range r[at : at+k.group] {
						dot += int(code) * int(codes[(at+v)/4*4*intRows+4*i+v%4])
					}
					c[j*intRows+i] += d*(scales[i]*float32(dot)) + low*sums[at/k.group*intRows+i]
				}
			}
		}
	}
}

// quantizePlain rounds n groups of 32 values: scales[g] is the largest magnitude over 127, q the values over the scale rounded to
// nearest even, sums32 and sums16 the scale times the sum of 32 and of 16 codes. Where a value is no number or infinite the scale is,
// and so is every product with it.
func quantizePlain(q *int8, scales, sums32, sums16, x *float32, n int) {
	codes, values := unsafe.Slice(q, n*intGroup), unsafe.Slice(x, n*intGroup)
	s, t32, t16 := unsafe.Slice(scales, n), unsafe.Slice(sums32, n), unsafe.Slice(sums16, 2*n)
	for g := range n {
		v, c := values[g*intGroup:][:intGroup], codes[g*intGroup:][:intGroup]
		most, inv := largest(v), float32(0)
		s[g] = most / 127
		if most >= 1e-36 {
			inv = 127 / most
		}
		var sums [2]int
		for i, e := range v {
			c[i] = int8(max(-128, min(127, math.RoundToEven(float64(e*inv)))))
			if e != e {
				c[i] = -128
			}
			sums[i/16] += int(c[i])
		}
		t32[g], t16[2*g], t16[2*g+1] = float32(sums[0]+sums[1])*s[g], float32(sums[0])*s[g], float32(sums[1])*s[g]
	}
}

// largest is the largest magnitude, a NaN if there is one.
func largest(x []float32) float32 {
	top := uint32(0)
	for _, v := range x { // as integers, so that a NaN is the largest
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	return math.Float32frombits(top)
}

// packInt8Plain packs n groups of eight rounded rows, ldx bytes apart, into a panel.
func packInt8Plain(dst, q, scales, sums32, sums16 unsafe.Pointer, ldx, n int) {
	for g := range n {
		p := unsafe.Slice((*byte)(unsafe.Add(dst, g*intPanel)), intPanel)
		for r := range intRows {
			row := unsafe.Slice((*byte)(unsafe.Add(q, r*ldx+g*intGroup)), intGroup)
			for k, c := range row {
				p[k/4*4*intRows+4*r+k%4] = c
			}
			for i, src := range []unsafe.Pointer{unsafe.Add(scales, 4*g), unsafe.Add(sums32, 4*g), unsafe.Add(sums16, 8*g), unsafe.Add(sums16, 8*g+4)} {
				copy(p[intRows*intGroup+4*(intRows*i+r):][:4], unsafe.Slice((*byte)(unsafe.Add(src, r*ldx)), 4))
			}
		}
	}
}
