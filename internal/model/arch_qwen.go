package model

// qwen2 is Qwen2 and Qwen2.5: biases on q, k and v, none on o.
func qwen2(c *config) Spec {
	s := qwen(c)
	s.QKVBias = true
	return s
}

// qwen3 normalises each query and key head before the rotation. Its heads are 128 wide unless the file says otherwise.
func qwen3(c *config) Spec {
	s := qwen(c)
	if !c.has("head_dim") {
		s.D = 128
	}
	s.QKNorm = true
	s.QKVBias = c.bool("attention_bias", false)
	s.OutBias = s.QKVBias
	return s
}

// qwen: sliding_window counts only with use_sliding_window, and then for the layers from max_window_layers on.
func qwen(c *config) Spec {
	s := c.common(10000, 0)
	s.Tied = c.bool("tie_word_embeddings", false)
	window, on := c.int("sliding_window", 0, 0, maxTokens), c.bool("use_sliding_window", false)
	from := c.int("max_window_layers", 28, 0, maxLayers)
	want(c, "use_mrope", false)
	c.windows(&s, window, func(l int) bool { return on && window > 0 && l >= from })
	return s
}
