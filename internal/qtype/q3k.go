package qtype

// decodeQ3_K: 32 bytes of third bits, 64 bytes of low 2 bits, 12 bytes of 6-bit scales, half d; d·(scale-32)·(code-4).
func decodeQ3_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[110:] {
		y, d, packed := (*[256]float32)(dst), f16(src[108:]), src[96:108]
		for g := range 16 {
			// low 4 bits: nibbles of bytes 0-7; high 2 bits: bytes 8-11
			s := packed[g%8]>>(4*(g/8))&15 | packed[8+g%4]>>(2*(g/4))&3<<4
			scale := d * float32(int(s)-32)
			codes, high, shift := src[32+32*(g/8)+16*(g%2):], src[16*(g%2):], 2*(g%8/2)
			for j, q := range codes[:16] {
				y[16*g+j] = scale * float32(int(q>>shift&3)+int(high[j]>>(g/2)&1)<<2-4)
			}
		}
	}
}

// encodeQ3_K: groups of 16 with 3-bit codes; signed scales in 6 bits.
func encodeQ3_K(dst []byte, x, importance []float32) {
	var codes [256]uint8
	var scale6 [16]uint8
	var scales, grids, sums [16]float32
	var d float32
	if importance == nil {
		for half := range 2 {
			refineSymmetric8(4, (*[128]float32)(x[128*half:]), (*[128]uint8)(codes[128*half:]), (*[8]float32)(scales[8*half:]))
		}
		if peak, _ := extreme(scales[:]); peak != 0 {
			inv := -32 / peak
			for j, s := range scales {
				scale6[j] = uint8(max(-32, min(31, int8(nearest(inv*s)))) + 32)
			}
			d = 1 / inv
		}
	} else {
		var w [16]float32
		sigma2 := 2 * sumSquares(x) / 256
		for j := range 16 {
			sums[j] = importanceWeights(w[:], x[16*j:][:16], importance[16*j:], sigma2)
			scales[j], grids[j] = symmetricScale(4, x[16*j:][:16], w[:])
		}
		d = searchSymmetric(32, scales[:], sums[:], scale6[:])
	}
	putF16(dst[108:], d)
	d = f16(dst[108:])
	packed := dst[96:108]
	clear(packed)
	for j, s := range scale6 {
		packed[j%8] |= s & 15 << (4 * (j / 8))
		packed[8+j%4] |= s >> 4 << (2 * (j / 4))
		if scale := d * float32(int(s)-32); importance == nil {
			symmetricRound(4, x[16*j:][:16], scale, codes[16*j:])
		} else {
			symmetricFinal(4, x[16*j:][:16], scale, grids[j], codes[16*j:])
		}
	}
	putHighBits(dst[:32], &codes, 2)
	putPairs(dst[32:96], &codes)
}
