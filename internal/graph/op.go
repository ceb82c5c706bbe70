package graph

import "tune/kernels"

// Op is one fused operation: a small struct of sizes and frozen weights that never holds nodes. Outputs after the documented
// ones are by-products for the backward. A backward operation is an Op whose outputs are all gradients.
type Op interface {
	Info() Info
	// Grad applies the backward operation and returns one gradient for each input, nil for none. A dout is nil when nothing
	// depends on that output.
	Grad(in, out, dout []*Node) []*Node
	// Host binds the operation to memory once; the function it returns runs it and allocates nothing.
	Host(a *Args) func()
}

// NoGrad is embedded by operations that are not differentiated.
type NoGrad struct{}

// Grad has no gradient for any input.
func (NoGrad) Grad(in, _, _ []*Node) []*Node { return nil }

// Info is what planning needs to know of an operation. Slices may be nil.
type Info struct {
	Name    string
	Out     []Shape
	FLOPs   []int64 // by output: one that nobody reads is not computed
	Scratch int     // values of working memory
	// InPlace lists pairs {output, input} that may share a buffer when the input dies here.
	InPlace [][2]int
	// Adds says by output whether it can be added onto what the buffer holds (Args.Add) instead of being written.
	Adds []bool
	// Cheap operations cost less than keeping their outputs: they are recomputed first when memory is short.
	Cheap bool
}

// Args are an operation's buffers on the host. Buffers do not overlap except as Info.InPlace allows.
type Args struct {
	In   [][]float32
	Int  [][]int32   // the same buffers, for integer inputs
	Out  [][]float32 // nil when nobody reads it
	Add  []bool      // Out[i] is added to, not written
	Tmp  []float32   // Info.Scratch values
	Pool *kernels.Pool
}
