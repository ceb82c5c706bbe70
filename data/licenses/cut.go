package licenses

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	minWords = 60
	maxWords = 160
	// softEnd is the length from which on the end of a paragraph ends an excerpt.
	softEnd = 90
)

// straight replaces typographic quotation marks, dashes and spaces by their ASCII forms.
var straight = strings.NewReplacer("\u201c", `"`, "\u201d", `"`, "\u2018", "'", "\u2019", "'", "\u2013", "-", "\u2014", "-", "\u00a0", " ",
	"\ufeff", "", "\r", "")

func plain(text string) string { return straight.Replace(strings.ToValidUTF8(text, "")) }

// words are the runs of letters and digits, in lower case.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// sentence is a sentence with single spaces between its words.
type sentence struct {
	text string
	n    int  // words
	last bool // of its paragraph
}

// paragraphs cuts a text at blank lines and each paragraph into sentences of at most maxWords words.
func paragraphs(text string) [][]sentence {
	var out [][]sentence
	var lines []string
	flush := func() {
		if p := strings.Join(strings.Fields(strings.Join(lines, " ")), " "); p != "" {
			out = append(out, sentences(p))
		}
		lines = nil
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			flush()
		}
		lines = append(lines, line)
	}
	flush()
	return out
}

// sentences cuts after . ; : ! ? where a capital, a digit, a quotation mark or a bracket follows.
func sentences(p string) []sentence {
	var out []sentence
	add := func(s string) {
		w := strings.Fields(s)
		for len(w) > maxWords { // a list without full stops: cut at the last comma
			k := maxWords
			for j := maxWords; j > minWords; j-- {
				if strings.HasSuffix(w[j-1], ",") || strings.HasSuffix(w[j-1], ";") {
					k = j
					break
				}
			}
			out = append(out, sentence{text: strings.Join(w[:k], " "), n: k})
			w = w[k:]
		}
		if len(w) > 0 {
			out = append(out, sentence{text: strings.Join(w, " "), n: len(w)})
		}
	}
	from := 0
	for i := 0; i+2 < len(p); i++ {
		if strings.IndexByte(".;:!?", p[i]) < 0 || p[i+1] != ' ' {
			continue
		}
		r, _ := utf8.DecodeRuneInString(p[i+2:])
		if unicode.IsUpper(r) || unicode.IsDigit(r) || r == '"' || r == '(' {
			add(p[from : i+1])
			from = i + 2
		}
	}
	add(p[from:])
	if len(out) > 0 {
		out[len(out)-1].last = true
	}
	return out
}

// cut returns excerpts of minWords to maxWords words. An excerpt ends at a third of the sentences, chosen by a hash of
// the sentence and salt, or at the end of a paragraph when it is long enough; what is left over is too short and not used.
func cut(text string, salt int) []string {
	var out, cur []string
	n := 0
	end := func() {
		if n >= minWords {
			out = append(out, strings.Join(cur, " "))
		}
		cur, n = nil, 0
	}
	for _, p := range paragraphs(text) {
		for _, s := range p {
			if n+s.n > maxWords {
				end()
			}
			cur, n = append(cur, s.text), n+s.n
			chosen := hashText(strings.Join(words(s.text), " ")+string(rune('0'+salt)))>>8%3 == 0
			if n >= minWords && (chosen || s.last && n >= softEnd) {
				end()
			}
		}
	}
	end()
	return out
}
