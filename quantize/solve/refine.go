package solve

import (
	"math"
	"slices"

	"tune/kernels"
)

// Hessian is a Gram matrix with damping as the refinement of codes uses it: float32, both halves.
type Hessian struct {
	n     int
	h     []float32 // (n, n)
	order []int32   // columns by falling diagonal
}

// NewHessian adds a damping that is a share of the mean of the diagonal.
func NewHessian(g *Gram, damp float64, pool *kernels.Pool) *Hessian {
	h := &Hessian{g.N, full(g, pool), ByActivation(g.Diagonal())}
	mean := 0.0
	for _, v := range g.Diagonal() {
		mean += v / float64(g.N)
	}
	for i := range g.N {
		h.h[i*g.N+i] = float32(g.At(i, i) + damp*mean)
		if h.h[i*g.N+i] == 0 {
			h.h[i*g.N+i] = 1
		}
	}
	return h
}

// refineRows of a task: their residuals stay in the cache while they share the rows of H.
const refineRows = 32

// RefineRows bounds the rows whose residuals are in memory.
const RefineRows = 1024

// Refine lowers the squared error of the outputs of a solved matrix further: each code in turn moves to where the error is least with all
// others as they are (coordinate descent, as in QuantEase; Behdin et al. 2023); then, as many times as wanted, each scale does, and the
// codes again. w (out, in) are the weights that were rounded.
func (g *Ints) Refine(w []float32, h *Hessian, sweeps int, pool *kernels.Pool) {
	shape("weights", len(w), g.out*g.in)
	columns := make([][]int, g.groups)
	for j, k := range g.groupOf {
		columns[k] = append(columns[k], j)
	}
	for first := 0; first < g.out && sweeps > 0; first += RefineRows {
		rows := min(RefineRows, g.out-first)
		r := g.residual(w, h, first, rows, pool)
		codes := func() {
			pool.Run((rows+refineRows-1)/refineRows, func(_, t int) {
				from, to := t*refineRows, min((t+1)*refineRows, rows)
				g.moveCodes(first+from, to-from, r[from*g.in:to*g.in], h)
			})
		}
		codes()
		var m scaleMove
		for range sweeps {
			for k := range columns {
				g.moveScales(&m, first, rows, k, columns[k], r, h, pool)
			}
			codes()
		}
	}
}

// residual is (w - q)·H of some rows (rows, n).
func (g *Ints) residual(w []float32, h *Hessian, first, rows int, pool *kernels.Pool) []float32 {
	n := g.in
	d, r := make([]float32, rows*n), make([]float32, rows*n)
	pool.Run(rows, func(_, i int) {
		row := first + i
		for j := range n {
			d[i*n+j] = float32(float64(w[row*n+j]) - g.value(row, j))
		}
	})
	p := &kernels.Product{M: rows, K: n, A: d, Exact: true, Outs: []kernels.Out{{N: n, C: r, B: kernels.Floats(h.h, n, n)}}}
	pool.MatMul(p, make([]float32, p.Scratch()))
	return r
}

// value of a code.
func (g *Ints) value(row, column int) float64 {
	at := row*g.groups + int(g.groupOf[column])
	return (float64(g.codes[row*g.in+column]) - g.zero[at]) * g.scale[at]
}

// moveCodes is a sweep over the codes of some rows with residuals r (rows, n).
func (g *Ints) moveCodes(row, rows int, r []float32, h *Hessian) {
	n, top := g.in, float64(int(1)<<g.Bits-1)
	inverse := make([]float64, rows*g.groups) // of the scales: a division for each code would take longer than all else
	for i := range inverse {
		inverse[i] = 1 / g.scale[row*g.groups+i]
	}
	for _, j := range h.order {
		hj, k := h.h[int(j)*n:(int(j)+1)*n], int(g.groupOf[j])
		curve := 1 / float64(hj[j])
		for i := range rows {
			steps := float64(r[i*n+int(j)]) * curve * inverse[i*g.groups+k] // to where the error is least
			if steps >= -0.5 && steps <= 0.5 {
				continue
			}
			c := &g.codes[(row+i)*n+int(j)]
			old := float64(*c)
			if now := min(max(old+math.RoundToEven(steps), 0), top); now != old {
				*c = uint8(now)
				kernels.Axpy(r[i*n:(i+1)*n], float32(-(now-old)*g.scale[(row+i)*g.groups+k]), hj)
			}
		}
	}
}

// scaleMove is the memory of moveScales, which is used again for every group.
type scaleMove struct{ hk, c, step, scratch []float32 }

// resized makes room for n values in memory that is used again.
func resized[T any](x []T, n int) []T { return slices.Grow(x[:0], n)[:n] }

// moveScales moves the scales of one group of some rows with residuals r (rows, n).
func (g *Ints) moveScales(move *scaleMove, first, rows, k int, columns []int, r []float32, h *Hessian, pool *kernels.Pool) {
	n, m := g.in, len(columns)
	move.hk, move.c, move.step = resized(move.hk, m*n), resized(move.c, rows*m), resized(move.step, rows*n)
	hk, c, step := move.hk, move.c, move.step
	for i, j := range columns {
		copy(hk[i*n:], h.h[j*n:(j+1)*n])
	}
	for i := range rows {
		for x, j := range columns {
			c[i*m+x] = float32(float64(g.codes[(first+i)*n+j]) - g.zero[(first+i)*g.groups+k])
		}
	}
	p := &kernels.Product{M: rows, K: m, A: c, Exact: true, Outs: []kernels.Out{{N: n, C: step, B: kernels.Floats(hk, m, n), Rowwise: true}}}
	move.scratch = resized(move.scratch, p.Scratch())
	pool.MatMul(p, move.scratch)
	pool.Run(rows, func(_, i int) {
		ri, si := r[i*n:(i+1)*n], step[i*n:(i+1)*n]
		pull, curve := 0.0, 0.0
		for x, j := range columns {
			pull += float64(c[i*m+x]) * float64(ri[j])
			curve += float64(c[i*m+x]) * float64(si[j])
		}
		if !(curve > 0) {
			return
		}
		scale := &g.scale[(first+i)*g.groups+k]
		s := g.stored(*scale + pull/curve)
		if d := s - *scale; s > 0 && d*(2*pull-d*curve) > 0 { // else rounded past the other side
			*scale = s
			kernels.Axpy(ri, float32(-d), si)
		}
	})
}
