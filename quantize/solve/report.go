package solve

import (
	"tune/internal/grouped"
	"tune/kernels"
)

// reportRows are the rows of a matrix that its reported error is computed of.
const reportRows = 16

// RelativeError is the squared error of the outputs of a quantized matrix over the squares of the outputs, on the inputs of a
// Gram matrix, of some rows that are spread over the matrix.
func RelativeError(w []float32, q *grouped.Linear, g *Gram, pool *kernels.Pool) float64 {
	n, rows := g.N, min(q.Out, reportRows)
	d := make([]float64, n*2*rows) // (n, 2·rows): errors, then weights
	pool.Run(rows, func(_, i int) {
		r := i * q.Out / rows
		x := make([]float32, n)
		q.Decode(x, r)
		for j, v := range w[r*n : (r+1)*n] {
			d[j*2*rows+i], d[j*2*rows+rows+i] = float64(v-x[j]), float64(v)
		}
	})
	var a, b float64
	for i, v := range g.quadratic(d, 2*rows, pool) {
		if i < rows {
			a += v
		} else {
			b += v
		}
	}
	if b == 0 {
		return 0
	}
	return max(a, 0) / b
}

// quadratic is d·G·dᵀ of each of some columns of d (N, columns): twice d·U·dᵀ, U the upper half with half of the diagonal.
func (g *Gram) quadratic(d []float64, columns int, pool *kernels.Pool) []float64 {
	n := g.N
	y := make([]float64, columns*n) // minus dᵀ·U
	blocks := (n + block - 1) / block
	pool.Run(blocks, func(_, t int) {
		at := t * block
		width := min(block, n-at)
		kernels.SubTN64(y[at:], n, d, columns, g.Sum[at:], n, columns, width, at)
		own := make([]float64, width*width)
		for i := range width {
			copy(own[i*width+i:(i+1)*width], g.Sum[(at+i)*n+at+i:])
			own[i*width+i] /= 2
		}
		kernels.SubTN64(y[at:], n, d[at*columns:], columns, own, width, columns, width, width)
	})
	sums := make([]float64, columns)
	for c := range sums {
		for j := range n {
			sums[c] -= 2 * d[j*columns+c] * y[c*n+j]
		}
	}
	return sums
}
