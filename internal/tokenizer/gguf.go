package tokenizer

import "errors"

// FromGGUF reads the tokenizer.ggml.* metadata. get returns a string, bool, number, []string, []float32, []int32 ... or ok false.
func FromGGUF(get func(key string) (any, bool)) (*Tokenizer, error) {
	return nil, errors.New("tokenizer: GGUF metadata: not built yet")
}
