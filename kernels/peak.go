package kernels

// Peak does n rounds of multiply-adds on registers alone, in the calling goroutine, and returns their number of operations. It is the
// ceiling the rate of a product is divided by: one worker's, in the precision MatMul uses for exact or not.
func Peak(exact bool, n int) (ops float64) {
	perRound, loop := peakLoop(exact)
	loop(n)
	return perRound * float64(n)
}

// PeakInt8 is Peak of integer products: VNNI's, which add four products of bytes to 32 bits; with AVX2 multiplications of bytes, each with
// one addition in 16 bits, which codes of 4 bits come near and those of 8 bits, whose products must be widened one by one, can reach half of.
// 0: the level has no such instruction.
func PeakInt8(n int) (ops float64) {
	perRound, loop := peakInt8Loop()
	loop(n)
	return perRound * float64(n)
}

// peakPlain is eight chains of multiply-adds in Go and their operations per round.
func peakPlain() (ops float64, loop func(n int)) {
	return 16, func(n int) {
		x := [8]float32{1, 2, 3, 4, 5, 6, 7, 8}
		for range n {
			for i := range x {
				x[i] = x[i]*0.5 + 1
			}
		}
		if x[0] < 0 { // never: the result must count as used
			panic("kernels: peak")
		}
	}
}
