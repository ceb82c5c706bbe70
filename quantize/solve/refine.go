package solve

import (
	"math"

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

// refineRows of a task of Refine.
const refineRows = 32

// Refine lowers the squared error of the outputs of a solved matrix further, for as many sweeps as wanted: each code in turn moves
// to where the error is least with all others as they are (coordinate descent, as in QuantEase; Behdin et al. 2023), then each
// scale does. w (out, in) are the weights that were rounded.
func (g *Ints) Refine(w []float32, h *Hessian, sweeps int, pool *kernels.Pool) {
	shape("weights", len(w), g.out*g.in)
	for first := 0; first < g.out; first += refineChunk {
		rows := min(refineChunk, g.out-first)
		r := g.residual(w, h, first, rows, pool)
		pool.Run((rows+refineRows-1)/refineRows, func(_, t int) {
			step := make([]float32, g.in)
			for i := t * refineRows; i < min((t+1)*refineRows, rows); i++ {
				for range sweeps {
					moved := g.moveCodes(first+i, r[i*g.in:(i+1)*g.in], h)
					g.moveScales(first+i, r[i*g.in:(i+1)*g.in], step, h)
					if !moved {
						break
					}
				}
			}
		})
	}
}

// refineChunk bounds the rows whose residuals are in memory.
const refineChunk = 1024

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

// moveCodes is a sweep over the codes of a row with residual r; false: nothing moved.
func (g *Ints) moveCodes(row int, r []float32, h *Hessian) (moved bool) {
	n, top := g.in, float64(int(1)<<g.Bits-1)
	for _, j := range h.order {
		at := row*g.groups + int(g.groupOf[j])
		s, z := g.scale[at], g.zero[at]
		old := float64(g.codes[row*n+int(j)])
		want := (old-z)*s + float64(r[j])/float64(h.h[int(j)*n+int(j)])
		c := code(want, s, z, top)
		if c == old {
			continue
		}
		g.codes[row*n+int(j)] = uint8(c)
		kernels.Axpy(r, float32(-(c-old)*s), h.h[int(j)*n:(int(j)+1)*n])
		moved = true
	}
	return moved
}

// moveScales is a sweep over the scales of a row with residual r; step (n) is scratch.
func (g *Ints) moveScales(row int, r, step []float32, h *Hessian) {
	n := g.in
	for k := range g.groups {
		at := row*g.groups + k
		z := g.zero[at]
		clear(step)
		pull, curve := 0.0, 0.0
		for j := range n {
			c := float64(g.codes[row*n+j]) - z
			if int(g.groupOf[j]) == k && c != 0 {
				pull += c * float64(r[j])
				kernels.Axpy(step, float32(c), h.h[j*n:(j+1)*n])
			}
		}
		for j := range n {
			if int(g.groupOf[j]) == k {
				curve += (float64(g.codes[row*n+j]) - z) * float64(step[j])
			}
		}
		if !(curve > 0) {
			continue
		}
		s := g.stored(g.scale[at] + pull/curve)
		d := s - g.scale[at]
		if s <= 0 || d == 0 || d*(2*pull-d*curve) <= 0 || math.IsNaN(s) { // rounded past the other side
			continue
		}
		g.scale[at] = s
		kernels.Axpy(r, float32(-d), step)
	}
}
