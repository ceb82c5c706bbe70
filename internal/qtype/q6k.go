package qtype

// decodeQ6_K: 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 signed scales, half d; d·scale·(code - 32).
func decodeQ6_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
		y, d, scales := (*[256]float32)(dst), f16(src[208:]), src[192:208]
		for g := range 8 { // 32 values: quarter g%4 of half block g/4
			half, quarter := g/4, g%4
			low, high := src[64*half+32*(quarter%2):][:32], src[128+32*half:][:32]
			for j := range 32 {
				scale := float32(d * float32(int8(scales[2*g+j/16])))
				code := low[j]>>(4*(quarter/2))&15 | high[j]>>(2*quarter)&3<<4
				y[32*g+j] = scale * float32(int(code)-32)
			}
		}
	}
}

// encodeQ6_K: groups of 16 with 6-bit codes; signed scales in 8 bits. The importance itself is the weight.
func encodeQ6_K(dst []byte, x, importance []float32) {
	var codes [256]uint8
	var scales, grids, w [16]float32
	for j := range 16 {
		group, weight := x[16*j:][:16], w[:]
		if importance != nil {
			weight = importance[16*j:][:16]
		} else {
			for i, v := range group {
				w[i] = v * v
			}
		}
		scales[j], grids[j] = symmetricScale(32, group, weight)
	}
	peak, magnitude := extreme(scales[:])
	if magnitude < smallest {
		clear(dst[:210])
		return
	}
	inv := -128 / peak
	putF16(dst[208:], 1/inv)
	d := f16(dst[208:])
	for j, s := range scales {
		l := int8(min(127, nearest(inv*s)))
		dst[192+j] = byte(l)
		symmetricFinal(32, x[16*j:][:16], d*float32(l), grids[j], codes[16*j:])
	}
	for half := range 2 {
		q, low, high := codes[128*half:][:128], dst[64*half:][:64], dst[128+32*half:][:32]
		for i := range high {
			low[i] = q[i]&15 | q[i+64]<<4
			low[i+32] = q[i+32]&15 | q[i+96]<<4
			high[i] = q[i]>>4 | q[i+32]>>4<<2 | q[i+64]>>4<<4 | q[i+96]>>4<<6
		}
	}
}
