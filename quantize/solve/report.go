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
	n := g.N
	rows := min(q.Out, reportRows)
	off, all := make([]float64, rows), make([]float64, rows)
	pool.Run(rows, func(_, i int) {
		r := i * q.Out / rows
		x := make([]float32, n)
		q.Decode(x, r)
		row := w[r*n : (r+1)*n]
		for j, v := range row {
			x[j] = v - x[j]
		}
		off[i], all[i] = g.quadratic(x), g.quadratic(row)
	})
	var a, b float64
	for i := range rows {
		a, b = a+off[i], b+all[i]
	}
	if b == 0 {
		return 0
	}
	return max(a, 0) / b
}

// quadratic is d·G·dᵀ.
func (g *Gram) quadratic(d []float32) (sum float64) {
	for i, v := range d {
		if v == 0 {
			continue
		}
		row := g.Sum[i*g.N : (i+1)*g.N]
		half := float64(v) * row[i] / 2
		for j := i + 1; j < g.N; j++ {
			half += float64(d[j]) * row[j]
		}
		sum += 2 * float64(v) * half
	}
	return sum
}
