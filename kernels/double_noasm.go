//go:build !amd64 || purego

package kernels

func subTN64(c []float64, ldc int, a []float64, lda int, b []float64, ldb int, m, n, k int) {
	subTN64Plain(c, ldc, a, lda, b, ldb, m, n, k)
}
