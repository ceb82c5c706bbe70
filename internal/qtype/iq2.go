package qtype

import "encoding/binary"

// IQ2_XXS, IQ2_XS, IQ2_S: points of 8 magnitudes and their signs.

// levelsIQ2 are the stored magnitudes; the search takes them for 1, 3, 5 (8 times these, nearly).
var levelsIQ2 = [4]float32{8, 25, 43}

// decodePoint2 writes 8 values of a point under scale and signs.
func decodePoint2(y []float32, point uint16, signs uint8, scale float32) {
	y = y[:8]
	for j := range y {
		v := scale * levelsIQ2[point>>(2*j)&3]
		if signs>>j&1 != 0 {
			v = -v
		}
		y[j] = v
	}
}

// encodeIQ2_XXS: half d; for 32 values four bytes of points and a word of 4·7 signs and the scale.
func encodeIQ2_XXS(dst []byte, x, importance []float32) {
	s := codebookSearch{book: bookIQ2_XXS(), top: 3, steps: 6, step: 0.1, least: smallest, parity: true, fit: true, always: true}
	var scales [8]float32
	var w [32]float32
	var top float32
	sigma2 := sumSquares(x) / 256
	clear(dst[:66])
	for b := range 8 {
		importanceWeights(w[:], x[32*b:], importance[32*b:], sigma2)
		g := group{x: x[32*b:][:32], w: w[:]}
		scale, ok := s.run(&g)
		if !ok {
			continue
		}
		scales[b], top = scale, larger(top, scale)
		q := dst[2+8*b:]
		var word uint32
		for k := range 4 {
			q[k] = byte(g.index[k])
			word |= uint32(g.signs[k]) << (7 * k)
		}
		binary.LittleEndian.PutUint32(q[4:], word)
	}
	if top == 0 {
		clear(dst[:66])
		return
	}
	d := top / 31
	putF16(dst, d)
	for b, v := range scales {
		dst[2+8*b+7] |= halfScale(v, 1/d, 15) << 4
	}
}

func decodeIQ2_XXS(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[66:] {
		d := f16(src)
		for b := range 8 {
			q := src[2+8*b:][:8]
			word := binary.LittleEndian.Uint32(q[4:])
			scale := d * (0.5 + float32(word>>28)) * 0.25
			for k := range 4 {
				decodePoint2(dst[32*b+8*k:], gridIQ2_XXS[q[k]], evenSigns[word>>(7*k)&127], scale)
			}
		}
	}
}

// encodeIQ2_XS: half d; 32 words of a point (9 bits) and 7 signs; 16 scales in nibbles.
func encodeIQ2_XS(dst []byte, x, importance []float32) {
	s := codebookSearch{book: bookIQ2_XS(), top: 3, steps: 9, step: 0.1, least: smallest, parity: true}
	var scales [16]float32
	var w [16]float32
	var top float32
	sigma2 := sumSquares(x) / 256
	clear(dst[:74])
	for b := range 16 {
		importanceWeights(w[:], x[16*b:], importance[16*b:], sigma2)
		g := group{x: x[16*b:][:16], w: w[:]}
		scale, ok := s.run(&g)
		if !ok {
			continue
		}
		scales[b], top = scale, larger(top, scale)
		for k := range 2 {
			binary.LittleEndian.PutUint16(dst[2+4*b+2*k:], g.index[k]|uint16(g.signs[k])<<9)
		}
	}
	if top == 0 {
		clear(dst[:74])
		return
	}
	d := top / 31
	putF16(dst, d)
	putScales2(dst[66:74], &scales, 1/d)
}

func putScales2(dst []byte, scales *[16]float32, inv float32) {
	for b, v := range scales {
		dst[b/2] |= halfScale(v, inv, 15) << (4 * (b % 2))
	}
}

func decodeIQ2_XS(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[74:] {
		d := f16(src)
		for i := range 32 {
			q := binary.LittleEndian.Uint16(src[2+2*i:])
			scale := d * (0.5 + float32(src[66+i/4]>>(4*(i/2%2))&15)) * 0.25
			decodePoint2(dst[8*i:], gridIQ2_XS[q&511], evenSigns[q>>9], scale)
		}
	}
}

// encodeIQ2_S: half d; 32 bytes of points, 32 of signs, 8 of the points' upper 2 bits, 16 scales in nibbles.
func encodeIQ2_S(dst []byte, x, importance []float32) {
	s := codebookSearch{book: bookIQ2_S(), top: 3, steps: 9, step: 0.1, least: 1e-8}
	var scales [16]float32
	var w [16]float32
	var top float32
	sigma2 := 2 * sumSquares(x) / 256
	clear(dst[:82])
	for b := range 16 {
		if importance != nil {
			importanceWeights(w[:], x[16*b:], importance[16*b:], sigma2)
		} else {
			for i, v := range x[16*b:][:16] {
				w[i] = float32(0.25*sigma2) + float32(v*v)
			}
		}
		g := group{x: x[16*b:][:16], w: w[:]}
		scale, ok := s.run(&g)
		if !ok {
			continue
		}
		scales[b], top = scale, larger(top, scale)
		for k := range 2 {
			i := 2*b + k
			dst[2+i] = byte(g.index[k])
			dst[34+i] = g.signs[k]
			dst[66+i/4] |= byte(g.index[k]>>8) << (2 * (i % 4))
		}
	}
	if top == 0 {
		return
	}
	d := top / 31
	putF16(dst, d*0.9875) // fits better than d, by experiment of the reference
	putScales2(dst[74:82], &scales, 1/d)
}

func decodeIQ2_S(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[82:] {
		d := f16(src)
		for i := range 32 {
			point := int(src[2+i]) | int(src[66+i/4]>>(2*(i%4))&3)<<8
			scale := d * (0.5 + float32(src[74+i/4]>>(4*(i/2%2))&15)) * 0.25
			decodePoint2(dst[8*i:], gridIQ2_S[point], src[34+i], scale)
		}
	}
}
