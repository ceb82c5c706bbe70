// Package tokenizer turns text into token ids and back: byte-level BPE and SentencePiece-style BPE with byte fallback, read
// from tokenizer.json or from GGUF metadata, and a trainer for byte-level BPE.
//
// The measure is the Hugging Face `tokenizers` library: same ids, same byte offsets, same decoded text. Every step of a
// tokenizer.json is either carried out or an error; none is skipped.
package tokenizer

import (
	"errors"
	"iter"
)

// Encoding is the result of Encode. Offsets[i] is the half-open range of bytes of the text that token i stands for. Tokens that
// share one character all carry the range of the whole character; tokens added by the post-processor carry [0,0].
type Encoding struct {
	IDs     []int32
	Offsets [][2]int
}

// Options of Encode.
type Options struct {
	AddSpecial bool // add what the post-processor adds (for example the beginning-of-text token)
	Plain      bool // special tokens that occur in the text are ordinary text
}

// Tokenizer is immutable and safe for concurrent use.
type Tokenizer struct{}

var errUnbuilt = errors.New("tokenizer: not built yet")

// FromJSON reads a tokenizer.json and, when configJSON is not nil, the tokenizer_config.json beside it.
func FromJSON(tokenizerJSON, configJSON []byte) (*Tokenizer, error) { return nil, errUnbuilt }

// FromGGUF reads the tokenizer.ggml.* metadata. get returns a string, bool, number, []string, []float32, []int32 ... or ok false.
func FromGGUF(get func(key string) (any, bool)) (*Tokenizer, error) { return nil, errUnbuilt }

// Encode returns the tokens of text.
func (t *Tokenizer) Encode(text string, o Options) (Encoding, error) {
	return Encoding{}, errUnbuilt
}

// Decode returns the text of ids; bytes that are not valid UTF-8 become U+FFFD. Ids outside the vocabulary give nothing.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string { return "" }

// Stream decodes token by token, for generation: text is handed out as soon as it can no longer change.
type Stream struct{}

// Stream starts an incremental decoder.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream { return &Stream{} }

// Add takes the next token and returns the text that became final, maybe "".
func (s *Stream) Add(id int32) string { return "" }

// Flush returns the rest.
func (s *Stream) Flush() string { return "" }

// VocabSize is one more than the greatest id in use.
func (t *Tokenizer) VocabSize() int { return 0 }

// Token returns the vocabulary entry of id as it stands in the file (not decoded), or "".
func (t *Tokenizer) Token(id int32) string { return "" }

// ID returns the id of a vocabulary entry or added token.
func (t *Tokenizer) ID(token string) (int32, bool) { return 0, false }

// BOS returns the beginning-of-text token of the configuration.
func (t *Tokenizer) BOS() (int32, bool) { return 0, false }

// EOS returns the end-of-text token of the configuration.
func (t *Tokenizer) EOS() (int32, bool) { return 0, false }

// Pad returns the padding token of the configuration.
func (t *Tokenizer) Pad() (int32, bool) { return 0, false }

// IsSpecial says whether id is a special added token.
func (t *Tokenizer) IsSpecial(id int32) bool { return false }

// ChatTemplate returns the template of the configuration, or "".
func (t *Tokenizer) ChatTemplate() string { return "" }

// JSON returns the tokenizer.json: the bytes it was read from, or written anew when it came from a GGUF or the trainer.
func (t *Tokenizer) JSON() []byte { return nil }

// ConfigJSON returns the tokenizer_config.json, as JSON does.
func (t *Tokenizer) ConfigJSON() []byte { return nil }

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
	return nil, errUnbuilt
}
