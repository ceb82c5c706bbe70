package packed

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"tune/internal/grouped"
	"tune/internal/hint"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
)

// A Scheme says how the weights of a model are stored. Make it with ParseScheme.
type Scheme struct {
	Format  string     // gptq, awq, compressed-tensors or nf4
	Name    string     // of compressed-tensors: W4A16 and so on
	Bits    int        // of a code
	Group   int        // inputs that share a scale; 0: all of a row
	Sym     bool       // integers around 2^(Bits-1), without zeros
	DescAct bool       // GPTQ: columns in the order of their importance, g_idx tells the groups
	V2      bool       // GPTQ: zeros as they are
	DType   qtype.Type // of the model: F32, F16 or BF16. compressed-tensors computes and stores scales in it
	*store
}

// Rows gives row o of a weight, (in), as float32.
type Rows func(dst []float32, o int) error

// A store is how one kind of file keeps a weight. It has either pack, of integers that anyone made, or encode.
type store struct {
	format string // of compressed-tensors' config
	scale  qtype.Type
	parts  func(s *Scheme, out, in int) []tensor.Info
	pack   func(s *Scheme, l *grouped.Linear) ([]tensor.Tensor, error)
	encode func(s *Scheme, out, in int, rows Rows, shared *Shared) ([]tensor.Tensor, error)
}

// preset is a named scheme of compressed-tensors.
type preset struct {
	Scheme
	store *store
}

var presets = map[string]preset{
	"W4A16":       {Scheme{Bits: 4, Group: 128, Sym: true}, packQuantized},
	"W4A16_ASYM":  {Scheme{Bits: 4, Group: 128}, packQuantized},
	"W8A16":       {Scheme{Bits: 8, Sym: true}, packQuantized},
	"W8A8":        {Scheme{Bits: 8, Sym: true}, intQuantized},
	"FP8_DYNAMIC": {Scheme{Bits: 8, Sym: true}, floatQuantized},
	"FP8_BLOCK":   {Scheme{Bits: 8, Sym: true, Group: fp8Block}, floatQuantized},
	"NVFP4A16":    {Scheme{Bits: 4, Sym: true, Group: 16}, nvfp4},
	"MXFP4A16":    {Scheme{Bits: 4, Sym: true, Group: 32}, mxfp4},
}

// SchemeNames are the schemes of compressed-tensors.
func SchemeNames() []string { return slices.Sorted(maps.Keys(presets)) }

// Formats are the names that Options.Format takes.
func Formats() []string { return []string{"gptq", "awq", "compressed-tensors", "nf4"} }

// Options of ParseScheme; zero values are the format's own choice.
type Options struct {
	Format  string
	Scheme  string // of compressed-tensors
	Bits    int
	Group   *int // -1: one group a row
	Sym     *bool
	DescAct bool
	V2      bool
	DType   qtype.Type // of the model
}

// ParseScheme checks a choice of options.
func ParseScheme(o Options) (*Scheme, error) {
	s := &Scheme{Format: o.Format, DType: o.DType, DescAct: o.DescAct, V2: o.V2}
	bits := []int{4}
	switch o.Format {
	case "gptq":
		s.Bits, s.Group, s.Sym, s.store, bits = 4, 128, true, gptqStore, []int{2, 3, 4, 8}
	case "awq":
		s.Bits, s.Group, s.store = 4, 128, awqStore
	case "nf4":
		s.Bits, s.Group, s.Sym, s.store = 4, 64, true, nf4Store
	case "compressed-tensors":
		name := strings.ToUpper(o.Scheme)
		p, ok := presets[name]
		if !ok {
			return nil, hint.Errorf("schemes: "+strings.Join(SchemeNames(), ", "), "scheme: expected one of compressed-tensors, found %q", o.Scheme)
		}
		s.Name, s.Bits, s.Group, s.Sym, s.store, bits = name, p.Bits, p.Group, p.Sym, p.store, []int{p.Bits}
	default:
		return nil, hint.Errorf("formats: gguf, "+strings.Join(Formats(), ", "), "format: %q is not known", o.Format)
	}
	if o.Scheme != "" && s.Name == "" {
		return nil, fmt.Errorf("scheme: expected none with %s, found %q", o.Format, o.Scheme)
	}
	if o.Bits != 0 {
		if s.Bits = o.Bits; !slices.Contains(bits, o.Bits) {
			return nil, fmt.Errorf("bits: expected %s for %s, found %d", strings.Trim(fmt.Sprint(bits), "[]"), s, o.Bits)
		}
	}
	if o.Sym != nil && *o.Sym != s.Sym {
		if s.Sym = *o.Sym; o.Format != "gptq" && o.Format != "awq" {
			return nil, hint.Errorf("choose another scheme", "sym: %s decides it", s)
		}
	}
	if o.Group != nil {
		g := max(*o.Group, 0)
		integers := s.pack != nil && s.Name != "W8A8"
		if s.Group != g && (!integers || s.Name == "W8A16") || g > 0 && (g < 16 || g%8 != 0) || *o.Group < -1 {
			return nil, hint.Errorf("usual sizes: 32, 64, 128, -1 for one group a row", "group-size: %s does not take %d", s, *o.Group)
		}
		s.Group = g
	}
	if o.Format != "gptq" && (o.DescAct || o.V2) {
		return nil, fmt.Errorf("desc-act and version 2 are of gptq, found format %s", o.Format)
	}
	if s.DescAct && s.Group == 0 {
		return nil, fmt.Errorf("desc-act: expected groups, found one group a row, for which an order changes nothing in the file")
	}
	if o.Format == "gptq" && !s.Sym {
		s.V2 = true // zeros may be 0, which version 1 cannot tell apart from 2^bits
	}
	return s, nil
}

// String names a scheme in messages.
func (s *Scheme) String() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Format
}

// Integers tells whether weights are stored as integers, which Pack takes; else only Encode makes them.
func (s *Scheme) Integers() bool { return s.pack != nil }

// ScaleType is the type in which the file keeps scales.
func (s *Scheme) ScaleType() qtype.Type {
	if s.store.scale == qtype.F32 {
		return s.DType
	}
	return s.store.scale
}

// RoundScale is a scale as the file keeps it. A solver rounds before it chooses codes.
func (s *Scheme) RoundScale(x float32) float32 { return rounded(s.ScaleType(), x) }

// GroupOf is the width of the groups of a weight with rows of in inputs.
func (s *Scheme) GroupOf(in int) int {
	if s.Group == 0 {
		return in
	}
	return s.Group
}

// Check fails when a weight cannot be stored at all.
func (s *Scheme) Check(out, in int) error {
	g := s.GroupOf(in)
	per := 32 / s.Bits // codes of a word
	switch {
	case s.encode == nil && in%g != 0:
		return hint.Errorf(fmt.Sprintf("sizes that divide it: %s", divisors(in)), "expected rows that are a multiple of the group of %d, found %d", g, in)
	case s.store == gptqStore && (in*s.Bits%32 != 0 || out*s.Bits%32 != 0), s.store == awqStore && out%per != 0:
		return fmt.Errorf("expected sides that fill 32-bit words with codes of %d bits, found %d x %d", s.Bits, out, in)
	case s.store == nf4Store && in*out%2 != 0, s.Group == 16 && in%16 != 0, s.Group == 32 && s.encode != nil && in%32 != 0:
		return fmt.Errorf("expected rows that are a multiple of %d, found %d", s.Group, in)
	}
	return nil
}

// divisors lists the usual groups that a row consists of.
func divisors(in int) string {
	var list []string
	for _, g := range []int{128, 64, 32, 16} {
		if in%g == 0 {
			list = append(list, fmt.Sprint(g))
		}
	}
	return strings.Join(append(list, "-1"), ", ")
}

// Parts lists the tensors of a weight in the file; names begin with the module's.
func (s *Scheme) Parts(module string, out, in int) []tensor.Info {
	list := s.store.parts(s, out, in)
	for i := range list {
		list[i].Name = module + "." + list[i].Name
	}
	return list
}

// Pack stores integers, of which the scales were rounded with RoundScale. Names are without the module's.
func (s *Scheme) Pack(l *grouped.Linear) ([]tensor.Tensor, error) {
	if l.Bits != s.Bits || l.Group != s.GroupOf(l.In) || (l.Zero == nil) != s.Sym {
		return nil, fmt.Errorf("expected %d bits in groups of %d, symmetric %t, found %d bits, %d, %t", s.Bits, s.GroupOf(l.In), s.Sym, l.Bits, l.Group, l.Zero == nil)
	}
	for i, v := range l.Scale {
		if v-v != 0 || v != s.RoundScale(v) {
			return nil, fmt.Errorf("scale %d: expected a finite number of %s, found %g", i, s.ScaleType(), v)
		}
	}
	return s.pack(s, l)
}

// Encode rounds a weight (out, in) to the nearest codes and stores it.
func (s *Scheme) Encode(out, in int, rows Rows, shared *Shared) ([]tensor.Tensor, error) {
	if s.encode != nil {
		return s.encode(s, out, in, rows, shared)
	}
	l, err := s.Round(out, in, rows)
	if err != nil {
		return nil, err
	}
	return s.Pack(l)
}

// Shared is what modules that a loader fuses must have in common.
type Shared struct {
	Max float32 // largest magnitude of all of them; NVFP4's global scale comes from it
}

// NeedsShared tells whether Encode wants a Shared.
func (s *Scheme) NeedsShared() bool { return s.store == nvfp4 }

// rounded is x as a float type keeps it.
func rounded(t qtype.Type, x float32) float32 {
	switch t {
	case qtype.BF16:
		b := math.Float32bits(x)
		if x != x {
			return x
		}
		return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
	case qtype.F16:
		return kernels.RoundF16(x)
	}
	return x
}

// epsilon is the distance from 1 to the next number of a float type.
func epsilon(t qtype.Type) float32 {
	switch t {
	case qtype.BF16:
		return 0x1p-7
	case qtype.F16:
		return 0x1p-10
	}
	return 0x1p-23
}
