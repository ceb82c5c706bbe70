package qtype

import (
	"encoding/binary"
	"math"
)

// decodeQ4_0: half d, 16 bytes of codes; value j is (low nibble of byte j - 8)·d, value j+16 the high nibble.
func decodeQ4_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
		d, y := f16(src), (*[32]float32)(dst)
		for j, q := range src[2:18] {
			y[j] = float32(int(q&15)-8) * d
			y[j+16] = float32(int(q>>4)-8) * d
		}
	}
}

// decodeQ4_1: halves d and m, 16 bytes of codes; code·d + m.
func decodeQ4_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[20:] {
		d, m, y := f16(src), f16(src[2:]), (*[32]float32)(dst)
		for j, q := range src[4:20] {
			y[j] = float32(float32(q&15)*d) + m
			y[j+16] = float32(float32(q>>4)*d) + m
		}
	}
}

// decodeQ5_0: half d, 32 fifth bits, 16 bytes of low nibbles; (code - 16)·d.
func decodeQ5_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[22:] {
		d, high, y := f16(src), binary.LittleEndian.Uint32(src[2:]), (*[32]float32)(dst)
		for j, q := range src[6:22] {
			y[j] = float32(int(q&15)|int(high>>j&1)<<4-16) * d
			y[j+16] = float32(int(q>>4)|int(high>>(j+16)&1)<<4-16) * d
		}
	}
}

// decodeQ5_1: halves d and m, 32 fifth bits, 16 bytes of low nibbles; code·d + m.
func decodeQ5_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[24:] {
		d, m, high, y := f16(src), f16(src[2:]), binary.LittleEndian.Uint32(src[4:]), (*[32]float32)(dst)
		for j, q := range src[8:24] {
			y[j] = float32(float32(int(q&15)|int(high>>j&1)<<4)*d) + m
			y[j+16] = float32(float32(int(q>>4)|int(high>>(j+16)&1)<<4)*d) + m
		}
	}
}

// decodeQ8_0: half d, 32 signed bytes; code·d.
func decodeQ8_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[34:] {
		d, y := f16(src), (*[32]float32)(dst)
		for j, q := range src[2:34] {
			y[j] = float32(int8(q)) * d
		}
	}
}

// encodeQ8_0 scales by the reciprocal of the float32 d = max|x|/127 and rounds half away from zero; d is rounded to a
// half only afterwards. A reciprocal that overflows (subnormal d) gives code 0, as the conversion on x86 does.
func encodeQ8_0(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[34:], src[32:] {
		x := (*[32]float32)(src)
		var top float32
		for _, v := range x {
			top = max(top, float32(math.Abs(float64(v))))
		}
		d := top / 127
		var inv float32
		if d != 0 {
			inv = 1 / d
		}
		putF16(dst, d)
		for j, v := range x {
			r := math.Round(float64(v * inv))
			if !(math.Abs(r) < 1<<31) {
				r = 0
			}
			dst[2+j] = byte(int32(r))
		}
	}
}
