package tokenizer

import (
	"bytes"
	"encoding/json"
	"slices"
)

// A spec is a tokenizer to be written as tokenizer.json and tokenizer_config.json, in the form the reference library writes.
type spec struct {
	tokens  []string // by id; "" are holes
	merges  [][2]string
	added   []*added
	unk     string // SentencePiece kind only
	sp      bool   // SentencePiece-style BPE; otherwise byte-level
	prefix  bool   // sp: a space is put in front of the text
	nfc     bool
	pattern string // byte-level: the regular expression of the words
	digits  bool   // byte-level: digits are words of their own, before pattern
	ignore  bool   // ignore_merges
	before  []string
	after   []string
	config  config
}

type object = map[string]any

func (s *spec) build() (*Tokenizer, error) {
	data, err := s.json()
	if err != nil {
		return nil, err
	}
	config, err := s.configJSON()
	if err != nil {
		return nil, err
	}
	return FromJSON(data, config)
}

func (s *spec) json() ([]byte, error) {
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	type modelOut struct {
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
	}
	out := struct {
		Version       string   `json:"version"`
		Truncation    any      `json:"truncation"`
		Padding       any      `json:"padding"`
		Added         []*added `json:"added_tokens"`
		Normalizer    any      `json:"normalizer"`
		PreTokenizer  any      `json:"pre_tokenizer"`
		PostProcessor any      `json:"post_processor"`
		Decoder       any      `json:"decoder"`
		Model         modelOut `json:"model"`
	}{Version: "1.0", Added: s.added, PostProcessor: s.template(), Decoder: byteLevel}
	vocab, err := s.vocab()
	if err != nil {
		return nil, err
	}
	out.Model = modelOut{Type: "BPE", IgnoreMerges: s.ignore, Vocab: vocab, Merges: s.merges}
	if s.unk != "" {
		out.Model.Unk, out.Model.FuseUnk = &s.unk, true
	}
	switch {
	case s.sp:
		out.Model.ByteFallback = true
		out.Normalizer, out.Decoder = s.spSteps()
	case s.digits:
		out.PreTokenizer = object{"type": "Sequence", "pretokenizers": []object{{"type": "Digits", "individual_digits": true}, byteLevel}}
	case s.pattern == patternGPT2:
		out.PreTokenizer = byteLevel
	default:
		plain := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
		split := object{"type": "Split", "pattern": object{"Regex": s.pattern}, "behavior": "Isolated", "invert": false}
		out.PreTokenizer = object{"type": "Sequence", "pretokenizers": []object{split, plain}}
	}
	if s.nfc {
		out.Normalizer = object{"type": "NFC"}
	}
	if out.Added == nil { // empty lists, not null
		out.Added = []*added{}
	}
	if out.Model.Merges == nil {
		out.Model.Merges = [][2]string{}
	}
	return marshal(out)
}

// spSteps returns the normaliser and the decoder of the SentencePiece kind.
func (s *spec) spSteps() (normalizer, decoder any) {
	norms := []object{{"type": "Replace", "pattern": object{"String": " "}, "content": metaspace}}
	dec := []object{{"type": "Replace", "pattern": object{"String": metaspace}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}}
	if s.prefix {
		norms = append([]object{{"type": "Prepend", "prepend": metaspace}}, norms...)
		dec = append(dec, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	return object{"type": "Sequence", "normalizers": norms}, object{"type": "Sequence", "decoders": dec}
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
