package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// file is a tokenizer.json.
type file struct {
	Version       string          `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	Added         []*added        `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         modelFile       `json:"model"`
}

type modelFile struct {
	Type         string          `json:"type"`
	Dropout      *float64        `json:"dropout"`
	Unk          *string         `json:"unk_token"`
	UnkID        *int            `json:"unk_id"`
	MaxChars     *int            `json:"max_input_chars_per_word"`
	Prefix       *string         `json:"continuing_subword_prefix"`
	Suffix       *string         `json:"end_of_word_suffix"`
	FuseUnk      bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Vocab        json.RawMessage `json:"vocab"`
	Merges       json.RawMessage `json:"merges"`
}

// Files are the names of tokenizer files, in the order in which they are looked for in a folder.
var Files = []string{"tokenizer.json", "tokenizer.model", "tokenizer.tiktoken", "tiktoken.model"}

// FromFile reads a tokenizer file by what its name says: .json, .model (SentencePiece; tiktoken ranks when it is text) or .tiktoken.
func FromFile(name string, data, configJSON []byte) (*Tokenizer, error) {
	switch {
	case strings.HasSuffix(name, ".json"):
		return FromJSON(data, configJSON)
	case strings.HasSuffix(name, ".tiktoken"), name == "tiktoken.model":
		return FromTiktoken(data, configJSON)
	case strings.HasSuffix(name, ".model"):
		if ranksLine.Match(data[:min(len(data), 256)]) {
			return FromTiktoken(data, configJSON)
		}
		return FromSentencePiece(data, configJSON)
	}
	return nil, fmt.Errorf("expected a file named *.json, *.model or *.tiktoken, found %s", name)
}

// ranksLine is the beginning of a file of tiktoken ranks.
var ranksLine = regexp.MustCompile(`^[A-Za-z0-9+/]+=* 0\r?\n`)

// FromJSON reads a tokenizer.json and, when configJSON is not nil, the tokenizer_config.json beside it.
func FromJSON(tokenizerJSON, configJSON []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(tokenizerJSON, &f); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	t := &Tokenizer{json: tokenizerJSON, configJSON: configJSON}
	for _, s := range []struct {
		name string
		read func() error
	}{
		{"model", func() error { return t.model.load(&f.Model) }},
		{"normalizer", func() error { return t.loadNormalizer(f.Normalizer) }},
		{"pre_tokenizer", func() error { return t.loadPreTokenizer(f.PreTokenizer) }},
		{"post_processor", func() error { return t.loadPost(f.PostProcessor) }},
		{"decoder", func() error { return t.loadDecoder(f.Decoder) }},
		{"added_tokens", func() error { return t.loadAdded(f.Added) }},
	} {
		if err := s.read(); err != nil {
			return nil, fmt.Errorf("tokenizer.json: %s: %w", s.name, err)
		}
	}
	t.model.finish()
	if configJSON != nil {
		if err := json.Unmarshal(configJSON, &t.config); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w", err)
		}
	}
	t.joined = len(t.decoders) == 0
	return t, nil
}

// modelKinds reads the model by its type.
var modelKinds = map[string]func(*model, *modelFile) error{
	"BPE": (*model).loadBPE, "Unigram": (*model).loadUnigram, "WordPiece": (*model).loadWordPiece,
}

func (m *model) load(f *modelFile) error {
	m.kind, m.unk = f.Type, -1
	if f.Type == "" { // how old files write it
		m.kind = "BPE"
	}
	load := modelKinds[m.kind]
	if load == nil {
		return fmt.Errorf("type: expected BPE, Unigram or WordPiece, found %q", f.Type)
	}
	return load(m, f)
}

func (m *model) loadBPE(f *modelFile) error {
	switch {
	case f.Dropout != nil && *f.Dropout != 0:
		return fmt.Errorf("dropout: expected none, found %g", *f.Dropout)
	case f.Prefix != nil && *f.Prefix != "":
		return fmt.Errorf("continuing_subword_prefix: expected none, found %q", *f.Prefix)
	case f.Suffix != nil && *f.Suffix != "":
		return fmt.Errorf("end_of_word_suffix: expected none, found %q", *f.Suffix)
	}
	if err := m.loadVocab(f); err != nil {
		return err
	}
	m.fuseUnk, m.byteFallback, m.ignoreMerges = f.FuseUnk, f.ByteFallback, f.IgnoreMerges
	m.segment = segmentBPE
	return m.loadMerges(f.Merges)
}

// loadVocab reads a vocabulary written as an object from token to id, and the unknown token.
func (m *model) loadVocab(f *modelFile) error {
	m.ids = make(map[string]int32, len(f.Vocab)/24)
	top := int32(-1)
	bad := ""
	err := scanVocab(f.Vocab, func(token string, id int32) {
		if id < 0 {
			bad = token
		}
		m.ids[token] = id
		top = max(top, id)
	})
	if err != nil {
		return fmt.Errorf("vocab: %w", err)
	}
	if bad != "" || int(top) > 2*len(m.ids)+1024 {
		return fmt.Errorf("vocab: expected ids from 0 to about %d, found %d (%q)", len(m.ids), top, bad)
	}
	m.tokens = make([]string, top+1)
	for token, id := range m.ids {
		if old := m.tokens[id]; old != "" && old != token {
			return fmt.Errorf("vocab: %q and %q have the same id %d", min(old, token), max(old, token), id)
		}
		m.tokens[id] = token
	}
	if f.Unk != nil && *f.Unk != "" {
		id, ok := m.ids[*f.Unk]
		if !ok {
			return fmt.Errorf("unk_token: %q is not in the vocabulary", *f.Unk)
		}
		m.unk = id
	}
	return nil
}

func (m *model) loadMerges(data []byte) error {
	type pair struct{ a, b, to int32 }
	var pairs []pair
	m.crossing = map[[2]rune]bool{}
	var buf []byte
	err := scanMerges(data, func(a, b string) error {
		buf = append(append(buf[:0], a...), b...)
		x, okA := m.ids[a]
		y, okB := m.ids[b]
		to, ok := m.ids[string(buf)]
		if !okA || !okB || !ok {
			return fmt.Errorf("merge %d: %q and %q: the parts or the result are not in the vocabulary", len(pairs), a, b)
		}
		last, _ := utf8.DecodeLastRuneInString(a)
		first, _ := utf8.DecodeRuneInString(b)
		m.crossing[[2]rune{last, first}] = true
		pairs = append(pairs, pair{x, y, to})
		return nil
	})
	if err != nil {
		return fmt.Errorf("merges: %w", err)
	}
	m.merges = newPairTable(len(pairs))
	for rank, p := range pairs {
		m.merges.put(p.a, p.b, merge{int32(rank), p.to})
	}
	return nil
}

// metaspace is how SentencePiece writes a space.
const metaspace = "▁"

// finish fills the table of byte tokens, once it is known whether words are written in byte letters.
func (m *model) finish() {
	m.findJoins()
	for b := range 256 {
		name := string(alphabet.letter[b])
		if !m.byteLevel {
			name = fmt.Sprintf("<0x%02X>", b)
		}
		id, ok := m.ids[name]
		if !ok {
			id = -1
			m.missing = m.missing || m.byteLevel
		}
		m.bytes[b] = id
	}
}

func (t *Tokenizer) loadAdded(list []*added) error {
	t.addedByID, t.addedByStr = map[int32]*added{}, map[string]*added{}
	t.size = len(t.model.tokens)
	limit := len(t.model.tokens) + 2*len(list) + 1<<16
	for _, a := range list {
		if a == nil || a.Content == "" {
			return errors.New("expected tokens with content, found an empty one")
		}
		if a.ID < 0 || int(a.ID) > limit {
			return fmt.Errorf("%q: expected an id below %d, found %d", a.Content, limit, a.ID)
		}
		t.addedByID[a.ID] = a
		t.addedByStr[a.Content] = a
		t.size = max(t.size, int(a.ID)+1)
		a.decoded = a.Content
		if !a.Normalized {
			t.raw.add(a.Content, a)
			continue
		}
		g := seg{s: a.Content}
		for _, n := range t.normalizers {
			g = n(g)
		}
		a.decoded = g.s
		t.normal.add(g.s, a)
	}
	t.added = list
	t.names = make([]string, t.size)
	copy(t.names, t.model.tokens)
	for _, a := range t.addedByID {
		t.names[a.ID] = a.Content
	}
	return nil
}

// config is what is read of a tokenizer_config.json.
type config struct {
	BOS          tokenName    `json:"bos_token"`
	EOS          tokenName    `json:"eos_token"`
	Pad          tokenName    `json:"pad_token"`
	Unk          tokenName    `json:"unk_token"`
	ChatTemplate chatTemplate `json:"chat_template"`
}

// tokenName is a token written as a string or as an object with its content.
type tokenName string

func (n *tokenName) UnmarshalJSON(b []byte) error {
	var s *string
	if json.Unmarshal(b, &s) == nil {
		if s != nil {
			*n = tokenName(*s)
		}
		return nil
	}
	var o struct{ Content string }
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	*n = tokenName(o.Content)
	return nil
}

// chatTemplate is a template, or a list of named ones of which "default" is taken.
type chatTemplate string

func (c *chatTemplate) UnmarshalJSON(b []byte) error {
	var s *string
	if json.Unmarshal(b, &s) == nil {
		if s != nil {
			*c = chatTemplate(*s)
		}
		return nil
	}
	var list []struct{ Name, Template string }
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	for _, e := range list {
		if e.Name == "default" || len(list) == 1 {
			*c = chatTemplate(e.Template)
		}
	}
	return nil
}
