package model

// smollm3 leaves some layers without rotary positions. no_rope_layers holds 1 for the layers that do rotate; when the
// list is absent, every no_rope_layer_interval-th layer does not.
func smollm3(c *config) Spec {
	s := c.common(2e6, 4)
	s.QKVBias = c.bool("attention_bias", false)
	s.OutBias = s.QKVBias
	s.MLPBias = c.bool("mlp_bias", false)
	s.Tied = c.bool("tie_word_embeddings", true)
	c.int("pretraining_tp", 1, 0, maxWidth)
	interval := c.int("no_rope_layer_interval", 4, 1, maxLayers)
	rotate := get(c, "no_rope_layers", "a list of 0 and 1", []int(nil))
	if rotate != nil && len(rotate) != s.L {
		c.say("no_rope_layers: expected %d entries, found %d", s.L, len(rotate))
		rotate = nil
	}
	for l := range s.Layers {
		s.Layers[l].NoRope = (l+1)%interval == 0
		if rotate != nil {
			s.Layers[l].NoRope = rotate[l] == 0
		}
	}
	window, on := c.int("sliding_window", 0, 0, maxTokens), c.bool("use_sliding_window", false)
	c.windows(&s, window, func(l int) bool { return on && window > 0 && s.Layers[l].NoRope })
	return s
}
