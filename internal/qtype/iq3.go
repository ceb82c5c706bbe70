package qtype

import (
	"encoding/binary"
	"math"
)

// IQ3_XXS, IQ3_S: points of 4 magnitudes and their signs.

// levelsIQ3_XXS are the stored magnitudes of IQ3_XXS; those of IQ3_S are the odd numbers.
var levelsIQ3_XXS = [8]float32{4, 12, 20, 28, 36, 44, 52, 62}

// decodePoint3 writes 4 values of a point under scale and signs.
func decodePoint3(y []float32, point uint16, signs uint8, scale float32, levels *[8]float32) {
	y = y[:4]
	for j := range y {
		v := scale * levels[point>>(3*j)&7]
		if signs>>j&1 != 0 {
			v = -v
		}
		y[j] = v
	}
}

// encodeIQ3_XXS: half d; 64 bytes of points; for 32 values a word of 4·7 signs and the scale.
func encodeIQ3_XXS(dst []byte, x, importance []float32) {
	s := codebookSearch{book: bookIQ3_XXS(), top: 8, steps: 15, step: 0.2, least: 1e-8, parity: true}
	var scales [8]float32
	var w [32]float32
	var top float32
	sigma2 := 2 * sumSquares(x) / 256
	clear(dst[:98])
	for b := range 8 {
		weightsIQ3(w[:], x, importance, b, sigma2)
		g := group{x: x[32*b:][:32], w: w[:]}
		scale, ok := s.run(&g)
		if !ok {
			continue
		}
		scales[b], top = scale, larger(top, scale)
		for k := range 8 {
			dst[2+8*b+k] = byte(g.index[k])
		}
		var word uint32
		for k := range 4 {
			word |= uint32(g.signs[k]) << (7 * k)
		}
		binary.LittleEndian.PutUint32(dst[66+4*b:], word)
	}
	if top == 0 {
		clear(dst[:98])
		return
	}
	d := top / 31
	putF16(dst, d*1.0125) // fits better than d, by experiment of the reference
	for b, v := range scales {
		dst[66+4*b+3] |= halfScale(v, 1/d, 15) << 4
	}
}

// weightsIQ3 gives the weights of group b of 32: importance, or the squares.
func weightsIQ3(w, x, importance []float32, b int, sigma2 float32) {
	if importance != nil {
		importance = importance[32*b:][:32]
	}
	levelWeights(w, x[32*b:][:32], importance, sigma2)
}

func decodeIQ3_XXS(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[98:] {
		d := f16(src)
		for b := range 8 {
			word := binary.LittleEndian.Uint32(src[66+4*b:])
			scale := d * (0.5 + float32(word>>28)) * 0.5
			for k := range 8 {
				signs := evenSigns[word>>(7*(k/2))&127] >> (4 * (k % 2))
				decodePoint3(dst[32*b+4*k:], gridIQ3_XXS[src[2+8*b+k]], signs, scale, &levelsIQ3_XXS)
			}
		}
	}
}

// encodeIQ3_S: half d; 64 bytes of points, 8 of the points' ninth bits, 32 of signs, 8 scales in nibbles.
//
// After a group of zeros the reference writes points and signs of the next group to the zero group's place, so that the rest
// of a block with such a group decodes to wrong values. The bytes here are the same.
func encodeIQ3_S(dst []byte, x, importance []float32) {
	s := codebookSearch{book: bookIQ3_S(), top: 8, steps: 9, step: 0.2, least: math.SmallestNonzeroFloat32, whole: true}
	var scales [8]float32
	var w [32]float32
	var top float32
	sigma2 := 2 * sumSquares(x) / 256
	clear(dst[:110])
	at := 0 // group that points and signs are written to
	for b := range 8 {
		weightsIQ3(w[:], x, importance, b, sigma2)
		g := group{x: x[32*b:][:32], w: w[:]}
		scale, ok := s.run(&g)
		if !ok {
			continue
		}
		scales[b], top = scale, larger(top, scale)
		for k := range 8 {
			dst[2+8*at+k] = byte(g.index[k])
			dst[66+b] |= byte(g.index[k]>>8) << k
		}
		copy(dst[74+4*at:], g.signs[:])
		at++
	}
	if top == 0 {
		return
	}
	d := top / 31
	putF16(dst, d*1.033) // fits better than d, by experiment of the reference
	for b, v := range scales {
		dst[106+b/2] |= halfScale(v, 1/d, 15) << (4 * (b % 2))
	}
}

func decodeIQ3_S(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[110:] {
		d := f16(src)
		for b := range 8 {
			scale := d * float32(1+2*int(src[106+b/2]>>(4*(b%2))&15))
			for k := range 8 {
				point := int(src[2+8*b+k]) | int(src[66+b]>>k&1)<<8
				decodePoint3(dst[32*b+4*k:], gridIQ3_S[point], src[74+4*b+k/2]>>(4*(k%2)), scale, &odd)
			}
		}
	}
}
