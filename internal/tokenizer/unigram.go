package tokenizer

import (
	"errors"
	"fmt"
	"math"
)

// unkPenalty is how much worse than the worst piece a character without a piece is (SentencePiece, unigram_model.cc).
const unkPenalty = 10

// A unigram is what a vocabulary of scored pieces needs beside its tokens.
type unigram struct {
	scores []float64
	trie   pairTable // (node, byte) to the next node as id, and the piece that ends there as rank (-1: none)
	unk    float64   // score of a character without a piece
}

func (m *model) loadUnigram(f *modelFile) error {
	u := &unigram{}
	least := 0.0
	bytes := 0
	m.ids = map[string]int32{}
	err := scanScores(f.Vocab, func(token string, score float64) {
		m.ids[token] = int32(len(m.tokens))
		m.tokens, u.scores = append(m.tokens, token), append(u.scores, score)
		least = min(least, score)
		bytes += len(token)
	})
	switch {
	case err != nil:
		return fmt.Errorf("vocab: %w", err)
	case len(m.tokens) == 0:
		return errors.New("vocab: expected pieces, found none")
	case f.UnkID == nil || *f.UnkID < 0 || *f.UnkID >= len(m.tokens):
		return fmt.Errorf("unk_id: expected an id below %d", len(m.tokens))
	}
	m.unk, m.fuseUnk, m.byteFallback = int32(*f.UnkID), true, f.ByteFallback
	u.unk = least - unkPenalty
	u.trie = newPairTable(bytes)
	nodes := int32(1)
	for token, id := range m.ids {
		at := int32(0)
		for i := 0; i < len(token); i++ {
			g, ok := u.trie.get(at, int32(token[i]))
			if !ok {
				g = merge{-1, nodes}
				nodes++
			}
			if i == len(token)-1 {
				g.rank = id
			}
			u.trie.set(at, int32(token[i]), g)
			at = g.id
		}
	}
	m.unigram, m.segment = u, segmentUnigram
	return nil
}

// A path is the best way to a place in a word: its score and its last piece.
type path struct {
	score float64
	from  int32
	id    int32
}

// segmentUnigram returns the pieces with the greatest sum of scores; of equal ones the way found first (Kudo 2018).
func segmentUnigram(w *worker, m *model, s string) []tok {
	best := w.paths[:0]
	for range len(s) + 1 {
		best = append(best, path{math.Inf(-1), -1, 0})
	}
	w.paths = best
	best[0].score = 0
	for i := 0; i < len(s); {
		n := runeLen(s, i)
		single := false
		for at, k := int32(0), i; k < len(s); k++ {
			g, ok := m.unigram.trie.get(at, int32(s[k]))
			if !ok {
				break
			}
			if at = g.id; g.rank < 0 {
				continue
			}
			single = single || k+1 == i+n
			if score := m.unigram.scores[g.rank] + best[i].score; best[k+1].from < 0 || score > best[k+1].score {
				best[k+1] = path{score, int32(i), g.rank}
			}
		}
		if !single {
			if score := m.unigram.unk + best[i].score; best[i+n].from < 0 || score > best[i+n].score {
				best[i+n] = path{score, int32(i), m.unk}
			}
		}
		i += n
	}
	toks := w.toks[:0]
	for end := int32(len(s)); end > 0; {
		p := best[end]
		if last := len(toks) - 1; p.id == m.unk && last >= 0 && toks[last].id == m.unk {
			toks[last].n += end - p.from
		} else {
			toks = append(toks, tok{p.id, end - p.from})
		}
		end = p.from
	}
	for i, k := 0, len(toks)-1; i < k; i, k = i+1, k-1 {
		toks[i], toks[k] = toks[k], toks[i]
	}
	w.toks = toks
	if m.byteFallback {
		w.toks = m.unkToBytes(toks, s)
	}
	return w.toks
}

// unkToBytes writes unknown stretches as byte tokens where the vocabulary has them all. Each stands for the whole stretch.
func (m *model) unkToBytes(toks []tok, s string) []tok {
	var out []tok
	at := int32(0)
	for _, t := range toks {
		if part := s[at : at+t.n]; t.id == m.unk && m.fallsBack(part) {
			n := t.n
			for i := range len(part) {
				out = append(out, tok{m.bytes[part[i]], n})
				n = -t.n
			}
		} else {
			out = append(out, t)
		}
		at += t.n
	}
	return out
}
