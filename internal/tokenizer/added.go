package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// added is a token that is cut out of the text before anything else happens to it.
type added struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`

	decoded string // what the decoder sees: the content, normalised if the token is looked for in normalised text
}

// A matcher finds added tokens in a text: the leftmost, and of those that begin there the longest.
type matcher struct {
	first [256]bool
	nodes []trieNode
}

type trieNode struct {
	edges map[byte]int32
	token *added // ends here
}

func (m *matcher) add(content string, token *added) {
	if content == "" {
		return
	}
	if m.nodes == nil {
		m.nodes = []trieNode{{}}
	}
	m.first[content[0]] = true
	at := int32(0)
	for i := 0; i < len(content); i++ {
		next, ok := m.nodes[at].edges[content[i]]
		if !ok {
			next = int32(len(m.nodes))
			m.nodes = append(m.nodes, trieNode{})
			if m.nodes[at].edges == nil {
				m.nodes[at].edges = map[byte]int32{}
			}
			m.nodes[at].edges[content[i]] = next
		}
		at = next
	}
	if m.nodes[at].token == nil {
		m.nodes[at].token = token
	}
}

// longest returns the longest token that begins at i.
func (m *matcher) longest(s string, i int) (token *added, end int) {
	at := int32(0)
	for k := i; k < len(s); k++ {
		next, ok := m.nodes[at].edges[s[k]]
		if !ok {
			break
		}
		at = next
		if t := m.nodes[at].token; t != nil {
			token, end = t, k+1
		}
	}
	return token, end
}

// A cut is a piece of a text: an added token, or text between them (token nil).
type cut struct {
	a, b  int
	token *added
}

// split cuts s by the added tokens; with plain special ones are text.
func (m *matcher) split(dst []cut, s string, plain bool) []cut {
	start := 0
	for i := 0; i < len(s) && m.nodes != nil; {
		if !m.first[s[i]] {
			i++
			continue
		}
		token, end := m.longest(s, i)
		if token == nil {
			i++
			continue
		}
		a, b := i, end
		i = end
		if plain && token.Special {
			continue
		}
		if token.SingleWord && (wordBefore(s[:a]) || wordAfter(s[b:])) {
			continue
		}
		if token.LStrip {
			for a > start {
				r, n := utf8.DecodeLastRuneInString(s[:a])
				if !unicode.IsSpace(r) {
					break
				}
				a -= n
			}
			a = max(a, start)
		}
		if token.RStrip {
			for b < len(s) {
				r, n := utf8.DecodeRuneInString(s[b:])
				if !unicode.IsSpace(r) {
					break
				}
				b += n
			}
		}
		if start < a {
			dst = append(dst, cut{start, a, nil})
		}
		dst = append(dst, cut{a, b, token})
		start, i = b, max(i, b)
	}
	if start < len(s) {
		dst = append(dst, cut{start, len(s), nil})
	}
	return dst
}

func wordBefore(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func wordAfter(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w of regular expressions.
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic) ||
		r == 0x200c || r == 0x200d || r > unicode.MaxLatin1 && (in(newRanges["L"], r) || in(newRanges["M"], r) || in(newRanges["N"], r))
}
