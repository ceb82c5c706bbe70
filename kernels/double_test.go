package kernels

import (
	"math"
	"testing"
)

// tolDouble bounds the difference of two orders of rounding of sums of 40 terms below 1 in float64.
const tolDouble = 1e-14

// TestSubTN64 compares every size of tile and edge with the loop, on strides wider than the rows; what lies between rows stays.
func TestSubTN64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, m := range []int{1, 2, 3, 4, 5, 6, 7, 13, 18} {
			for _, n := range []int{1, 7, 8, 9, 16, 31} {
				for _, k := range []int{1, 2, 40} {
					lda, ldb, ldc := m+3, n+1, n+2
					a, b, c := doubles(k*lda, 1), doubles(k*ldb, 2), doubles(m*ldc, 3)
					want := append([]float64{}, c...)
					for i := range m {
						for j := range n {
							for p := range k {
								want[i*ldc+j] -= a[p*lda+i] * b[p*ldb+j]
							}
						}
					}
					SubTN64(c, ldc, a, lda, b, ldb, m, n, k)
					for i := range c {
						if math.Abs(c[i]-want[i]) > tolDouble {
							t.Fatalf("m %d n %d k %d: element %d: expected %v, found %v", m, n, k, i, want[i], c[i])
						}
					}
				}
			}
		}
	})
}

// doubles are n numbers in [-0.5, 0.5).
func doubles(n int, seed uint64) []float64 {
	x := make([]float64, n)
	for i := range x {
		seed = seed*6364136223846793005 + 1442695040888963407
		x[i] = float64(seed>>11)/(1<<53) - 0.5
	}
	return x
}

func BenchmarkSubTN64(b *testing.B) {
	const m, n, k = 576, 64, 128
	x, y, c := doubles(k*m, 1), doubles(k*n, 2), doubles(m*n, 3)
	b.SetBytes(2 * m * n * k)
	for b.Loop() {
		SubTN64(c, n, x, m, y, n, m, n, k)
	}
}
