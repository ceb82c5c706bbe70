package model

import (
	"encoding/json"
	"errors"
	"math"
)

var architectures = map[string]string{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
	"qwen3": "Qwen3ForCausalLM", "smollm3": "SmolLM3ForCausalLM", "mixtral": "MixtralForCausalLM", "olmoe": "OlmoeForCausalLM",
	"qwen3_moe": "Qwen3MoeForCausalLM"}

// ConfigJSON writes a config.json that ParseConfig reads as s again, in the keys that every version of transformers knows.
func (s *Spec) ConfigJSON() ([]byte, error) {
	keys := map[string]any{
		"model_type": s.Arch, "architectures": []string{architectures[s.Arch]}, "hidden_act": "silu", "use_cache": true,
		"vocab_size": s.V, "hidden_size": s.C, "intermediate_size": s.F, "num_hidden_layers": s.L, "num_attention_heads": s.H,
		"num_key_value_heads": s.K, "head_dim": s.D, "max_position_embeddings": s.Positions, "rms_norm_eps": s.Eps,
		"initializer_range": s.InitStd, "tie_word_embeddings": s.Tied, "rope_theta": s.Rope.Theta,
		"bos_token_id": idsJSON(s.BOS), "eos_token_id": idsJSON(s.EOS),
	}
	scaling, err := s.Rope.scalingJSON(s.D)
	if err != nil {
		return nil, err
	}
	if scaling != nil {
		keys["rope_scaling"] = scaling
	}
	window, types, rotate := 0, []string{}, []int{}
	for _, l := range s.Layers {
		kind, rotates := "full_attention", 1
		if l.Window > 0 {
			kind, window = "sliding_attention", l.Window
		}
		if l.NoRope {
			rotates = 0
		}
		types, rotate = append(types, kind), append(rotate, rotates)
	}
	switch s.Arch {
	case "llama":
		keys["attention_bias"], keys["mlp_bias"] = s.QKVBias, s.MLPBias
		if window > 0 || s.QKVBias != s.OutBias {
			return nil, errors.New("config.json of llama has no key for windows or for biases of q, k and v alone")
		}
	case "qwen3":
		keys["attention_bias"] = s.QKVBias
	case "smollm3":
		keys["attention_bias"], keys["mlp_bias"], keys["no_rope_layers"] = s.QKVBias, s.MLPBias, rotate
	}
	if s.Experts.N > 0 {
		s.expertsJSON(keys)
	}
	if window > 0 {
		keys["sliding_window"], keys["layer_types"] = window, types
		if s.Arch != "mistral" {
			keys["use_sliding_window"] = true
		}
	} else if s.Arch == "mistral" {
		keys["sliding_window"] = nil
	}
	return json.MarshalIndent(keys, "", "  ")
}

// idsJSON is one id, a list, or null.
func idsJSON(ids []int32) any {
	switch len(ids) {
	case 0:
		return nil
	case 1:
		return ids[0]
	}
	return ids
}

// scalingJSON is the object rope_scaling, nil for none.
func (r *Rope) scalingJSON(d int) (map[string]any, error) {
	x := *r
	if r.Divisors != nil {
		var err error
		if x, err = r.llama3(d); err != nil {
			return nil, err
		}
	}
	keys := map[string]any{"rope_type": x.Scaling, "factor": x.Factor}
	switch x.Scaling {
	case "":
		return nil, nil
	case "llama3":
		keys["original_max_position_embeddings"] = x.Original
		keys["low_freq_factor"], keys["high_freq_factor"] = x.Low, x.High
	case "yarn":
		keys["original_max_position_embeddings"] = x.Original
		keys["beta_fast"], keys["beta_slow"], keys["truncate"] = x.BetaFast, x.BetaSlow, !x.Untruncated
		for key, v := range map[string]float64{"attention_factor": x.AttentionFactor, "mscale": x.Mscale, "mscale_all_dim": x.MscaleAll} {
			if v != 0 {
				keys[key] = v
			}
		}
	}
	return keys, nil
}

// llama3 finds the scaling rule that divisors came from. GGUF files keep only its result; every published model has the same
// numbers but for the factor, which is the greatest divisor.
func (r *Rope) llama3(d int) (Rope, error) {
	x := Rope{Theta: r.Theta, Scaling: "llama3", Original: 8192, Low: 1, High: 4}
	for _, v := range r.Divisors {
		x.Factor = max(x.Factor, float64(v))
	}
	plain := Rope{Theta: r.Theta, Divisors: r.Divisors}
	want, _ := plain.Frequencies(d)
	got, _ := x.Frequencies(d)
	for i := range got {
		if math.Abs(float64(got[i])/float64(want[i])-1) > 1e-5 || r.Scaling != "" {
			return x, errors.New("config.json has no rule that gives the rotary frequencies of this GGUF file")
		}
	}
	return x, nil
}
