package tokenizer

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"tune/internal/hint"
)

// FromTiktoken reads a file of tiktoken ranks (lines of a token in base64 and its rank) and, when configJSON is not nil, the
// tokenizer_config.json beside it, which names the special tokens. How words are cut is not in either: it is known by the number
// of ranks of the published vocabularies.
func FromTiktoken(ranks, configJSON []byte) (*Tokenizer, error) {
	s := &spec{}
	ids := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(ranks))
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		text, rank, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		token, err := base64.StdEncoding.DecodeString(string(text))
		id, err2 := strconv.Atoi(string(bytes.TrimSpace(rank)))
		if err != nil || err2 != nil || id != len(s.tokens) || len(token) == 0 {
			return nil, fmt.Errorf("tiktoken ranks: line %d: expected a token in base64 and the rank %d, found %.40q", n, len(s.tokens), lines.Text())
		}
		ids[string(token)] = id
		s.tokens = append(s.tokens, string(appendByteLetters(nil, string(token))))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("tiktoken ranks: %w", err)
	}
	var known []int
	i := slices.IndexFunc(presets, func(p preset) bool {
		if p.ranks > 0 {
			known = append(known, p.ranks)
		}
		return p.ranks > 0 && p.ranks == len(s.tokens)
	})
	if i < 0 {
		return nil, hint.Errorf("the tokenizer.json of the same model can be given instead",
			"tiktoken ranks: expected one of the published sizes %v, found %d tokens", known, len(s.tokens))
	}
	presets[i].apply(s)
	s.ignore = true
	s.mergeRanks(ids)
	var c struct {
		Added map[string]added `json:"added_tokens_decoder"`
	}
	if configJSON != nil {
		if err := json.Unmarshal(configJSON, &c); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w", err)
		}
	}
	for key, a := range c.Added {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: added_tokens_decoder: expected ids as keys, found %q", key)
		}
		a.ID = int32(id)
		s.added = append(s.added, &a)
	}
	slices.SortFunc(s.added, func(a, b *added) int { return cmp.Compare(a.ID, b.ID) })
	return s.buildWith(configJSON)
}

// mergeRanks lists for each token, in the order of ranks, the pairs of tokens it can be merged from.
func (s *spec) mergeRanks(ids map[string]int) {
	raw := make([]string, len(s.tokens))
	for token, id := range ids {
		raw[id] = token
	}
	var pairs [][2]int
	for _, token := range raw {
		pairs = pairs[:0]
		for k := 1; k < len(token); k++ {
			a, okA := ids[token[:k]]
			b, okB := ids[token[k:]]
			if okA && okB {
				pairs = append(pairs, [2]int{a, b})
			}
		}
		slices.SortFunc(pairs, func(x, y [2]int) int { return cmp.Or(x[0]-y[0], x[1]-y[1]) })
		for _, p := range pairs {
			s.merges = append(s.merges, [2]string{s.tokens[p[0]], s.tokens[p[1]]})
		}
	}
}
