package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"tune/internal/hint"
)

// Token types of tokenizer.ggml.token_type.
const (
	ggufNormal      = 1
	ggufUnknown     = 2
	ggufControl     = 3
	ggufUserDefined = 4
)

// ggufPre says what tokenizer.ggml.pre stands for. The normaliser is the one of the published tokenizer.json, which llama.cpp
// does not carry out.
type ggufPre struct {
	names   string
	pattern string
	digits  bool
	nfc     bool
	ignore  bool
	bos     bool // add_bos_token when the file does not say
}

var ggufPres = []ggufPre{
	{names: "gpt-2 phi-2 jais", pattern: patternGPT2},
	{names: "mpt olmo", pattern: patternGPT2, nfc: true},
	{names: "smollm starcoder refact", pattern: patternGPT2, digits: true},
	{names: "llama-bpe llama3 llama-v3", pattern: patternLlama3, ignore: true, bos: true},
	{names: "dbrx smaug-bpe", pattern: patternLlama3},
	{names: "qwen2 deepseek-r1-qwen", pattern: patternQwen2, nfc: true},
}

func findPre(name string) (ggufPre, error) {
	var known []string
	for _, p := range ggufPres {
		names := strings.Fields(p.names)
		if slices.Contains(names, name) {
			return p, nil
		}
		known = append(known, names...)
	}
	return ggufPre{}, hint.Errorf("the tokenizer.json of the same model can be given instead",
		"tokenizer.ggml.pre: expected one of %s, found %q", strings.Join(known, ", "), name)
}

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
	addBOS := false
	var err error
	switch kind {
	case "gpt2":
		addBOS, err = s.fromGPT2(r)
	case "llama":
		addBOS, err = true, s.fromLlama(r, types)
	default:
		err = hint.Errorf("the tokenizers of kind gpt2 and llama work", "tokenizer.ggml.model: expected gpt2 or llama, found %q", kind)
	}
	if err == nil {
		if ggufValue(r, "add_bos_token", addBOS) && s.config.BOS != "" {
			s.before = []string{string(s.config.BOS)}
		}
		if ggufValue(r, "add_eos_token", false) && s.config.EOS != "" {
			s.after = []string{string(s.config.EOS)}
		}
		err = r.err
	}
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(tokens))
	for id, token := range tokens {
		if seen[token] { // a padding row of the same name: no text gives it
			s.tokens = slices.Clone(s.tokens)
			s.tokens[id] = ""
			continue
		}
		seen[token] = true
		kind := int32(ggufNormal)
		if types != nil {
			kind = types[id]
		}
		if kind == ggufControl || kind == ggufUserDefined || kind == ggufUnknown && s.sp {
			s.added = append(s.added, &added{ID: int32(id), Content: token, Special: kind != ggufUserDefined})
		}
	}
	return s.build()
}

func (s *spec) fromGPT2(r *ggufReader) (addBOS bool, err error) {
	name, ok := r.get(ggufPrefix + "pre")
	if !ok {
		name = "none"
	}
	p, err := findPre(fmt.Sprint(name))
	if err != nil {
		return false, err
	}
	s.pattern, s.digits, s.nfc, s.ignore = p.pattern, p.digits, p.nfc, p.ignore
	for i, m := range ggufValue(r, "merges", []string(nil)) {
		a, b, ok := cutMerge(m)
		if !ok {
			return false, fmt.Errorf("tokenizer.ggml.merges: entry %d: expected two tokens with a space between, found %q", i, m)
		}
		s.merges = append(s.merges, [2]string{a, b})
	}
	return p.bos, r.err
}

func cutMerge(s string) (a, b string, ok bool) {
	if s == "" {
		return "", "", false
	}
	a, b, ok = strings.Cut(s[1:], " ")
	return s[:1] + a, b, ok
}

// fromLlama derives the merges of a SentencePiece vocabulary from its scores, in the order of the reference library's converter:
// a piece of higher score first, then the longer left part, then the longer right one.
func (s *spec) fromLlama(r *ggufReader, types []int32) error {
	scores := ggufValue(r, "scores", []float32(nil))
	if r.err == nil && len(scores) != len(s.tokens) {
		r.err = fmt.Errorf("tokenizer.ggml.scores: expected %d entries, found %d", len(s.tokens), len(scores))
	}
	if _, ok := r.get(ggufPrefix + "precompiled_charsmap"); ok && r.err == nil {
		r.err = fmt.Errorf("tokenizer.ggml.precompiled_charsmap: expected none for the kind llama")
	}
	s.sp, s.prefix = true, ggufValue(r, "add_space_prefix", true)
	if r.err != nil {
		return r.err
	}
	if s.config.Unk == "" {
		for id, kind := range types {
			if kind == ggufUnknown {
				s.config.Unk = tokenName(s.tokens[id])
			}
		}
	}
	s.unk = string(s.config.Unk)
	ids := make(map[string]int, len(s.tokens))
	for id, token := range s.tokens {
		if types == nil || types[id] == ggufNormal || types[id] == ggufUserDefined {
			ids[token] = id
		}
	}
	type derived struct {
		score      float32
		n, m       int // characters of the parts
		left, rest int // ids of the parts
	}
	var list []derived
	for id, token := range s.tokens {
		if ids[token] != id || types != nil && types[id] != ggufNormal {
			continue
		}
		total := utf8.RuneCountInString(token)
		n := 0
		for i := range token {
			if i > 0 {
				left, okL := ids[token[:i]]
				rest, okR := ids[token[i:]]
				if okL && okR {
					list = append(list, derived{scores[id], n, total - n, left, rest})
				}
			}
			n++
		}
	}
	slices.SortStableFunc(list, func(a, b derived) int {
		return cmp.Or(cmp.Compare(b.score, a.score), b.n-a.n, b.m-a.m, a.left-b.left, a.rest-b.rest)
	})
	for _, d := range list {
		s.merges = append(s.merges, [2]string{s.tokens[d.left], s.tokens[d.rest]})
	}
	return nil
}
