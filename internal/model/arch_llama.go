package model

// llama is Llama 1 to 3.2 (text), and what is built like them: SmolLM, SmolLM2, TinyLlama, Yi and others.
func llama(c *config) Spec {
	s := c.common(10000, 0)
	s.QKVBias = c.bool("attention_bias", false)
	s.OutBias = s.QKVBias
	s.MLPBias = c.bool("mlp_bias", false)
	s.Tied = c.bool("tie_word_embeddings", false)
	want(c, "rope_interleaved", false)
	// Tensor-parallel pretraining only changed how sums were split; the weights mean the same.
	c.int("pretraining_tp", 1, 0, maxWidth)
	return s
}
