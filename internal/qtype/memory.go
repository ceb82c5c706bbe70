package qtype

import (
	"encoding/binary"
	"math"
)

// The types that no file has: what GPTQ, AWQ, compressed-tensors and bitsandbytes spread over several tensors (package packed),
// put together in blocks so that kernels decode them like any other type. INT2 to INT8: 32 codes with a scale and a zero;
// NF4, FP4, FP8: 32 codes with a scale; E2M1: 16.

// headerINT is 32 bits: the upper 24 of the scale as a float32, which hold every half and every bf16, and the zero.
func headerINT(src []byte) (scale float32, zero int32) {
	h := binary.LittleEndian.Uint32(src)
	return math.Float32frombits(h &^ 0xff), int32(h & 0xff)
}

// HeaderINT is how a block of INT2 to INT8 begins; false when the scale has more digits than it holds.
func HeaderINT(scale float32, zero uint8) (header uint32, exact bool) {
	b := math.Float32bits(scale)
	return b&^0xff | uint32(zero), b&0xff == 0
}

// decodeINT2: header, then byte j holds values j, j+8, j+16 and j+24 from its low bits on; scale·(code - zero).
func decodeINT2(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[12:] {
		var values [4]float32
		scale, zero := headerINT(src)
		for c := range values {
			values[c] = scale * float32(int32(c)-zero)
		}
		y := (*[32]float32)(dst)
		for j, q := range src[4:12] {
			y[j], y[j+8], y[j+16], y[j+24] = values[q&3], values[q>>2&3], values[q>>4&3], values[q>>6]
		}
	}
}

// decodeINT3: header, then four times 24 bits of eight codes from the low bits on.
func decodeINT3(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[16:] {
		var values [8]float32
		scale, zero := headerINT(src)
		for c := range values {
			values[c] = scale * float32(int32(c)-zero)
		}
		for g := range 4 {
			b, y := src[4+3*g:][:3], (*[8]float32)(dst[8*g:])
			for j, w := 0, uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16; j < 8; j, w = j+1, w>>3 {
				y[j] = values[w&7]
			}
		}
	}
}

// decodeINT4Plain: header, then byte j holds values j (low nibble) and j+16.
func decodeINT4Plain(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[20:] {
		var values [16]float32
		scale, zero := headerINT(src)
		for c := range values {
			values[c] = scale * float32(int32(c)-zero)
		}
		nibbles(dst, src[4:20], &values)
	}
}

// nibbles looks 32 values up: byte j of codes has those of values j (low nibble) and j+16.
func nibbles(dst []float32, codes []byte, values *[16]float32) {
	y := (*[32]float32)(dst)
	for j, q := range (*[16]byte)(codes) {
		y[j], y[j+16] = values[q&15], values[q>>4]
	}
}

// decodeINT8Plain: header, then 32 codes.
func decodeINT8Plain(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[36:] {
		scale, zero := headerINT(src)
		y := (*[32]float32)(dst)
		for j, q := range src[4:36] {
			y[j] = scale * float32(int32(q)-zero)
		}
	}
}

// NF4Values are the quantiles of a normal distribution that bitsandbytes rounds to (Dettmers et al. 2023, "QLoRA").
var NF4Values = [16]float32{-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
	-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
	0.5626170039176941, 0.7229568362236023, 1}

// FP4Values are the 4-bit floats of bitsandbytes, over their largest.
var FP4Values = [16]float32{0, 0.0052083334, 0.6666667, 1, 0.33333334, 0.5, 0.16666667, 0.25,
	0, -0.0052083334, -0.6666667, -1, -0.33333334, -0.5, -0.16666667, -0.25}

// decodeTablePlain: float32 scale, then 32 nibbles as in INT4; scale·table[code].
func decodeTablePlain(dst []float32, src []byte, table *[16]float32) {
	for ; len(dst) > 0; dst, src = dst[32:], src[20:] {
		values, scale := *table, math.Float32frombits(binary.LittleEndian.Uint32(src))
		for c := range values {
			values[c] *= scale
		}
		nibbles(dst, src[4:20], &values)
	}
}

// E2M1Values are the 4-bit floats of the Open Compute microscaling formats; there is a negative zero.
var E2M1Values = [16]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6}

// decodeE2M1Plain: float32 scale, then byte j holds values j (low nibble) and j+8.
func decodeE2M1Plain(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[16:], src[12:] {
		values, scale := E2M1Values, math.Float32frombits(binary.LittleEndian.Uint32(src))
		for c := range values {
			values[c] *= scale
		}
		y := (*[16]float32)(dst)
		for j, q := range (*[8]byte)(src[4:]) {
			y[j], y[j+8] = values[q&15], values[q>>4]
		}
	}
}

// valuesE4M3 are the 8-bit floats with 4 exponent bits.
var valuesE4M3 = func() (v [256]float32) {
	var codes [256]byte
	for i := range codes {
		codes[i] = byte(i)
	}
	decodeE4M3(v[:], codes[:])
	return v
}()

// decodeFP8Plain: float32 scale, then 32 8-bit floats with 4 exponent bits.
func decodeFP8Plain(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[36:] {
		scale, y := math.Float32frombits(binary.LittleEndian.Uint32(src)), (*[32]float32)(dst)
		for j, q := range src[4:36] {
			y[j] = valuesE4M3[q] * scale
		}
	}
}
