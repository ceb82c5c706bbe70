package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tune/internal/gguf"
	"tune/internal/tensor"
)

// expertStacks are the projections of an expert by the names that families give them, and the GGUF tensor that holds those of all
// experts of a layer.
var expertStacks = map[string]string{
	"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps",
	"w1": "ffn_gate_exps", "w3": "ffn_up_exps", "w2": "ffn_down_exps",
}

// ggufMixtures are the families of mixtures by general.architecture, with what their files do not say.
var ggufMixtures = map[string]struct {
	arch string
	Experts
}{
	"llama":    {"mixtral", Experts{Normalize: true, Block: "block_sparse_moe", Gate: "w1", Up: "w3", Down: "w2"}},
	"olmoe":    {"olmoe", Experts{Block: "mlp", Gate: "gate_proj", Up: "up_proj", Down: "down_proj"}},
	"qwen3moe": {"qwen3_moe", Experts{Normalize: true, Block: "mlp", Gate: "gate_proj", Up: "up_proj", Down: "down_proj"}},
}

// ExpertOf splits the name of an expert's matrix: "model.layers.3.mlp.experts.5.up_proj.weight" is matrix 5 of blk.3.ffn_up_exps.weight.
func ExpertOf(hf string) (stack string, expert int, ok bool) {
	module, ending, layer := takeApart(hf)
	block, rest, found := strings.Cut(module, ".experts.")
	number, proj, _ := strings.Cut(rest, ".")
	name, known := expertStacks[proj]
	expert, err := strconv.Atoi(number)
	if !found || !known || err != nil || strconv.Itoa(expert) != number || expert < 0 || ending != "weight" || !strings.HasPrefix(block, "model.layers.N.") {
		return "", 0, false
	}
	return fmt.Sprintf("blk.%s.%s.weight", layer, name), expert, true
}

// hfNames are the Hugging Face names of what a GGUF tensor holds: one, one for each expert, or none that is known.
func (s *Spec) hfNames(name string) []string {
	module, ending, layer := takeApart(name)
	if s.Experts.N > 0 && ending == "weight" {
		l, _ := strconv.Atoi(layer)
		if module == "blk.N.ffn_gate_inp" {
			return []string{layerName(l, s.Experts.router()) + ".weight"}
		}
		for _, proj := range []string{s.Experts.Gate, s.Experts.Up, s.Experts.Down} {
			if module != "blk.N."+expertStacks[proj] {
				continue
			}
			var names []string
			for e := range s.Experts.N {
				names = append(names, layerName(l, s.Experts.module(e, proj))+".weight")
			}
			return names
		}
	}
	if hf, ok := HFName(name); ok {
		return []string{hf}
	}
	return nil
}

// rows of an expert's matrix in a stack.
func (s *Spec) stackRows(stack string) int {
	if strings.Contains(stack, "ffn_down_exps") {
		return s.C
	}
	return s.Experts.F
}

// stackOf describes the tensor of all experts, given one expert's.
func (s *Spec) stackOf(stack string, one tensor.Info, o GGUFOptions) tensor.Info {
	one.Name, one.Shape = stack, append([]int{s.Experts.N}, one.Shape...)
	one.Type = exportType(one, o)
	return one
}

// stacked puts the matrices of all experts behind one another.
func (x *exported) stacked(e exportedTensor) (tensor.Tensor, error) {
	all := tensor.Tensor{Info: e.info, Data: make([]byte, 0, e.info.Bytes())}
	for _, name := range e.stack {
		t, err := x.src.Tensor(name)
		if err == nil {
			t, err = tensor.Convert(t, e.info.Type)
		}
		if err == nil && !slices.Equal(t.Shape, e.info.Shape[1:]) {
			err = fmt.Errorf("tensor %s: expected shape %v, found %v", name, e.info.Shape[1:], t.Shape)
		}
		if err != nil {
			return t, err
		}
		all.Data = append(all.Data, t.Data...)
	}
	return all, nil
}

// experts reads what a file says of its mixture.
func (r *ggufReader) experts(s *Spec, f *gguf.File) {
	n, used := r.int("expert_count", 0, 0, maxExperts), r.int("expert_used_count", 0, 0, maxExperts)
	family, ok := ggufMixtures[r.arch]
	switch {
	case n == 0 && r.arch != "llama" && ok:
		r.say("%s.expert_count: expected a number, found none", r.arch)
	case n == 0:
		return
	case !ok:
		r.say("%s.expert_count: expected 0, found %d", r.arch, n)
		return
	}
	s.Arch, s.Experts = family.arch, family.Experts
	s.Experts.N, s.Experts.Used = n, used
	s.Experts.F = r.int("expert_feed_forward_length", s.F, 1, 4*maxWidth)
	for l := range s.Layers {
		_, err := f.Info(fmt.Sprintf("blk.%d.ffn_gate_inp.weight", l))
		s.Layers[l].Sparse = err == nil
	}
}

// expertsJSON adds the keys of a mixture to a config.json.
func (s *Spec) expertsJSON(keys map[string]any) {
	x := &s.Experts
	keys["num_experts_per_tok"] = x.Used
	if s.Arch == "mixtral" {
		keys["num_local_experts"], keys["sliding_window"] = x.N, nil
		return
	}
	keys["num_experts"], keys["norm_topk_prob"] = x.N, x.Normalize
	if s.Arch != "qwen3_moe" {
		return
	}
	dense := []int{}
	for l, layer := range s.Layers {
		if !layer.Sparse {
			dense = append(dense, l)
		}
	}
	keys["moe_intermediate_size"], keys["mlp_only_layers"], keys["decoder_sparse_step"] = x.F, dense, 1
}
