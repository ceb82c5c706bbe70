package tokenizer

import (
	"errors"
	"unicode/utf8"
)

// loadWordPiece reads a vocabulary in which pieces that do not begin a word have a prefix.
func (m *model) loadWordPiece(f *modelFile) error {
	if err := m.loadVocab(f); err != nil {
		return err
	}
	if m.unk < 0 {
		return errors.New("unk_token: expected a token, found none")
	}
	m.prefix, m.maxChars = "##", 100
	if f.Prefix != nil {
		m.prefix = *f.Prefix
	}
	if f.MaxChars != nil {
		m.maxChars = *f.MaxChars
	}
	m.segment = segmentWordPiece
	return nil
}

// segmentWordPiece takes the longest piece again and again; a word that cannot be cut so is unknown as a whole.
func segmentWordPiece(w *worker, m *model, s string) []tok {
	toks := w.toks[:0]
	if utf8.RuneCountInString(s) > m.maxChars {
		w.toks = append(toks, tok{m.unk, int32(len(s))})
		return w.toks
	}
	var key []byte
	for i := 0; i < len(s); {
		key = key[:0]
		if i > 0 {
			key = append(key, m.prefix...)
		}
		head := len(key)
		key = append(key, s[i:]...)
		for len(key) > head {
			if id, ok := m.ids[string(key)]; ok {
				toks = append(toks, tok{id, int32(len(key) - head)})
				break
			}
			_, n := utf8.DecodeLastRune(key)
			key = key[:len(key)-n]
		}
		if len(key) == head {
			w.toks = append(toks[:0], tok{m.unk, int32(len(s))})
			return w.toks
		}
		i += len(key) - head
	}
	w.toks = toks
	return toks
}
