// Package model reads checkpoints of decoder families and builds their computation as one graph.
//
// A family is a function from config.json to a Spec (arch_<family>.go); the decoder (decoder.go) knows only Specs. Weights
// stay where the file has them, in their stored type; what is trained is decided by a Trainable. Tensor names are those
// of Hugging Face checkpoints; GGUF names exist at the border only (names.go, gguf.go).
//
// Letters: N tokens, C model width, H query heads, K key/value heads, D head width, F feed-forward width, V vocabulary,
// L layers, R adapter rank.
package model

import (
	"fmt"
	"math"
)

// Spec is everything the decoder needs to know of a model but its weights.
type Spec struct {
	Arch             string // model_type of config.json
	V, C, F, L, H, K int
	D                int
	Eps              float32 // of all norms
	Rope             Rope
	Layers           []Layer // L of them
	QKVBias          bool    // biases of q_proj, k_proj and v_proj
	OutBias          bool    // bias of o_proj
	MLPBias          bool    // biases of gate_proj, up_proj and down_proj
	QKNorm           bool    // RMS norms of each query and key head, before the rotation
	QKNormWhole      bool    // these norms are over all heads at once
	Experts          Experts // of the sparse layers
	Tied             bool    // the head is the embedding
	Positions        int     // longest sequence the model was made for, in tokens
	InitStd          float64 // standard deviation of weights when training starts from nothing
	BOS              []int32
	EOS              []int32
}

// Layer is what may differ between the layers of one model.
type Layer struct {
	Window int  // number of tokens seen, the token itself included; 0: all
	NoRope bool // queries and keys are not rotated
	Sparse bool // the feed-forward part is a mixture of experts
}

// Limits of what a config may ask for, far above every published model; they keep sizes and their products in an int.
const (
	maxWidth  = 1 << 20
	maxVocab  = 1 << 24
	maxLayers = 1 << 12
	maxTokens = 1 << 30
)

// check reports what cannot be a model.
func (s *Spec) check() (problems []string) {
	say := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	say(s.K > 0 && s.H%s.K != 0, "num_attention_heads: expected a multiple of num_key_value_heads %d, found %d", s.K, s.H)
	say(s.D%2 != 0, "head_dim: expected an even number, found %d", s.D)
	say(!(s.Eps > 0) || s.Eps > 1, "rms_norm_eps: expected a number between 0 and 1, found %g", s.Eps)
	if x := &s.Experts; x.N > 0 {
		say(x.Used < 1 || x.Used > x.N, "num_experts_per_tok: expected 1 to %d, found %d", x.N, x.Used)
	}
	say(!(s.InitStd >= 0) || s.InitStd > 10, "initializer_range: expected a number between 0 and 10, found %g", s.InitStd)
	return append(problems, s.Rope.check()...)
}

// Module is a weight matrix a caller can name: to put an adapter on it, to count it, to observe its input.
type Module struct {
	Name    string // path of the module, "model.layers.0.self_attn.q_proj"
	Kind    Kind
	Out, In int // of the matrix (out, in); an embedding is (V, C), In being its width
	Layer   int // -1: none
	Bias    bool
}

// Kind says what a module is.
type Kind uint8

const (
	Linear Kind = iota
	Head
	Embedding
	Router // chooses experts
	Expert // a projection of one expert
)

// Names of the modules outside the layers.
const (
	EmbedModule = "model.embed_tokens"
	HeadModule  = "lm_head"
)

// Modules lists the embedding, every linear in the order of the forward, and the head.
func (s *Spec) Modules() []Module {
	ms := []Module{{EmbedModule, Embedding, s.V, s.C, -1, false}}
	for l := range s.L {
		ms = append(ms, s.layerModules(l)...)
	}
	return append(ms, Module{HeadModule, Head, s.V, s.C, -1, false})
}

// layerModules lists the modules of a layer: four of attention, then those of the feed-forward part.
func (s *Spec) layerModules(l int) []Module {
	q, kv := s.H*s.D, s.K*s.D
	ms := []Module{
		{"self_attn.q_proj", Linear, q, s.C, l, s.QKVBias},
		{"self_attn.k_proj", Linear, kv, s.C, l, s.QKVBias},
		{"self_attn.v_proj", Linear, kv, s.C, l, s.QKVBias},
		{"self_attn.o_proj", Linear, s.C, q, l, s.OutBias},
	}
	if l < len(s.Layers) && s.Layers[l].Sparse {
		ms = append(ms, s.Experts.modules(l, s.C)...)
	} else {
		ms = append(ms, Module{"mlp.gate_proj", Linear, s.F, s.C, l, s.MLPBias}, Module{"mlp.up_proj", Linear, s.F, s.C, l, s.MLPBias},
			Module{"mlp.down_proj", Linear, s.C, s.F, l, s.MLPBias})
	}
	for i := range ms {
		ms[i].Name = layerName(l, ms[i].Name)
	}
	return ms
}

func layerName(l int, rest string) string { return fmt.Sprintf("model.layers.%d.%s", l, rest) }

// TensorSpec is a tensor the model needs.
type TensorSpec struct {
	Name  string
	Shape []int // row-major, outermost first
}

// Tensors lists what a checkpoint of this model holds, in the order of the forward. A tied head is not among them.
func (s *Spec) Tensors() []TensorSpec {
	var ts []TensorSpec
	vector := func(name string, n int) { ts = append(ts, TensorSpec{name, []int{n}}) }
	module := func(m Module) {
		ts = append(ts, TensorSpec{m.Name + ".weight", []int{m.Out, m.In}})
		if m.Bias {
			vector(m.Name+".bias", m.Out)
		}
	}
	module(Module{EmbedModule, Embedding, s.V, s.C, -1, false})
	for l := range s.L {
		vector(layerName(l, "input_layernorm.weight"), s.C)
		for i, m := range s.layerModules(l) {
			module(m)
			if i == 3 { // after o_proj
				vector(layerName(l, "post_attention_layernorm.weight"), s.C)
			}
		}
		if s.QKNorm {
			q, k := s.normWidths()
			vector(layerName(l, "self_attn.q_norm.weight"), q)
			vector(layerName(l, "self_attn.k_norm.weight"), k)
		}
	}
	vector("model.norm.weight", s.C)
	if !s.Tied {
		module(Module{HeadModule, Head, s.V, s.C, -1, false})
	}
	return ts
}

// normWidths are those of the norms of queries and keys.
func (s *Spec) normWidths() (q, k int) {
	if s.QKNormWhole {
		return s.H * s.D, s.K * s.D
	}
	return s.D, s.D
}

// Values is the number of weights.
func (s *Spec) Values() int64 {
	var n int64
	for _, t := range s.Tensors() {
		k := int64(1)
		for _, d := range t.Shape {
			k *= int64(d)
		}
		n += k
	}
	return n
}

// Rope is the rotary position encoding of half-split pairs (i, i+D/2).
type Rope struct {
	Theta   float64
	Scaling string // "" | "linear" | "llama3" | "yarn"
	Factor  float64
	// Original is the number of positions the model was trained for before scaling.
	Original           float64
	Low, High          float64   // llama3: original positions over the wavelength, where blending starts and ends
	BetaFast, BetaSlow float64   // yarn: rotations over the original positions, where the ramp starts and ends
	AttentionFactor    float64   // yarn: multiplies cos and sin; 0: derived
	Mscale, MscaleAll  float64   // yarn: AttentionFactor is the quotient of both when set
	Untruncated        bool      // yarn: the ramp's ends are not rounded to whole pairs
	Divisors           []float32 // (D/2): each frequency is divided by its entry (GGUF rope_freqs); nil: none
}

func (r *Rope) check() (problems []string) {
	say := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	positive := func(x float64) bool { return x > 0 && x < 1e18 }
	say(!positive(r.Theta) || r.Theta <= 1, "rope_theta: expected a number above 1, found %g", r.Theta)
	if r.Scaling == "" {
		return problems
	}
	say(!positive(r.Factor), "rope factor: expected a positive number, found %g", r.Factor)
	if r.Scaling == "llama3" || r.Scaling == "yarn" {
		say(!positive(r.Original), "rope original_max_position_embeddings: expected a positive number, found %g", r.Original)
	}
	if r.Scaling == "llama3" {
		say(!positive(r.Low) || !(r.High > r.Low), "rope high_freq_factor: expected a number above low_freq_factor %g, found %g", r.Low, r.High)
	}
	if r.Scaling == "yarn" {
		say(!positive(r.BetaSlow) || !(r.BetaFast >= r.BetaSlow), "rope beta_fast: expected a number not below beta_slow %g, found %g", r.BetaSlow, r.BetaFast)
		say(r.AttentionFactor < 0, "rope attention_factor: expected a positive number, found %g", r.AttentionFactor)
	}
	return problems
}

// Frequencies returns the angle per position of each of the d/2 pairs and the factor of cos and sin.
//
// linear: Chen et al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation"; yarn: Peng et al. 2023,
// "YaRN: Efficient Context Window Extension of Large Language Models"; llama3: the rule published with Llama 3.1.
func (r *Rope) Frequencies(d int) (freqs []float32, factor float64) {
	freqs, factor = make([]float32, d/2), 1
	ramp := func(int) float64 { return 0 }
	if r.Scaling == "yarn" {
		factor, ramp = r.yarnFactor(), r.yarnRamp(d)
	}
	for i := range freqs {
		f := math.Pow(r.Theta, -float64(2*i)/float64(d))
		switch r.Scaling {
		case "linear":
			f /= r.Factor
		case "llama3":
			turns := r.Original * f / (2 * math.Pi) // original positions over the wavelength
			keep := min(max((turns-r.Low)/(r.High-r.Low), 0), 1)
			f = (1-keep)*f/r.Factor + keep*f
		case "yarn":
			x := ramp(i)
			f = x*f/r.Factor + (1-x)*f
		}
		if r.Divisors != nil {
			f /= float64(r.Divisors[i])
		}
		freqs[i] = float32(f)
	}
	return freqs, factor
}

// yarnRamp is 0 for pairs that turn often (kept) and 1 for those that turn rarely (interpolated).
func (r *Rope) yarnRamp(d int) func(int) float64 {
	pair := func(turns float64) float64 { // the pair that makes so many turns over the original positions
		return float64(d) * math.Log(r.Original/(turns*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high := pair(r.BetaFast), pair(r.BetaSlow)
	if !r.Untruncated {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(d-1))
	if low == high {
		high += 0.001 // as the reference does, against a division by zero
	}
	return func(i int) float64 { return min(max((float64(i)-low)/(high-low), 0), 1) }
}

func (r *Rope) yarnFactor() float64 {
	if r.AttentionFactor > 0 {
		return r.AttentionFactor
	}
	scale := func(m float64) float64 {
		if r.Factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(r.Factor) + 1
	}
	if r.Mscale != 0 && r.MscaleAll != 0 {
		return scale(r.Mscale) / scale(r.MscaleAll)
	}
	return scale(1)
}
