package qtype

import (
	"encoding/binary"
	"math"
)

// The types of 32 values a block: one scale, or a scale and a minimum, and plain codes.

// searchGrid is the grid of the affine types with importance.
var searchGrid = grid{first: -0.9, step: 0.05, steps: 36}

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

// encodeQ8_0 rounds d to a half only after the codes are made.
func encodeQ8_0(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[34:], src[32:] {
		y := (*[34]byte)(dst)
		putF16(y[:], codesQ8((*[32]float32)(src), (*[32]byte)(y[2:])))
	}
}

// codesQ8Plain scales by the reciprocal of d = max|x|/127 and rounds half away from zero. A reciprocal that overflows
// (subnormal d) gives code 0, as the conversion on x86 does.
func codesQ8Plain(x *[32]float32, codes *[32]byte) (d float32) {
	d = Magnitude(x[:]) / 127
	inv := inverse(d)
	if !(inv <= math.MaxFloat32) {
		clear(codes[:])
		return d
	}
	for j, v := range x {
		r := v * inv
		n := int32(r) // |r| is 127 and a little
		codes[j] = byte(n + int32(2*(r-float32(n))))
	}
	return d
}

// Magnitude is the largest absolute value.
func Magnitude(x []float32) float32 {
	var top uint32 // bits of non-negative floats are ordered like the floats
	for _, v := range x {
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(top)
}

// putNibbles stores 32 codes: the low nibble of byte j is code j, the high one code j+16.
func putNibbles(dst []byte, codes *[32]uint8) {
	const low = 0x0f0f0f0f0f0f0f0f
	le := binary.LittleEndian
	le.PutUint64(dst, le.Uint64(codes[:])&low|le.Uint64(codes[16:])&low<<4)
	le.PutUint64(dst[8:], le.Uint64(codes[8:])&low|le.Uint64(codes[24:])&low<<4)
}

// putFifthBits stores bit 4 of 32 codes as a little-endian word.
func putFifthBits(dst []byte, codes *[32]uint8) {
	for j := range 4 {
		v := binary.LittleEndian.Uint64(codes[8*j:]) >> 4 & 0x0101010101010101
		dst[j] = byte(v * 0x0102040810204080 >> 56) // the bit of byte k moves to bit 56+k
	}
}

// symmetricCodesPlain gives d = extreme/-top and the codes trunc(x/d + top + 0.5), at most 2·top-1.
func symmetricCodesPlain(top int32, x []float32, codes *[32]uint8) (d float32) {
	peak, _ := extreme(x)
	d = peak / float32(-top)
	inv, half := inverse(d), float32(top)+0.5
	for j, v := range x {
		codes[j] = uint8(min(2*top-1, int32(int8(truncate(float32(v*inv)+half)))))
	}
	return d
}

// affineRangePlain gives d = range/top, the minimum and the codes trunc((x-minimum)/d + 0.5), at most limit.
func affineRangePlain(top, limit int32, x []float32, codes *[32]uint8) (d, low float32) {
	low, high := limits(x)
	d = (high - low) / float32(top)
	inv := inverse(d)
	for j, v := range x {
		codes[j] = uint8(min(limit, truncate(float32((v-low)*inv)+0.5)))
	}
	return d, low
}

func encodeQ4_0(dst []byte, src []float32) {
	var codes [32]uint8
	n := groupsQ4_0(dst, src)
	dst, src = dst[18*n:], src[32*n:]
	for ; len(src) > 0; dst, src = dst[18:], src[32:] {
		putF16(dst, symmetricCodes(8, src[:32], &codes))
		putNibbles(dst[2:18], &codes)
	}
}

func encodeQ4_1(dst []byte, src []float32) {
	var codes [32]uint8
	for ; len(src) > 0; dst, src = dst[20:], src[32:] {
		d, low := affineRange(15, 15, src[:32], &codes)
		putQ4_1(dst, d, low, &codes)
	}
}

func putQ4_1(dst []byte, d, low float32, codes *[32]uint8) {
	putF16(dst, d)
	putF16(dst[2:], low)
	putNibbles(dst[4:], codes)
}

func encodeQ5_0(dst []byte, src []float32) {
	var codes [32]uint8
	for ; len(src) > 0; dst, src = dst[22:], src[32:] {
		putF16(dst, symmetricCodes(16, src[:32], &codes))
		putFifthBits(dst[2:], &codes)
		putNibbles(dst[6:22], &codes)
	}
}

func encodeQ5_1(dst []byte, src []float32) {
	var codes [32]uint8
	for ; len(src) > 0; dst, src = dst[24:], src[32:] {
		d, low := affineRange(31, math.MaxInt32, src[:32], &codes)
		putQ5_1(dst, d, low, &codes)
	}
}

func putQ5_1(dst []byte, d, low float32, codes *[32]uint8) {
	putF16(dst, d)
	putF16(dst[2:], low)
	putFifthBits(dst[4:], codes)
	putNibbles(dst[8:], codes)
}

// weighted32 calls f for each block of rows of len(importance) values with its weights, which depend on the whole row.
func weighted32(size int, dst []byte, src, importance []float32, f func(dst []byte, x, w []float32)) {
	var w [32]float32
	for len(src) > 0 {
		sigma2 := sumSquares(src[:len(importance)]) / float32(len(importance))
		for c := 0; c < len(importance); c += 32 {
			importanceWeights(w[:], src[:32], importance[c:], sigma2)
			f(dst[:size], src[:32], w[:])
			dst, src = dst[size:], src[32:]
		}
	}
}

func encodeWeightedQ4_0(dst []byte, src, importance []float32) {
	var codes [32]uint8
	weighted32(18, dst, src, importance, func(dst []byte, x, w []float32) {
		putF16(dst, searchSymmetric(8, x, w, codes[:]))
		putNibbles(dst[2:], &codes)
	})
}

func encodeWeightedQ4_1(dst []byte, src, importance []float32) {
	weightedAffine(15, 20, dst, src, importance, putQ4_1)
}

func encodeWeightedQ5_0(dst []byte, src, importance []float32) {
	var codes [32]uint8
	weighted32(22, dst, src, importance, func(dst []byte, x, w []float32) {
		putF16(dst, searchSymmetric(16, x, w, codes[:]))
		putFifthBits(dst[2:], &codes)
		putNibbles(dst[6:], &codes)
	})
}

func encodeWeightedQ5_1(dst []byte, src, importance []float32) {
	weightedAffine(31, 24, dst, src, importance, putQ5_1)
}

// weightedAffine searches the blocks of rows of len(importance) values, eight at a time where there are eight.
func weightedAffine(top int32, size int, dst []byte, src, importance []float32, put func(dst []byte, d, low float32, codes *[32]uint8)) {
	var w [256]float32
	var codes [256]uint8
	var scales, minima [8]float32
	for len(src) > 0 {
		sigma2 := sumSquares(src[:len(importance)]) / float32(len(importance))
		for rest := importance; len(rest) > 0; {
			n := min(256, len(rest))
			importanceWeights(w[:n], src, rest, sigma2)
			if n == 256 {
				searchAffine8(top, 32, src, w[:], codes[:], scales[:], minima[:], searchGrid)
			} else {
				for j := 0; j < n; j += 32 {
					scales[j/32], minima[j/32] = searchAffine(top, src[j:j+32], w[j:j+32], codes[j:j+32], searchGrid)
				}
			}
			for j := 0; j < n; j += 32 {
				put(dst, scales[j/32], -minima[j/32], (*[32]uint8)(codes[j:]))
				dst = dst[size:]
			}
			src, rest = src[n:], rest[n:]
		}
	}
}
