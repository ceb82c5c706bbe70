package tokenizer

import "unicode/utf8"

// The byte alphabet of GPT-2: every byte is one printable character. Bytes that are printable in Latin-1 stand for themselves,
// the others get the characters from U+0100 on, in order.
type byteAlphabet struct {
	letter [256]rune
	byteOf [324]int16 // by character; -1: not a letter
}

var alphabet = func() (a byteAlphabet) {
	for i := range a.byteOf {
		a.byteOf[i] = -1
	}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = next
			next++
		}
		a.letter[b] = r
		a.byteOf[r] = int16(b)
	}
	return a
}()

func appendByteLetters(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		dst = utf8.AppendRune(dst, alphabet.letter[s[i]])
	}
	return dst
}

// appendLetterBytes appends the bytes that a token stands for; a token with a character outside the alphabet is text as it is.
func appendLetterBytes(dst []byte, token string) []byte {
	n := len(dst)
	for _, r := range token {
		if int(r) >= len(alphabet.byteOf) || alphabet.byteOf[r] < 0 {
			return append(dst[:n], token...)
		}
		dst = append(dst, byte(alphabet.byteOf[r]))
	}
	return dst
}

// lossy returns b as valid UTF-8: each maximal part of a character that is not completed becomes one U+FFFD (as the
// Unicode standard recommends; Go's own conversion writes one for each byte).
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = badPrefix(b)
			out = append(out, "\uFFFD"...)
		} else {
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return string(out)
}

// badPrefix is the length of the longest start of b that some valid character also starts with, at least 1.
func badPrefix(b []byte) int {
	need, lo, hi := 0, byte(0x80), byte(0xbf) // continuation bytes, range of the first of them
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	n := 1
	for n <= need && n < len(b) && b[n] >= lo && b[n] <= hi {
		n++
		lo, hi = 0x80, 0xbf
	}
	return n
}
