package quantize

import (
	"math"
	"strings"

	"tune/internal/graph"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/internal/tensor"
	"tune/kernels"
)

// foldCheck runs a few tokens through every layer as it is and as it is after folding, before anything is rounded: what differs
// is a mistake in the table of folds, or a model that the table does not know.
type foldCheck struct{ *walk }

// Tokens that are run, and how far an output may be off, relative to the largest: products are float32 here.
const (
	foldTokens = 48
	tolFold    = 1e-4
)

func newFoldCheck(m *model.Model, pool *kernels.Pool) (foldCheck, error) {
	exact := *m
	exact.Exact = true
	n := min(foldTokens, m.Positions)
	ids := make([]int32, n)
	for i := range ids { // spread over the vocabulary
		ids[i] = int32(i * m.V / n)
	}
	w, err := newWalk(&exact, Text{ids, n}, unbounded, pool)
	return foldCheck{w}, err
}

// layer compares layer l after folding with the model's own, and goes on with what the latter gives.
func (c foldCheck) layer(l int, f *Folds, weights tensor.Source) error {
	after := &override{vectors: map[string][]float32{}, matrices: map[string]kernels.Matrix{}}
	for _, want := range c.m.Tensors() {
		if !strings.HasPrefix(want.Name, layerPrefix(l)) {
			continue
		}
		if err := after.take(f.Source(weights), want, f); err != nil {
			return err
		}
	}
	var y [2][]float32
	err := c.loaded(layerPrefix(l), func() error {
		for i, t := range []model.Trainable{after, nil} {
			err := c.each(func(bt model.Batch, x *graph.Node) []*graph.Node {
				return []*graph.Node{c.m.Block(l, x, bt, t)}
			}, func(s *graph.Session) {
				for name, v := range after.vectors {
					copy(s.Param(name), v) // nil in the model's own layer
				}
			}, func(s *graph.Session, first, n int) error {
				y[i] = append(y[i], s.Output(0)...)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	most, off := 0.0, 0.0
	for i, v := range y[1] {
		most, off = math.Max(most, math.Abs(float64(v))), math.Max(off, math.Abs(float64(v)-float64(y[0][i])))
	}
	if !(off <= tolFold*most) {
		return hint.Errorf("use --method gptq, which folds nothing, and report this model", "layer %d: folding AWQ's scales changed its outputs by %.3g of the largest", l, off/most)
	}
	return c.x.write(0, y[1])
}

// override puts other weights in the place of a model's: matrices as they are, vectors as parameters to be set.
type override struct {
	matrices map[string]kernels.Matrix // by tensor
	vectors  map[string][]float32
}

// take files a tensor that folding changed.
func (o *override) take(src tensor.Source, want model.TensorSpec, f *Folds) error {
	if _, norm := f.norms[want.Name]; !norm && !f.changes(want.Name) {
		return nil
	}
	t, err := src.Tensor(want.Name)
	if err != nil {
		return err
	}
	x, err := tensor.Floats(t)
	if err != nil {
		return err
	}
	if len(want.Shape) == 1 {
		o.vectors[want.Name] = x
	} else {
		o.matrices[want.Name] = kernels.Floats(x, want.Shape[0], want.Shape[1])
	}
	return nil
}

// LoRA implements model.Trainable: there is none.
func (o *override) LoRA(*graph.Graph, string, int, int) *nn.LoRA { return nil }

// Param implements model.Trainable.
func (o *override) Param(g *graph.Graph, name string, s graph.Shape) *graph.Node {
	if o.vectors[name] == nil {
		return nil
	}
	return model.Declare(g, name, s)
}

// Frozen implements model.Replacer.
func (o *override) Frozen(tensor string) (kernels.Matrix, bool) {
	m, ok := o.matrices[tensor]
	return m, ok
}
