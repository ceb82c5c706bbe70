package lora

import (
	"fmt"
	"slices"
	"strings"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
)

// Merged is a base with an adapter's changes added to its weights. It is a tensor.Source that computes a tensor when it is
// asked for: W + scale B A in float32, with DoRA m (W + scale B A) / |W + scale B A| by rows, rounded to the type the base
// stores, or to bf16 where the base is quantized.
type Merged struct {
	base  tensor.Source
	a     *Adapter
	names []string
	// Counts of tensors: with a product added, replaced whole, and as they were.
	Added, Replaced, Kept int
}

const (
	embedWeight = model.EmbedModule + ".weight"
	headWeight  = model.HeadModule + ".weight"
)

// NewMerged puts an adapter on a base of Hugging Face names, normally the weights of the model it was loaded for.
func NewMerged(base tensor.Source, a *Adapter) (*Merged, error) {
	m := &Merged{base: base, a: a, names: slices.Clone(base.Names())}
	if a.model.Tied {
		m.names = slices.DeleteFunc(m.names, func(n string) bool { return n == headWeight })
		if m.Untied() {
			m.names = append(m.names, headWeight)
		}
	}
	done := 0
	for _, n := range m.names {
		switch {
		case a.whole[n] != "":
			m.Replaced++
			done++
		case a.modules[moduleOf(n)] != nil && strings.HasSuffix(n, ".weight"):
			m.Added++
			done++
		default:
			m.Kept++
		}
	}
	if want := len(a.modules) + len(a.whole); done != want {
		return nil, fmt.Errorf("merge: the adapter changes %d tensors, the base has %d of them", want, done)
	}
	return m, nil
}

func moduleOf(tensor string) string { return tensor[:max(strings.LastIndexByte(tensor, '.'), 0)] }

// Untied says that a tied model's head and embedding are no longer equal: the merged model has a head of its own and its
// configuration must say so.
func (m *Merged) Untied() bool {
	if !m.a.model.Tied {
		return false
	}
	return m.a.modules[model.EmbedModule] != nil || m.a.modules[model.HeadModule] != nil || m.a.whole[embedWeight] != "" || m.a.whole[headWeight] != ""
}

// Names lists the base's tensors and the head when it was untied.
func (m *Merged) Names() []string { return m.names }

// stored is the base tensor that a name comes from.
func (m *Merged) stored(name string) string {
	if name == headWeight && m.a.model.Tied {
		return embedWeight
	}
	return name
}

func (m *Merged) changed(name string) (x *attached, whole string) {
	if strings.HasSuffix(name, ".weight") {
		x = m.a.modules[moduleOf(name)]
	}
	return x, m.a.whole[name]
}

// Info describes the merged tensor.
func (m *Merged) Info(name string) (tensor.Info, error) {
	i, err := m.base.Info(m.stored(name))
	if err != nil {
		return i, err
	}
	i.Name = name
	if x, whole := m.changed(name); (x != nil || whole != "") && i.Type.Row().Block > 1 {
		i.Type = qtype.BF16
	}
	return i, nil
}

// Tensor computes the merged tensor.
func (m *Merged) Tensor(name string) (tensor.Tensor, error) {
	info, err := m.Info(name)
	if err != nil {
		return tensor.Tensor{}, err
	}
	x, whole := m.changed(name)
	if whole != "" {
		return tensor.Convert(tensor.FromFloats(name, info.Shape, m.a.Data(whole)), info.Type)
	}
	t, err := m.base.Tensor(m.stored(name))
	t.Name = name
	if err != nil || x == nil {
		return t, err
	}
	w, err := tensor.Floats(t)
	if err != nil {
		return t, err
	}
	m.a.addDelta(w, x)
	if x.magnitude != "" {
		norms, magnitude := rowNorms(w, x.In), m.a.Data(x.magnitude)
		for r := range x.Out {
			f := magnitude[r] / norms[r]
			for i := range w[r*x.In:][:x.In] {
				w[r*x.In+i] *= f
			}
		}
	}
	return tensor.Convert(tensor.FromFloats(name, info.Shape, w), info.Type)
}

// addDelta adds an adapter's scale B A to w (out, in); for PiSSA what left the base is taken off.
func (a *Adapter) addDelta(w []float32, x *attached) {
	x.product(w, a.Data(x.a), a.Data(x.b), float32(x.scale))
	if x.a0 != nil {
		x.product(w, x.a0, x.b0, float32(-x.scale))
	}
}

// product adds scale B A to w; for an embedding w (V, C) gets scale (B A)^T with A (R, V) and B (C, R).
func (x *attached) product(w, first, second []float32, scale float32) {
	p := kernels.Product{M: x.Out, K: x.rank, A: second, Exact: true,
		Outs: []kernels.Out{{N: x.In, C: w, Add: w, Scale: scale, B: kernels.Floats(first, x.rank, x.In), Rowwise: true}}}
	if x.Kind == model.Embedding {
		p = kernels.Product{M: x.Out, K: x.rank, A: first, TransA: true, Exact: true,
			Outs: []kernels.Out{{N: x.In, C: w, Add: w, Scale: scale, B: kernels.Floats(second, x.In, x.rank)}}}
	}
	var serial *kernels.Pool
	serial.MatMul(&p, make([]float32, p.Scratch()))
}
