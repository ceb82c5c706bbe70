//go:build !purego

package kernels

// peakLoop is a loop of multiply-adds on registers and its operations per round.
func peakLoop(exact bool) (ops float64, loop func(n int)) {
	switch e := engineFor(exact); {
	case e.per == 2:
		return 16 * 64, peakBF16
	case e == &f32Engine:
		return 16 * 32, peakF32
	}
	return 12 * 16, peakAVX2
}
