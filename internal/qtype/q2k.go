package qtype

import "encoding/binary"

// decodeQ2_K: 16 bytes of scale (low nibble) and minimum (high nibble) of 16 values each, 64 bytes of 2-bit codes, halves
// d and dmin; d·scale·code - dmin·minimum. Bits 2k of 32 bytes hold values 32k ... 32k+31 of each half block.
func decodeQ2_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[84:] {
		y, d, dmin := (*[256]float32)(dst), f16(src[80:]), f16(src[82:])
		for g, s := range src[:16] { // a group of 16 values
			scale, low := d*float32(s&15), dmin*float32(s>>4)
			codes, shift := src[16+32*(g/8)+16*(g%2):], 2*(g%8/2)
			for j, q := range codes[:16] {
				y[16*g+j] = float32(scale*float32(q>>shift&3)) - low
			}
		}
	}
}

// encodeQ2_K: groups of 16 with 2-bit codes; scales and minima in 4 bits.
func encodeQ2_K(dst []byte, x, importance []float32) {
	var codes [256]uint8
	var scales, minima, sums [16]float32
	var scale4, low4 [16]uint8
	var w [256]float32
	var d, dmin float32
	g := searchGrid
	if importance == nil {
		g = grid{first: -0.5, step: 0.1, steps: 15, absolute: true}
		for i, v := range x {
			w[i] = abs32(v)
		}
	} else {
		sigma2 := sumSquares(x) / 256
		for j := range 16 {
			sums[j] = importanceWeights(w[16*j:][:16], x[16*j:], importance[16*j:], sigma2)
		}
	}
	searchAffine8(3, 16, x, w[:], codes[:], scales[:], minima[:], g)
	searchAffine8(3, 16, x[128:], w[128:], codes[128:], scales[8:], minima[8:], g)
	if importance == nil {
		d, dmin = roundToTop(15, scales[:], scale4[:]), roundToTop(15, minima[:], low4[:])
	} else {
		d, dmin = searchPositive(15, scales[:], sums[:], scale4[:]), searchPositive(15, minima[:], sums[:], low4[:])
	}
	putF16(dst[80:], d)
	putF16(dst[82:], dmin)
	d, dmin = f16(dst[80:]), f16(dst[82:])
	for j := range 16 {
		packed := scale4[j] | low4[j]<<4
		dst[j] = packed
		affineRound(3, x[16*j:][:16], d*float32(packed&15), dmin*float32(packed>>4), codes[16*j:])
	}
	putPairs(dst[16:80], &codes)
}

// roundToTop scales values so that the largest becomes top and rounds them to 8-bit codes; it returns the size of one step,
// 0 when no value is positive.
func roundToTop(top float32, x []float32, codes []uint8) (step float32) {
	var peak float32
	for _, v := range x {
		if v > peak {
			peak = v
		}
	}
	if !(peak > 0) {
		return 0
	}
	inv := top / peak
	for i, v := range x {
		codes[i] = uint8(nearest(inv * v))
	}
	return peak / top
}

// putPairs stores the low 2 bits of 256 codes: bits 2k of 32 bytes hold codes 32k ... 32k+31 of each half block.
func putPairs(dst []byte, codes *[256]uint8) {
	const low = 0x0303030303030303
	le := binary.LittleEndian
	for half := range 2 {
		q, y := codes[128*half:][:128], dst[32*half:][:32]
		for i := 0; i < 32; i += 8 {
			le.PutUint64(y[i:], le.Uint64(q[i:])&low|le.Uint64(q[i+32:])&low<<2|le.Uint64(q[i+64:])&low<<4|le.Uint64(q[i+96:])&low<<6)
		}
	}
}

// putHighBits stores one bit of 256 codes: bit b of byte j belongs to code 32b+j.
func putHighBits(dst []byte, codes *[256]uint8, bit int) {
	le := binary.LittleEndian
	for j := 0; j < 32; j += 8 {
		var sum uint64
		for b := range 8 {
			sum |= le.Uint64(codes[32*b+j:]) >> bit & 0x0101010101010101 << b
		}
		le.PutUint64(dst[j:], sum)
	}
}
