package solve

import (
	"fmt"
	"math"
	"slices"

	"tune/internal/hint"
	"tune/kernels"
)

// A Gram is XᵀX of the inputs of a layer, summed over tokens.
type Gram struct {
	N             int       // width
	Tokens        int       // rows of X that were added
	Sum           []float64 // (N, N); stripes of columns below the diagonal are not kept up: read Sum[i][j] with i <= j
	piece         []float32 // of the rows being added
	left, scratch []float32
}

// NewGram of inputs of width n, zero.
func NewGram(n int) *Gram { return &Gram{N: n, Sum: make([]float64, n*n)} }

// Reset makes it zero again.
func (g *Gram) Reset() {
	clear(g.Sum)
	g.Tokens = 0
}

// gramStripe is the rows of the Gram matrix that one product makes; it bounds what is computed below the diagonal.
const gramStripe = 192

// Add adds the rows of x (rows, N): float32 sums over these rows (bf16 operands where the CPU has them, unless exact),
// float64 from call to call.
func (g *Gram) Add(x []float32, rows int, exact bool, pool *kernels.Pool) {
	n := g.N
	g.piece, g.left = slices.Grow(g.piece[:0], gramStripe*n)[:gramStripe*n], slices.Grow(g.left[:0], rows*gramStripe)[:rows*gramStripe]
	for i := 0; i < n; i += gramStripe {
		m, cols := min(gramStripe, n-i), n-i
		left := g.left[:rows*m]
		for r := range rows {
			copy(left[r*m:(r+1)*m], x[r*n+i:])
		}
		b := kernels.Floats(x, rows, n)
		b.Data = b.Data[4*i:]
		b.Cols = cols
		c := g.piece[:m*cols]
		p := &kernels.Product{M: m, K: rows, A: left, TransA: true, Exact: exact, Outs: []kernels.Out{{N: cols, C: c, B: b, Rowwise: true}}}
		g.scratch = slices.Grow(g.scratch[:0], p.Scratch())[:p.Scratch()]
		pool.MatMul(p, g.scratch)
		pool.Run(m, func(_, r int) {
			sum := g.Sum[(i+r)*n+i : (i+r+1)*n]
			for j, v := range c[r*cols : (r+1)*cols] {
				sum[j] += float64(v)
			}
		})
	}
	g.Tokens += rows
}

// AddExact adds rows in float64 throughout.
func (g *Gram) AddExact(x []float64, rows int, pool *kernels.Pool) {
	pool.Run((g.N+block-1)/block, func(_, t int) {
		i := t * block
		m := min(block, g.N-i)
		left := make([]float64, rows*m)
		for r := range rows {
			for j, v := range x[r*g.N+i : r*g.N+i+m] {
				left[r*m+j] = -v
			}
		}
		kernels.SubTN64(g.Sum[i*g.N+i:], g.N, left, m, x[i:], g.N, m, g.N-i, rows)
	})
	g.Tokens += rows
}

// AddScaled adds other sums, times a factor.
func (g *Gram) AddScaled(o *Gram, by float64) {
	for i := range g.N {
		row := g.Sum[i*g.N+i : (i+1)*g.N]
		for j, v := range o.Sum[i*g.N+i : (i+1)*g.N] {
			row[j] += by * v
		}
	}
}

// At is an element.
func (g *Gram) At(i, j int) float64 { return g.Sum[min(i, j)*g.N+max(i, j)] }

// Diagonal are the sums of squares of the columns (N).
func (g *Gram) Diagonal() []float64 {
	d := make([]float64, g.N)
	for i := range d {
		d[i] = g.Sum[i*g.N+i]
	}
	return d
}

// Check finds what is not a sum of finite numbers.
func (g *Gram) Check() error {
	for i, v := range g.Diagonal() {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return hint.Errorf("the model diverges on this text, or a weight is damaged", "input %d: expected finite activations, found a sum of squares of %v", i, v)
		}
	}
	return nil
}

// Scaled is the Gram matrix of inputs that are divided by s (N).
func (g *Gram) Scaled(s []float64, pool *kernels.Pool) *Gram {
	out := NewGram(g.N)
	out.Tokens = g.Tokens
	pool.Run(g.N, func(_, i int) {
		for j := i; j < g.N; j++ {
			out.Sum[i*g.N+j] = g.Sum[i*g.N+j] / (s[i] * s[j])
		}
	})
	return out
}

// shape panics when a slice is not what its sizes say.
func shape(what string, have, want int) {
	if have != want {
		panic(fmt.Sprintf("solve: %s: expected %d values, found %d", what, want, have))
	}
}
