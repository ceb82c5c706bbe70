package tokenizer

import (
	"errors"
	"iter"
)

// TrainOptions of Train.
type TrainOptions struct {
	Vocab        int      // number of tokens wanted, special tokens and the 256 bytes included
	Special      []string // get the ids 0, 1, ...
	Pattern      string   // "gpt2", "llama3", "qwen2" or "smollm"; "" is "llama3"
	MinCount     int      // pairs seen less often are not merged; 0 is 2
	BOS, EOS     string   // written into the configuration; each must be in Special
	Pad          string
	ChatTemplate string
}

// TrainProgress is reported while texts are counted and while merges are made.
type TrainProgress struct {
	Texts, Bytes  int64
	Tokens, Vocab int
}

// Train learns a byte-level BPE vocabulary. The result depends on the texts and options alone.
func Train(texts iter.Seq[string], o TrainOptions, progress func(TrainProgress)) (*Tokenizer, error) {
	return nil, errors.New("tokenizer: training: not built yet")
}
