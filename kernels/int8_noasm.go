//go:build !amd64 || purego

package kernels

import "unsafe"

func intCodecOf(c *Codec) (intCodec, bool) {
	t, ok := storedTypeOf(c)
	if !ok {
		return intCodec{}, false
	}
	return intPlain[t], true
}

func intTile(c *intCodec, acc *float32, a unsafe.Pointer, _, _ int, w unsafe.Pointer, step, n, cols int) {
	intTilePlain(c.kind, acc, a, w, step, n, cols)
}

func quantize(q *int8, scales, sums32, sums16, x *float32, n int) {
	quantizePlain(q, scales, sums32, sums16, x, n)
}

func packInt8(dst, q, scales, sums32, sums16 unsafe.Pointer, ldx, n int) {
	packInt8Plain(dst, q, scales, sums32, sums16, ldx, n)
}

func roundPanel(unsafe.Pointer, *[16]unsafe.Pointer, int) {} // panels are of eight rows

func storeInt8(*Out, []float32, int, int, int, int, int, []float32, []float32) int { return 0 }

func peakInt8Loop() (ops float64, loop func(n int)) { return 0, func(int) {} }
