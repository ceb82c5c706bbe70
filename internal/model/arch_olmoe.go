package model

// olmoe is OLMoE: every layer is a mixture, and one norm goes over all query heads, one over all key heads.
func olmoe(c *config) Spec {
	s := c.common(10000, 0)
	s.QKNorm, s.QKNormWhole = true, true
	s.QKVBias = c.bool("attention_bias", false)
	s.OutBias = s.QKVBias
	s.Tied = c.bool("tie_word_embeddings", false)
	if c.has("clip_qkv") && c.float("clip_qkv", 0) != 0 {
		c.say("clip_qkv: expected null, found a number")
	}
	s.Experts = c.mlpExperts(64, 8, s.F, false)
	for l := range s.Layers {
		s.Layers[l].Sparse = true
	}
	c.routerTraining()
	return s
}
