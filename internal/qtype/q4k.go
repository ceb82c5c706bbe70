package qtype

import "encoding/binary"

// scaleMin unpacks the 6-bit scale and minimum of group g (0-7) of Q4_K and Q5_K from their 12 bytes.
func scaleMin(p []byte, g int) (scale, low float32) {
	if g < 4 {
		return float32(p[g] & 63), float32(p[g+4] & 63)
	}
	return float32(p[g+4]&15 | p[g-4]>>6<<4), float32(p[g+4]>>4 | p[g]>>6<<4)
}

// decodeQ4_K: halves d and dmin, 12 bytes of 6-bit scales and minima of 32 values each, 128 bytes of codes;
// d·scale·code - dmin·minimum. 32 bytes hold two groups, low nibbles first.
func decodeQ4_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[144:] {
		y, d, dmin := (*[256]float32)(dst), f16(src), f16(src[2:])
		for g := range 8 {
			s, m := scaleMin(src[4:16], g)
			scale, low := d*s, dmin*m
			codes, shift := src[16+32*(g/2):], 4*(g%2)
			for j, q := range codes[:32] {
				y[32*g+j] = float32(scale*float32(q>>shift&15)) - low
			}
		}
	}
}

// decodeQ5_K is Q4_K with 32 bytes of fifth bits (bit g of byte j: value j of group g) before the nibbles.
func decodeQ5_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[176:] {
		y, d, dmin, high := (*[256]float32)(dst), f16(src), f16(src[2:]), src[16:48]
		for g := range 8 {
			s, m := scaleMin(src[4:16], g)
			scale, low := d*s, dmin*m
			codes, shift := src[48+32*(g/2):], 4*(g%2)
			for j, q := range codes[:32] {
				y[32*g+j] = float32(scale*float32(q>>shift&15|high[j]>>g&1<<4)) - low
			}
		}
	}
}

// putScaleMin stores the 6-bit scale and minimum of group g; groups must come in order.
func putScaleMin(p []byte, g int, scale, low uint8) {
	if g < 4 {
		p[g], p[g+4] = scale, low
		return
	}
	p[g+4] = scale&15 | low<<4
	p[g-4] |= scale >> 4 << 6
	p[g] |= low >> 4 << 6
}

// encodeGroups32 writes d, dmin and the scales of eight groups of 32 values to dst[:16] and gives the codes 0 ... top.
func encodeGroups32(top int32, dst []byte, x, importance []float32, g grid, codes *[256]uint8) {
	var scales, minima, sums [8]float32
	var scale6, low6 [8]uint8
	var w [256]float32
	var d, dmin float32
	if importance == nil {
		for j := range 8 {
			group := x[32*j:][:32]
			mean := sqrt32(sumSquares(group) / 32)
			for i, v := range group {
				w[32*j+i] = mean + abs32(v)
			}
		}
		searchAffine8(top, 32, x, w[:], codes[:], scales[:], minima[:], g)
		d, dmin = roundToTop(63, scales[:], scale6[:]), roundToTop(63, minima[:], low6[:])
	} else {
		sigma2 := 2 * sumSquares(x) / 256
		for j := range 8 {
			sums[j] = importanceWeights(w[32*j:][:32], x[32*j:], importance[32*j:], sigma2)
		}
		searchAffine8(top, 32, x, w[:], codes[:], scales[:], minima[:], searchGrid)
		d, dmin = searchPositive(63, scales[:], sums[:], scale6[:]), searchPositive(63, minima[:], sums[:], low6[:])
	}
	putF16(dst, d)
	putF16(dst[2:], dmin)
	d, dmin = f16(dst), f16(dst[2:])
	for j := range 8 {
		s, m := scale6[j], low6[j]
		if importance == nil || top == 31 { // the reference lets Q4_K with importance overflow into the neighbour's bits
			s, m = min(63, s), min(63, m)
		}
		putScaleMin(dst[4:16], j, s, m)
	}
	for j := range 8 {
		s, m := scaleMin(dst[4:16], j)
		affineRound(top, x[32*j:][:32], d*s, dmin*m, codes[32*j:])
	}
}

func encodeQ4_K(dst []byte, x, importance []float32) {
	var codes [256]uint8
	encodeGroups32(15, dst, x, importance, grid{first: -1, step: 0.1, steps: 20}, &codes)
	putNibblePairs(dst[16:144], &codes)
}

func encodeQ5_K(dst []byte, x, importance []float32) {
	var codes [256]uint8
	encodeGroups32(31, dst, x, importance, grid{first: -0.5, step: 0.1, steps: 15}, &codes)
	putHighBits(dst[16:48], &codes, 4)
	putNibblePairs(dst[48:176], &codes)
}

// putNibblePairs stores the low nibbles of 256 codes: 32 bytes hold two groups of 32.
func putNibblePairs(dst []byte, codes *[256]uint8) {
	const low = 0x0f0f0f0f0f0f0f0f
	le := binary.LittleEndian
	for p := range 4 {
		q, y := codes[64*p:][:64], dst[32*p:][:32]
		for i := 0; i < 32; i += 8 {
			le.PutUint64(y[i:], le.Uint64(q[i:])&low|le.Uint64(q[i+32:])&low<<4)
		}
	}
}
