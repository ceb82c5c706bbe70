//go:build !amd64 || purego

package kernels

// peakLoop: without assembly the ceiling is a loop of independent multiply-adds in Go.
func peakLoop(bool) (ops float64, loop func(n int)) {
	return 16, func(n int) {
		var s [8]float32
		for range n {
			for i := range s {
				s[i] += s[(i+1)%8] * 0.5
			}
		}
		sink = s[0]
	}
}

var sink float32
