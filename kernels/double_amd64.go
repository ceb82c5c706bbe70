//go:build !purego

package kernels

// doubleTile is the columns of a tile of doubles, doubleRows its most rows.
const (
	doubleTile = 8
	doubleRows = 6
)

func subTN64(c []float64, ldc int, a []float64, lda int, b []float64, ldb int, m, n, k int) {
	whole := n / doubleTile * doubleTile
	if level < levelAVX2 {
		whole = 0
	}
	for j := 0; j < whole; j += doubleTile {
		for i := 0; i < m; i += doubleRows {
			tile := doubleTiles[min(m-i, doubleRows)-1]
			tile(&c[i*ldc+j], 8*ldc, &a[i], 8*lda, &b[j], 8*ldb, k)
		}
	}
	if whole < n {
		subTN64Plain(c[whole:], ldc, a, lda, b[whole:], ldb, m, n-whole, k)
	}
}

// doubleTiles by rows, less one.
var doubleTiles = [doubleRows]func(c *float64, ldc int, a *float64, lda int, b *float64, ldb int, k int){
	subTN64x1AVX2, subTN64x2AVX2, subTN64x3AVX2, subTN64x4AVX2, subTN64x5AVX2, subTN64x6AVX2,
}
