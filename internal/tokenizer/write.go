package tokenizer

import (
	"bytes"
	"encoding/json"
	"slices"
)

// A spec is a tokenizer to be written as tokenizer.json and tokenizer_config.json, in the form the reference library writes.
type spec struct {
	kind   string    // "" is BPE
	tokens []string  // by id; "" are holes
	scores []float32 // Unigram
	merges [][2]string
	added  []*added
	unk    string

	byteFallback bool
	ignore       bool     // ignore_merges
	normalizer   any      // nil: none
	steps        []object // of the pre-tokenizer
	decoder      any
	before       []string
	after        []string
	config       config
}

type object = map[string]any

func (s *spec) build() (*Tokenizer, error) { return s.buildWith(nil) }

// buildWith uses a configuration that was found beside the tokenizer, instead of writing one.
func (s *spec) buildWith(configJSON []byte) (*Tokenizer, error) {
	data, err := s.json()
	if err == nil && configJSON == nil {
		configJSON, err = s.configJSON()
	}
	if err != nil {
		return nil, err
	}
	return FromJSON(data, configJSON)
}

// around puts the configured tokens before and after a text.
func (s *spec) around(bos, eos bool) {
	if bos && s.config.BOS != "" {
		s.before = []string{string(s.config.BOS)}
	}
	if eos && s.config.EOS != "" {
		s.after = []string{string(s.config.EOS)}
	}
}

// addSpecial lists the tokens that are not ordinary pieces as added ones, by their types (nil: there are none). A token of a name
// that has occurred before is a padding row: no text gives it.
func (s *spec) addSpecial(types []int32) {
	seen := make(map[string]bool, len(s.tokens))
	tokens := slices.Clone(s.tokens)
	for id, token := range s.tokens {
		if seen[token] {
			if s.kind != "Unigram" { // its ids are places in the list
				tokens[id] = ""
			}
			continue
		}
		seen[token] = true
		if types == nil {
			continue
		}
		kind := types[id]
		if kind == pieceControl || kind == pieceUserDefined || kind == pieceUnknown && s.unk != "" {
			s.added = append(s.added, &added{ID: int32(id), Content: token, Special: kind != pieceUserDefined})
		}
	}
	s.tokens = tokens
}

func (s *spec) json() ([]byte, error) {
	out := struct {
		Version       string   `json:"version"`
		Truncation    any      `json:"truncation"`
		Padding       any      `json:"padding"`
		Added         []*added `json:"added_tokens"`
		Normalizer    any      `json:"normalizer"`
		PreTokenizer  any      `json:"pre_tokenizer"`
		PostProcessor any      `json:"post_processor"`
		Decoder       any      `json:"decoder"`
		Model         any      `json:"model"`
	}{Version: "1.0", Added: s.added, Normalizer: s.normalizer, PostProcessor: s.template(), Decoder: s.decoder}
	switch len(s.steps) {
	case 0:
	case 1:
		out.PreTokenizer = s.steps[0]
	default:
		out.PreTokenizer = object{"type": "Sequence", "pretokenizers": s.steps}
	}
	if out.Added == nil { // empty lists, not null
		out.Added = []*added{}
	}
	var err error
	if out.Model, err = s.model(); err != nil {
		return nil, err
	}
	return marshal(out)
}

func (s *spec) model() (any, error) {
	if s.kind == "Unigram" {
		list := make([][2]any, len(s.tokens))
		for i, token := range s.tokens {
			list[i] = [2]any{token, float64(s.scores[i])}
		}
		return struct {
			Type         string   `json:"type"`
			Unk          int      `json:"unk_id"`
			Vocab        [][2]any `json:"vocab"`
			ByteFallback bool     `json:"byte_fallback"`
		}{"Unigram", slices.Index(s.tokens, s.unk), list, s.byteFallback}, nil
	}
	vocab, err := s.vocab()
	if err != nil {
		return nil, err
	}
	if s.kind == "WordPiece" {
		return struct {
			Type   string          `json:"type"`
			Unk    string          `json:"unk_token"`
			Prefix string          `json:"continuing_subword_prefix"`
			Max    int             `json:"max_input_chars_per_word"`
			Vocab  json.RawMessage `json:"vocab"`
		}{"WordPiece", s.unk, "##", 100, vocab}, nil
	}
	out := struct {
		Type         string          `json:"type"`
		Dropout      *float64        `json:"dropout"`
		Unk          *string         `json:"unk_token"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       *string         `json:"end_of_word_suffix"`
		FuseUnk      bool            `json:"fuse_unk"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       [][2]string     `json:"merges"`
	}{Type: "BPE", ByteFallback: s.byteFallback, IgnoreMerges: s.ignore, Vocab: vocab, Merges: s.merges}
	if s.unk != "" {
		out.Unk, out.FuseUnk = &s.unk, true
	}
	if out.Merges == nil {
		out.Merges = [][2]string{}
	}
	return out, nil
}

// template returns the post-processor that adds s.before and s.after, nil if there is nothing to add.
func (s *spec) template() any {
	if len(s.before)+len(s.after) == 0 {
		return nil
	}
	tokens := object{}
	special := func(names []string, typeID int) (items []object) {
		for _, name := range names {
			tokens[name] = object{"id": name, "ids": []int{slices.Index(s.tokens, name)}, "tokens": []string{name}}
			items = append(items, object{"SpecialToken": object{"id": name, "type_id": typeID}})
		}
		return items
	}
	single := func(sequence string, typeID int) []object {
		items := append(special(s.before, typeID), object{"Sequence": object{"id": sequence, "type_id": typeID}})
		return append(items, special(s.after, typeID)...)
	}
	return object{"type": "TemplateProcessing", "single": single("A", 0), "pair": append(single("A", 0), single("B", 1)...), "special_tokens": tokens}
}

// vocab writes the vocabulary in order of ids.
func (s *spec) vocab() (json.RawMessage, error) {
	b := []byte{'{'}
	for id, token := range s.tokens {
		if token == "" {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		key, err := marshal(token)
		if err != nil {
			return nil, err
		}
		b = append(append(b, bytes.TrimSpace(key)...), ':')
		n, err := json.Marshal(id)
		if err != nil {
			return nil, err
		}
		b = append(b, n...)
	}
	return append(b, '}'), nil
}

func (s *spec) configJSON() ([]byte, error) {
	optional := func(v string) *string {
		if v == "" {
			return nil
		}
		return &v
	}
	decoder := object{}
	for _, a := range s.added {
		decoder[itoa(a.ID)] = object{"content": a.Content, "lstrip": a.LStrip, "rstrip": a.RStrip, "normalized": a.Normalized,
			"single_word": a.SingleWord, "special": a.Special}
	}
	return marshalIndent(struct {
		AddBOS       bool    `json:"add_bos_token"`
		AddEOS       bool    `json:"add_eos_token"`
		Added        object  `json:"added_tokens_decoder"`
		BOS          *string `json:"bos_token"`
		EOS          *string `json:"eos_token"`
		Pad          *string `json:"pad_token"`
		Unk          *string `json:"unk_token"`
		ChatTemplate *string `json:"chat_template,omitempty"`
		Clean        bool    `json:"clean_up_tokenization_spaces"`
		Class        string  `json:"tokenizer_class"`
	}{len(s.before) > 0, len(s.after) > 0, decoder, optional(string(s.config.BOS)), optional(string(s.config.EOS)),
		optional(string(s.config.Pad)), optional(string(s.config.Unk)), optional(string(s.config.ChatTemplate)), false,
		"PreTrainedTokenizerFast"})
}

func itoa(n int32) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

func marshalIndent(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
