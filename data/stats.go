package data

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/fnv"
	"math/bits"
	"slices"
	"strings"
	"unicode"
)

// Summary is what there is to know about the rows of a split before training on them.
type Summary struct {
	Rows       int      `json:"rows"`
	Tokens     int      `json:"tokens"`
	Supervised int      `json:"supervised"` // labels
	Empty      int      `json:"empty"`      // rows without text
	Unwanted   int      `json:"unwanted"`   // answers judged bad, which only Options.Pairs takes
	Bad        int      `json:"bad"`        // rows that cannot be used
	Problems   []string `json:"problems,omitempty"`
	Duplicates int      `json:"duplicates"` // rows whose tokens and labels equal those of an earlier row
	Overlength int      `json:"overlength"` // rows of more than seq tokens
	Mean       float64  `json:"mean"`       // tokens per row that is not empty
	Median     int      `json:"median"`
	P90        int      `json:"p90"`
	P99        int      `json:"p99"`
	Longest    int      `json:"longest"`
	// Lengths counts rows by length, in buckets that double.
	Lengths []Bucket `json:"lengths"`
	Roles   []Share  `json:"roles"`   // of whom the tokens are, in order of first appearance
	Sources []Share  `json:"sources"` // files, in order
	Scripts []Script `json:"scripts"` // writing systems of the letters, the most frequent first
	// Longest rows, the longest first.
	LongRows []LongRow `json:"longest_rows"`
}

// Share is what of the tokens belongs to a role or a file.
type Share struct {
	Name       string `json:"name"`
	Rows       int    `json:"rows"` // in which it occurs
	Tokens     int    `json:"tokens"`
	Supervised int    `json:"supervised"`
}

// Script counts the letters of a writing system.
type Script struct {
	Name    string `json:"name"`
	Letters int    `json:"letters"`
	Rows    int    `json:"rows"` // that are mostly written in it
}

// LongRow names a row and its length.
type LongRow struct {
	Key    string `json:"row"`
	Tokens int    `json:"tokens"`
}

// Bucket counts rows of From to To tokens.
type Bucket struct {
	From int `json:"from"`
	To   int `json:"to"`
	Rows int `json:"rows"`
}

// Bounds of Summary.Problems and Summary.LongRows.
const (
	maxProblems = 5
	maxLong     = 5
)

// Summarize scans the split. It keeps eight bytes per row to find duplicates.
func (s *Stream) Summarize(ctx context.Context) (*Summary, error) {
	m := &Summary{}
	lengths := map[int]int{}
	seen := map[uint64]bool{}
	letters := map[string]*Script{}
	err := s.walk(ctx, 0, nil, func(x walked) bool {
		m.Rows++
		n := len(x.Example.IDs)
		switch {
		case x.Err != nil:
			if m.Bad++; m.Bad <= maxProblems {
				m.Problems = append(m.Problems, x.Err.Error())
			}
			return true
		case x.unwanted:
			m.Unwanted++
			return true
		case n == 0:
			m.Empty++
			return true
		}
		m.Tokens += n
		m.Supervised += x.Example.Supervised()
		m.shares(&x)
		m.long(x.key, n)
		countScripts(letters, &x)
		lengths[n]++
		if n > s.config.Seq {
			m.Overlength++
		}
		h := x.Example.hash()
		if seen[h] {
			m.Duplicates++
		}
		seen[h] = true
		return true
	})
	m.lengths(lengths)
	for _, s := range letters {
		m.Scripts = append(m.Scripts, *s)
	}
	slices.SortFunc(m.Scripts, func(a, b Script) int { return cmp.Or(b.Letters-a.Letters, cmp.Compare(a.Name, b.Name)) })
	return m, err
}

// shares adds the tokens of a row to its roles and its file.
func (m *Summary) shares(x *walked) {
	file := x.key
	if i := strings.LastIndexByte(file, ':'); i > 0 {
		file = file[:i]
	}
	m.Sources = addShare(m.Sources, file, &x.Example, 0, len(x.Example.IDs), true)
	runs := []RoleRun{{"tokens", 0, len(x.Example.IDs)}}
	if x.Example.Detail != nil {
		runs = x.Example.Detail.Roles
	}
	seen := map[string]bool{}
	for _, r := range runs {
		m.Roles = addShare(m.Roles, r.Role, &x.Example, r.From, r.To, !seen[r.Role])
		seen[r.Role] = true
	}
}

func addShare(list []Share, name string, ex *Example, from, to int, row bool) []Share {
	i := slices.IndexFunc(list, func(s Share) bool { return s.Name == name })
	if i < 0 {
		i, list = len(list), append(list, Share{Name: name})
	}
	s := &list[i]
	s.Tokens += to - from
	for k := max(from, 1); k < to; k++ {
		if ex.Labels[k] >= 0 {
			s.Supervised++
		}
	}
	if row {
		s.Rows++
	}
	return list
}

// long keeps the longest rows, of equals the first.
func (m *Summary) long(key string, n int) {
	i := slices.IndexFunc(m.LongRows, func(r LongRow) bool { return r.Tokens < n })
	if i < 0 {
		i = len(m.LongRows)
	}
	if i < maxLong {
		m.LongRows = slices.Insert(m.LongRows, i, LongRow{key, n})
		m.LongRows = m.LongRows[:min(len(m.LongRows), maxLong)]
	}
}

// countScripts counts the letters of what people wrote in a row; template and roles are not theirs.
func countScripts(total map[string]*Script, x *walked) {
	row := map[string]int{}
	if c := x.item.chat; c != nil {
		for _, m := range c.Messages {
			countLetters(row, m.Content)
			countLetters(row, m.Reasoning)
		}
	} else if x.item.text != nil {
		countLetters(row, *x.item.text)
	}
	for name, n := range row {
		if total[name] == nil {
			total[name] = &Script{Name: name}
		}
		total[name].Letters += n
	}
	if most := mostFrequent(row); most != "" {
		total[most].Rows++
	}
}

// countLetters counts the letters of a text by their scripts.
func countLetters(counts map[string]int, text string) {
	name, n := "", 0 // of a run of letters: a text changes its script seldom
	for _, r := range text {
		next := letterScript(r)
		if next == "" {
			continue
		}
		if next != name && n > 0 {
			counts[name] += n
			n = 0
		}
		name = next
		n++
	}
	if n > 0 {
		counts[name] += n
	}
}

// mostFrequent is the script with the most letters, of equals the first by name, "" when there is none.
func mostFrequent(counts map[string]int) string {
	best := ""
	for name, n := range counts {
		if n > counts[best] || n == counts[best] && name < best {
			best = name
		}
	}
	return best
}

// letterScript returns the writing system of a letter, "" for all other characters.
func letterScript(r rune) string {
	if r < 0x80 {
		if r|0x20 >= 'a' && r|0x20 <= 'z' {
			return "Latin"
		}
		return ""
	}
	if !unicode.IsLetter(r) {
		return ""
	}
	for _, name := range commonScripts {
		if unicode.Is(unicode.Scripts[name], r) {
			return name
		}
	}
	for name, table := range unicode.Scripts {
		if name != "Common" && name != "Inherited" && unicode.Is(table, r) {
			return name
		}
	}
	return ""
}

// commonScripts are looked up first.
var commonScripts = []string{"Latin", "Han", "Cyrillic", "Arabic", "Hiragana", "Katakana", "Hangul", "Devanagari", "Greek", "Hebrew", "Thai"}

func (m *Summary) lengths(count map[int]int) {
	n := m.Rows - m.Empty - m.Unwanted - m.Bad
	if n == 0 {
		return
	}
	m.Mean = float64(m.Tokens) / float64(n)
	var sizes []int
	for size := range count {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	m.Longest = sizes[len(sizes)-1]
	below := 0
	for _, size := range sizes {
		k := bits.Len(uint(size - 1)) // 2^(k-1) < size <= 2^k
		if len(m.Lengths) == 0 || m.Lengths[len(m.Lengths)-1].To < size {
			m.Lengths = append(m.Lengths, Bucket{From: 1<<k/2 + 1, To: 1 << k})
		}
		m.Lengths[len(m.Lengths)-1].Rows += count[size]
		for _, q := range []struct {
			share float64
			to    *int
		}{{0.5, &m.Median}, {0.9, &m.P90}, {0.99, &m.P99}} {
			if float64(below) < q.share*float64(n) {
				*q.to = size
			}
		}
		below += count[size]
	}
}

// hash identifies tokens and labels.
func (e *Example) hash() uint64 {
	h := fnv.New64a()
	buf := make([]byte, 0, 8*len(e.IDs))
	for i, id := range e.IDs {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(id))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(e.Labels[i]))
	}
	h.Write(buf)
	return h.Sum64()
}
