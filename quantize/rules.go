package quantize

import (
	"slices"
	"strings"

	"tune/internal/qtype"
)

// cat is what a matrix does in the model, as far as the rules tell matrices apart.
type cat int

const (
	catOther cat = iota
	catEmbed
	catV // values, and what holds them: fused q, k, v and the latent of MLA
	catK
	catQ
	catO
	catUp
	catGate
	catDown
	numCats
)

const (
	outputName     = "output.weight"
	embedName      = "token_embd.weight"
	layerEmbedName = "per_layer_token_embd.weight"
)

// categories: the first part found in a name decides.
var categories = []struct {
	part string
	cat  cat
}{
	{"attn_qkv.weight", catV}, {"attn_kv_b.weight", catV}, {"attn_v.weight", catV}, {"attn_k.weight", catK}, {"attn_q.weight", catQ},
	{"attn_output.weight", catO}, {"ffn_up", catUp}, {"ffn_gate", catGate}, {"ffn_down", catDown},
}

func category(name string) cat {
	switch name {
	case embedName, layerEmbedName:
		return catEmbed
	case outputName:
		return catOther
	}
	for _, c := range categories {
		if strings.Contains(name, c.part) {
			return c.cat
		}
	}
	return catOther
}

// kept are parts of the names of matrices that stay as they are: too small or too sensitive to gain by quantization.
var kept = []string{"_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj", "ssm_conv1d",
	"shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight",
	"time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight",
	"time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
	"time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd",
	".patch_merger", "a.rvq.codebook", "mm.a.code_embd"}

// allowed says that a tensor may be quantized: a matrix of weights that is not kept.
func allowed(t Shape) bool {
	big := 0 // dimensions without trailing ones, as the file counts them
	for i, d := range t.Dims {
		if d > 1 {
			big = len(t.Dims) - i
			break
		}
	}
	if big < 2 || !strings.HasSuffix(t.Name, "weight") || t.Name == "position_embd.weight" || t.Name == "token_types.weight" {
		return false
	}
	return !slices.ContainsFunc(kept, func(part string) bool { return strings.Contains(t.Name, part) })
}

// place is where in the model a tensor lies: the i-th of n of its category.
type place struct {
	*selector
	i, n int
}

// The conditions of the rules.
func always(place) bool         { return true }
func gqa4(p place) bool         { return p.gqa() >= 4 }
func shared4(p place) bool      { return p.gqa() >= 4 || p.Experts >= 4 }
func eight(p place) bool        { return p.Experts == 8 }
func notEight(p place) bool     { return p.Experts != 8 }
func blind(p place) bool        { return !p.Importance }
func falcon(p place) bool       { return p.Arch == "falcon" }
func firstTwo(p place) bool     { return p.i < 2 }
func firstFour(p place) bool    { return p.i < 4 }
func eighth(p place) bool       { return p.i < p.n/8 }
func sixteenth(p place) bool    { return p.i < p.n/16 }
func middle(p place) bool       { return p.i >= p.n/8 && p.i < 7*p.n/8 }
func more(p place) bool         { return p.i < p.n/8 || p.i >= 7*p.n/8 || (p.i-p.n/8)%3 == 2 }
func blindEighth(p place) bool  { return blind(p) && eighth(p) }
func seeingEighth(p place) bool { return p.Importance && eighth(p) }
func eighthOrMore8(p place) bool {
	return eighth(p) || eight(p) && more(p)
}
func falcon16(p place) bool     { return falcon(p) && sixteenth(p) }
func falconMore(p place) bool   { return falcon(p) && more(p) }
func plainMore(p place) bool    { return !falcon(p) && more(p) }
func plainOrMore(p place) bool  { return !falcon(p) || more(p) }
func plainEighth(p place) bool  { return !falcon(p) && eighth(p) }
func plainEight(p place) bool   { return !falcon(p) && eight(p) }
func plainUneight(p place) bool { return !falcon(p) && notEight(p) }

// A rule gives the tensors of a category a type in some mixes. The first rule of a table whose condition holds decides;
// without one the tensor gets the mix's default.
type rule struct {
	mixes string
	cat   cat
	when  func(place) bool
	to    qtype.Type
}

// tiny are the mixes of one and two bits, which have a table of their own.
const tiny = "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M"

var embedRules = []rule{
	{"IQ2_XXS IQ2_XS IQ1_S IQ1_M", catEmbed, always, qtype.Q2_K},
	{"IQ2_S IQ2_M IQ3_XXS", catEmbed, always, qtype.IQ3_S},
	{"TQ1_0 TQ2_0 Q2_0", catEmbed, always, qtype.Q4_K},
}

var tinyRules = []rule{
	{tiny, catV, shared4, qtype.Q4_K},
	{"IQ2_S IQ2_M", catV, always, qtype.IQ3_S},
	{tiny, catV, always, qtype.Q2_K},
	{tiny, catK, eight, qtype.Q4_K},
	{"IQ2_S IQ2_M", catDown, eighth, qtype.IQ3_S},
	{tiny, catDown, eighth, qtype.Q2_K},
	{tiny, catO, eight, qtype.Q5_K},
	{"IQ1_S IQ1_M", catO, always, qtype.IQ2_XXS},
	{"IQ2_S IQ2_M", catO, always, qtype.IQ3_S},
}

var rules = []rule{
	{"Q2_K", catV, gqa4, qtype.Q4_K},
	{"Q2_K", catV, always, qtype.Q3_K},
	{"Q2_K_S IQ3_XXS IQ3_XS IQ3_S", catV, gqa4, qtype.Q4_K},
	{"IQ3_XXS", catV, blind, qtype.IQ3_S},
	{"IQ3_M", catV, always, qtype.Q4_K},
	{"Q3_K_M", catV, firstTwo, qtype.Q5_K},
	{"Q3_K_M", catV, always, qtype.Q4_K},
	{"Q3_K_L", catV, always, qtype.Q5_K},
	{"IQ4_NL IQ4_XS", catV, gqa4, qtype.Q5_K},
	{"Q4_K_M Q5_K_M", catV, more, qtype.Q6_K},
	{"Q4_K_S", catV, firstFour, qtype.Q5_K},

	{"*", catK, eight, qtype.Q8_0},
	{"IQ3_XS", catK, always, qtype.IQ3_XXS},
	{"IQ3_XXS", catK, always, qtype.IQ2_S},
	{"IQ3_XS", catQ, always, qtype.IQ3_XXS},
	{"IQ3_XXS", catQ, always, qtype.IQ2_S},

	{"Q2_K", catDown, always, qtype.Q3_K},
	{"Q2_K_S", catDown, eighth, qtype.Q4_K},
	{"IQ3_XXS", catDown, blindEighth, qtype.Q4_K},
	{"IQ3_XXS", catDown, blind, qtype.Q3_K},
	{"Q3_K_M", catDown, sixteenth, qtype.Q5_K},
	{"Q3_K_M", catDown, plainOrMore, qtype.Q4_K},
	{"IQ3_M", catDown, eighthOrMore8, qtype.Q4_K},
	{"Q3_K_L", catDown, falcon, qtype.Q4_K},
	{"Q3_K_L", catDown, always, qtype.Q5_K},
	{"Q4_K_M", catDown, falcon16, qtype.Q6_K},
	{"Q4_K_M", catDown, falconMore, qtype.Q5_K},
	{"Q4_K_M", catDown, plainMore, qtype.Q6_K},
	{"IQ4_NL IQ4_XS", catDown, blindEighth, qtype.Q5_K},
	{"Q5_K_M", catDown, more, qtype.Q6_K},
	{"Q4_K_S", catDown, plainEighth, qtype.Q5_K},
	{"Q4_0", catDown, seeingEighth, qtype.Q4_1},
	{"Q5_0", catDown, seeingEighth, qtype.Q5_1},

	{"Q2_K IQ3_XS IQ3_XXS Q3_K_S Q3_K_M IQ4_NL Q4_K_S Q4_K_M IQ3_S IQ3_M IQ4_XS", catO, plainEight, qtype.Q5_K},
	{"Q2_K", catO, plainUneight, qtype.Q3_K},
	{"IQ3_XXS", catO, plainUneight, qtype.IQ3_S},
	{"Q3_K_M IQ3_M", catO, plainUneight, qtype.Q4_K},
	{"Q3_K_L", catO, plainUneight, qtype.Q5_K},
	{"Q3_K_L", catO, falcon, qtype.Q4_K},

	{"IQ3_XS", catGate, middle, qtype.IQ3_XXS},
	{"IQ3_XS", catUp, middle, qtype.IQ3_XXS},
}

// listed finds a word in a list of words.
func listed(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}

func find(table []rule, mix string, c cat, p place, otherwise qtype.Type) qtype.Type {
	for _, r := range table {
		if r.cat == c && (r.mixes == "*" || listed(r.mixes, mix)) && r.when(p) {
			return r.to
		}
	}
	return otherwise
}

// rule is what the mix says of a tensor.
func (s *selector) rule(t Shape) qtype.Type {
	mix, to, c := s.mix.Name, s.mix.Default, category(t.Name)
	switch {
	case t.Name == outputName, s.tied && t.Name == embedName:
		if s.Output != nil {
			return *s.Output
		}
		return s.head(t)
	case mix == "MXFP4_MOE":
		if len(t.Dims) > 2 && t.Dims[len(t.Dims)-3] > 1 {
			return qtype.MXFP4
		}
		return qtype.Q8_0
	case c == catEmbed:
		return find(embedRules, mix, c, place{s, 0, 0}, to)
	case listed(tiny, mix):
		to = find(tinyRules, mix, c, place{s, s.count[c].i, s.count[c].n}, to)
		if c == catV || c == catDown { // the counters of the other matrices stand still in these mixes
			s.count[c].i++
		}
		return to
	}
	p := place{s, s.count[c].i, s.count[c].n}
	if s.Experts > 1 && (c == catDown || c == catGate || c == catUp) {
		p.i = layerOf(t.Name) // experts and shared experts both advance the counter
	}
	to = find(rules, mix, c, p, to)
	if c == catV {
		if s.is70B() && (to == qtype.Q3_K || to == qtype.Q4_K) {
			to = qtype.Q5_K
		}
		if eight(p) {
			to = qtype.Q8_0
		}
	}
	s.count[c].i++
	return to
}

// head is the type of the matrix that makes the logits.
func (s *selector) head(t Shape) qtype.Type {
	to := s.mix.Default
	switch {
	case s.mix.Name == "MXFP4_MOE", s.Arch == "falcon", t.cols()%to.Row().Block != 0:
		return qtype.Q8_0
	case listed(tiny+" IQ3_XXS", s.mix.Name):
		return qtype.Q5_K
	case to != qtype.Q8_0:
		return qtype.Q6_K
	}
	return to
}
