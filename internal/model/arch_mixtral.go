package model

// mixtral is Mixtral 8x7B and 8x22B: every layer is a mixture, and the weights of a token's experts sum to 1.
func mixtral(c *config) Spec {
	s := c.common(1e6, 8)
	s.Tied = c.bool("tie_word_embeddings", false)
	c.windows(&s, c.int("sliding_window", 0, 0, maxTokens), func(int) bool { return true })
	s.Experts = Experts{N: c.int("num_local_experts", 8, 1, maxExperts), Used: c.int("num_experts_per_tok", 2, 1, maxExperts), F: s.F, Normalize: true,
		Block: "block_sparse_moe", Gate: "w1", Up: "w3", Down: "w2"}
	for l := range s.Layers {
		s.Layers[l].Sparse = true
	}
	c.routerTraining()
	return s
}

// maxExperts is far above every published model.
const maxExperts = 1 << 14

// mlpExperts are the experts of the families that call the mixture mlp.
func (c *config) mlpExperts(n, used, width int, normalize bool) Experts {
	return Experts{N: c.int("num_experts", n, 1, maxExperts), Used: c.int("num_experts_per_tok", used, 1, maxExperts), F: width,
		Normalize: c.bool("norm_topk_prob", normalize), Block: "mlp", Gate: "gate_proj", Up: "up_proj", Down: "down_proj"}
}

// routerTraining reads the keys that matter when routers are trained from nothing, with a loss of their own.
func (c *config) routerTraining() {
	want(c, "output_router_logits", false)
	c.float("router_aux_loss_coef", 0)
	c.float("router_jitter_noise", 0)
}
