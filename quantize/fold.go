package quantize

import (
	"context"
	"fmt"
	"math"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/quantize/solve"
)

// A fold says where the division of the inputs of linears can be done instead: in the norm or the rows of the linear before them.
type fold struct {
	into    string   // module, within its layer
	readers []string // all modules that read what it gives, within the layer
}

// folds of a layer of decoders whose norms stand before what they normalize: every family of this decoder. Last comes what scales rows.
// The norm before a mixture also feeds its router, which is never touched: only what is inside an expert is folded there.
func folds(s *model.Spec, layer int) []fold {
	f := []fold{{"input_layernorm", []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}}}
	if x := &s.Experts; s.Layers[layer].Sparse {
		for e := range x.N {
			at := fmt.Sprintf("%s.experts.%d.", x.Block, e)
			f = append(f, fold{at + x.Up, []string{at + x.Down}})
		}
	} else {
		f = append(f, fold{"post_attention_layernorm", []string{"mlp.gate_proj", "mlp.up_proj"}}, fold{"mlp.up_proj", []string{"mlp.down_proj"}})
	}
	if s.H == s.K { // shared values would have to be divided by as many scales as heads share them
		f = append(f, fold{"self_attn.v_proj", []string{"self_attn.o_proj"}})
	}
	return f
}

// Folds are the scales AWQ found, as they change a model's tensors. The model as a whole computes what it did.
type Folds struct {
	columns map[string][]float64     // by module: its columns are multiplied
	rows    map[string][]float64     // by tensor: its rows are divided
	norms   map[string]tensor.Tensor // in the place of the model's
	Ratios  map[string]float64       // by module: the share that activations had in the scales
}

// AWQOptions of SearchFolds.
type AWQOptions struct {
	Grid     solve.IntsOptions // what weights will be rounded to
	Plain    bool              // scales from activations alone
	Few      Few               // what is done for experts that have seen few tokens
	Pool     *kernels.Pool
	Progress func(done, total int) // layers
}

// awqRows are the rows of a linear that stand for all in the search of scales: twice as many change SmolLM2's perplexity by 0.02.
const awqRows = 64

// SearchFolds finds AWQ's scales for all layers and proves on tokens, layer by layer, that folding them changes nothing.
func SearchFolds(ctx context.Context, m *model.Model, weights tensor.Source, c *Calibration, o AWQOptions) (*Folds, error) {
	f := &Folds{map[string][]float64{}, map[string][]float64{}, map[string]tensor.Tensor{}, map[string]float64{}}
	check, err := newFoldCheck(m, o.Pool)
	if err != nil {
		return nil, err
	}
	defer check.close()
	for l := range m.L {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		all := c.layer(l, o.Few)
		for _, x := range folds(&m.Spec, l) {
			if err := f.search(m, l, x, weights, all, &o); err != nil {
				return nil, fmt.Errorf("layer %d: %s: %w", l, x.into, err)
			}
		}
		if err := check.layer(l, f, weights); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(l+1, m.L)
		}
	}
	return f, nil
}

// search finds the scale of one input and enters it.
func (f *Folds) search(m *model.Model, layer int, x fold, weights tensor.Source, all *layerStatistics, o *AWQOptions) error {
	at := func(module string) string { return fmt.Sprintf("model.layers.%d.%s", layer, module) }
	i := all.find(at(x.readers[0]))
	if i < 0 || len(all.inputs[i].Modules) != len(x.readers) {
		return hint.Errorf("use --method gptq, which folds nothing", "it is read by other linears than the table of folds names")
	}
	in, _, policy, err := all.of(i)
	if err != nil || policy == PolicyRTN {
		return err
	}
	var list []solve.Weights
	for _, r := range x.readers {
		w, err := f.matrix(weights, at(r))
		if err != nil {
			return err
		}
		list = append(list, solve.Weights{W: w, Out: len(w) / in.Width})
	}
	grid := o.Grid
	if grid.Search = 0; grid.Group == 0 {
		grid.Group = in.Width
	}
	found := solve.SearchScale(list, in.Gram, in.Mean, solve.ScaleOptions{Grid: grid, Rows: awqRows, Plain: o.Plain, Exact: m.Exact}, o.Pool)
	if found.Best < 0 {
		return nil
	}
	into := at(x.into)
	if m.Vector(into+".weight") == nil { // a linear: its rows, and its bias
		f.rows[into+".weight"], f.rows[into+".bias"] = found.Scale, found.Scale
	} else if err := f.norm(into+".weight", found.Scale, weights); err != nil {
		return err
	}
	for _, r := range x.readers {
		f.columns[at(r)], f.Ratios[at(r)] = found.Scale, float64(found.Best)/float64(len(found.Losses))
	}
	return nil
}

// norm divides a norm's weights by scale. They are rounded to the type they are stored in, and scale follows: it becomes what was
// applied, so that the whole changes nothing.
func (f *Folds) norm(name string, scale []float64, weights tensor.Source) error {
	t, err := weights.Tensor(name)
	if err != nil {
		return err
	}
	old, err := tensor.Floats(t)
	if err != nil {
		return err
	}
	x := make([]float32, len(old))
	for i, w := range old {
		x[i] = float32(float64(w) / scale[i])
	}
	stored, err := tensor.Convert(tensor.FromFloats(name, t.Shape, x), t.Type)
	if err != nil {
		return err
	}
	if x, err = tensor.Floats(stored); err != nil {
		return err
	}
	for i, w := range old {
		if scale[i] = float64(w) / float64(x[i]); w == 0 || math.IsInf(scale[i], 0) || math.IsNaN(scale[i]) {
			return fmt.Errorf("value %d of the norm: expected one that can be divided, found %v", i, w)
		}
	}
	f.norms[name] = stored
	return nil
}

// matrix of a module (out, in) with what is known of folds so far.
func (f *Folds) matrix(weights tensor.Source, module string) ([]float32, error) {
	t, err := weights.Tensor(module + ".weight")
	if err != nil {
		return nil, err
	}
	w, err := tensor.Floats(t)
	t.Release(t.Data)
	if err == nil {
		f.scale(module+".weight", w)
	}
	return w, err
}

// module of a tensor's name.
func module(name string) string { return name[:max(len(name)-len(".weight"), 0)] }

// scale multiplies the columns of a tensor's values and divides its rows.
func (f *Folds) scale(name string, w []float32) {
	rows := f.rows[name]
	columns := f.columns[module(name)]
	in := len(columns)
	if columns == nil && rows != nil {
		in = len(w) / len(rows)
	}
	for i := range w {
		v := float64(w[i])
		if columns != nil {
			v *= columns[i%in]
		}
		if rows != nil {
			v /= rows[i/in]
		}
		w[i] = float32(v)
	}
}

// unscale takes values of a matrix back to what they are in the model before folding.
func (f *Folds) unscale(name string, w []float32) {
	rows, columns := f.rows[name], f.columns[module(name)]
	for i := range w {
		v := float64(w[i])
		if columns != nil {
			v /= columns[i%len(columns)]
		}
		if rows != nil {
			v *= rows[i/(len(w)/len(rows))]
		}
		w[i] = float32(v)
	}
}

// changes tells whether a tensor is another after folding.
func (f *Folds) changes(name string) bool {
	return f.rows[name] != nil || f.columns[module(name)] != nil && module(name)+".weight" == name
}

// Source shows a model's tensors after folding: scaled matrices as float32, norms as they are stored.
func (f *Folds) Source(weights tensor.Source) tensor.Source { return &foldedSource{weights, f} }

type foldedSource struct {
	tensor.Source
	folds *Folds
}

// Info describes a tensor.
func (s *foldedSource) Info(name string) (tensor.Info, error) {
	i, err := s.Source.Info(name)
	if err == nil && s.folds.changes(name) {
		i.Type = qtype.F32
	}
	return i, err
}

// Tensor returns a tensor.
func (s *foldedSource) Tensor(name string) (tensor.Tensor, error) {
	if t, ok := s.folds.norms[name]; ok {
		return t, nil
	}
	t, err := s.Source.Tensor(name)
	if err != nil || !s.folds.changes(name) {
		return t, err
	}
	w, err := tensor.Floats(t)
	t.Release(t.Data)
	if err != nil {
		return t, err
	}
	s.folds.scale(name, w)
	return tensor.FromFloats(name, t.Shape, w), nil
}
