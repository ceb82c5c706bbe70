package lora

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/internal/rng"
	"tune/kernels"
)

// Adapter is a set of trained tensors for one model. It is a model.Trainable; its parameters are named as in PEFT files.
type Adapter struct {
	Config  Config
	params  []model.Param
	index   map[string]int            // of params, by name
	modules map[string]*attached      // adapters by module path
	order   []string                  // keys of modules, in the order of the forward
	whole   map[string]string         // tensors trained whole: tensor name -> parameter name
	frozen  map[string]kernels.Matrix // PiSSA: what stays in the base, by tensor name
	model   *model.Model
}

// attached is the adapter of one module.
type attached struct {
	target
	a, b, magnitude string    // parameter names; magnitude "" without DoRA
	a0, b0          []float32 // PiSSA: A and B as they left the base
}

// prefix is what PEFT puts before every path.
const prefix = "base_model.model."

// Attach makes a new adapter. The same model, configuration and seed give the same numbers; those of one module do not
// depend on which other modules have adapters. A configuration whose Init is a directory takes its numbers from there.
func Attach(m *model.Model, c Config, seed uint64) (*Adapter, error) {
	a, err := attach(m, c)
	if err != nil {
		return nil, err
	}
	for _, name := range a.order {
		a.initial(a.modules[name], rng.New(seed, "lora").Sub(hash(name)))
	}
	switch c.Init {
	case "", "default", "gaussian":
	case "pissa":
		err = a.pissa(pissaRounds)
	default:
		err = a.goOn(c.Init)
	}
	if err != nil {
		return nil, err
	}
	return a, a.magnitudes()
}

// goOn takes all numbers from the adapter in dir, which must have the same tensors.
func (a *Adapter) goOn(dir string) error {
	from, err := Load(dir, a.model)
	if err != nil {
		return err
	}
	if from.frozen != nil {
		return fmt.Errorf("lora: init: %s is a PiSSA adapter, whose base differs from the stored one", dir)
	}
	for _, name := range from.order {
		if x, y := from.modules[name], a.modules[name]; y != nil && x.scale != y.scale {
			return fmt.Errorf("lora: init: %s: expected scale %g (alpha, rank and rslora of %s), found %g", name, x.scale, dir, y.scale)
		}
	}
	var problems []string
	for i, p := range a.params {
		k, ok := from.index[p.Name]
		if !ok || from.params[k].Shape != p.Shape {
			problems = append(problems, p.Name)
			continue
		}
		a.params[i].Data = from.params[k].Data
	}
	for _, p := range from.params {
		if _, ok := a.index[p.Name]; !ok {
			problems = append(problems, p.Name)
		}
	}
	if problems != nil {
		return fmt.Errorf("lora: init: the adapter in %s is another one: %s", dir, strings.Join(problems, ", "))
	}
	return nil
}

// attach chooses modules and makes room for the parameters.
func attach(m *model.Model, c Config) (*Adapter, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	ms := m.Modules()
	targets, err := c.targets(ms)
	if err == nil {
		err = checkExperts(ms, targets, c)
	}
	if err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, index: map[string]int{}, modules: map[string]*attached{}, whole: map[string]string{}, model: m}
	for _, t := range targets {
		if t.Kind == model.Embedding && (c.DoRA || c.Init == "pissa") {
			return nil, fmt.Errorf("lora: target_modules: %s: expected a linear for dora and pissa", t.Name)
		}
		a.add(t)
	}
	return a, a.addWhole(ms)
}

func (a *Adapter) add(t target) {
	x := &attached{target: t}
	as, bs := graph.Shape{t.rank, t.In}, graph.Shape{t.Out, t.rank}
	x.a, x.b = prefix+t.Name+".lora_A.weight", prefix+t.Name+".lora_B.weight"
	if t.Kind == model.Embedding { // (R, V) and (C, R)
		as, bs = graph.Shape{t.rank, t.Out}, graph.Shape{t.In, t.rank}
		x.a, x.b = prefix+t.Name+".lora_embedding_A", prefix+t.Name+".lora_embedding_B"
	}
	a.param(x.a, as, true)
	a.param(x.b, bs, true)
	if a.Config.DoRA {
		x.magnitude = prefix + t.Name + ".lora_magnitude_vector"
		a.param(x.magnitude, graph.Shape{t.Out, 1}, false)
	}
	a.modules[t.Name] = x
	a.order = append(a.order, t.Name)
}

// addWhole makes parameters of modules_to_save and of the biases, with the model's values.
func (a *Adapter) addWhole(ms []model.Module) error {
	tensors := a.model.Tensors()
	if a.model.Tied {
		tensors = append(tensors, model.TensorSpec{Name: model.HeadModule + ".weight", Shape: []int{a.model.V, a.model.C}})
	}
	found := map[string]bool{}
	for _, t := range tensors {
		module, kind := t.Name[:strings.LastIndexByte(t.Name, '.')], t.Name[strings.LastIndexByte(t.Name, '.'):]
		adapted := a.modules[module] != nil
		name := prefix + t.Name
		switch {
		case a.Config.saves(module):
			for _, s := range a.Config.ModulesToSave {
				found[s] = found[s] || endsWith(module, s)
			}
		case kind == ".bias" && (a.Config.Bias == "all" || a.Config.Bias == "lora_only" && adapted):
			if adapted {
				name = prefix + module + ".base_layer.bias"
			}
		default:
			continue
		}
		s := graph.Shape{1, t.Shape[0]}
		if len(t.Shape) == 2 {
			s = graph.Shape{t.Shape[0], t.Shape[1]}
		}
		a.whole[t.Name] = name
		a.param(name, s, len(t.Shape) == 2)
		if err := a.fromModel(t.Name, a.params[len(a.params)-1].Data); err != nil {
			return err
		}
	}
	for _, s := range a.Config.ModulesToSave {
		if !found[s] {
			return fmt.Errorf("lora: modules_to_save: expected a module of the model, found %q; it has %s and norms", s, kinds(ms))
		}
	}
	return nil
}

func (a *Adapter) fromModel(tensor string, data []float32) error {
	if v := a.model.Vector(tensor); v != nil {
		copy(data, v)
		return nil
	}
	x, ok := a.model.Matrix(tensor)
	if !ok {
		return fmt.Errorf("lora: the model has no weights %s", tensor)
	}
	copy(data, floats(x))
	return nil
}

// floats decodes a matrix.
func floats(x kernels.Matrix) []float32 {
	out := make([]float32, x.Rows*x.Cols)
	for r := range x.Rows {
		x.F32(out[r*x.Cols:][:x.Cols], x.Data[r*x.Stride:])
	}
	return out
}

func (a *Adapter) param(name string, s graph.Shape, decay bool) {
	a.index[name] = len(a.params)
	a.params = append(a.params, model.Param{Name: name, Shape: s, Data: make([]float32, s[0]*s[1]), Decay: decay})
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// initial fills A and B. A linear's A is uniform within 1/sqrt(in), which is the Kaiming rule with a = sqrt 5 that PEFT uses,
// or normal with deviation 1/R; B is zero. An embedding's A is zero and its B standard normal.
func (a *Adapter) initial(x *attached, s rng.Stream) {
	first, second := a.Data(x.a), a.Data(x.b)
	switch {
	case x.Kind == model.Embedding:
		for i := range second {
			second[i] = float32(s.Norm(uint64(i)))
		}
	case a.Config.Init == "gaussian":
		for i := range first {
			first[i] = float32(s.Norm(uint64(i)) / float64(x.rank))
		}
	default:
		bound := 1 / math.Sqrt(float64(x.In))
		for i := range first {
			first[i] = float32(bound * (2*s.Float64(uint64(i)) - 1))
		}
	}
}

// magnitudes starts DoRA: the length of each row of W + scale B A.
func (a *Adapter) magnitudes() error {
	for _, name := range a.order {
		x := a.modules[name]
		if x.magnitude == "" || slices.ContainsFunc(a.Data(x.magnitude), func(v float32) bool { return v != 0 }) {
			continue
		}
		w, ok := a.model.Matrix(name + ".weight")
		if !ok {
			return errors.New("lora: the model has no weights " + name)
		}
		sum := floats(w)
		a.addDelta(sum, x)
		copy(a.Data(x.magnitude), rowNorms(sum, x.In))
	}
	return nil
}

// rowNorms are the lengths of rows of a width, summed in float64.
func rowNorms(w []float32, width int) []float32 {
	out := make([]float32, len(w)/width)
	for r := range out {
		var s float64
		for _, v := range w[r*width:][:width] {
			s += float64(v) * float64(v)
		}
		out[r] = float32(math.Sqrt(s))
	}
	return out
}

// Params lists the trained tensors in a fixed order. Their Data may be changed in place.
func (a *Adapter) Params() []model.Param { return a.params }

// Data is the memory of a parameter.
func (a *Adapter) Data(name string) []float32 { return a.params[a.index[name]].Data }

// Values is the number of trained values.
func (a *Adapter) Values() int {
	n := 0
	for _, p := range a.params {
		n += len(p.Data)
	}
	return n
}

// LoRA declares the adapter of a module.
func (a *Adapter) LoRA(g *graph.Graph, module string, out, in int) *nn.LoRA {
	x := a.modules[module]
	if x == nil {
		return nil
	}
	l := &nn.LoRA{A: a.node(g, x.a), B: a.node(g, x.b), R: x.rank, Scale: float32(x.scale), Salt: hash(module)}
	if x.Kind != model.Embedding { // as in PEFT, whose embeddings know no dropout
		l.Dropout = float32(a.Config.Dropout)
	}
	if x.magnitude != "" {
		l.Magnitude = a.node(g, x.magnitude)
	}
	return l
}

// Param declares a tensor that is trained whole.
func (a *Adapter) Param(g *graph.Graph, name string, _ graph.Shape) *graph.Node {
	if p, ok := a.whole[name]; ok {
		return a.node(g, p)
	}
	return nil
}

// Frozen is the part of a weight that PiSSA left in the base.
func (a *Adapter) Frozen(tensor string) (kernels.Matrix, bool) {
	x, ok := a.frozen[tensor]
	return x, ok
}

func (a *Adapter) node(g *graph.Graph, name string) *graph.Node {
	return model.Declare(g, name, a.params[a.index[name]].Shape)
}
