package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"tune/data"
	"tune/internal/chat"
	"tune/internal/model"
	"tune/internal/tokenizer"
)

// Documents that the rows of tokenizing read: licence texts, on one thread.
const (
	documentBytes = 4 << 10
	corpusBytes   = 1 << 20
)

// data measures what stands before training: tokenizing, and all of it from rows to packs.
func (b *bencher) data() error {
	own, err := b.Text.Tokenizer()
	if err != nil {
		return err
	}
	docs, err := documents()
	if err != nil {
		return err
	}
	tokenizers := []*tokenizer.Tokenizer{own}
	if own.Kind() == "bpe" {
		other, err := onCharacters(own.JSON())
		if err != nil {
			return err
		}
		tokenizers = append(tokenizers, other)
	}
	for _, tok := range tokenizers {
		if err := b.tokenize("data/tokenize/"+tok.Kind(), tok, docs); err != nil {
			return err
		}
	}
	for _, size := range []struct {
		name  string
		bytes int
	}{{"64k", 64 << 10}, {"1M", 1 << 20}} { // as fast, unless a step is quadratic
		for _, tok := range tokenizers {
			if err := b.tokenize("data/tokenize/"+tok.Kind()+"/long-word/"+size.name, tok, []string{longWord(size.bytes)}); err != nil {
				return err
			}
		}
	}
	return b.packing(own)
}

// tokenize measures one thread that encodes texts.
func (b *bencher) tokenize(name string, tok *tokenizer.Tokenizer, texts []string) error {
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	took, err := b.repeat(func() error {
		for _, text := range texts {
			if _, err := tok.Encode(text, tokenizer.Options{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.add(name, "MB/s", took, float64(size)/1e6, 0, arithmetic, 0)
	return nil
}

// packing measures all threads that make packs of the built-in conversations, and how much faster that is than SmolLM2-135M could be
// trained if it did nothing but the products of adapters' training at the machine's peak.
func (b *bencher) packing(tok *tokenizer.Tokenizer) error {
	template, err := b.Text.Template()
	if err != nil {
		return err
	}
	c := data.Default()
	c.Train, c.Order, c.Overlength = data.Sources{{Path: "builtin:licenses"}}, "file", "truncate"
	if template == nil {
		c.Train[0].Path = "builtin:licenses-text"
	}
	tokens := 0
	took, err := b.repeat(func() error {
		s, err := data.Open(c, data.Options{Split: "train", Tokenizer: tok, Template: template})
		if err != nil {
			return err
		}
		defer s.Close()
		for tokens = 0; ; {
			p, err := s.Next(b.ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			tokens += len(p.IDs)
		}
	})
	if err != nil {
		return err
	}
	const name = "data/render+tokenize+pack"
	b.add(name, "tokens/s", took, float64(tokens), 0, arithmetic, 0)
	shape, err := model.Fresh([]byte(smolLM2), "synthetic", nil)
	if err != nil {
		return err
	}
	products := 0.0
	for _, t := range shape.Spec.Tensors() {
		if len(t.Shape) == 2 {
			products += 4 * float64(t.Shape[0]) * float64(t.Shape[1]) // forward, and the gradient of activations
		}
	}
	b.add(name+"/training", "times", took, float64(tokens)*products/b.height(arithmetic), 0, arithmetic, 0)
	return nil
}

// documents are licence texts in pieces of about documentBytes that end with a line.
func documents() ([]string, error) {
	c := data.Default()
	c.Train = data.Sources{{Path: "builtin:licenses-text"}}
	s, err := data.Open(c, data.Options{Split: "train"})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var docs []string
	left := corpusBytes
	err = s.Convert(context.Background(), "columns", func(row *chat.Dict) error {
		text, _ := row.Get("text")
		rest, ok := text.(string)
		if !ok {
			return fmt.Errorf("builtin:licenses-text: expected a text, found %v", text)
		}
		for rest != "" && left > 0 {
			n := min(documentBytes, len(rest))
			if i := strings.IndexByte(rest[n:], '\n'); i >= 0 {
				n += i + 1
			} else {
				n = len(rest)
			}
			docs, rest, left = append(docs, rest[:n]), rest[n:], left-n
		}
		return nil
	})
	return docs, err
}

// onCharacters makes of a byte-level BPE tokenizer one as SentencePiece has it: the same merges on characters, of spaces written as a
// letter of their own, on whole texts that nothing cuts into words; what has no token is spelled in bytes. Merges of parts of
// characters are left out.
func onCharacters(tokenizerJSON []byte) (*tokenizer.Tokenizer, error) {
	var file struct {
		Model struct {
			Vocab  map[string]int    `json:"vocab"`
			Merges []json.RawMessage `json:"merges"`
		} `json:"model"`
	}
	if err := json.Unmarshal(tokenizerJSON, &file); err != nil {
		return nil, err
	}
	// spaced writes a token of byte letters with the space of SentencePiece; ok is false for one with other bytes than those of ASCII
	spaced := func(token string) (_ string, ok bool) {
		token = strings.NewReplacer("\u0120", "\u2581", "\u010a", "\n", "\u0109", "\t").Replace(token)
		return token, !strings.ContainsFunc(token, func(r rune) bool { return r > '~' && r != '\u2581' })
	}
	vocab := map[string]int{"<unk>": 0}
	add := func(token string) {
		if _, ok := vocab[token]; !ok {
			vocab[token] = len(vocab)
		}
	}
	for i := range 256 {
		add(fmt.Sprintf("<0x%02X>", i))
	}
	byID := slices.SortedFunc(maps.Keys(file.Model.Vocab), func(x, y string) int { return file.Model.Vocab[x] - file.Model.Vocab[y] })
	for _, token := range byID {
		if token, ok := spaced(token); ok {
			add(token)
		}
	}
	var merges [][2]string
	for _, raw := range file.Model.Merges {
		var pair [2]string
		if json.Unmarshal(raw, &pair) != nil { // the old way to write them
			var both string
			if err := json.Unmarshal(raw, &both); err != nil {
				return nil, err
			}
			pair[0], pair[1], _ = strings.Cut(both, " ")
		}
		left, ok := spaced(pair[0])
		right, also := spaced(pair[1])
		if ok && also {
			merges = append(merges, [2]string{left, right})
		}
	}
	text, err := json.Marshal(map[string]any{
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Prepend", "prepend": "\u2581"},
			map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "\u2581"}}},
		"model": map[string]any{"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges},
	})
	if err != nil {
		return nil, err
	}
	return tokenizer.FromJSON(text, nil)
}

// longWord is a word of letters that merge in many ways.
func longWord(n int) string {
	r := rand.New(rand.NewPCG(5, 6))
	word := make([]byte, n)
	for i := range word {
		word[i] = "thernadts"[r.IntN(9)]
	}
	return string(word)
}
