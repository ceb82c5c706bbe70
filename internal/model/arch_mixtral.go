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
