package model

// mistral is Mistral 7B and its successors: every layer slides, unless the window is null or layer_types says otherwise.
func mistral(c *config) Spec {
	s := c.common(10000, 8)
	s.Tied = c.bool("tie_word_embeddings", false)
	c.windows(&s, c.int("sliding_window", 0, 0, maxTokens), func(int) bool { return true })
	return s
}
