package packed

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"tune/internal/grouped"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// A layout is one way to store a weight: the part by which it is known, and all parts there may be.
type layout struct {
	key   string
	parts []string
	open  func(c *Config, p parts, codes bool) (*weight, error)
}

// linear makes the open of a layout of integers.
func linear(unpack func(c *Config, p parts, codes bool) (*grouped.Linear, error)) func(*Config, parts, bool) (*weight, error) {
	return func(c *Config, p parts, codes bool) (*weight, error) {
		l, err := unpack(c, p, codes)
		if err != nil {
			return nil, err
		}
		return ofLinear(l), nil
	}
}

// activations are parts that say how a loader should quantize what goes into and out of a module; nothing here does.
var activations = []string{"input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point"}

func fp8(scale string) layout {
	return layout{scale, slices.Concat([]string{"weight", scale}, activations),
		func(c *Config, p parts, _ bool) (*weight, error) { return openFP8(c, p, scale) }}
}

func bnb(kind string, typ qtype.Type, table *[16]float32) layout {
	key := "weight.quant_state.bitsandbytes__" + kind
	return layout{key, []string{"weight", "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map", key},
		func(_ *Config, p parts, _ bool) (*weight, error) { return openBnB(p, kind, typ, table) }}
}

// layouts by quant_method. Of several that a module answers to the first one counts.
var layouts = map[string][]layout{
	"gptq": {{"qweight", []string{"qweight", "qzeros", "scales", "g_idx"}, linear((*Config).unpackGPTQ)}},
	"awq": {{"qweight", []string{"qweight", "qzeros", "scales"},
		linear(func(_ *Config, p parts, codes bool) (*grouped.Linear, error) { return unpackAWQ(p, codes) })}},
	"compressed-tensors": {
		{"weight_shape", slices.Concat([]string{"weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"}, activations),
			linear(func(_ *Config, p parts, codes bool) (*grouped.Linear, error) { return unpackCompressed(p, codes) })},
		{"weight_packed", slices.Concat([]string{"weight_packed", "weight_scale", "weight_global_scale"}, activations),
			func(_ *Config, p parts, _ bool) (*weight, error) { return openFP4(p) }},
		{"weight_scale", slices.Concat([]string{"weight", "weight_scale", "weight_zero_point"}, activations), openByte},
	},
	"fp8":          {fp8("weight_scale_inv"), fp8("weight_scale")},
	"bitsandbytes": {bnb("nf4", qtype.NF4, &qtype.NF4Values), bnb("fp4", qtype.FP4, &qtype.FP4Values)},
}

// openByte reads weights of a byte each, integers or floats.
func openByte(c *Config, p parts, codes bool) (*weight, error) {
	if p["weight"].Type == qtype.F8_E4M3 {
		return openFP8(c, p, "weight_scale")
	}
	l, err := unpackInt8(p, codes)
	if err != nil {
		return nil, err
	}
	return ofLinear(l), nil
}

// Source shows a checkpoint of stored tensors under the names of its weights: "x.weight" in the place of "x.qweight", "x.scales"
// and so on. What belongs to no weight keeps its name. A weight is put together anew each time it is asked for.
type Source struct {
	Config  *Config
	Ignored []string // stored tensors of activations, which nothing here quantizes
	stored  tensor.Source
	names   []string
	modules map[string]*module // by the name of the weight
}

// module is a weight and where its parts are.
type module struct {
	*layout
	parts map[string]string // ending -> stored name
	once  sync.Once
	info  tensor.Info
	err   error
}

// NewSource views stored tensors, normally the files of a folder.
func NewSource(stored tensor.Source, c *Config) *Source {
	s := &Source{Config: c, stored: stored, modules: map[string]*module{}}
	all := map[string]bool{}
	for _, name := range stored.Names() {
		all[name] = true
	}
	list := layouts[c.Method]
	for i := range list {
		for name := range all {
			prefix, ok := strings.CutSuffix(name, "."+list[i].key)
			if ok && s.modules[prefix+".weight"] == nil {
				s.modules[prefix+".weight"] = &module{layout: &list[i], parts: map[string]string{}}
			}
		}
	}
	seen := map[string]bool{}
	for _, name := range stored.Names() {
		logical, part := s.owner(name)
		if part == "" {
			s.names = append(s.names, name)
			continue
		}
		s.modules[logical].parts[part] = name
		if slices.Contains(activations, part) {
			s.Ignored = append(s.Ignored, name)
		}
		if !seen[logical] {
			seen[logical] = true
			s.names = append(s.names, logical)
		}
	}
	return s
}

// DropBiases forgets biases of quantized modules that are zero and that the model has no place for: AutoGPTQ gave every module one.
func (s *Source) DropBiases(needed func(name string) bool) error {
	var failed error
	s.names = slices.DeleteFunc(s.names, func(name string) bool {
		module, ok := strings.CutSuffix(name, ".bias")
		if !ok || !s.Quantized(module+".weight") || needed(name) || failed != nil {
			return false
		}
		t, err := s.stored.Tensor(name)
		if err != nil {
			failed = err
			return false
		}
		return !slices.ContainsFunc(t.Data, func(b byte) bool { return b&0x7f != 0 }) // -0 is zero too
	})
	return failed
}

// owner is the weight that a stored tensor is a part of, and which.
func (s *Source) owner(name string) (logical, part string) {
	for at := strings.IndexByte(name, '.'); at >= 0; {
		logical, part = name[:at]+".weight", name[at+1:]
		if m := s.modules[logical]; m != nil && slices.Contains(m.layout.parts, part) {
			return logical, part
		}
		next := strings.IndexByte(part, '.')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return "", ""
}

// Names lists weights, in the place of the first of their parts, and all other tensors.
func (s *Source) Names() []string { return s.names }

// Quantized tells whether a tensor is put together from parts.
func (s *Source) Quantized(name string) bool { return s.modules[name] != nil }

// Info describes a tensor.
func (s *Source) Info(name string) (tensor.Info, error) {
	m := s.modules[name]
	if m == nil {
		return s.stored.Info(name)
	}
	m.once.Do(func() {
		w, err := s.open(name, false)
		if m.err = err; err == nil {
			m.info = w.info(name)
			m.err = m.info.Check()
		}
	})
	return m.info, m.err
}

// Tensor puts a weight together, or returns the stored tensor.
func (s *Source) Tensor(name string) (tensor.Tensor, error) {
	if s.modules[name] == nil {
		return s.stored.Tensor(name)
	}
	w, err := s.open(name, true)
	if err != nil {
		return tensor.Tensor{}, err
	}
	return w.tensor(name)
}

// Sorted is Tensor in fewer bits where act-order has given each column a group of its own: its columns stand group by group, so that
// groups are blocks; order[j] is the column that stands at j. Of all other tensors order is nil.
func (s *Source) Sorted(name string) (t tensor.Tensor, order []int32, err error) {
	if s.modules[name] == nil {
		t, err = s.stored.Tensor(name)
		return t, nil, err
	}
	w, err := s.open(name, true)
	if err != nil {
		return t, nil, err
	}
	if w.sorted != nil {
		order = w.sorted.Sort()
		w = ofLinear(w.sorted)
	}
	t, err = w.tensor(name)
	return t, order, err
}

func (s *Source) open(name string, codes bool) (*weight, error) {
	m, p := s.modules[name], parts{}
	for part, stored := range m.parts {
		t, err := s.stored.Tensor(stored)
		if err != nil {
			return nil, err
		}
		p[part] = t
	}
	w, err := m.layout.open(s.Config, p, codes)
	if err != nil {
		return nil, fmt.Errorf("tensor %s, stored as %s: %w", name, s.Config.Method, err)
	}
	return w, nil
}
