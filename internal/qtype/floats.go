package qtype

import (
	"encoding/binary"
	"math"

	"tune/kernels"
)

// f16 is the float32 of the little-endian half at the start of b.
func f16(b []byte) float32 {
	h := binary.LittleEndian.Uint16(b)
	sign, exp, man := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(man)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | man<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

// putF16 stores x as a little-endian half, rounded to nearest even; 65520 and more become infinite.
func putF16(dst []byte, x float32) {
	b := math.Float32bits(x)
	sign, b := uint16(b>>16)&0x8000, b&0x7fffffff
	var h uint16
	switch {
	case b > 0x7f800000:
		h = 0x7e00 | uint16(b>>13)&0x3ff // a NaN stays one
	case b >= 0x477ff000:
		h = 0x7c00
	case b >= 0x38800000: // normal: another exponent bias, 13 bits less
		h = uint16((b - 0x38000000 + 0xfff + b>>13&1) >> 13)
	case b > 0x33000000: // subnormal: the addition leaves multiples of 2⁻²⁴
		h = uint16(math.Float32bits(math.Float32frombits(b)+0.5) - 0x3f000000)
	}
	binary.LittleEndian.PutUint16(dst, sign|h)
}

func encodeF32(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
}

func encodeF16(dst []byte, src []float32)  { encode16(dst, src, kernels.F16FromF32) }
func encodeBF16(dst []byte, src []float32) { encode16(dst, src, kernels.BF16FromF32) }

func encode16(dst []byte, src []float32, convert func(dst []uint16, src []float32)) {
	var buf [256]uint16
	for len(src) > 0 {
		n := min(len(src), len(buf))
		convert(buf[:n], src[:n])
		for i, h := range buf[:n] {
			binary.LittleEndian.PutUint16(dst[2*i:], h)
		}
		dst, src = dst[2*n:], src[n:]
	}
}

func decodeF64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
	}
}

// decodeE4M3 widens 8-bit floats with 4 exponent bits, bias 7, no infinities; all ones is NaN (OCP FP8, "fn" variant).
func decodeE4M3(dst []float32, src []byte) {
	for i := range dst {
		b := src[i]
		exp, man := int(b>>3&15), float32(b&7)
		var v float32
		switch {
		case b&0x7f == 0x7f:
			v = float32(math.NaN())
		case exp == 0:
			v = man * 0x1p-9
		default:
			v = (8 + man) * math.Float32frombits(uint32(exp-10+127)<<23)
		}
		if b&0x80 != 0 {
			v = -v
		}
		dst[i] = v
	}
}

// decodeE5M2 widens 8-bit floats with 5 exponent bits: the upper byte of an IEEE half.
func decodeE5M2(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = f16([]byte{0, src[i]})
	}
}
