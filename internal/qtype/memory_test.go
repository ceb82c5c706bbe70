package qtype

import (
	"encoding/binary"
	"math"
	"testing"
)

// Decoders of the types that no file has, against the value of each code written out: place of the code, table, header.
func TestMemoryTypes(t *testing.T) {
	table := func(values [16]float32) func(byte, float32, int32) float32 {
		return func(c byte, scale float32, _ int32) float32 { return values[c] * scale }
	}
	integer := func(c byte, scale float32, zero int32) float32 { return float32(int32(c)-zero) * scale }
	e4m3 := func(c byte, scale float32, _ int32) float32 {
		e, m := int(c>>3&15), float64(c&7)/8
		v := (1 + m) * math.Exp2(float64(e-7))
		if e == 0 {
			v = m / 64
		}
		return float32(math.Copysign(v, float64(int8(c)))) * scale
	}
	half := func(n int) func([]byte, int) byte {
		return func(b []byte, i int) byte { return b[i%n] >> (4 * (i / n)) & 15 }
	}
	whole := func(b []byte, i int) byte { return b[i] }
	seen := map[Type]bool{}
	for _, c := range []struct {
		ty    Type
		code  func(b []byte, i int) byte
		value func(c byte, scale float32, zero int32) float32
	}{
		{INT2, func(b []byte, i int) byte { return b[i%8] >> (2 * (i / 8)) & 3 }, integer},
		{INT3, func(b []byte, i int) (c byte) {
			for k := range 3 {
				c |= b[(3*i+k)/8] >> ((3*i + k) % 8) & 1 << k
			}
			return c
		}, integer},
		{INT4, half(16), integer},
		{INT8, whole, integer},
		{NF4, half(16), table(NF4Values)},
		{FP4, half(16), table(FP4Values)},
		{E2M1, half(8), table([16]float32{0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6})},
		{FP8, whole, e4m3},
	} {
		seen[c.ty] = true
		row := c.ty.Row()
		src := make([]byte, 3*row.Bytes)
		for i := range src {
			src[i] = byte(37*i + i*i/3)
			if c.ty == FP8 && src[i]&0x7f == 0x7f { // NaN
				src[i]--
			}
		}
		for b := range 3 {
			binary.LittleEndian.PutUint32(src[b*row.Bytes:], math.Float32bits(float32(b+1)*0.0117)&^0xff|uint32(3*b+1))
		}
		got := decode(t, c.ty, src)
		for b := range 3 {
			block := src[b*row.Bytes:][:row.Bytes]
			h := binary.LittleEndian.Uint32(block)
			scale, zero := math.Float32frombits(h), int32(0)
			if c.ty <= INT8 {
				scale, zero = math.Float32frombits(h&^0xff), int32(h&0xff)
			}
			for i := range row.Block {
				if want := c.value(c.code(block[4:], i), scale, zero); got[b*row.Block+i] != want {
					t.Errorf("%s: value %d of block %d is %g, want %g", c.ty, i, b, got[b*row.Block+i], want)
				}
			}
		}
	}
	for ty, plain := range map[Type]func([]float32, []byte){INT4: decodeINT4Plain, INT8: decodeINT8Plain, E2M1: decodeE2M1Plain, FP8: decodeFP8Plain,
		NF4: func(dst []float32, src []byte) { decodeTablePlain(dst, src, &NF4Values) }, FP4: func(dst []float32, src []byte) { decodeTablePlain(dst, src, &FP4Values) }} {
		row := ty.Row()
		src := make([]byte, 9*row.Bytes)
		for i := range src {
			src[i] = byte(91*i + i*i/7) // any bits: scales of all sizes, NaN among them
		}
		got, want := decode(t, ty, src), make([]float32, 9*row.Block)
		plain(want, src)
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (want[i] == want[i] || got[i] == got[i]) {
				t.Errorf("%s: value %d is %g, the plain form gives %g", ty, i, got[i], want[i])
			}
		}
	}
	for _, ty := range All() {
		if memoryType(ty) && !seen[ty] {
			t.Errorf("%s: no test", ty)
		}
	}
	if h, exact := HeaderINT(1.5, 7); !exact || h != math.Float32bits(1.5)|7 {
		t.Errorf("header %#x, %t", h, exact)
	}
	if _, exact := HeaderINT(0.1, 0); exact {
		t.Error("0.1 is not exact in 24 bits")
	}
}
