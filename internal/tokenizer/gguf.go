package tokenizer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tune/internal/hint"
)

// A ggufReader collects the first error of a series of look-ups.
type ggufReader struct {
	get func(string) (any, bool)
	err error
}

const ggufPrefix = "tokenizer.ggml."

func ggufValue[T any](r *ggufReader, key string, def T) T {
	v, ok := r.get(ggufPrefix + key)
	if !ok {
		return def
	}
	x, ok := v.(T)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("%s%s: expected %T, found %T", ggufPrefix, key, def, v)
	}
	return x
}

// ids returns a token by the key of its id, "" when the key is missing.
func (r *ggufReader) token(key string, tokens []string) string {
	v, ok := r.get(ggufPrefix + key)
	if !ok {
		return ""
	}
	id := int64(-1)
	switch n := v.(type) {
	case uint32:
		id = int64(n)
	case int32:
		id = int64(n)
	case uint64:
		id = int64(min(n, 1<<62))
	case int64:
		id = n
	}
	if id == 0xffffffff || id == -1 { // how some converters write "none"
		return ""
	}
	if id < 0 || id >= int64(len(tokens)) {
		if r.err == nil {
			r.err = fmt.Errorf("%s%s: expected an id below %d, found %v", ggufPrefix, key, len(tokens), v)
		}
		return ""
	}
	return tokens[id]
}

// FromGGUF reads the tokenizer.ggml.* metadata. get returns a string, bool, number, []string, []float32, []int32 ... or ok false.
func FromGGUF(get func(key string) (any, bool)) (*Tokenizer, error) {
	r := &ggufReader{get: get}
	kind := ggufValue(r, "model", "")
	tokens := ggufValue(r, "tokens", []string(nil))
	types := ggufValue(r, "token_type", []int32(nil))
	if r.err == nil && (len(tokens) == 0 || kind == "") {
		r.err = hint.Errorf("this GGUF holds no tokenizer; give one by its own path", "tokenizer.ggml.tokens: expected a vocabulary, found none")
	}
	if r.err == nil && types != nil && len(types) != len(tokens) {
		r.err = fmt.Errorf("tokenizer.ggml.token_type: expected %d entries, found %d", len(tokens), len(types))
	}
	s := &spec{tokens: tokens}
	s.config = config{
		BOS: tokenName(r.token("bos_token_id", tokens)), EOS: tokenName(r.token("eos_token_id", tokens)),
		Pad: tokenName(r.token("padding_token_id", tokens)), Unk: tokenName(r.token("unknown_token_id", tokens)),
	}
	if v, ok := get("tokenizer.chat_template"); ok {
		text, _ := v.(string)
		s.config.ChatTemplate = chatTemplate(text)
	}
	if r.err != nil {
		return nil, r.err
	}
	read := ggufKinds[kind]
	if read == nil {
		return nil, hint.Errorf("the tokenizer.json of the same model can be given instead",
			"tokenizer.ggml.model: expected one of %s, found %q", strings.Join(slices.Sorted(maps.Keys(ggufKinds)), ", "), kind)
	}
	bos, eos, err := read(s, r, types)
	if err == nil {
		s.around(ggufValue(r, "add_bos_token", bos), ggufValue(r, "add_eos_token", eos))
		err = r.err
	}
	if err != nil {
		return nil, err
	}
	s.addSpecial(types)
	return s.build()
}

// ggufKinds reads what belongs to a kind of vocabulary; bos and eos are what a text gets when the file does not say.
var ggufKinds = map[string]func(s *spec, r *ggufReader, types []int32) (bos, eos bool, err error){
	"gpt2": (*spec).fromGPT2, "llama": (*spec).fromLlama, "t5": (*spec).fromT5, "bert": (*spec).fromBERT,
}

func (s *spec) fromGPT2(r *ggufReader, _ []int32) (bos, eos bool, err error) {
	p, err := findPreset(ggufValue(r, "pre", "default"))
	if err != nil {
		return false, false, err
	}
	p.apply(s)
	for i, m := range ggufValue(r, "merges", []string(nil)) {
		a, b, ok := cutMerge(m)
		if !ok {
			return false, false, fmt.Errorf("tokenizer.ggml.merges: entry %d: expected two tokens with a space between, found %q", i, m)
		}
		s.merges = append(s.merges, [2]string{a, b})
	}
	return p.bos, false, r.err
}

func cutMerge(s string) (a, b string, ok bool) {
	if s == "" {
		return "", "", false
	}
	a, b, ok = strings.Cut(s[1:], " ")
	return s[:1] + a, b, ok
}

// readPieces reads a SentencePiece vocabulary.
func (s *spec) readPieces(r *ggufReader, types []int32) *pieces {
	p := &pieces{tokens: s.tokens, types: types, scores: ggufValue(r, "scores", []float32(nil))}
	if r.err == nil && len(p.scores) != len(s.tokens) {
		r.err = fmt.Errorf("tokenizer.ggml.scores: expected %d entries, found %d", len(s.tokens), len(p.scores))
	}
	p.prefix, p.trims = ggufValue(r, "add_space_prefix", true), ggufValue(r, "remove_extra_whitespaces", false)
	if v, ok := r.get(ggufPrefix + "precompiled_charsmap"); ok {
		switch b := v.(type) {
		case []byte:
			p.chars = b
		case []int8:
			for _, x := range b {
				p.chars = append(p.chars, byte(x))
			}
		}
	}
	if s.config.Unk == "" {
		for id, kind := range types {
			if kind == pieceUnknown {
				s.config.Unk = tokenName(s.tokens[id])
			}
		}
	}
	p.unk = string(s.config.Unk)
	return p
}

func (s *spec) fromLlama(r *ggufReader, types []int32) (bos, eos bool, err error) {
	p := s.readPieces(r, types)
	if r.err == nil && p.chars != nil {
		r.err = fmt.Errorf("tokenizer.ggml.precompiled_charsmap: expected none for the kind llama")
	}
	if r.err != nil {
		return false, false, r.err
	}
	p.trims = false
	return true, false, s.fromBPE(p)
}

func (s *spec) fromT5(r *ggufReader, types []int32) (bos, eos bool, err error) {
	p := s.readPieces(r, types)
	if r.err != nil {
		return false, false, r.err
	}
	return false, true, s.fromUnigram(p)
}

// fromBERT takes the word marks of the format away again: there a piece that begins a word has U+2581 in front, one that does not
// has lost its ##; tokens in brackets stay as they are.
func (s *spec) fromBERT(r *ggufReader, types []int32) (bos, eos bool, err error) {
	s.kind = "WordPiece"
	s.tokens = slices.Clone(s.tokens)
	for id, token := range s.tokens {
		if word, ok := strings.CutPrefix(token, metaspace); ok {
			s.tokens[id] = word
		} else if !strings.HasPrefix(token, "[") || !strings.HasSuffix(token, "]") {
			s.tokens[id] = "##" + token
		}
	}
	s.config.BOS = tokenName(cmp.Or(r.token("cls_token_id", s.tokens), string(s.config.BOS)))
	s.config.EOS = tokenName(cmp.Or(r.token("seperator_token_id", s.tokens), string(s.config.EOS)))
	if s.unk = string(s.config.Unk); s.unk == "" {
		return false, false, fmt.Errorf("tokenizer.ggml.unknown_token_id: expected a token, found none")
	}
	s.normalizer = object{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true}
	s.steps = []object{{"type": "BertPreTokenizer"}}
	s.decoder = object{"type": "WordPiece", "prefix": "##", "cleanup": true}
	return true, true, r.err
}
