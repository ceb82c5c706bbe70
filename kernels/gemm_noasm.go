//go:build (!amd64 && !arm64) || purego

package kernels

import "unsafe"

func engineFor(bool) *engine { return &plainEngine }

func fusedFor(*Codec) *[4]fusedProduct { return nil }

func wordsFor(*Codec, int) wordProduct { return nil }

func roundWords(q *int16, pairs, x *float32, n int) { roundWordsPlain(q, pairs, x, n) }

func vecProduct(m int, word bool, y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int) {
	vecPlain(m, word, y, ldy, x, ldx, w, stride, n, rows)
}

func mulFew(cols, depth int, x []float32, xr int, y Source, yd int, c []float32, ldc int, f []float32) {
	mulFewTiles(cols, depth, x, xr, y, yd, c, ldc, f)
}

func mulTile(half bool, rows, cols, depth int, x []float32, xr, xd int, y []float32, yd int, c []float32, ldc int, f []float32) {
	mulTilePlain(half, rows, cols, depth, x, xr, xd, y, yd, c, ldc, f)
}

func dot(x, y []float32) float32                 { return dotPlain(x, y) }
func axpy(dst []float32, a float32, x []float32) { axpyPlain(dst, a, x) }

func pause() {}

func askFor(uintptr) { pause() }

func askRows(unsafe.Pointer, int, int, int) {}

func peakLoop(bool) (ops float64, loop func(n int)) { return peakPlain() }
