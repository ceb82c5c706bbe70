package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// config reads an object of config.json key by key. It remembers what was asked for and collects every problem, so that
// a key nobody understood, which may change what the model computes, is an error and never passed over.
type config struct {
	at       string // "rope_scaling." inside that object
	keys     map[string]json.RawMessage
	used     map[string]bool
	problems *[]string
}

func newConfig(data []byte) (*config, error) {
	c := &config{used: map[string]bool{}, problems: new([]string)}
	if err := json.Unmarshal(data, &c.keys); err != nil {
		return nil, err
	}
	if c.keys == nil {
		return nil, fmt.Errorf("expected a JSON object, found null")
	}
	return c, nil
}

func (c *config) say(format string, args ...any) {
	*c.problems = append(*c.problems, fmt.Sprintf(format, args...))
}

// has says whether the key is there and not null; asking counts as using.
func (c *config) has(key string) bool {
	c.used[key] = true
	raw, ok := c.keys[key]
	return ok && string(raw) != "null"
}

// get decodes a key into v, which keeps its value when the key is absent or null.
func get[T any](c *config, key, expected string, v T) T {
	if !c.has(key) {
		return v
	}
	x := v
	if err := json.Unmarshal(c.keys[key], &x); err != nil {
		c.say("%s%s: expected %s, found %.40s", c.at, key, expected, c.keys[key])
		return v
	}
	return x
}

func (c *config) bool(key string, v bool) bool        { return get(c, key, "true or false", v) }
func (c *config) str(key, v string) string            { return get(c, key, "a string", v) }
func (c *config) float(key string, v float64) float64 { return get(c, key, "a number", v) }

// int reads a whole number between low and high; without a default (v < low) the key is required.
func (c *config) int(key string, v, low, high int) int {
	if !c.has(key) {
		if v < low {
			c.say("%s%s: expected a number, found no such key", c.at, key)
			return low
		}
		return v
	}
	x := get(c, key, "a whole number", math.NaN())
	if math.IsNaN(x) {
		return low
	}
	if x != math.Trunc(x) || x < float64(low) || x > float64(high) {
		c.say("%s%s: expected a whole number from %d to %d, found %g", c.at, key, low, high, x)
		return low
	}
	return int(x)
}

// ids reads one token id or a list of them.
func (c *config) ids(key string) []int32 {
	if !c.has(key) {
		return nil
	}
	if c.keys[key][0] == '[' {
		return get(c, key, "token ids", []int32(nil))
	}
	id := get(c, key, "a token id", int32(-1))
	if id < 0 { // -1 means none in some files
		return nil
	}
	return []int32{id}
}

// object opens a nested object; nil when the key is absent or null.
func (c *config) object(key string) *config {
	keys := get(c, key, "an object", map[string]json.RawMessage(nil))
	if keys == nil {
		return nil
	}
	return &config{at: c.at + key + ".", keys: keys, used: map[string]bool{}, problems: c.problems}
}

// want reports a key whose value asks for something this decoder does not do.
func want[T comparable](c *config, key string, only T) {
	if x := get(c, key, fmt.Sprintf("%v", only), only); x != only {
		c.say("%s%s: expected %v, found %v", c.at, key, only, x)
	}
}

// unknown lists the keys that were neither used nor are harmless.
func (c *config) unknown(harmless map[string]bool) {
	var names []string
	for k := range c.keys {
		if !c.used[k] && !harmless[k] {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		c.say("%s%s: unknown key, value %.40s", c.at, k, c.keys[k])
	}
}

// harmless are keys that do not change what a decoder computes: provenance, run-time switches of other programs, defaults
// of generation, and the fields every configuration inherits there.
var harmless = set(`
	_name_or_path architectures dtype torch_dtype transformers_version transformers.js_config use_cache tokenizer_class
	output_attentions output_hidden_states return_dict return_dict_in_generate output_scores torchscript use_bfloat16 tf_legacy_loss
	pruned_heads is_decoder cross_attention_hidden_size chunk_size_feed_forward problem_type id2label label2id num_labels
	task_specific_params prefix sep_token_id cls_token_id decoder_start_token_id pad_token_id finetuning_task
	max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
	repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences
	forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
	begin_suppress_tokens _attn_implementation _attn_implementation_autoset _attn_implementation_internal attn_implementation
	is_llama_config quantization_config tune unsloth_version unsloth_fixed model_max_length max_sequence_length`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// ErrUnknownArch is wrapped by the error about a model_type without a family.
var ErrUnknownArch = errors.New("not a family of this program")

// ParseConfig turns the text of a config.json into a Spec. All problems are reported at once.
func ParseConfig(data []byte) (Spec, error) {
	c, err := newConfig(data)
	if err != nil {
		return Spec{}, err
	}
	kind := c.str("model_type", "")
	arch, ok := archs[kind]
	if !ok {
		return Spec{}, fmt.Errorf("model_type: %w: expected one of %s, found %q", ErrUnknownArch, strings.Join(Archs(), ", "), kind)
	}
	if names := get(c, "architectures", "a list of names", []string(nil)); len(names) > 0 && !strings.HasSuffix(names[0], "ForCausalLM") {
		c.say("architectures: expected a causal language model, found %s", names[0])
	}
	s := arch(c)
	s.Arch = kind
	c.unknown(harmless)
	if *c.problems = append(*c.problems, s.check()...); len(*c.problems) > 0 {
		return s, fmt.Errorf("%s", strings.Join(*c.problems, "; "))
	}
	return s, nil
}

// common reads what all families share. Defaults are those a family's configuration has when a key is absent.
func (c *config) common(theta float64, kvHeads int) Spec {
	s := Spec{
		V:         c.int("vocab_size", 0, 1, maxVocab),
		C:         c.int("hidden_size", 0, 1, maxWidth),
		F:         c.int("intermediate_size", 0, 1, 4*maxWidth),
		L:         c.int("num_hidden_layers", 0, 1, maxLayers),
		H:         c.int("num_attention_heads", 0, 1, maxWidth),
		Positions: c.int("max_position_embeddings", 2048, 1, maxTokens),
		Eps:       float32(c.float("rms_norm_eps", 1e-6)),
		InitStd:   c.float("initializer_range", 0.02),
		BOS:       c.ids("bos_token_id"),
		EOS:       c.ids("eos_token_id"),
	}
	if kvHeads == 0 {
		kvHeads = s.H
	}
	s.K = c.int("num_key_value_heads", kvHeads, 1, maxWidth)
	s.D = c.int("head_dim", max(s.C/s.H, 1), 1, maxWidth)
	s.Layers = make([]Layer, s.L)
	want(c, "attention_dropout", 0.0)
	want(c, "is_encoder_decoder", false)
	want(c, "add_cross_attention", false)
	want(c, "tie_encoder_decoder", false)
	want(c, "partial_rotary_factor", 1.0)
	for _, key := range []string{"hidden_act", "hidden_activation"} {
		if act := c.str(key, "silu"); act != "silu" && act != "swish" {
			c.say("%s: expected silu, found %s", key, act)
		}
	}
	s.Rope = c.rope(theta, float64(s.Positions))
	return s
}

// rope reads both spellings: rope_parameters with rope_theta inside, or rope_theta beside rope_scaling.
func (c *config) rope(theta, positions float64) Rope {
	r := Rope{Theta: c.float("rope_theta", theta)}
	o := c.object("rope_parameters")
	if old := c.object("rope_scaling"); o == nil {
		o = old
	}
	if o == nil {
		return r
	}
	r.Theta = o.float("rope_theta", r.Theta)
	kind := o.str("rope_type", o.str("type", "default"))
	want(o, "partial_rotary_factor", 1.0)
	switch kind {
	case "default":
	case "linear", "llama3", "yarn":
		r.Scaling, r.Factor = kind, o.float("factor", 0)
	default:
		o.say("%srope_type: expected default, linear, llama3 or yarn, found %s", o.at, kind)
	}
	if kind == "llama3" || kind == "yarn" {
		r.Original = o.float("original_max_position_embeddings", positions)
	}
	if kind == "llama3" {
		r.Low, r.High = o.float("low_freq_factor", 0), o.float("high_freq_factor", 0)
	}
	if kind == "yarn" {
		r.BetaFast, r.BetaSlow = o.float("beta_fast", 32), o.float("beta_slow", 1)
		r.AttentionFactor = o.float("attention_factor", 0)
		r.Mscale, r.MscaleAll = o.float("mscale", 0), o.float("mscale_all_dim", 0)
		r.Untruncated = !o.bool("truncate", true)
	}
	o.unknown(nil)
	return r
}

// windows fills the layers' windows: layer_types wins, else slide decides which layers see window tokens.
func (c *config) windows(s *Spec, window int, slide func(l int) bool) {
	types := get(c, "layer_types", "a list of names", []string(nil))
	if types != nil && len(types) != s.L {
		c.say("layer_types: expected %d entries, found %d", s.L, len(types))
		return
	}
	for l := range s.Layers {
		sliding := slide(l)
		if types != nil {
			sliding = types[l] == "sliding_attention"
			if !sliding && types[l] != "full_attention" {
				c.say("layer_types: expected full_attention or sliding_attention, found %.40q in layer %d", types[l], l)
				return
			}
			if sliding && window == 0 {
				c.say("sliding_window: expected a number because of layer_types, found none")
				return
			}
		}
		if sliding {
			s.Layers[l].Window = window
		}
	}
}
