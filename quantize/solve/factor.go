package solve

import (
	"math"

	"tune/internal/hint"
	"tune/kernels"
)

// A Factor is what GPTQ needs of a Gram matrix: with H = G + damping in the order in which columns are rounded, the upper
// Cholesky factor U of the inverse, H⁻¹ = UᵀU.
//
// It is found without inverting H: if R is upper with RᵀR = H in reversed order, then R⁻ᵀ, a lower matrix, is U in reversed
// order. So everything here is reversed: Order names the columns from the last to be rounded to the first, and row p of X is
// row n-1-p of U, from its end.
type Factor struct {
	N     int
	Damp  float64 // that was added to the diagonal, as a share of its mean
	Tries int     // how often the damping had to be raised
	Dead  int     // columns that saw only zeros
	order []int32 // (N) columns by position
	x     []float64
	ld    int         // of x
	small [][]float64 // minus the inverses of the diagonal blocks
	least []float64   // pivots that are not more than this are rounding
}

// block is the unit of the blocked algorithms: whole tiles of 6 rows and of 8 columns.
const block = 96

// maxDamp is the damping that makes any sum of squares positive definite: as much as its mean.
const maxDamp = 1

// NewFactor factors a Gram matrix with a damping that is a share of the mean of its diagonal; it is doubled until the matrix
// is positive definite in float64. order says which column is rounded first, second and so on; nil: as they stand. Columns that saw only zeros count as independent.
func NewFactor(g *Gram, order []int32, damp float64, pool *kernels.Pool) (*Factor, error) {
	n := g.N
	if order == nil {
		order = natural(n)
	}
	f := &Factor{N: n, order: reversed(order), Damp: damp, ld: (n + 7) / 8 * 8}
	if err := g.Check(); err != nil {
		return nil, err
	}
	f.x = make([]float64, n*f.ld)
	f.small = make([][]float64, (n+block-1)/block)
	f.least = make([]float64, n)
	diag, mean := f.gather(g, pool)
	for {
		for p := range n {
			f.x[p*f.ld+p] = diag[p] + f.Damp*mean
			f.least[p] = float64(n) * 0x1p-52 * f.x[p*f.ld+p]
		}
		if f.cholesky(pool) {
			break
		}
		if f.Damp >= maxDamp {
			return nil, hint.Errorf("give more or other text", "the activations' products are not positive definite, even with a damping of %g", f.Damp)
		}
		f.Damp = min(max(2*f.Damp, 1e-4), maxDamp)
		f.Tries++
		f.restore(pool)
	}
	f.invert(pool)
	f.small, f.least = nil, nil
	return f, nil
}

func natural(n int) []int32 {
	o := make([]int32, n)
	for i := range o {
		o[i] = int32(i)
	}
	return o
}

func reversed(o []int32) []int32 {
	r := make([]int32, len(o))
	for i, v := range o {
		r[len(o)-1-i] = v
	}
	return r
}

// gather puts the matrix in order, twice: above the diagonal to be factored, below to be kept.
func (f *Factor) gather(g *Gram, pool *kernels.Pool) (diag []float64, mean float64) {
	diag = make([]float64, f.N)
	for p, c := range f.order {
		if diag[p] = g.At(int(c), int(c)); diag[p] == 0 {
			diag[p] = 1
			f.Dead++
		}
		mean += diag[p] / float64(f.N)
	}
	pool.Run(f.N, func(_, p int) {
		row, c := f.x[p*f.ld:], int(f.order[p])
		for q, d := range f.order {
			row[q] = g.At(c, int(d))
		}
	})
	return diag, mean
}

// restore copies what was kept below the diagonal to above it.
func (f *Factor) restore(pool *kernels.Pool) {
	pool.Run(f.N, func(_, p int) {
		for q := p + 1; q < f.N; q++ {
			f.x[p*f.ld+q] = f.x[q*f.ld+p]
		}
	})
}

func (f *Factor) at(p, q int) []float64 { return f.x[p*f.ld+q:] }

// span is the rows of block k.
func (f *Factor) span(k int) (first, n int) {
	first = k * block
	return first, min(block, f.N-first)
}

// cholesky factors what is above the diagonal in place, block row by block row: R_kj = R_kk⁻ᵀ (H_kj - Σ_{m<k} R_mkᵀ·R_mj).
// small[k] is -R_kk⁻¹. False: not positive definite.
func (f *Factor) cholesky(pool *kernels.Pool) bool {
	blocks := len(f.small)
	for k := range blocks {
		first, n := f.span(k)
		pool.Run(blocks-k, func(_, t int) {
			at, cols := f.span(k + t)
			if t == 0 { // the kept half lies in the same block
				f.diagonalUpdate(first, n)
				return
			}
			kernels.SubTN64(f.at(first, at), f.ld, f.at(0, first), f.ld, f.at(0, at), f.ld, n, cols, first)
		})
		inverse, ok := f.diagonal(first, n)
		if !ok {
			return false
		}
		f.small[k] = inverse
		pool.Run(blocks-k-1, func(_, t int) {
			at, cols := f.span(k + 1 + t)
			f.replace(first, at, n, cols, inverse)
		})
	}
	return true
}

// diagonalUpdate is the update of a diagonal block, of which only what is on and above the diagonal changes.
func (f *Factor) diagonalUpdate(first, n int) {
	c := make([]float64, n*block)
	for i := range n {
		copy(c[i*block:i*block+n], f.at(first+i, first)[:n])
	}
	kernels.SubTN64(c, block, f.at(0, first), f.ld, f.at(0, first), f.ld, n, n, first)
	for i := range n {
		copy(f.at(first+i, first+i)[:n-i], c[i*block+i:])
	}
}

// diagonal factors a diagonal block and returns minus its inverse (n, block), upper.
func (f *Factor) diagonal(first, n int) (inverse []float64, ok bool) {
	for k := range n {
		row := f.at(first+k, first)[:n]
		for m := range k {
			a := f.at(first+m, first)[:n]
			if v := a[k]; v != 0 {
				for j := k; j < n; j++ {
					row[j] -= v * a[j]
				}
			}
		}
		if !(row[k] > f.least[first+k]) || math.IsInf(row[k], 0) {
			return nil, false
		}
		d := math.Sqrt(row[k])
		row[k] = d
		for j := k + 1; j < n; j++ {
			row[j] /= d
		}
	}
	inverse = make([]float64, n*block)
	for j := range n { // column j of R⁻¹ by back substitution
		inverse[j*block+j] = -1 / f.at(first+j, first)[j]
		for i := j - 1; i >= 0; i-- {
			sum, row := 0.0, f.at(first+i, first)
			for k := i + 1; k <= j; k++ {
				sum += row[k] * inverse[k*block+j]
			}
			inverse[i*block+j] = -sum / row[i]
		}
	}
	return inverse, true
}

// replace multiplies a block (n, cols) by R_kk⁻ᵀ from the left.
func (f *Factor) replace(first, at, n, cols int, inverse []float64) {
	old := make([]float64, n*block)
	for i := range n {
		row := f.at(first+i, at)[:cols]
		copy(old[i*block:], row)
		clear(row)
	}
	kernels.SubTN64(f.at(first, at), f.ld, inverse, block, old, block, n, cols, n)
}

// invert writes R⁻ᵀ on and below the diagonal: X_jj = R_jj⁻ᵀ and X_ij = -R_ii⁻ᵀ·Σ_{j<=k<i} R_kiᵀ·X_kj, column of blocks by column.
func (f *Factor) invert(pool *kernels.Pool) {
	pool.Run(len(f.small), func(_, j int) {
		at, cols := f.span(j)
		own := make([]float64, cols*block) // X_jj, its upper half zero
		for r := range cols {
			for c := range r + 1 {
				own[r*block+c] = -f.small[j][c*block+r]
			}
		}
		sum := make([]float64, block*block)
		for i := j + 1; i < len(f.small); i++ {
			first, n := f.span(i)
			clear(sum)
			kernels.SubTN64(sum, block, f.at(at, first), f.ld, own, block, n, cols, cols)
			kernels.SubTN64(sum, block, f.at(at+block, first), f.ld, f.at(at+block, at), f.ld, n, cols, first-at-block)
			for r := range n {
				clear(f.at(first+r, at)[:cols])
			}
			// the sum is negative already: X_ij = R_ii⁻ᵀ·sum, and small is minus the inverse
			kernels.SubTN64(f.at(first, at), f.ld, f.small[i], block, sum, block, n, cols, n)
		}
	})
	pool.Run(len(f.small), func(_, j int) { // only now: the factor's diagonal was needed above
		at, cols := f.span(j)
		for r := range cols {
			for c := range r + 1 {
				f.at(at+r, at)[c] = -f.small[j][c*block+r]
			}
		}
	})
}

// pivot is U_ii of the column at position p.
func (f *Factor) pivot(p int) float64 { return f.x[p*f.ld+p] }
