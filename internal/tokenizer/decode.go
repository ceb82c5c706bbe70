package tokenizer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A decodeStep is one element of the "decoder" of a tokenizer.json: it maps the list of tokens to a list of texts.
type decodeStep func(tokens []string) []string

// Decode returns the text of ids; bytes that are not valid UTF-8 become U+FFFD. Ids outside the vocabulary give nothing.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if skipSpecial && t.IsSpecial(id) {
			continue
		}
		if a := t.addedByID[id]; a != nil {
			tokens = append(tokens, a.decoded)
		} else if s := t.Token(id); s != "" {
			tokens = append(tokens, s)
		}
	}
	if t.joined {
		return strings.Join(tokens, " ")
	}
	for _, f := range t.decoders {
		tokens = f(tokens)
	}
	return strings.Join(tokens, "")
}

func decodeByteLevel(tokens []string) []string {
	var b []byte
	for _, s := range tokens {
		b = appendLetterBytes(b, s)
	}
	return []string{lossy(b)}
}

func decodeReplace(old, new string) decodeStep {
	return func(tokens []string) []string {
		for i, s := range tokens {
			tokens[i] = strings.ReplaceAll(s, old, new)
		}
		return tokens
	}
}

// decodeByteFallback turns runs of <0xNN> tokens into characters; when a run is not valid UTF-8, each of its bytes becomes U+FFFD.
func decodeByteFallback(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		if utf8.Valid(run) {
			if len(run) > 0 {
				out = append(out, string(run))
			}
		} else {
			for range run {
				out = append(out, "\uFFFD")
			}
		}
		run = run[:0]
	}
	for _, s := range tokens {
		if b, ok := fallbackByte(s); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, s)
	}
	flush()
	return out
}

// fallbackByte reads a token such as <0x0A>.
func fallbackByte(s string) (byte, bool) {
	if len(s) != 6 || !strings.HasPrefix(s, "<0x") || s[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(s[3:5], 16, 8)
	return byte(b), err == nil
}

func decodeFuse(tokens []string) []string { return []string{strings.Join(tokens, "")} }

// decodeStrip takes up to start characters char from the front of each token and stop from its end.
func decodeStrip(char string, start, stop int) decodeStep {
	return func(tokens []string) []string {
		for i, s := range tokens {
			for k := 0; k < start && strings.HasPrefix(s, char); k++ {
				s = s[len(char):]
			}
			for k := 0; k < stop && strings.HasSuffix(s, char); k++ {
				s = s[:len(s)-len(char)]
			}
			tokens[i] = s
		}
		return tokens
	}
}

// decodeMetaspace writes mark as a space; the one in front that the encoder put there disappears.
func decodeMetaspace(mark, scheme string) decodeStep {
	return func(tokens []string) []string {
		for i, s := range tokens {
			text := strings.ReplaceAll(s, mark, " ")
			if i == 0 && scheme != "never" && strings.HasPrefix(s, mark) {
				text = text[1:]
			}
			tokens[i] = text
		}
		return tokens
	}
}

// decodeWordPiece joins words by spaces and pieces that begin with prefix to what stands before; cleanup takes the spaces before
// punctuation and English contractions out again.
func decodeWordPiece(prefix string, cleanup bool) decodeStep {
	tidy := strings.NewReplacer(" .", ".", " ?", "?", " !", "!", " ,", ",")
	return func(tokens []string) []string {
		for i, s := range tokens {
			if i > 0 {
				if rest, ok := strings.CutPrefix(s, prefix); ok {
					s = rest
				} else {
					s = " " + s
				}
			}
			if cleanup {
				s = tidy.Replace(s)
				for _, x := range englishSpaces {
					s = strings.ReplaceAll(s, x[0], x[1])
				}
			}
			tokens[i] = s
		}
		return tokens
	}
}

// englishSpaces are carried out one after another.
var englishSpaces = [][2]string{{" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}}

// Stream decodes token by token, for generation: text is handed out as soon as it can no longer change.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	ids         []int32 // tokens whose text is not all handed out, with one or more before them for context
	done        int     // bytes of the text of ids handed out
}

// Stream starts an incremental decoder.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream { return &Stream{t: t, skipSpecial: skipSpecial} }

// streamContext is the number of tokens kept in front: the decoders look at the first token only (to drop its space), and a
// character has at most four byte tokens. streamHold bounds how many tokens are held back.
const (
	streamContext = 8
	streamHold    = 64
)

// Add takes the next token and returns the text that became final, maybe "".
func (s *Stream) Add(id int32) string {
	s.ids = append(s.ids, id)
	text := s.t.Decode(s.ids, s.skipSpecial)
	_, isByte := fallbackByte(s.t.Token(id)) // a later byte can make the whole run invalid
	if (isByte || strings.HasSuffix(text, "\uFFFD")) && len(s.ids) < streamHold {
		return "" // maybe the beginning of a character
	}
	out := text[min(s.done, len(text)):]
	s.done = len(text)
	if keep := len(s.ids) - streamContext; keep > streamContext {
		rest := s.t.Decode(s.ids[keep:], s.skipSpecial)
		if !strings.Contains(rest, "\uFFFD") || len(s.ids) >= streamHold {
			s.ids = append(s.ids[:0], s.ids[keep:]...)
			s.done = len(rest)
		}
	}
	return out
}

// Flush returns the rest.
func (s *Stream) Flush() string {
	text := s.t.Decode(s.ids, s.skipSpecial)
	out := text[min(s.done, len(text)):]
	s.ids, s.done = nil, 0
	return out
}
