// Package graph turns a model into a program: a tape of fused operations, its gradients, and a plan of instructions over a few
// blocks of memory whose sizes are known before anything runs.
//
//	graph.go    the tape              grad.go   gradients           math.go     small arithmetic
//	program.go  tape to instructions  fold.go   sums done in place  remat.go    recomputation that fits a budget
//	plan.go     lives and offsets     device.go memory and running  session.go  a program bound to memory
//
// Operations themselves live in internal/nn; this package knows of them only what Op says.
package graph

import "fmt"

// Shape is rows by columns. Activations are (tokens, width), a scalar is (1, 1).
type Shape [2]int

// Size is the number of values.
func (s Shape) Size() int { return s[0] * s[1] }

// Layers a step can belong to besides those of the model, which count from 0.
const (
	outside  = -1 // forward, of no layer
	backward = -2 // made by differentiation
)

// Node is one value of a graph: an input, a parameter, or one output of an operation.
type Node struct {
	g     *Graph
	name  string // of inputs and parameters
	shape Shape
	space Space // Arena: output of a step
	ints  bool
	step  int // producing step
}

// Shape is the node's rows and columns.
func (n *Node) Shape() Shape { return n.shape }

// Name is the name of an input or parameter, empty for other nodes.
func (n *Node) Name() string { return n.name }

// Graph is the graph the node belongs to.
func (n *Node) Graph() *Graph { return n.g }

// step is one application of an operation.
type step struct {
	op      Op
	in, out []*Node
	layer   int
	phase   int
}

// accumulation adds a node into a buffer of the Grads space.
type accumulation struct {
	name string
	from *Node
}

// Graph is the tape: inputs and the applications of operations in the order they were written, which is the order they run in.
type Graph struct {
	named map[string]*Node
	names []*Node // in order of declaration
	steps []step
	sums  []accumulation
	layer int
	phase int
	once  map[any][]*Node
}

// New is an empty graph.
func New() *Graph {
	return &Graph{named: map[string]*Node{}, layer: outside, once: map[any][]*Node{}}
}

// Input declares a float32 input, set before a run. Names of inputs and parameters are unique; a second one panics.
func (g *Graph) Input(name string, s Shape) *Node {
	return g.declare(&Node{g: g, name: name, shape: s, space: Inputs})
}

// Ints declares an int32 input of n values: ids, positions, segment starts, labels, random keys.
func (g *Graph) Ints(name string, n int) *Node {
	return g.declare(&Node{g: g, name: name, shape: Shape{n, 1}, space: Inputs, ints: true})
}

// Param declares a parameter: float32 values that stay between runs.
func (g *Graph) Param(name string, s Shape) *Node {
	return g.declare(&Node{g: g, name: name, shape: s, space: Params})
}

func (g *Graph) declare(n *Node) *Node {
	if n.shape[0] < 1 || n.shape[1] < 1 {
		panic(fmt.Sprintf("graph: %s: shape %v", n.name, n.shape))
	}
	if g.named[n.name] != nil {
		panic("graph: second input or parameter named " + n.name)
	}
	n.step = -1
	g.named[n.name] = n
	g.names = append(g.names, n)
	return n
}

// Named is the input or parameter of that name, nil when there is none.
func (g *Graph) Named(name string) *Node { return g.named[name] }

// Layer says that what is applied from now on is the forward of layer l >= 0, or of none (-1). Layers are the units of
// recomputation.
func (g *Graph) Layer(l int) { g.layer = max(l, outside) }

// Split ends phase 0, the forward part: Session.Run(0) stops here, so that the host can turn outputs into inputs of phase 1.
func (g *Graph) Split() {
	if g.phase > 0 {
		panic("graph: second Split")
	}
	g.phase = 1
}

// Apply appends an operation and returns its outputs.
func (g *Graph) Apply(op Op, in ...*Node) []*Node {
	for i, n := range in {
		if n == nil || n.g != g {
			panic(fmt.Sprintf("graph: %s: input %d is nil or of another graph", op.Info().Name, i))
		}
	}
	info := op.Info()
	out := make([]*Node, len(info.Out))
	for i, s := range info.Out {
		out[i] = &Node{g: g, shape: s, step: len(g.steps)}
	}
	g.steps = append(g.steps, step{op, in, out, g.layer, g.phase})
	return out
}

// Once returns what make returned when Once was first called with this key: values shared by several operations, such as the
// angles of a rotary embedding. They belong to no layer.
func (g *Graph) Once(key any, make func() []*Node) []*Node {
	if n, ok := g.once[key]; ok {
		return n
	}
	layer := g.layer
	g.layer = outside
	n := make()
	g.layer = layer
	g.once[key] = n
	return n
}

// Accumulate adds a node to the buffer of that name in the Grads space, as soon as the node is computed. Several nodes may be
// added to one buffer; it is zeroed only by Store.ZeroGrads, so micro-batches add up.
func (g *Graph) Accumulate(name string, n *Node) {
	if n.step >= 0 {
		if s := &g.steps[n.step]; s.layer == backward && s.op == (addOp{n.shape}) { // a sum of uses: add each
			g.Accumulate(name, s.in[0])
			g.Accumulate(name, s.in[1])
			return
		}
	}
	g.sums = append(g.sums, accumulation{name, n})
}
