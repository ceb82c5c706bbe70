//go:build !amd64 || purego

package kernels

func useHalf() bool { return false }

func packRows(half bool, dst []float32, stride, rows int, src []float32, ld, n, d int, factor float32) {
	packRowsPlain(half, dst, stride, rows, src, ld, n, d, factor)
}

func packPairs(half bool, dst []float32, stride, rows int, src []float32, ld, n, d int, factor float32) {
	packPairsPlain(half, dst, stride, rows, src, ld, n, d, factor)
}

func packColumns(half bool, dst, src []float32, ld, n, d int) {
	packColumnsPlain(half, dst, src, ld, n, d)
}

func softmaxRows(half bool, s []float32, mask []uint64, top, sum, keep []float32) {
	softmaxRowsPlain(half, s, mask, top, sum, keep)
}

func softmaxBack(half bool, s, d []float32, mask []uint64, lse, delta []float32) {
	softmaxBackPlain(half, s, d, mask, lse, delta)
}
