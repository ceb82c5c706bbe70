// Package nn holds the fused operations of decoders. One file is one operation: its formula and shapes, forward, gradient and
// backward side by side.
//
// An operation is a function from nodes to nodes that applies a graph.Op. The op keeps sizes and frozen weights, never nodes;
// trainable weights are inputs. Arithmetic is that of package kernels. Work is cut by shape alone, so results do not depend
// on the number of workers.
//
// Letters: N tokens, C model width, H query heads, K key/value heads, D head width, F feed-forward width, V vocabulary, R rank
// of an adapter. The gradient of y is dy.
package nn

import (
	"fmt"

	"tune/internal/graph"
	"tune/kernels"
)

// Weight is a matrix (Rows, Cols) = (out, in): frozen in its stored type, or a trained float32 node.
type Weight struct {
	Name       string
	Rows, Cols int
	Frozen     kernels.Matrix
	Node       *graph.Node // not nil: trained
	// Order is how the columns of Frozen stand in its memory, Frozen[o][j] = W[o][Order[j]]; nil: as they are. Linear and LinearAdd know it.
	Order []int32
}

// Vector is a norm's weight or a bias: frozen, or a trained node of as many values.
type Vector struct {
	Frozen []float32
	Node   *graph.Node
}

// LoRA is a low-rank adapter of a matrix (out, in): y += Scale·(dropout(x)·Aᵀ)·Bᵀ (Hu et al. 2021).
type LoRA struct {
	A, B      *graph.Node // (R, in), (out, R)
	R         int
	Scale     float32
	Dropout   float32     // probability that a value of x is dropped for this adapter; 0: none, nor is Rng used
	Rng       *graph.Node // Ints of two values: the low and high half of the random key of this step
	Salt      uint64      // what tells the masks of adapters apart
	Magnitude *graph.Node // DoRA: (out, 1)
}

// Proj is one projection: a matrix with what belongs to it.
type Proj struct {
	W    Weight
	Bias *Vector // nil: none
	LoRA *LoRA   // nil: none
}

// ins collects an operation's inputs.
type ins []*graph.Node

// add appends a node and returns its place; nil has place -1.
func (in *ins) add(n *graph.Node) int {
	if n == nil {
		return -1
	}
	*in = append(*in, n)
	return len(*in) - 1
}

// matrix is a weight as an op keeps it.
type matrix struct {
	m  kernels.Matrix // frozen, or sizes only
	at int            // input; -1: frozen
}

func (in *ins) weight(w Weight, rows, cols int) matrix {
	if w.Rows != rows || w.Cols != cols {
		panic(fmt.Sprintf("nn: weight %s: expected (%d, %d), found (%d, %d)", w.Name, rows, cols, w.Rows, w.Cols))
	}
	if w.Node == nil {
		if w.Frozen.Rows != rows || w.Frozen.Cols != cols {
			panic(fmt.Sprintf("nn: weight %s: expected (%d, %d), found a matrix (%d, %d)", w.Name, rows, cols, w.Frozen.Rows, w.Frozen.Cols))
		}
		return matrix{w.Frozen, -1}
	}
	return in.node(w.Node, rows, cols)
}

func (in *ins) node(n *graph.Node, rows, cols int) matrix {
	if n == nil || n.Shape() != (graph.Shape{rows, cols}) {
		panic(fmt.Sprintf("nn: expected a parameter (%d, %d), found %v", rows, cols, n))
	}
	return matrix{kernels.Matrix{Rows: rows, Cols: cols, Codec: kernels.F32}, in.add(n)}
}

// of is the matrix among an op's buffers.
func (m matrix) of(a *graph.Args) kernels.Matrix {
	if m.at < 0 {
		return m.m
	}
	return kernels.Floats(a.In[m.at], m.m.Rows, m.m.Cols)
}

// vector is a Vector as an op keeps it.
type vector struct {
	frozen []float32
	at     int
}

func (in *ins) vector(v *Vector, n int) vector {
	switch {
	case v == nil:
		return vector{nil, -1}
	case v.Node != nil:
		if v.Node.Shape().Size() != n {
			panic(fmt.Sprintf("nn: vector %s: expected %d values, found %v", v.Node.Name(), n, v.Node.Shape()))
		}
		return vector{nil, in.add(v.Node)}
	case len(v.Frozen) != n:
		panic(fmt.Sprintf("nn: vector: expected %d values, found %d", n, len(v.Frozen)))
	}
	return vector{v.Frozen, -1}
}

func (v vector) of(a *graph.Args) []float32 {
	if v.at < 0 {
		return v.frozen
	}
	return a.In[v.at]
}

// decodeRow writes row r of m as float32 to dst (Cols).
func decodeRow(m *kernels.Matrix, r int, dst []float32) {
	n := (m.Cols + m.Block - 1) / m.Block * m.Bytes
	at := r * m.RowStride()
	m.F32(dst, m.Data[at:at+n])
}

// grain is about how many values a task handles.
const grain = 1 << 14

// rowsOf runs f over blocks of n rows of the given width, several at once.
func rowsOf(p *kernels.Pool, n, width int, f func(lo, hi int)) func() {
	per := max(1, grain/max(1, width))
	task := func(_, t int) { f(t*per, min(n, (t+1)*per)) }
	return func() { p.Run((n+per-1)/per, task) }
}

// columnBlock is how many columns a task of a column sum handles.
const columnBlock = 64

// columns runs f over blocks of columns.
func columns(p *kernels.Pool, width int, f func(lo, hi int)) func() {
	task := func(_, t int) { f(t*columnBlock, min(width, (t+1)*columnBlock)) }
	return func() { p.Run((width+columnBlock-1)/columnBlock, task) }
}

// columnSum: dst_j (+)= Σ_i x_ij, x (n, len(dst)); add keeps what dst holds.
func columnSum(p *kernels.Pool, dst, x []float32, add bool) func() {
	w := len(dst)
	return columns(p, w, func(lo, hi int) {
		if !add {
			clear(dst[lo:hi])
		}
		for i := 0; i < len(x); i += w {
			kernels.Add(dst[lo:hi], dst[lo:hi], x[i+lo:i+hi])
		}
	})
}

// scratch hands out an op's working memory.
type scratch []float32

func (s *scratch) take(n int) []float32 {
	x := (*s)[:n:n]
	*s = (*s)[n:]
	return x
}

// sized rounds a part of the scratch up so that the next part is aligned as buffers are.
func sized(n int) int { return (n + 15) / 16 * 16 }

// multiply returns a function that runs a product.
func multiply(a *graph.Args, x *kernels.Product, tmp []float32) func() {
	return func() { a.Pool.MatMul(x, tmp) }
}

// sequence runs functions one after the other, skipping nil ones.
func sequence(fs ...func()) func() {
	var some []func()
	for _, f := range fs {
		if f != nil {
			some = append(some, f)
		}
	}
	return func() {
		for _, f := range some {
			f()
		}
	}
}

// needs is the greatest scratch of products whose operands may still lack memory.
func needs(ps ...*kernels.Product) (n int) {
	for _, p := range ps {
		n = max(n, sized(p.Scratch()))
	}
	return n
}

// onto is c when it is to be added to, else nothing to add.
func onto(c []float32, add bool) []float32 {
	if add {
		return c
	}
	return nil
}
