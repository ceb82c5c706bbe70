//go:build !amd64 || purego

package kernels

import "unsafe"

func engineFor(bool) *engine { return &plainEngine }

func fusedFor(*Codec) *[4]fusedProduct { return nil }

func vecProduct(m int, word bool, y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int) {
	vecPlain(m, word, y, ldy, x, ldx, w, stride, n, rows)
}

func pause() {}

func peakLoop(bool) (ops float64, loop func(n int)) { return peakPlain() }
