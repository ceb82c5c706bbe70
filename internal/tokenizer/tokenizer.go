// Package tokenizer turns text into token ids and back: byte-level BPE, SentencePiece-style BPE with byte fallback, unigram and
// WordPiece, read from tokenizer.json, tokenizer.model, tiktoken ranks or GGUF metadata, and a trainer for byte-level BPE.
//
// The measure is the Hugging Face `tokenizers` library: same ids, same byte offsets, same decoded text. Every step of a
// tokenizer.json is either carried out or an error; none is skipped.
package tokenizer

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// Encoding is the result of Encode. Offsets[i] is the half-open range of bytes of the text that token i stands for. Tokens that
// share one character all carry the range of the whole character; tokens added by the post-processor carry [0,0].
type Encoding struct {
	IDs     []int32
	Offsets [][2]int32
}

// Options of Encode.
type Options struct {
	AddSpecial bool // add what the post-processor adds (for example the beginning-of-text token)
	Plain      bool // special tokens that occur in the text are ordinary text
}

// Tokenizer is immutable and safe for concurrent use.
type Tokenizer struct {
	json, configJSON []byte
	config           config

	added      []*added
	addedByID  map[int32]*added
	addedByStr map[string]*added
	names      []string // by id: added tokens and those of the model
	raw        matcher  // tokens looked for in the text
	normal     matcher  // tokens looked for in the normalised text

	normalizers []normalizer
	steps       []step
	model       model
	before      []int32 // added in front by the post-processor
	after       []int32
	trim        bool // offsets exclude spaces
	trimFirst   bool // the first space was added by add_prefix_space
	decoders    []decodeStep
	joined      bool // tokens of a text without decoder are joined by spaces
	size        int

	mu   sync.Mutex
	idle []*worker // scratch and word caches not in use now
}

// Encode returns the tokens of text.
func (t *Tokenizer) Encode(text string, o Options) (Encoding, error) {
	if len(text) > maxText {
		return Encoding{}, fmt.Errorf("expected a text of at most %d bytes, found %d", maxText, len(text))
	}
	w := t.worker()
	defer t.release(w)
	var e Encoding
	if n := len(text)/3 + len(t.before) + len(t.after); n > 0 {
		e.IDs, e.Offsets = make([]int32, 0, n), make([][2]int32, 0, n)
	}
	if o.AddSpecial {
		e.add(t.before)
	}
	body := len(e.IDs)
	w.cuts[0] = t.raw.split(w.cuts[0][:0], text, o.Plain)
	for _, c := range w.cuts[0] {
		if c.token != nil {
			e.IDs, e.Offsets = append(e.IDs, c.token.ID), append(e.Offsets, origin{int32(c.a), int32(c.b)})
			continue
		}
		if err := t.encodeText(w, &e, seg{s: text[c.a:c.b], off: c.a}, o.Plain); err != nil {
			return Encoding{}, err
		}
	}
	if t.trim {
		t.trimOffsets(&e, text, body)
	}
	if o.AddSpecial {
		e.add(t.after)
	}
	return e, nil
}

func (e *Encoding) add(ids []int32) {
	for _, id := range ids {
		e.IDs, e.Offsets = append(e.IDs, id), append(e.Offsets, origin{})
	}
}

// encodeText encodes text between added tokens: normalise, find tokens of the normalised text, cut into words, merge.
func (t *Tokenizer) encodeText(w *worker, e *Encoding, g seg, plain bool) error {
	for _, n := range t.normalizers {
		g = n(g)
	}
	w.cuts[1] = t.normal.split(w.cuts[1][:0], g.s, plain)
	for _, c := range w.cuts[1] {
		if c.token != nil {
			e.IDs, e.Offsets = append(e.IDs, c.token.ID), append(e.Offsets, g.span(c.a, c.b))
			continue
		}
		if err := words(t.steps, g.sub(c.a, c.b), func(word seg) { t.encodeWord(w, e, word) }); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tokenizer) encodeWord(w *worker, e *Encoding, g seg) {
	for g.s != "" {
		part := g
		if k := t.model.safeCut(g.s); k < len(g.s) {
			part, g = g.sub(0, k), g.sub(k, len(g.s))
		} else {
			g.s = ""
		}
		toks := w.word(&t.model, part.s)
		if t.model.missing && t.model.drops(part.s) {
			t.model.shiftedOffsets(e, part, toks)
			continue
		}
		at := 0
		for _, x := range toks {
			e.IDs = append(e.IDs, x.id)
			if x.n < 0 {
				e.Offsets = append(e.Offsets, part.span(at+int(x.n), at))
				continue
			}
			e.Offsets = append(e.Offsets, part.span(at, at+int(x.n)))
			at += int(x.n)
		}
	}
}

// safeCut returns the first place at which a word can be cut without any change in the result: no merge joins the characters on
// both sides. It is the end of the word when there is none.
func (m *model) safeCut(s string) int {
	if m.joins == nil {
		return len(s)
	}
	before, n := utf8.DecodeRuneInString(s)
	for i := n; i < len(s); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(s[i:])
		if !m.joins.joined(before, r) {
			return i
		}
		before = r
	}
	return len(s)
}

// drops says whether some byte of s has no token.
func (m *model) drops(s string) bool {
	if m.unk >= 0 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if m.bytes[s[i]] < 0 {
			return true
		}
	}
	return false
}

// shiftedOffsets gives the tokens of a word with dropped bytes the offsets of the reference library: it lays the tokens end
// to end over the word as written in byte letters (one or two bytes each), as if nothing had been dropped.
func (m *model) shiftedOffsets(e *Encoding, g seg, toks []tok) {
	var from []int // byte of g.s for each byte of its letters
	for i := 0; i < len(g.s); i++ {
		from = append(from, i)
		if alphabet.letter[g.s[i]] >= 0x80 {
			from = append(from, i)
		}
	}
	at := 0
	for _, x := range toks {
		n := len(m.tokens[x.id])
		a, b := from[min(at, len(from)-1)], from[min(at+n, len(from))-1]
		e.IDs, e.Offsets = append(e.IDs, x.id), append(e.Offsets, g.span(a, b+1))
		at += n
	}
}

// trimOffsets takes spaces at both ends out of the offsets (trim_offsets of the ByteLevel post-processor): one character of the
// text for each.
func (t *Tokenizer) trimOffsets(e *Encoding, text string, from int) {
	isSpace := func(r rune) bool { return r == alphabet.letter[' '] || r == ' ' }
	for i := from; i < len(e.IDs); i++ {
		token, o := t.Token(e.IDs[i]), &e.Offsets[i]
		lead := utf8.RuneCountInString(token[:len(token)-len(strings.TrimLeftFunc(token, isSpace))])
		trail := utf8.RuneCountInString(token[len(strings.TrimRightFunc(token, isSpace)):])
		if lead > 0 && t.trimFirst && (i == from || o[0] == 0) {
			lead--
		}
		for ; lead > 0 && o[0] < o[1]; lead-- {
			_, n := utf8.DecodeRuneInString(text[o[0]:])
			o[0] += int32(n)
		}
		if int(o[1]) < 4*trail && utf8.RuneCountInString(text[:o[1]]) < trail {
			continue
		}
		for ; trail > 0 && o[1] > o[0]; trail-- {
			_, n := utf8.DecodeLastRuneInString(text[:o[1]])
			o[1] -= int32(n)
		}
	}
}

func (t *Tokenizer) worker() *worker {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.idle); n > 0 {
		w := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return w
	}
	return new(worker)
}

// maxIdle bounds the caches that are kept when many goroutines encoded at once.
const maxIdle = 16

func (t *Tokenizer) release(w *worker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) < maxIdle {
		t.idle = append(t.idle, w)
	}
}

// VocabSize is one more than the greatest id in use.
func (t *Tokenizer) VocabSize() int { return t.size }

// Token returns the vocabulary entry of id as it stands in the file (not decoded), or "".
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.names) {
		return ""
	}
	return t.names[id]
}

// ID returns the id of a vocabulary entry or added token.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if a := t.addedByStr[token]; a != nil {
		return a.ID, true
	}
	id, ok := t.model.ids[token]
	return id, ok
}

// BOS returns the beginning-of-text token of the configuration.
func (t *Tokenizer) BOS() (int32, bool) { return t.named(t.config.BOS) }

// EOS returns the end-of-text token of the configuration.
func (t *Tokenizer) EOS() (int32, bool) { return t.named(t.config.EOS) }

// Unk returns the token of the vocabulary that stands for what has no other one.
func (t *Tokenizer) Unk() (int32, bool) { return t.model.unk, t.model.unk >= 0 }

// Pad returns the padding token of the configuration.
func (t *Tokenizer) Pad() (int32, bool) { return t.named(t.config.Pad) }

// Names are the texts of the beginning-of-text, end-of-text and padding tokens, "" for those that the configuration lacks: what
// chat templates know them by.
func (t *Tokenizer) Names() (bos, eos, pad string) {
	name := func(id int32, ok bool) string {
		if !ok {
			return ""
		}
		return t.Token(id)
	}
	return name(t.BOS()), name(t.EOS()), name(t.Pad())
}

func (t *Tokenizer) named(token tokenName) (int32, bool) {
	if token == "" {
		return 0, false
	}
	return t.ID(string(token))
}

// IsSpecial says whether id is a special added token.
func (t *Tokenizer) IsSpecial(id int32) bool {
	a := t.addedByID[id]
	return a != nil && a.Special
}

// ChatTemplate returns the template of the configuration, or "".
func (t *Tokenizer) ChatTemplate() string { return string(t.config.ChatTemplate) }

// JSON returns the tokenizer.json: the bytes it was read from, or written anew when it came from a GGUF or the trainer.
func (t *Tokenizer) JSON() []byte { return t.json }

// ConfigJSON returns the tokenizer_config.json, as JSON does; nil if there was none.
func (t *Tokenizer) ConfigJSON() []byte { return t.configJSON }

// Kind names the algorithm: bpe (of bytes), sentencepiece (BPE of characters), unigram or wordpiece.
func (t *Tokenizer) Kind() string {
	if t.model.kind == "BPE" && !t.model.byteLevel {
		return "sentencepiece"
	}
	return strings.ToLower(t.model.kind)
}

// String names the tokenizer in messages.
func (t *Tokenizer) String() string {
	return fmt.Sprintf("%s tokenizer of %d tokens", t.model.kind, t.size)
}
