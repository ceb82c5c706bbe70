package packed

import (
	"fmt"
	"slices"
	"strings"

	"tune/internal/hint"
)

// A Module is a weight to be stored: what the rules of loaders look at.
type Module struct {
	Name    string
	Out, In int
	Fused   string // modules of the same name here are one matrix to a loader: "model.layers.0.self_attn.qkv"; its own name: alone
	Kept    bool   // stored as it is
}

// A rule is a condition of a loader; nearest is what would meet it.
type rule struct {
	stores  []*store
	bad     func(s *Scheme, m *Module) bool // m is nil for rules about the scheme alone
	scheme  bool
	expects string
	nearest func(s *Scheme) string
}

var marlin = []*store{gptqStore, awqStore, packQuantized, nvfp4, mxfp4}

// rules by loader: of vLLM's fast kernels (Marlin for few bits, CUTLASS for 8), and of transformers with the format's library.
var rules = map[string][]rule{
	"vllm": {
		{stores: []*store{gptqStore}, scheme: true, expects: "4 or 8 bits", bad: func(s *Scheme, _ *Module) bool { return s.Bits != 4 && s.Bits != 8 },
			nearest: func(*Scheme) string { return "--bits 4" }},
		{stores: []*store{gptqStore}, scheme: true, expects: "a symmetric grid", bad: func(s *Scheme, _ *Module) bool { return !s.Sym },
			nearest: func(*Scheme) string {
				return "--sym, or --format awq or --format compressed-tensors --scheme W4A16_ASYM for zeros"
			}},
		{stores: []*store{awqStore}, scheme: true, expects: "zeros", bad: func(s *Scheme, _ *Module) bool { return s.Sym },
			nearest: func(*Scheme) string { return "--asym" }},
		{stores: []*store{gptqStore, awqStore, packQuantized}, scheme: true, expects: "groups of 32, 64 or 128, or -1",
			bad:     func(s *Scheme, _ *Module) bool { return !slices.Contains([]int{0, 32, 64, 128}, s.Group) },
			nearest: func(s *Scheme) string { return fmt.Sprintf("--group-size %d", nearestGroup(s.Group)) }},
		{stores: marlin, expects: "outputs that are a multiple of 64", bad: func(_ *Scheme, m *Module) bool { return m.Out%64 != 0 }, nearest: otherWays},
		{stores: marlin, expects: "inputs that are a multiple of 128", bad: func(_ *Scheme, m *Module) bool { return m.In%128 != 0 }, nearest: otherWays},
		{stores: []*store{intQuantized, floatQuantized}, expects: "sides that are multiples of 16",
			bad: func(_ *Scheme, m *Module) bool { return m.Out%16 != 0 || m.In%16 != 0 }, nearest: otherWays},
		{stores: []*store{floatQuantized}, expects: "fused outputs that are a multiple of 128",
			bad:     func(s *Scheme, m *Module) bool { return s.Group > 0 && m.Fused != m.Name && m.Out%fp8Block != 0 },
			nearest: func(*Scheme) string { return "--scheme FP8_DYNAMIC" }},
	},
	"transformers": {
		{stores: []*store{gptqStore}, expects: "sides that are multiples of 32", bad: func(_ *Scheme, m *Module) bool { return m.Out%32 != 0 || m.In%32 != 0 }, nearest: plainerFormat},
		{stores: []*store{awqStore}, expects: "outputs that are a multiple of 8", bad: func(_ *Scheme, m *Module) bool { return m.Out%8 != 0 }, nearest: plainerFormat},
	},
}

// nearestGroup is the group of a fast kernel nearest to one.
func nearestGroup(g int) int {
	best := 128
	for _, x := range []int{64, 32} {
		if abs(g-x) < abs(g-best) {
			best = x
		}
	}
	return best
}

func abs(x int) int { return max(x, -x) }

func otherWays(s *Scheme) string {
	if s.store == floatQuantized || s.store == intQuantized {
		return "leave such modules out with --ignore REGEX, or --loader transformers"
	}
	return "--format compressed-tensors --scheme FP8_DYNAMIC, whose sides need be multiples of 16 only, or leave such modules out with --ignore REGEX, or --loader transformers"
}

// plainerFormat takes sides that the library of another does not.
func plainerFormat(*Scheme) string {
	return "--format compressed-tensors --scheme W4A16, or leave such modules out with --ignore REGEX"
}

// Loaders are the names that CheckLoader takes.
func Loaders() []string { return []string{"vllm", "transformers"} }

// CheckLoader fails when a loader would not take the files on its fast path, before anything is computed, and hints at the
// nearest setting that it takes. All rules that are broken are named, each with the modules that break it.
func (s *Scheme) CheckLoader(loader string, modules []Module) error {
	list, ok := rules[loader]
	if !ok {
		return hint.Errorf("loaders: "+strings.Join(Loaders(), ", "), "loader: %q is not known", loader)
	}
	var broken, ways []string
	say := func(text, way string) {
		broken = append(broken, text)
		if !slices.Contains(ways, way) {
			ways = append(ways, way)
		}
	}
	for _, r := range list {
		if !slices.Contains(r.stores, s.store) {
			continue
		}
		if r.scheme {
			if r.bad(s, nil) {
				say("expected "+r.expects, r.nearest(s))
			}
			continue
		}
		var bad []*Module
		for i := range modules {
			if m := &modules[i]; !m.Kept && r.bad(s, m) {
				bad = append(bad, m)
			}
		}
		if len(bad) > 0 {
			say(fmt.Sprintf("expected %s, found %d x %d in %s%s", r.expects, bad[0].Out, bad[0].In, bad[0].Name, andMore(len(bad)-1)), r.nearest(s))
		}
	}
	if name := halfKept(modules); name != "" {
		say("expected modules that are fused to be kept or quantized together, found some of both in "+name, "an --ignore that names all of them")
	}
	if len(broken) == 0 {
		return nil
	}
	return hint.Errorf(strings.Join(ways, "; "), "%s would not load %s: %s", loader, s, strings.Join(broken, "; "))
}

func andMore(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// halfKept finds fused modules of which some are kept.
func halfKept(modules []Module) string {
	first := map[string]bool{}
	for _, m := range modules {
		kept, seen := first[m.Fused]
		if seen && kept != m.Kept {
			return m.Fused
		}
		first[m.Fused] = m.Kept
	}
	return ""
}
