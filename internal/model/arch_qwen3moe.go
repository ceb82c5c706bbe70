package model

import "slices"

// qwen3MoE is Qwen3 with mixtures in every decoder_sparse_step-th layer but those of mlp_only_layers.
func qwen3MoE(c *config) Spec {
	s := qwen3(c)
	s.Experts = c.mlpExperts(128, 8, c.int("moe_intermediate_size", 768, 1, maxWidth), false)
	step := c.int("decoder_sparse_step", 1, 1, maxLayers)
	dense := get(c, "mlp_only_layers", "a list of layers", []int(nil))
	for l := range s.Layers {
		s.Layers[l].Sparse = (l+1)%step == 0 && !slices.Contains(dense, l)
	}
	c.routerTraining()
	return s
}
