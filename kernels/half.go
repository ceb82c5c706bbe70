package kernels

import "math"

// BF16FromF32 rounds to bfloat16, nearest even, subnormal numbers included; a NaN stays one (quiet). len(dst) elements.
func BF16FromF32(dst []uint16, src []float32) { bf16FromF32(dst, src[:len(dst)]) }

// F32FromBF16 widens len(dst) bfloat16 values, exactly.
func F32FromBF16(dst []float32, src []uint16) { f32FromBF16(dst, src[:len(dst)]) }

// F16FromF32 rounds to IEEE 754 half precision, nearest even, subnormal results included; values from 65520 on become
// infinite, a NaN stays one (quiet). len(dst) elements.
func F16FromF32(dst []uint16, src []float32) { f16FromF32(dst, src[:len(dst)]) }

// F32FromF16 widens len(dst) half precision values, exactly.
func F32FromF16(dst []float32, src []uint16) { f32FromF16(dst, src[:len(dst)]) }

// RoundF16 is one value as half precision keeps it, rounded as F16FromF32 does.
func RoundF16(x float32) float32 { return f16Value(f16Bits(x)) }

func bf16FromF32Plain(dst []uint16, src []float32) {
	for i, x := range src {
		dst[i] = roundBF16(x)
	}
}

func f32FromBF16Plain(dst []float32, src []uint16) {
	for i, x := range src {
		dst[i] = widenBF16(x)
	}
}

func f16FromF32Plain(dst []uint16, src []float32) {
	for i, x := range src {
		dst[i] = f16Bits(x)
	}
}

func f16Bits(x float32) uint16 {
	b := math.Float32bits(x)
	sign, b := uint16(b>>16)&0x8000, b&0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13)&0x3ff
	case b >= 0x477ff000: // 65520 and more round to infinity
		return sign | 0x7c00
	case b >= 0x38800000: // normal: move the exponent bias from 127 to 15 and round 13 bits off
		return sign | uint16((b-0x38000000+0xfff+b>>13&1)>>13)
	case b <= 0x33000000: // half the smallest subnormal, 2⁻²⁵, and less
		return sign
	}
	shift := 126 - b>>23 // 14 ... 24 bits go off the mantissa with its leading one
	m := b&0x7fffff | 0x800000
	return sign | uint16((m+1<<(shift-1)-1+m>>shift&1)>>shift)
}

func f32FromF16Plain(dst []float32, src []uint16) {
	for i, x := range src {
		dst[i] = f16Value(x)
	}
}

func f16Value(x uint16) float32 {
	sign, e, m := uint32(x&0x8000)<<16, uint32(x)>>10&31, uint32(x)&0x3ff
	switch {
	case e == 31 && m != 0:
		return math.Float32frombits(sign | 0x7fc00000 | m<<13)
	case e == 31:
		return math.Float32frombits(sign | 0x7f800000)
	case e != 0:
		return math.Float32frombits(sign | (e+112)<<23 | m<<13)
	}
	v := float32(m) * 0x1p-24
	return math.Float32frombits(sign | math.Float32bits(v))
}
