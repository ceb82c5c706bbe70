//go:build !purego

package kernels

import "unsafe"

// The products of a few rows of the plain float types, by rows of x less one.
var (
	vecF32s512  = [4]fusedProduct{vecF32x1, vecF32x2, vecF32x3, vecF32x4}
	vecBF16s512 = [4]fusedProduct{vecBF16x1, vecBF16x2, vecBF16x3, vecBF16x4}
	vecF16s512  = [4]fusedProduct{vecF16x1, vecF16x2, vecF16x3, vecF16x4}
	vecF32s256  = [4]fusedProduct{vecF32AVX2x1, vecF32AVX2x2, vecF32AVX2x3, vecF32AVX2x4}
	vecBF16s256 = [4]fusedProduct{vecBF16AVX2x1, vecBF16AVX2x2, vecBF16AVX2x3, vecBF16AVX2x4}
	vecF16s256  = [4]fusedProduct{vecF16AVX2x1, vecF16AVX2x2, vecF16AVX2x3, vecF16AVX2x4}
)

// fusedFor is what multiplies with values stored by a codec as they lie; nil: they must be decoded first.
func fusedFor(c *Codec) *[4]fusedProduct {
	wide := level >= levelAVX512
	switch {
	case level < levelAVX2:
		return nil
	case c == F32:
		return pick(wide, &vecF32s512, &vecF32s256)
	case c == BF16:
		return pick(wide, &vecBF16s512, &vecBF16s256)
	case c == F16:
		return pick(wide, &vecF16s512, &vecF16s256)
	}
	if t, ok := storedTypeOf(c); ok {
		if f := pick(wide, &fused512[t], &fused256[t]); f[0] != nil {
			return f
		}
	}
	return nil
}

// wordsFor is what multiplies each of m rows of 16 bits with values stored by a codec as they lie; nil: nothing does, or not as fast as
// what multiplies up to four rows in float32 at once.
func wordsFor(c *Codec, m int) wordProduct {
	t, ok := storedTypeOf(c)
	switch {
	case !ok:
		return nil
	case vnni() && (m == 1 || m == 2 && c.Block == 256 || m <= 4 && fusedFor(c) == nil):
		return splitDots[t]
	case level == levelAVX2 && m == 1:
		return wordDots[t]
	}
	return nil // decoded to float32 it is as fast
}

// roundWords rounds a row as wordsFor's products want it.
func roundWords(q *int16, pairs, x *float32, n int) {
	if vnni() {
		roundSplit((*byte)(unsafe.Pointer(q)), pairs, x, n)
		return
	}
	roundWordsAVX2(q, pairs, x, n)
}

// fastFloats is what decodes blocks of so many values of a codec to float32, bit for bit as the codec does; nil: the codec itself.
func fastFloats(c *Codec) (f floatRows, block int) {
	switch {
	case level < levelAVX2:
		return nil, 0
	case c == BF16:
		return floatsBF16, 16
	case c == F16:
		return floatsF16, 16
	}
	if t, ok := storedTypeOf(c); ok {
		return floats256[t], c.Block
	}
	return nil, 0
}

func pick(wide bool, a, b *[4]fusedProduct) *[4]fusedProduct {
	if wide {
		return a
	}
	return b
}

// The same for whole vectors, four rows of W at a time, by rows of x less two.
var (
	foursF32  = [3]fusedProduct{foursF32x2, foursF32x3, foursF32x4}
	foursBF16 = [3]fusedProduct{foursBF16x2, foursBF16x3, foursBF16x4}
)

// vecProduct is vecPlain at the level.
func vecProduct(m int, word bool, y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int) {
	c, fours := F32, &foursF32
	if word {
		c, fours = BF16, &foursBF16
	}
	if level >= levelAVX512 && m > 1 && n > 0 && n%16 == 0 && rows > 0 {
		fours[m-2](y, ldy, x, ldx, w, stride, n, rows)
		return
	}
	if f := fusedFor(c); f != nil {
		f[m-1](y, ldy, x, ldx, w, stride, n, rows)
		return
	}
	vecPlain(m, word, y, ldy, x, ldx, w, stride, n, rows)
}
