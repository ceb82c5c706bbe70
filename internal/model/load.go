package model

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"tune/internal/graph"
	"tune/internal/hint"
	"tune/internal/nn"
	"tune/internal/packed"
	"tune/internal/tensor"
	"tune/kernels"
)

// Options of a model's computation.
type Options struct {
	Exact bool // float32 products; else bf16 inputs with float32 sums where the CPU has them
	// Rounded computes the layers as llama.cpp does on a CPU: float32 sums of inputs that are rounded to the type of a bf16 or f16
	// weight, to 8 bits in blocks of 32 or 256 for a quantized one, and keys and values in f16. Such a model is not trained.
	Rounded bool
	// Lazy leaves matrices in the checkpoint until Load, for work that goes layer by layer.
	Lazy bool
	// Int8 lets products with weights that are stored as codes round their other operand to 8 bits and multiply integers: faster and less
	// exact. Such a model is not trained.
	Int8 bool
}

// Model is a decoder with frozen weights, ready to become part of graphs. It does not change, but for Load and Unload.
type Model struct {
	Spec
	Exact    bool
	Rounded  bool
	Tap      Tap // observers of every graph built from here on
	rope     nn.RopeTable
	matrices map[string]kernels.Matrix
	orders   map[string][]int32 // of the columns of matrices that stand in another order than the model's
	vectors  map[string][]float32
	lazy     tensor.Source // of the matrices that Load reads; nil: all are here
	loaded   map[string]tensor.Tensor
	int8     bool
}

// Tap are observers: they see nodes while a graph is built and may add outputs that depend on them. All may be nil.
type Tap struct {
	In func(module string, x *graph.Node) // the input of a linear: a call for each module that reads it
	// Experts is In of a projection of all experts of a layer: x (M, in) sorted by expert, as the routing says.
	Experts func(modules []string, x *graph.Node, r nn.Routing)
	Out     func(module string, x *graph.Node) // what EmbedModule, "model.layers.N" and "model.norm" give
}

// New checks a checkpoint's weights against its Spec and returns the model. Missing tensors, tensors nobody uses and wrong
// shapes are all listed in one error. Without weights (Fresh) the model can only be trained whole.
func New(c *Checkpoint, o Options) (*Model, error) {
	m := &Model{Spec: c.Spec, Exact: o.Exact || o.Rounded, Rounded: o.Rounded, int8: o.Int8,
		matrices: map[string]kernels.Matrix{}, orders: map[string][]int32{}, vectors: map[string][]float32{}}
	freqs, factor := m.Rope.Frequencies(m.D)
	m.rope = nn.RopeTable{D: m.D, Inv: freqs, Factor: float32(factor)} // one for all layers: a graph computes the angles of a table once
	if c.Weights == nil {
		return m, nil
	}
	if err := checkNames(&c.Spec, c.Weights); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	if o.Lazy {
		m.lazy, m.loaded = c.Weights, map[string]tensor.Tensor{}
	}
	if err := m.read(c.Weights, func(t TensorSpec) bool { return !o.Lazy || len(t.Shape) == 1 }); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	return m, nil
}

// read takes tensors from a source.
func (m *Model) read(src tensor.Source, wanted func(TensorSpec) bool) error {
	for _, want := range m.Tensors() {
		if !wanted(want) {
			continue
		}
		t, order, err := m.stored(src, want.Name)
		if err == nil {
			err = m.take(t)
		}
		if err != nil {
			return err
		}
		if order != nil {
			m.orders[t.Name] = order
		}
		if m.loaded != nil && len(t.Shape) > 1 {
			m.loaded[t.Name] = t
		}
	}
	return nil
}

// stored is a tensor as it is computed with: a linear of a layer that act-order has stored keeps its few bits, its columns in the order of
// its groups. Experts are not: each would need an order of its rows of its own. Rounding as llama.cpp does goes by blocks of the model's order.
func (m *Model) stored(src tensor.Source, name string) (t tensor.Tensor, order []int32, err error) {
	q, ok := src.(*packed.Source)
	_, _, expert := ExpertOf(name)
	if ok && !expert && !m.Rounded && strings.HasPrefix(name, "model.layers.") {
		return q.Sorted(name)
	}
	t, err = src.Tensor(name)
	return t, nil, err
}

// Load reads the matrices whose names have a prefix, such as "model.layers.3.", that Options.Lazy has left in the checkpoint.
func (m *Model) Load(prefix string) error {
	if m.lazy == nil {
		return nil
	}
	return m.read(m.lazy, func(t TensorSpec) bool { return len(t.Shape) > 1 && strings.HasPrefix(t.Name, prefix) })
}

// Unload forgets what Load read, and gives pages of mapped files back to the system.
func (m *Model) Unload(prefix string) {
	for name, t := range m.loaded {
		if strings.HasPrefix(name, prefix) {
			delete(m.loaded, name)
			delete(m.matrices, name)
			delete(m.orders, name)
			t.Release(t.Data)
		}
	}
}

// take files a tensor as a vector of floats or as a matrix that keeps its type.
func (m *Model) take(t tensor.Tensor) error {
	if len(t.Shape) == 1 {
		x, err := tensor.Floats(t)
		if err == nil {
			err = finite(t.Name, x)
		}
		m.vectors[t.Name] = x
		return err
	}
	if err := finiteSmall(t); err != nil {
		return err
	}
	x, err := tensor.Matrix(t)
	if err != nil {
		return err
	}
	x.Int8 = m.int8 && x.Integer()
	m.matrices[t.Name] = x
	return nil
}

// Integers tells whether any product of the model is one of integers.
func (m *Model) Integers() bool {
	for _, x := range m.matrices {
		if x.Int8 {
			return true
		}
	}
	return false
}

// smallTensor bounds the matrices that are searched for NaN when a model is opened: reading all of a large one would touch
// every page of the file before the first step. A NaN elsewhere is found by the training loop.
const smallTensor = 1 << 17

func finiteSmall(t tensor.Tensor) error {
	if t.Elems() > smallTensor {
		return nil
	}
	x, err := tensor.Floats(t)
	if err != nil {
		return err
	}
	return finite(t.Name, x)
}

func finite(name string, x []float32) error {
	for i, v := range x {
		if v-v != 0 {
			return hint.Errorf("the file is damaged, or the model was saved after training diverged",
				"tensor %s: expected finite numbers, found %g at %d", name, v, i)
		}
	}
	return nil
}

// checkNames compares what a Source has with what a Spec needs.
func checkNames(s *Spec, w tensor.Source) error {
	var problems []string
	needed := map[string]bool{}
	for _, want := range s.Tensors() {
		needed[want.Name] = true
		info, err := w.Info(want.Name)
		switch {
		case err != nil:
			problems = append(problems, "missing "+want.Name)
		case !slices.Equal(info.Shape, want.Shape):
			problems = append(problems, fmt.Sprintf("%s: expected shape %v, found %v", want.Name, want.Shape, info.Shape))
		}
	}
	for _, name := range w.Names() {
		if needed[name] || strings.HasSuffix(name, ".rotary_emb.inv_freq") { // old files carry the frequencies
			continue
		}
		if same, err := tiedCopy(s, w, name); err != nil {
			return err
		} else if !same {
			problems = append(problems, "unused "+name)
		}
	}
	if len(problems) == 0 {
		return nil
	}
	const shown = 40
	if more := len(problems) - shown; more > 0 {
		problems = append(problems[:shown], fmt.Sprintf("and %d more", more))
	}
	return hint.Errorf("config.json and the weights do not belong together, or this is a variant the family's file in internal/model does not know",
		"the weights do not fit the configuration: %s", strings.Join(problems, "; "))
}

// tiedCopy says whether a tensor is a head stored beside the embedding it is tied to, and equal to it.
func tiedCopy(s *Spec, w tensor.Source, name string) (bool, error) {
	if !s.Tied || name != HeadModule+".weight" {
		return false, nil
	}
	head, err := w.Tensor(name)
	if err != nil {
		return false, err
	}
	embed, err := w.Tensor(EmbedModule + ".weight")
	return err == nil && head.Type == embed.Type && bytes.Equal(head.Data, embed.Data), err
}

// Vector returns a norm's weights or a bias; nil when the model has none of that name.
func (m *Model) Vector(name string) []float32 { return m.vectors[name] }

// Matrix returns a stored weight; a tied head is the embedding.
func (m *Model) Matrix(name string) (kernels.Matrix, bool) {
	if m.Tied && name == HeadModule+".weight" {
		name = EmbedModule + ".weight"
	}
	x, ok := m.matrices[name]
	if order := m.orders[name]; order != nil {
		x = inOrder(x, order)
	}
	return x, ok
}

// inOrder puts columns back to where order says they belong, as float32.
func inOrder(x kernels.Matrix, order []int32) kernels.Matrix {
	sorted := decode(x)
	out := make([]float32, len(sorted))
	for r := 0; r < len(out); r += x.Cols {
		for j, k := range order {
			out[r+int(k)] = sorted[r+j]
		}
	}
	return kernels.Floats(out, x.Rows, x.Cols)
}

// WeightBytes is the size of all stored weights.
func (m *Model) WeightBytes() int64 {
	var n int64
	for _, x := range m.matrices {
		n += int64(len(x.Data))
	}
	for _, x := range m.vectors {
		n += int64(4 * len(x))
	}
	return n
}

// decode widens a whole matrix.
func decode(x kernels.Matrix) []float32 {
	out := make([]float32, x.Rows*x.Cols)
	for r := range x.Rows {
		x.F32(out[r*x.Cols:][:x.Cols], x.Data[r*x.Stride:])
	}
	return out
}
