package kernels

// SubTN64 subtracts a product in float64, where float32 would lose what is to be inverted:
//
//	for i < m, j < n:  for p < k, in ascending order:  C[i][j] -= A[p][i]·B[p][j]
//
// C is (m, n), A (k, m) and B (k, n), each with rows that many values apart. The AVX2 form fuses products and differences for
// whole groups of 8 columns. C may share memory with A or B where no element is in two of them.
func SubTN64(c []float64, ldc int, a []float64, lda int, b []float64, ldb int, m, n, k int) {
	if m <= 0 || n <= 0 || k <= 0 {
		return
	}
	if len(c) < (m-1)*ldc+n || len(a) < (k-1)*lda+m || len(b) < (k-1)*ldb+n || ldc < n || lda < m || ldb < n {
		panic("kernels: SubTN64: slice shorter than its matrix")
	}
	for p := 0; p < k; p += depth64 {
		subTN64(c, ldc, a[p*lda:], lda, b[p*ldb:], ldb, m, n, min(depth64, k-p))
	}
}

// depth64 is the rows of A and B that are taken at a time: each lies in a page of its own when matrices are wide, and caches and
// translation buffers of a core hold few of them. 1,400 rows of a matrix of 1,536 columns at once ran at 7 GFLOP/s, so at 21 (Zen 3, AVX2).
const depth64 = 64

func subTN64Plain(c []float64, ldc int, a []float64, lda int, b []float64, ldb int, m, n, k int) {
	for i := range m {
		ci := c[i*ldc:][:n]
		for p := range k {
			f, bp := a[p*lda+i], b[p*ldb:][:n]
			for j, v := range bp {
				ci[j] -= f * v
			}
		}
	}
}
