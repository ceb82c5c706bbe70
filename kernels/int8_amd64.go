//go:build !purego

package kernels

import "unsafe"

// intCodecOf is how a codec is multiplied in integers, if it can be.
func intCodecOf(c *Codec) (intCodec, bool) {
	t, ok := storedTypeOf(c)
	if !ok {
		return intCodec{}, false
	}
	x := intPlain[t]
	if level >= levelAVX2 {
		x.open, x.dots = intOpens[t], &intDots[t]
	}
	return x, true
}

// vnniTile is one of vnniTiles.
type vnniTile func(acc *float32, a unsafe.Pointer, lda int, w unsafe.Pointer, step, n, cols, zero int)

// intTile is the tile of a codec; lda is the bytes from one panel of A to the next, step those from one group of records to the next.
func intTile(c *intCodec, acc *float32, a unsafe.Pointer, lda, panels int, w unsafe.Pointer, step, n, cols int) {
	k := c.kind
	switch {
	case vnni():
		vnniTiles[4*(32/k.group-1)+2*min(c.zero, 1)+panels-1](acc, a, lda, w, step, n, cols, c.zero)
	case level < levelAVX2:
		intTilePlain(k, acc, a, w, step, n, cols)
	case k == &codes5:
		tileCodes5(acc, a, w, step, n, cols)
	case k == &codes6:
		tileCodes6(acc, a, w, step, n, cols)
	default:
		tileCodes8(acc, a, w, step, n, cols)
	}
}

func quantize(q *int8, scales, sums32, sums16, x *float32, n int) {
	if level < levelAVX2 {
		quantizePlain(q, scales, sums32, sums16, x, n)
		return
	}
	quantizeAVX2(q, scales, sums32, sums16, x, n)
}

func packInt8(dst, q, scales, sums32, sums16 unsafe.Pointer, ldx, n int) {
	if level < levelAVX2 {
		packInt8Plain(dst, q, scales, sums32, sums16, ldx, n)
		return
	}
	packInt8AVX2(dst, q, scales, sums32, sums16, ldx, n)
}

// roundPanel rounds and packs n groups of 16 rows.
func roundPanel(dst unsafe.Pointer, rows *[16]unsafe.Pointer, n int) { roundInt8x16(dst, rows, n) }

// storeInt8 adds rows of a tile, whose columns are so many lanes, to C and tells how many columns it did.
func storeInt8(o *Out, acc []float32, lanes, row, rows, col, cols int, add, bias []float32) int {
	if level < levelAVX2 || !vnni() && (rows < intRows || cols < intRows) {
		return 0
	}
	var a, b *float32
	if add != nil {
		a = &add[row*o.N+col]
	}
	if bias != nil {
		b = &bias[col]
	}
	c := &o.C[row*o.N+col]
	if vnni() {
		storeInt8x16(c, o.N, a, o.N, b, &acc[0], lanes, rows, cols, o.scale())
		return cols
	}
	cols &^= intRows - 1
	storeInt8AVX2(c, o.N, a, o.N, b, &acc[0], cols, o.scale())
	return cols
}

// peakInt8Loop is a loop of multiplications of bytes on registers and its operations per round; 0: the level has none.
func peakInt8Loop() (ops float64, loop func(n int)) {
	switch {
	case vnni():
		return 16 * 128, peakVNNI
	case level >= levelAVX2:
		return 6 * 64, peakInt8
	}
	return 0, func(int) {}
}
