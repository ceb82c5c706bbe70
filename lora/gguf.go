package lora

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// GGUF files hold an adapter as pairs of factors named after the base's tensors, with one alpha for all of them: a reader
// multiplies each product with alpha divided by that pair's rank.
const (
	alphaKey = "adapter.lora.alpha"
	endA     = ".lora_a"
	endB     = ".lora_b"
)

// GGUFOptions of Adapter.GGUF.
type GGUFOptions struct {
	Type qtype.Type // of the factors
	Name string     // general.name
	Fold bool       // put the scales into B even where one alpha could state them
}

// A GGUFExport is what gguf.Write needs, and what the reader of the file should know.
type GGUFExport struct {
	Meta  *gguf.Meta
	Src   *tensor.Map
	Notes []string
}

// GGUF prepares the adapter for a GGUF file. Where one alpha states every module's scale, the factors are written as they are;
// else the scales go into B, all pairs get the largest rank (filled up with zeros) and alpha is that rank, which every reader
// takes for a scale of 1. What the format has no place for is an error.
func (a *Adapter) GGUF(o GGUFOptions) (*GGUFExport, error) {
	if err := a.expressible(); err != nil {
		return nil, err
	}
	x := &GGUFExport{Meta: &gguf.Meta{}, Src: tensor.NewMap()}
	alpha, rank, one := a.oneAlpha()
	fold := o.Fold || !one
	switch {
	case fold:
		alpha = float32(rank)
		x.Notes = append(x.Notes, fmt.Sprintf("scales are part of lora_b: every pair has rank %d and alpha is %d", rank, rank))
	case a.Config.RSLoRA:
		x.Notes = append(x.Notes, fmt.Sprintf("alpha is %g, which gives this rank the scale of rslora", alpha))
	}
	if a.frozen != nil {
		x.Notes = append(x.Notes, "ranks are doubled: the second half takes back what pissa took from the base")
	}
	if a.modules[model.EmbedModule] != nil && a.model.Tied {
		x.Notes = append(x.Notes, "the base's head is its embedding: GGUF readers may apply the adapter of the embedding to both, training did not")
	}
	x.Meta.Set("general.architecture", a.model.GGUFArch())
	x.Meta.Set("general.type", "adapter")
	x.Meta.Set("adapter.type", "lora")
	x.Meta.Set("general.name", o.Name)
	x.Meta.Set(alphaKey, alpha)
	x.Meta.Set("general.quantization_version", uint32(2))
	for _, module := range slices.Sorted(slices.Values(a.order)) {
		first, second := a.factors(a.modules[module])
		if fold {
			first, second = foldScale(first, second, float32(a.modules[module].scale), rank)
		}
		second, err := a.model.GGUFRows(module, second, true)
		if err != nil {
			return nil, err
		}
		name, _ := model.GGUFName(module + ".weight") // expressible has asked
		if module == model.EmbedModule {              // (V, R) here
			first = transposed(first)
		}
		first.Name, second.Name = name+endA, name+endB
		for _, t := range []tensor.Tensor{first, second} {
			if t, err = tensor.Convert(t, model.GGUFMatrixType(o.Type, t.Cols())); err != nil {
				return nil, err
			}
			x.Src.Add(t)
		}
	}
	return x, nil
}

// expressible lists everything that GGUF adapters cannot hold.
func (a *Adapter) expressible() error {
	var problems []string
	if a.Config.DoRA {
		problems = append(problems, "magnitudes of dora")
	}
	for _, name := range a.order {
		if _, ok := model.GGUFName(name + ".weight"); !ok {
			problems = append(problems, name+", which GGUF files do not name")
		}
		if _, _, expert := model.ExpertOf(name + ".weight"); expert {
			problems = append(problems, name+", an adapter of one expert")
		}
		if name == model.HeadModule && a.model.Tied {
			problems = append(problems, "an adapter of lm_head, because the base's head is its embedding")
		}
	}
	for _, t := range a.model.Tensors() {
		if a.whole[t.Name] != "" {
			problems = append(problems, t.Name+", trained whole")
		}
	}
	if a.model.Tied && a.whole[headWeight] != "" {
		problems = append(problems, headWeight+", trained whole")
	}
	if len(a.order) == 0 && problems == nil {
		problems = append(problems, "an adapter without a low-rank module")
	}
	if problems != nil {
		return hint.Errorf("merge it into its base with tune merge --output FILE.gguf", "a GGUF adapter cannot hold %s", strings.Join(problems, "; "))
	}
	return nil
}

// oneAlpha is the alpha that gives every module its scale, whether there is one, and the largest rank.
func (a *Adapter) oneAlpha() (alpha float32, rank int, ok bool) {
	ok = true
	for i, name := range a.order {
		x := a.modules[name]
		r := x.rank
		if x.a0 != nil {
			r *= 2
		}
		want := float32(x.scale * float64(r))
		if i == 0 {
			alpha = want
		}
		rank, ok = max(rank, r), ok && want == alpha
	}
	return alpha, rank, ok
}

// factors are A (R, in) and B (out, R) that fit the stored base.
func (a *Adapter) factors(x *attached) (first, second tensor.Tensor) {
	p, q := a.Data(x.a), a.Data(x.b)
	r, in, out := x.rank, x.In, x.Out
	if x.Kind == model.Embedding { // A (R, V), B (C, R)
		in, out = x.Out, x.In
	}
	if x.a0 != nil {
		p, q = x.portable(p, q)
		r *= 2
	}
	return tensor.FromFloats(x.a, []int{r, in}, p), tensor.FromFloats(x.b, []int{out, r}, q)
}

// foldScale multiplies B (out, R) and widens both factors to rank with zeros.
func foldScale(first, second tensor.Tensor, scale float32, rank int) (tensor.Tensor, tensor.Tensor) {
	a, b := plain(first), plain(second)
	r, in, out := first.Shape[0], first.Shape[1], second.Shape[0]
	wide := make([]float32, out*rank)
	for o := range out {
		for i, v := range b[o*r:][:r] {
			wide[o*rank+i] = scale * v
		}
	}
	a = append(a, make([]float32, (rank-r)*in)...)
	return tensor.FromFloats(first.Name, []int{rank, in}, a), tensor.FromFloats(second.Name, []int{out, rank}, wide)
}

// plain decodes a tensor that this package made as F32.
func plain(t tensor.Tensor) []float32 {
	x := make([]float32, t.Elems())
	qtype.F32.Row().Decode(x, t.Data)
	return x
}

// transposed swaps the dimensions of an F32 matrix.
func transposed(t tensor.Tensor) tensor.Tensor {
	x, rows, cols := plain(t), t.Shape[0], t.Shape[1]
	y := make([]float32, len(x))
	for r := range rows {
		for c := range cols {
			y[c*rows+r] = x[r*cols+c]
		}
	}
	return tensor.FromFloats(t.Name, []int{cols, rows}, y)
}

// LoadGGUF reads a GGUF adapter for a model. Every tensor must have its place and its shape.
func LoadGGUF(path string, m *model.Model) (*Adapter, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only
	a, err := fromGGUF(f, m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// IsGGUFAdapter says whether metadata is that of a low-rank adapter.
func IsGGUFAdapter(meta *gguf.Meta) bool {
	kind, err := meta.String("general.type")
	return err == nil && kind == "adapter"
}

func fromGGUF(f *gguf.File, m *model.Model) (*Adapter, error) {
	alpha, err := ggufAlpha(f.Meta(), m.GGUFArch())
	if err != nil {
		return nil, err
	}
	src, ranks, err := peftTensors(f, m)
	if err != nil {
		return nil, err
	}
	a, err := attach(m, ggufConfig(m.Modules(), ranks, alpha))
	if err != nil {
		return nil, err
	}
	return a, a.fill(src)
}

// ggufAlpha checks the metadata. A missing alpha is 0, which stands for a scale of 1.
func ggufAlpha(meta *gguf.Meta, arch string) (float64, error) {
	for _, want := range []struct{ key, value string }{{"general.type", "adapter"}, {"adapter.type", "lora"}, {"general.architecture", arch}} {
		v, err := meta.String(want.key)
		if err != nil {
			return 0, err
		}
		if v != want.value {
			return 0, hint.Errorf("give the base the adapter was made for", "%s: expected %q, found %q", want.key, want.value, v)
		}
	}
	alpha, err := meta.Float(alphaKey)
	if errors.Is(err, gguf.ErrNoKey) {
		return 0, nil
	}
	if err == nil && !(alpha >= 0 && !math.IsInf(alpha, 0)) {
		err = fmt.Errorf("%s: expected a number of at least 0, found %v", alphaKey, alpha)
	}
	return alpha, err
}

// peftTensors are a file's factors with PEFT's names and layouts, and the rank of each module.
func peftTensors(f *gguf.File, m *model.Model) (*tensor.Map, map[string]int, error) {
	out, ranks := tensor.NewMap(), map[string]int{}
	for _, name := range f.Names() {
		base, isA := strings.CutSuffix(name, endA)
		base, isB := strings.CutSuffix(base, endB)
		module, ok := model.HFName(base)
		module, isWeight := strings.CutSuffix(module, ".weight")
		if isA == isB || !ok || !isWeight {
			return nil, nil, fmt.Errorf("tensor %s: expected a tensor of the base with %s or %s behind it", name, endA, endB)
		}
		t, err := f.Tensor(name)
		if err == nil && len(t.Shape) != 2 {
			err = fmt.Errorf("tensor %s: expected two dimensions, found shape %v", name, t.Shape)
		}
		if err == nil {
			t, err = tensor.Convert(t, qtype.F32)
		}
		if err == nil && isB {
			ranks[module] = t.Shape[1]
			t, err = m.GGUFRows(module, t, false)
		}
		if err != nil {
			return nil, nil, err
		}
		letter := "B"
		if isA {
			letter = "A"
		}
		t.Name = prefix + module + ".lora_" + letter + ".weight"
		if module == model.EmbedModule {
			if isA {
				t = transposed(t)
			}
			t.Name = prefix + module + ".lora_embedding_" + letter
		}
		out.Add(t)
	}
	return out, ranks, nil
}

// ggufConfig describes modules with ranks. They are named by their last names where that means the same ones.
func ggufConfig(ms []model.Module, ranks map[string]int, alpha float64) Config {
	c := Config{Bias: "none", Init: "default"}
	last := map[string]bool{}
	for _, m := range ms {
		if r, ok := ranks[m.Name]; ok {
			last[lastName(m.Name)] = true
			if c.Rank == 0 {
				c.Rank, c.Alpha = r, alpha
			}
		}
	}
	whole := true
	for _, m := range ms {
		r, ok := ranks[m.Name]
		whole = whole && ok == last[lastName(m.Name)]
		if !ok {
			continue
		}
		key := strings.ReplaceAll(m.Name, ".", `\.`)
		if r != c.Rank {
			c.RankPattern = append(c.RankPattern, Pattern{key, float64(r)})
		}
		if c.Targets.List = append(c.Targets.List, m.Name); alpha == 0 && r != c.Rank {
			c.AlphaPattern = append(c.AlphaPattern, Pattern{key, float64(r)})
		}
	}
	if alpha == 0 {
		c.Alpha = float64(c.Rank)
	}
	if whole {
		c.Targets = Names{}
		for _, m := range ms {
			if n := lastName(m.Name); last[n] && !slices.Contains(c.Targets.List, n) {
				c.Targets.List = append(c.Targets.List, n)
			}
		}
	}
	return c
}

func lastName(module string) string { return module[strings.LastIndexByte(module, '.')+1:] }
