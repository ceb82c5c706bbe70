package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tune/internal/gguf"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// ggufArchs are the values of general.architecture that can be read.
var ggufArchs = []string{"llama", "olmoe", "qwen2", "qwen3", "qwen3moe", "smollm3"}

// ggufReader reads the keys below the architecture's prefix and remembers them, as config does for config.json.
type ggufReader struct {
	meta     *gguf.Meta
	arch     string
	used     map[string]bool
	problems []string
}

func (r *ggufReader) say(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// read reports every error of a getter but the missing key, and says whether there was a value.
func (r *ggufReader) ok(key string, err error) bool {
	r.used[key] = true
	if err != nil && !errors.Is(err, gguf.ErrNoKey) {
		r.say("%v", err)
	}
	return err == nil
}

// int reads arch.key between low and high; without a default (v < low) it is required.
func (r *ggufReader) int(key string, v, low, high int) int {
	key = r.arch + "." + key
	x, err := r.meta.Int(key)
	if r.ok(key, err) {
		if v = x; x < low || x > high {
			r.say("%s: expected a number from %d to %d, found %d", key, low, high, x)
			return low
		}
		return v
	}
	if v < low {
		if errors.Is(err, gguf.ErrNoKey) {
			r.say("%s: expected a number, found no such key", key)
		}
		return low
	}
	return v
}

func (r *ggufReader) float(key string, v float64) float64 {
	key = r.arch + "." + key
	x, err := r.meta.Float(key)
	if r.ok(key, err) {
		return x
	}
	return v
}

func (r *ggufReader) string(key, v string) string {
	key = r.arch + "." + key
	x, err := r.meta.String(key)
	if r.ok(key, err) {
		return x
	}
	return v
}

// only reports an int that asks for something this decoder does not do.
func (r *ggufReader) only(key string, want int) {
	if v := r.int(key, want, 0, maxTokens); v != want {
		r.say("%s.%s: expected %d, found %d", r.arch, key, want, v)
	}
}

// unknown reports the keys of the architecture that were not used.
func (r *ggufReader) unknown() {
	for _, key := range r.meta.Keys() {
		if strings.HasPrefix(key, r.arch+".") && !r.used[key] {
			v, _ := r.meta.Get(key)
			r.say("%s: unknown key, value %.40s", key, fmt.Sprint(v))
		}
	}
}

// SpecFromGGUF reads the Spec of a GGUF file from its metadata and from which tensors it has. All problems are reported at
// once.
func SpecFromGGUF(f *gguf.File) (Spec, error) {
	arch, err := f.Meta().String("general.architecture")
	if err != nil {
		return Spec{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if !slices.Contains(ggufArchs, arch) {
		return Spec{}, fmt.Errorf("%s: general.architecture: expected one of %s, found %q", f.Name(), strings.Join(ggufArchs, ", "), arch)
	}
	r := &ggufReader{meta: f.Meta(), arch: arch, used: map[string]bool{}}
	s := r.spec(f)
	r.unknown()
	if r.problems = append(r.problems, s.check()...); len(r.problems) > 0 {
		return s, fmt.Errorf("%s: %s", f.Name(), strings.Join(r.problems, "; "))
	}
	return s, nil
}

func (r *ggufReader) spec(f *gguf.File) Spec {
	has := func(name string) bool { _, err := f.Info(name); return err == nil }
	s := Spec{
		Arch:      r.arch,
		C:         r.int("embedding_length", 0, 1, maxWidth),
		F:         r.int("feed_forward_length", 0, 1, 4*maxWidth),
		L:         r.int("block_count", 0, 1, maxLayers),
		H:         r.int("attention.head_count", 0, 1, maxWidth),
		Positions: r.int("context_length", 2048, 1, maxTokens),
		Eps:       float32(r.float("attention.layer_norm_rms_epsilon", 1e-6)),
		InitStd:   0.02,
		QKVBias:   has("blk.0.attn_q.bias"),
		OutBias:   has("blk.0.attn_output.bias"),
		MLPBias:   has("blk.0.ffn_gate.bias"),
		QKNorm:    has("blk.0.attn_q_norm.weight"),
		Tied:      !has("output.weight"),
	}
	s.K = r.int("attention.head_count_kv", s.H, 1, maxWidth)
	s.D = r.int("attention.key_length", max(s.C/s.H, 1), 1, maxWidth)
	r.only("attention.value_length", s.D)
	r.only("rope.dimension_count", s.D)
	s.Layers = make([]Layer, s.L)
	for l := range s.Layers {
		s.Layers[l].NoRope = r.arch == "smollm3" && (l+1)%smollm3Interval == 0
	}
	r.experts(&s, f)
	s.QKNormWhole = s.QKNorm && r.arch == "olmoe"
	if e, err := f.Info("token_embd.weight"); err == nil && len(e.Shape) == 2 {
		s.V = e.Shape[0]
	}
	s.V = r.int("vocab_size", s.V, 1, maxVocab)
	s.BOS, s.EOS = r.ids("tokenizer.ggml.bos_token_id"), r.ids("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
	s.Rope = r.rope(&s, f)
	return s
}

// smollm3Interval is fixed for files of that architecture: every fourth layer does not rotate.
const smollm3Interval = 4

// ids collects the token ids of some keys.
func (r *ggufReader) ids(keys ...string) (ids []int32) {
	for _, key := range keys {
		v, err := r.meta.Int(key)
		if !r.ok(key, err) {
			continue
		}
		if v > maxVocab {
			r.say("%s: expected a token id, found %d", key, v)
		} else if !slices.Contains(ids, int32(v)) {
			ids = append(ids, int32(v))
		}
	}
	return ids
}

func (r *ggufReader) rope(s *Spec, f *gguf.File) Rope {
	p := Rope{Theta: r.float("rope.freq_base", 10000)}
	kind, factor := r.string("rope.scaling.type", "none"), r.float("rope.scaling.factor", 0)
	if old := r.float("rope.scale_linear", 0); old != 0 { // the spelling of early files
		kind, factor = "linear", old
	}
	original := r.int("rope.scaling.original_context_length", s.Positions, 1, maxTokens)
	r.used[r.arch+".rope.scaling.finetuned"] = true // says how the model was made
	switch kind {
	case "none":
	case "linear":
		p.Scaling, p.Factor = kind, factor
	case "yarn":
		p.Scaling, p.Factor, p.Original = kind, factor, float64(original)
		p.BetaFast, p.BetaSlow = r.float("rope.scaling.yarn_beta_fast", 32), r.float("rope.scaling.yarn_beta_slow", 1)
		p.AttentionFactor = r.float("rope.scaling.attn_factor", 0)
	default:
		r.say("%s.rope.scaling.type: expected none, linear or yarn, found %s", r.arch, kind)
	}
	t, err := f.Tensor(ropeFreqs)
	if err != nil {
		return p
	}
	d, err := tensor.Floats(t)
	switch {
	case err != nil:
		r.say("%v", err)
	case t.Type != qtype.F32 || len(d) != s.D/2:
		r.say("%s: expected %d F32 values, found %s %v", ropeFreqs, s.D/2, t.Type, t.Shape)
	case slices.ContainsFunc(d, func(x float32) bool { return !(x > 0) || x > 1e9 }):
		r.say("%s: expected positive values", ropeFreqs)
	default:
		p.Divisors = d
	}
	return p
}
