package model

import (
	"strconv"
	"strings"
)

// ggufNames is the one table for both directions: a module of a Hugging Face checkpoint and what GGUF files call it. N is
// the number of the layer. Weights and biases keep their ending.
var ggufNames = []struct{ hf, gguf string }{
	{EmbedModule, "token_embd"},
	{"model.norm", "output_norm"},
	{HeadModule, "output"},
	{"model.layers.N.input_layernorm", "blk.N.attn_norm"},
	{"model.layers.N.self_attn.q_proj", "blk.N.attn_q"},
	{"model.layers.N.self_attn.k_proj", "blk.N.attn_k"},
	{"model.layers.N.self_attn.v_proj", "blk.N.attn_v"},
	{"model.layers.N.self_attn.o_proj", "blk.N.attn_output"},
	{"model.layers.N.self_attn.q_norm", "blk.N.attn_q_norm"},
	{"model.layers.N.self_attn.k_norm", "blk.N.attn_k_norm"},
	{"model.layers.N.post_attention_layernorm", "blk.N.ffn_norm"},
	{"model.layers.N.block_sparse_moe.gate", "blk.N.ffn_gate_inp"},
	{"model.layers.N.mlp.gate", "blk.N.ffn_gate_inp"},
	{"model.layers.N.mlp.gate_proj", "blk.N.ffn_gate"},
	{"model.layers.N.mlp.up_proj", "blk.N.ffn_up"},
	{"model.layers.N.mlp.down_proj", "blk.N.ffn_down"},
}

// GGUFName is the GGUF name of a tensor with a Hugging Face name, for an expert's that of the tensor of all experts; false when
// the table has none.
func GGUFName(hf string) (string, bool) {
	if stack, _, ok := ExpertOf(hf); ok {
		return stack, true
	}
	return translate(hf, true)
}

// HFName is the Hugging Face name of a tensor with a GGUF name; false when the table has none. What a mixture has instead of the
// feed-forward matrices depends on its family.
func HFName(gguf string) (string, bool) { return translate(gguf, false) }

func translate(name string, toGGUF bool) (string, bool) {
	module, ending, layer := takeApart(name)
	if ending != "weight" && ending != "bias" {
		return "", false
	}
	for _, row := range ggufNames {
		from, to := row.gguf, row.hf
		if toGGUF {
			from, to = row.hf, row.gguf
		}
		if from == module {
			return strings.Replace(to, "N", layer, 1) + "." + ending, true
		}
	}
	return "", false
}

// takeApart splits "blk.3.attn_q.weight" into "blk.N.attn_q", "weight" and "3". A layer is a number without leading zeros,
// so that no two names mean the same tensor.
func takeApart(name string) (module, ending, layer string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", "", ""
	}
	module, ending = name[:i], name[i+1:]
	for _, prefix := range []string{"blk.", "model.layers."} {
		rest, ok := strings.CutPrefix(module, prefix)
		if !ok {
			continue
		}
		number, rest, ok := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(number); !ok || err != nil || n < 0 || strconv.Itoa(n) != number {
			return "", "", ""
		}
		return prefix + "N." + rest, ending, number
	}
	if strings.Contains(module, "N") {
		return "", "", ""
	}
	return module, ending, ""
}
