package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tune/internal/gguf"
	"tune/internal/hint"
)

// Token types of tokenizer.ggml.token_type.
const (
	tokenNormal  int32 = 1
	tokenUnknown int32 = 2
	tokenControl int32 = 3
	tokenUser    int32 = 4
	tokenUnused  int32 = 5
	tokenByte    int32 = 6
)

type addedToken struct {
	ID      int    `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// tokenizerJSON is the part of tokenizer.json that GGUF files keep.
type tokenizerJSON struct {
	Added         []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Model         struct {
		Type         string            `json:"type"`
		Vocab        map[string]int    `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
	} `json:"model"`
}

// vocabulary is the token table of a GGUF file.
type vocabulary struct {
	tokens []string
	scores []float32 // nil: none
	types  []int32
}

// ggufTokenizer adds the tokenizer.* keys: those of the GGUF file the checkpoint was read from, or what the files beside the
// weights say. A model without a tokenizer gets none.
func (c *Checkpoint) ggufTokenizer(m *gguf.Meta, pre string) error {
	if c.meta != nil {
		for _, key := range c.meta.Keys() {
			if strings.HasPrefix(key, "tokenizer.") {
				v, _ := c.meta.Get(key)
				m.Set(key, v)
			}
		}
		return nil
	}
	files := map[string][]byte{}
	for _, name := range []string{"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"} {
		data, err := c.side(name)
		if err != nil {
			return err
		}
		files[name] = data
	}
	var j *tokenizerJSON
	if text := files["tokenizer.json"]; text != nil {
		j = &tokenizerJSON{}
		if err := json.Unmarshal(text, j); err != nil {
			return fmt.Errorf("tokenizer.json: %w", err)
		}
	}
	var config map[string]json.RawMessage
	if text := files["tokenizer_config.json"]; text != nil {
		if err := json.Unmarshal(text, &config); err != nil {
			return fmt.Errorf("tokenizer_config.json: %w", err)
		}
	}
	var merges []string
	var err error
	switch {
	case files["tokenizer.model"] != nil && c.Spec.ggufArch() == "llama":
		err = putSentencePiece(m, files["tokenizer.model"], config, c.Spec.V)
	case j == nil:
		return nil
	case j.Model.Type != "BPE":
		return fmt.Errorf("tokenizer.json: expected a BPE model, found %q", j.Model.Type)
	case j.Model.ByteFallback:
		err = j.putLlama(m, c.Spec.V)
	default:
		if c.Spec.Arch == "qwen2" {
			j.addEndOfText(c.Spec.V)
		}
		merges, err = j.mergeList()
		if err == nil {
			err = j.putGPT2(m, pre, c.Spec.V)
		}
	}
	if err != nil {
		return err
	}
	return putSpecials(m, c, j, config, merges, string(files["chat_template.jinja"]))
}

func (v *vocabulary) put(m *gguf.Meta, model, pre string) {
	m.Set("tokenizer.ggml.model", model)
	m.Set("tokenizer.ggml.pre", pre)
	m.Set("tokenizer.ggml.tokens", v.tokens)
	if v.scores != nil {
		m.Set("tokenizer.ggml.scores", v.scores)
	}
	m.Set("tokenizer.ggml.token_type", v.types)
}

// table puts the vocabulary in the order of ids. Ids nobody has are padding.
func (j *tokenizerJSON) table(size int) (*vocabulary, error) {
	v := &vocabulary{tokens: make([]string, size), types: make([]int32, size)}
	for i := range size {
		v.tokens[i], v.types[i] = fmt.Sprintf("[PAD%d]", i), tokenUnused
	}
	put := func(id int, token string, kind int32) error {
		if id < 0 || id >= size {
			return fmt.Errorf("tokenizer.json: token %q: expected an id below vocab_size %d, found %d", token, size, id)
		}
		v.tokens[id], v.types[id] = token, kind
		return nil
	}
	for token, id := range j.Model.Vocab {
		if err := put(id, token, tokenNormal); err != nil {
			return nil, err
		}
	}
	for _, a := range j.Added {
		token, kind := a.Content, tokenControl
		if !a.Special && !looksSpecial(token) {
			token, kind = strings.ReplaceAll(token, "▁", " "), tokenUser
		}
		if err := put(a.ID, token, kind); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// addEndOfText does what the reference tokenizer of qwen2 does on loading: a vocabulary without <|endoftext|> gets it at the
// next id, when the model has one to spare.
func (j *tokenizerJSON) addEndOfText(size int) {
	const token = "<|endoftext|>"
	next := 0
	for name, id := range j.Model.Vocab {
		if name == token {
			return
		}
		next = max(next, id+1)
	}
	for _, a := range j.Added {
		if a.Content == token {
			return
		}
		next = max(next, a.ID+1)
	}
	if next < size {
		j.Added = append(j.Added, addedToken{next, token, true})
	}
}

// looksSpecial is the converter's rule for added tokens that are not marked special but are used as if they were.
func looksSpecial(token string) bool {
	between := func(a, b string) bool { return strings.HasPrefix(token, a) && strings.HasSuffix(token, b) }
	return slices.Contains([]string{"<pad>", "<mask>", "<2mass>", "[@BOS@]"}, token) ||
		between("<|", "|>") || between("<｜", "｜>") || between("<unused", ">")
}

func (j *tokenizerJSON) putGPT2(m *gguf.Meta, pre string, size int) error {
	if pre == "" {
		var err error
		if pre, err = j.pre(); err != nil {
			return err
		}
	}
	v, err := j.table(size)
	if err != nil {
		return err
	}
	v.put(m, "gpt2", pre)
	return nil
}

// putLlama writes a SentencePiece vocabulary that was converted to tokenizer.json. Its scores are gone; the rank of the first
// merge that makes a token puts them back in the same order.
func (j *tokenizerJSON) putLlama(m *gguf.Meta, size int) error {
	v, err := j.table(size)
	if err != nil {
		return err
	}
	merges, err := j.mergePairs()
	if err != nil {
		return err
	}
	rank := map[string]int{}
	for i, pair := range merges {
		if _, ok := rank[pair[0]+pair[1]]; !ok {
			rank[pair[0]+pair[1]] = i
		}
	}
	v.scores = make([]float32, size)
	for id, token := range v.tokens {
		switch r, ok := rank[token]; {
		case v.types[id] == tokenNormal && len(token) == 6 && strings.HasPrefix(token, "<0x") && token[5] == '>':
			v.types[id] = tokenByte
		case v.types[id] == tokenNormal && ok:
			v.scores[id] = -float32(r)
		case v.types[id] == tokenNormal:
			v.scores[id] = -float32(len(merges) + id)
		case token == "<unk>":
			v.types[id] = tokenUnknown
		default:
			v.scores[id] = -1000
		}
	}
	v.put(m, "llama", "default")
	return nil
}

// mergePairs reads both spellings, "a b" and ["a", "b"].
func (j *tokenizerJSON) mergePairs() ([][2]string, error) {
	pairs := make([][2]string, len(j.Model.Merges))
	for i, raw := range j.Model.Merges {
		var text string
		var list []string
		if json.Unmarshal(raw, &text) == nil {
			list = strings.Split(text, " ")
		} else if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("tokenizer.json: merge %d: %w", i, err)
		}
		if len(list) != 2 {
			return nil, fmt.Errorf("tokenizer.json: merge %d: expected two tokens, found %s", i, raw)
		}
		pairs[i] = [2]string(list)
	}
	return pairs, nil
}

// mergeList joins pairs with a space; a space inside a token is written as its byte-level letter.
func (j *tokenizerJSON) mergeList() ([]string, error) {
	pairs, err := j.mergePairs()
	if err != nil {
		return nil, err
	}
	list := make([]string, len(pairs))
	for i, p := range pairs {
		list[i] = strings.ReplaceAll(p[0], " ", "Ġ") + " " + strings.ReplaceAll(p[1], " ", "Ġ")
	}
	return list, nil
}

// How texts are cut into words before merging, and the name of that in tokenizer.ggml.pre. digits: each digit is a word.
const (
	splitGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	splitLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	splitQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

var preNames = []struct {
	name         string
	digits       bool
	pattern      string
	nfc          bool
	ignoreMerges bool
}{
	{"gpt-2", false, splitGPT2, false, false},
	{"olmo", false, splitGPT2, true, false},
	{"smollm", true, splitGPT2, false, false},
	{"llama-bpe", false, splitLlama3, false, true},
	{"smaug-bpe", false, splitLlama3, false, false},
	{"qwen2", false, splitQwen2, true, false},
	{"qwen2", false, splitQwen2, false, false},
}

// pre finds tokenizer.ggml.pre from the structure of the pre-tokenizer.
func (j *tokenizerJSON) pre() (string, error) {
	type step struct {
		Type       string
		Individual bool  `json:"individual_digits"`
		UseRegex   *bool `json:"use_regex"`
		Prefix     bool  `json:"add_prefix_space"`
		Pattern    struct{ Regex string }
		Steps      []step `json:"pretokenizers"`
	}
	var top step
	if len(j.PreTokenizer) > 0 {
		if err := json.Unmarshal(j.PreTokenizer, &top); err != nil {
			return "", fmt.Errorf("tokenizer.json: pre_tokenizer: %w", err)
		}
	}
	steps := top.Steps
	if top.Type != "Sequence" {
		steps = []step{top}
	}
	digits, known, patterns := false, true, []string{}
	for _, s := range steps {
		switch {
		case s.Type == "Digits" && s.Individual:
			digits = true
		case s.Type == "Split" && s.Pattern.Regex != "":
			patterns = append(patterns, s.Pattern.Regex)
		case s.Type == "ByteLevel" && !s.Prefix:
			if s.UseRegex == nil || *s.UseRegex {
				patterns = append(patterns, splitGPT2)
			}
		default:
			known = false
		}
	}
	var normalizer struct{ Type string }
	if len(j.Normalizer) > 0 && string(j.Normalizer) != "null" {
		if err := json.Unmarshal(j.Normalizer, &normalizer); err != nil {
			return "", fmt.Errorf("tokenizer.json: normalizer: %w", err)
		}
	}
	known = known && len(patterns) == 1 && (normalizer.Type == "" || normalizer.Type == "NFC")
	for _, p := range preNames {
		if known && p.digits == digits && p.pattern == patterns[0] && p.nfc == (normalizer.Type == "NFC") && p.ignoreMerges == j.Model.IgnoreMerges {
			return p.name, nil
		}
	}
	return "", hint.Errorf("name it with --pre, as llama.cpp calls it", "tokenizer.json: expected a pre_tokenizer that GGUF has a name for, found %.200s", j.PreTokenizer)
}

// specialKinds are the special tokens in the converter's order, with the name GGUF has for their id.
var specialKinds = []struct{ kind, key string }{
	{"bos", "bos"}, {"eos", "eos"}, {"unk", "unknown"}, {"sep", "seperator"}, {"pad", "padding"}, {"cls", "cls"}, {"mask", "mask"},
}

// putSpecials writes merges, ids of special tokens, whether they are added to a text, and the chat template.
func putSpecials(m *gguf.Meta, c *Checkpoint, j *tokenizerJSON, config map[string]json.RawMessage, merges []string, jinja string) error {
	if merges != nil {
		m.Set("tokenizer.ggml.merges", merges)
	}
	adds := j.postAdds(config)
	ids := map[string]uint32{}
	var found []string
	set := func(kind string, id int) {
		if _, ok := ids[kind]; !ok && id >= 0 && id < c.Spec.V {
			ids[kind], found = uint32(id), append(found, kind)
		}
	}
	for _, k := range specialKinds {
		var add bool
		if json.Unmarshal(config["add_"+k.kind+"_token"], &add) == nil {
			adds = putAdd(adds, k.kind, add)
		}
		if j == nil {
			continue
		}
		for _, a := range j.Added {
			if name := tokenContent(config[k.kind+"_token"]); name != "" && a.Content == name {
				set(k.kind, a.ID)
				break
			}
		}
	}
	var model map[string]json.RawMessage
	if err := json.Unmarshal(c.Config, &model); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	for _, k := range specialKinds {
		id := -1
		if json.Unmarshal(model[k.kind+"_token_id"], &id) == nil {
			set(k.kind, id)
		}
	}
	for _, kind := range found {
		i := slices.IndexFunc(specialKinds, func(k struct{ kind, key string }) bool { return k.kind == kind })
		m.Set("tokenizer.ggml."+specialKinds[i].key+"_token_id", ids[kind])
	}
	for _, a := range adds {
		m.Set("tokenizer.ggml.add_"+a.kind+"_token", a.add)
	}
	return putTemplates(m, config["chat_template"], jinja)
}

type addRule struct {
	kind string
	add  bool
}

func putAdd(rules []addRule, kind string, add bool) []addRule {
	for i := range rules {
		if rules[i].kind == kind {
			rules[i].add = add
			return rules
		}
	}
	return append(rules, addRule{kind, add})
}

// tokenContent reads "<s>" and {"content": "<s>"}.
func tokenContent(raw json.RawMessage) string {
	var text string
	var object struct{ Content string }
	if raw == nil || json.Unmarshal(raw, &text) == nil {
		return text
	}
	if json.Unmarshal(raw, &object) != nil {
		return ""
	}
	return object.Content
}

// postAdds reads from the post-processor whether a text gets a first and a last token.
func (j *tokenizerJSON) postAdds(config map[string]json.RawMessage) (adds []addRule) {
	if j == nil {
		return nil
	}
	type piece struct {
		SpecialToken struct{ ID string } `json:"SpecialToken"`
	}
	type processor struct {
		Type       string
		Single     []piece
		Processors []processor
	}
	var top processor
	if len(j.PostProcessor) == 0 || json.Unmarshal(j.PostProcessor, &top) != nil {
		return nil
	}
	list := top.Processors
	if top.Type != "Sequence" {
		list = []processor{top}
	}
	name := func(kind, or string) string {
		return cmp.Or(tokenContent(config[kind+"_token"]), tokenContent(config[or+"_token"]))
	}
	for _, p := range list {
		if p.Type != "TemplateProcessing" || len(p.Single) < 2 {
			continue
		}
		if first := p.Single[0].SpecialToken.ID; first != "" {
			adds = putAdd(adds, "bos", config == nil || first == name("bos", "cls"))
		}
		if last := p.Single[len(p.Single)-1].SpecialToken.ID; last != "" {
			adds = putAdd(adds, "eos", config == nil || last == name("eos", "sep"))
		}
	}
	return adds
}

// putTemplates writes the chat template, or the default and the named ones.
func putTemplates(m *gguf.Meta, raw json.RawMessage, jinja string) error {
	if jinja != "" {
		m.Set("tokenizer.chat_template", jinja)
		return nil
	}
	var text string
	var list []struct{ Name, Template string }
	switch {
	case raw == nil || string(raw) == "null":
		return nil
	case json.Unmarshal(raw, &text) == nil:
		m.Set("tokenizer.chat_template", text)
		return nil
	case json.Unmarshal(raw, &list) != nil:
		return fmt.Errorf("tokenizer_config.json: chat_template: expected a string or a list, found %.40s", raw)
	}
	var names []string
	for _, t := range list {
		if t.Name == "default" {
			m.Set("tokenizer.chat_template", t.Template)
			continue
		}
		names = append(names, t.Name)
		m.Set("tokenizer.chat_template."+t.Name, t.Template)
	}
	if names != nil {
		m.Set("tokenizer.chat_templates", names)
	}
	return nil
}
