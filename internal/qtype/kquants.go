package qtype

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
