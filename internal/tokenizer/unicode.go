package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// The pre-tokenizers' character classes follow Unicode 16, as the reference library does; Go's tables are at Unicode 15. The
// ranges below are what Unicode 15.1 and 16 added.
var newRanges = map[string][][2]rune{
	"L": {{0x1c89, 0x1c8a}, {0xa7cb, 0xa7cd}, {0xa7da, 0xa7dc}, {0x105c0, 0x105f3}, {0x10d4a, 0x10d65}, {0x10d6f, 0x10d85},
		{0x10ec2, 0x10ec4}, {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x113b5}, {0x113b7, 0x113b7},
		{0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0}, {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c},
		{0x18cff, 0x18cff}, {0x1e5d0, 0x1e5ed}, {0x1e5f0, 0x1e5f0}, {0x2ebf0, 0x2ee5d}},
	"N": {{0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x16130, 0x16139}, {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9},
		{0x1e5f1, 0x1e5fa}},
	"P": {{0x1b4e, 0x1b4f}, {0x1b7f, 0x1b7f}, {0x10d6e, 0x10d6e}, {0x113d4, 0x113d5}, {0x113d7, 0x113d8}, {0x11be1, 0x11be1},
		{0x16d6d, 0x16d6f}, {0x1e5ff, 0x1e5ff}},
	"S": {{0x2427, 0x2429}, {0x2ffc, 0x2fff}, {0x31e4, 0x31e5}, {0x31ef, 0x31ef}, {0x10d8e, 0x10d8f}, {0x1cc00, 0x1ccef},
		{0x1cd00, 0x1ceb3}, {0x1f8b2, 0x1f8bb}, {0x1f8c0, 0x1f8c1}, {0x1fa89, 0x1fa89}, {0x1fa8f, 0x1fa8f}, {0x1fabe, 0x1fabe},
		{0x1fac6, 0x1fac6}, {0x1fadc, 0x1fadc}, {0x1fadf, 0x1fadf}, {0x1fae9, 0x1fae9}, {0x1fbcb, 0x1fbef}},
	"M": {{0x897, 0x897}, {0x10d69, 0x10d6d}, {0x10efc, 0x10efc}, {0x113b8, 0x113c0}, {0x113c2, 0x113c2}, {0x113c5, 0x113c5},
		{0x113c7, 0x113ca}, {0x113cc, 0x113d0}, {0x113d2, 0x113d2}, {0x113e1, 0x113e2}, {0x11f5a, 0x11f5a}, {0x1611e, 0x1612f},
		{0x1e5ee, 0x1e5ef}},
}

// Classes of characters that the pre-tokenizers tell apart.
const (
	other uint8 = iota
	letter
	number
	space
)

// classTable holds the class of every character below tableEnd; built once, never changed.
const tableEnd = 0x33000

var classTable = sync.OnceValue(func() *[tableEnd]uint8 {
	t := new([tableEnd]uint8)
	fill := func(rt *unicode.RangeTable, class uint8) {
		for _, r := range rt.R16 {
			for c := uint32(r.Lo); c <= uint32(r.Hi); c += uint32(r.Stride) {
				t[c] = class
			}
		}
		for _, r := range rt.R32 {
			for c := r.Lo; c <= r.Hi && c < tableEnd; c += r.Stride {
				t[c] = class
			}
		}
	}
	fill(unicode.L, letter)
	fill(unicode.N, number)
	fill(unicode.White_Space, space)
	for class, name := range map[uint8]string{letter: "L", number: "N"} {
		for _, r := range newRanges[name] {
			for c := r[0]; c <= r[1]; c++ {
				t[c] = class
			}
		}
	}
	return t
})

// A classer reads characters and their classes out of a string.
type classer struct{ table *[tableEnd]uint8 }

// at returns the class and the length in bytes of the character at i; the end of the string is (other, 0).
func (c classer) at(s string, i int) (class uint8, n int) {
	if i >= len(s) {
		return other, 0
	}
	if b := s[i]; b < utf8.RuneSelf {
		return c.table[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return c.of(r), n
}

func (c classer) of(r rune) uint8 {
	if r >= tableEnd {
		return other
	}
	return c.table[r]
}

// run returns the end of the run of characters of a class that begins at i.
func (c classer) run(s string, i int, class uint8) int {
	for i < len(s) {
		k, n := c.at(s, i)
		if k != class {
			break
		}
		i += n
	}
	return i
}
