package tokenizer

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// A charsMap is the compiled table of a SentencePiece normaliser (normalizer_spec.precompiled_charsmap): a Darts double array
// from text to places in a list of strings, each ended by a zero byte.
type charsMap struct {
	units []uint32
	texts []byte
	plain [utf8.RuneSelf]bool // ASCII characters that stay as they are
}

func newCharsMap(blob []byte) (normalizer, error) {
	if len(blob) == 0 {
		return func(g seg) seg { return g }, nil
	}
	m := &charsMap{}
	if len(blob) < 4 {
		return nil, fmt.Errorf("precompiled_charsmap: expected at least 4 bytes, found %d", len(blob))
	}
	n := binary.LittleEndian.Uint32(blob)
	blob = blob[4:]
	if n == 0 || n%4 != 0 || uint64(n) > uint64(len(blob)) {
		return nil, fmt.Errorf("precompiled_charsmap: expected a table of at most %d bytes, found %d", len(blob), n)
	}
	for i := uint32(0); i < n; i += 4 {
		m.units = append(m.units, binary.LittleEndian.Uint32(blob[i:]))
	}
	m.texts = blob[n:]
	for c := range m.plain {
		_, mapped := m.look(string(rune(c)))
		m.plain[c] = !mapped
	}
	return m.apply, nil
}

// look returns what the shortest start of s in the table is mapped to.
func (m *charsMap) look(s string) (to []byte, ok bool) {
	offset := func(u uint32) uint32 { return u >> 10 << (u >> 6 & 8) }
	at := offset(m.units[0])
	for i := 0; i < len(s) && s[i] != 0; i++ {
		at ^= uint32(s[i])
		if at >= uint32(len(m.units)) {
			return nil, false
		}
		u := m.units[at]
		if u&(1<<31|0xff) != uint32(s[i]) {
			return nil, false
		}
		at ^= offset(u)
		if u>>8&1 == 0 {
			continue
		}
		if at >= uint32(len(m.units)) {
			return nil, false
		}
		from := m.units[at] & (1<<31 - 1)
		if from >= uint32(len(m.texts)) {
			return nil, false
		}
		end := from
		for end < uint32(len(m.texts)) && m.texts[end] != 0 {
			end++
		}
		return m.texts[from:end], true
	}
	return nil, false
}

// longGrapheme is the number of bytes from which on a grapheme is looked up character by character, as in the reference.
const longGrapheme = 6

func (m *charsMap) apply(g seg) seg {
	i := m.run(g.s, 0)
	if i == len(g.s) {
		return g
	}
	a := newAligner(g)
	a.keep(0, i)
	for i < len(g.s) {
		if end := m.run(g.s, i); end > i {
			a.keep(i, end)
			i = end
			continue
		}
		cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(g.s[i:], -1)
		if len(cluster) < longGrapheme {
			if to, ok := m.look(cluster); ok {
				a.substitute(utf8.RuneCountInString(cluster), to)
				i += len(cluster)
				continue
			}
		}
		for end := i + len(cluster); i < end; {
			n := runeLen(g.s, i)
			if to, ok := m.look(g.s[i : i+n]); ok {
				a.substitute(1, to)
			} else {
				a.keep(i, i+n)
			}
			i += n
		}
	}
	return a.seg()
}

// run returns the end of the ASCII characters from i on that stay as they are and are graphemes of their own.
func (m *charsMap) run(s string, i int) int {
	for ; i < len(s) && s[i] < utf8.RuneSelf && m.plain[s[i]] && s[i] != '\r'; i++ {
		if i+1 < len(s) && s[i+1] >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// substitute puts to in place of n characters: the characters that to has more are insertions, those that it has less are
// swallowed by the last one.
func (a *aligner) substitute(n int, to []byte) {
	k := utf8.RuneCount(to)
	for i := 0; len(to) > 0; i++ {
		r, size := utf8.DecodeRune(to)
		to = to[size:]
		c := change{r, 0}
		if i >= n {
			c.n = 1
		}
		a.put(c)
	}
	if k < n {
		a.drop(n - k)
	}
}
