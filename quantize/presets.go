package quantize

import (
	"strings"

	"tune/internal/qtype"
)

// presets are mixes of our own, by the part that a matrix has in the model. Rules of llama.cpp tell matrices apart as models
// of 2023 had them: they spend a large part of a file on ffn_down of half the layers, whose experts are nearly all of a modern
// mixture, and know nothing of latent attention (MLA), whose matrices get the mix's lowest type. Here the few values that every
// token passes through are stored finely, and experts, of which a token sees a few, coarsely:
//
//   - attention of any kind, recurrent mixers, and what else is not feed-forward;
//   - shared experts and feed-forward matrices of layers without experts;
//   - routed experts of the first layers, whose errors all later layers see;
//   - all other routed experts, ffn_down apart, because its errors go to the residual stream as they are.
//
// In a model without experts feed-forward matrices are treated as routed experts are. The number in general.file_type is that of
// the mix of llama.cpp with the same types in most places.
var presets = []Mix{
	{"TUNE_Q5", 17, qtype.Q5_K}, {"TUNE_Q4", 15, qtype.Q4_K}, {"TUNE_Q3", 12, qtype.Q3_K}, {"TUNE_Q2", 10, qtype.Q2_K},
}

// parts are the types of a preset.
type parts struct {
	mixer, shared, embed, head           qtype.Type
	routed, down, firstRouted, firstDown qtype.Type
}

var presetTypes = map[string]parts{
	"TUNE_Q5": {qtype.Q8_0, qtype.Q8_0, qtype.Q6_K, qtype.Q8_0, qtype.Q5_K, qtype.Q5_K, qtype.Q6_K, qtype.Q6_K},
	"TUNE_Q4": {qtype.Q8_0, qtype.Q6_K, qtype.Q4_K, qtype.Q6_K, qtype.Q4_K, qtype.Q4_K, qtype.Q5_K, qtype.Q6_K},
	"TUNE_Q3": {qtype.Q6_K, qtype.Q6_K, qtype.Q4_K, qtype.Q6_K, qtype.Q3_K, qtype.Q3_K, qtype.Q4_K, qtype.Q5_K},
	"TUNE_Q2": {qtype.Q6_K, qtype.Q5_K, qtype.Q3_K, qtype.Q6_K, qtype.Q2_K, qtype.Q3_K, qtype.Q3_K, qtype.Q4_K},
}

// firstShare is the part of the layers with experts that counts as the first ones.
const firstShare = 16

// part is the type that a preset gives a matrix.
func (s *selector) part(p parts, t Shape) qtype.Type {
	name := t.Name
	bulk := strings.Contains(name, "_exps") || s.Experts == 0 && strings.Contains(name, "ffn_")
	down := strings.Contains(name, "ffn_down")
	switch {
	case name == outputName, name == embedName && s.tied:
		return p.head
	case category(name) == catEmbed:
		return p.embed
	case !bulk && strings.Contains(name, "ffn_"):
		return p.shared
	case !bulk:
		return p.mixer
	case layerOf(name) < s.firstEnd && down:
		return p.firstDown
	case layerOf(name) < s.firstEnd:
		return p.firstRouted
	case down:
		return p.down
	}
	return p.routed
}

// firstLayers is the layer before which feed-forward matrices of the bulk count as first ones.
func firstLayers(f Facts, tensors []Shape) int {
	begin := f.Layers
	for _, t := range tensors {
		if l := layerOf(t.Name); l >= 0 && (f.Experts == 0 || strings.Contains(t.Name, "_exps")) {
			begin = min(begin, l)
		}
	}
	return begin + (f.Layers-begin+firstShare-1)/firstShare
}
