package model

import (
	"fmt"
	"strings"

	"tune/internal/graph"
	"tune/internal/nn"
	"tune/internal/qtype"
	"tune/internal/rng"
	"tune/internal/tensor"
)

// Full trains every weight of a model. Masters are float32.
type Full struct {
	spec   Spec
	params []Param
	index  map[string]int
	shapes map[string][]int
}

// NewFull starts from the model's weights or, when it has none, from random ones: matrices normal with the
// configuration's initializer_range, norms 1, biases 0. Each tensor has its own stream of random numbers.
func NewFull(m *Model, seed uint64) *Full {
	f := &Full{spec: m.Spec, index: map[string]int{}, shapes: map[string][]int{}}
	init := rng.New(seed, "weights")
	for i, t := range m.Tensors() {
		s := graph.Shape{1, t.Shape[0]}
		if len(t.Shape) == 2 {
			s = graph.Shape{t.Shape[0], t.Shape[1]}
		}
		p := Param{Name: t.Name, Shape: s, Decay: len(t.Shape) == 2}
		if x, ok := m.Matrix(t.Name); ok {
			p.Data = decode(x)
		} else if v := m.Vector(t.Name); v != nil {
			p.Data = append([]float32(nil), v...)
		} else {
			p.Data = make([]float32, s[0]*s[1])
			initial(p, m.InitStd, init.Sub(uint64(i)))
		}
		f.index[t.Name], f.shapes[t.Name] = len(f.params), t.Shape
		f.params = append(f.params, p)
	}
	return f
}

func initial(p Param, std float64, s rng.Stream) {
	switch {
	case p.Decay:
		for i := range p.Data {
			p.Data[i] = float32(std * s.Norm(uint64(i)))
		}
	case strings.HasSuffix(p.Name, ".weight"):
		for i := range p.Data {
			p.Data[i] = 1
		}
	}
}

// Params lists all tensors in the order of the forward.
func (f *Full) Params() []Param { return f.params }

// LoRA is nil: there are no adapters.
func (f *Full) LoRA(*graph.Graph, string, int, int) *nn.LoRA { return nil }

// Param declares a tensor as a parameter. A tied head is the embedding's.
func (f *Full) Param(g *graph.Graph, name string, s graph.Shape) *graph.Node {
	if f.spec.Tied && name == HeadModule+".weight" {
		name = EmbedModule + ".weight"
	}
	if i, ok := f.index[name]; !ok || f.params[i].Shape != s {
		panic(fmt.Sprintf("model: %s %v is not a tensor of this model", name, s))
	}
	return Declare(g, name, s)
}

// Source gives the weights as they are now, stored as t; vectors stay float32 when t has blocks.
func (f *Full) Source(t qtype.Type) tensor.Source { return fullSource{f, t} }

type fullSource struct {
	f *Full
	t qtype.Type
}

func (s fullSource) Names() []string {
	names := make([]string, len(s.f.params))
	for i, p := range s.f.params {
		names[i] = p.Name
	}
	return names
}

func (s fullSource) Info(name string) (tensor.Info, error) {
	shape, ok := s.f.shapes[name]
	if !ok {
		return tensor.Info{}, tensor.Missing(name)
	}
	i := tensor.Info{Name: name, Type: s.t, Shape: shape}
	if len(shape) == 1 && s.t.Row().Block > 1 {
		i.Type = qtype.F32
	}
	return i, nil
}

func (s fullSource) Tensor(name string) (tensor.Tensor, error) {
	i, err := s.Info(name)
	if err != nil {
		return tensor.Tensor{}, err
	}
	return tensor.Convert(tensor.FromFloats(name, i.Shape, s.f.params[s.f.index[name]].Data), i.Type)
}
