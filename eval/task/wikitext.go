package task

import (
	"fmt"
	"strings"

	"tune/internal/chat"
	"tune/internal/pyre"
)

// wikitextPages cuts the text of a WikiText file into pages: a page begins at a line "= Title =".
func wikitextPages(docs []Doc) ([]Doc, error) {
	var text strings.Builder
	for i, d := range docs {
		s, err := column(d, "text")
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		text.WriteString(s)
	}
	var out []Doc
	var page []string
	flush := func() {
		if s := strings.Join(page, "\n"); strings.TrimSpace(s) != "" {
			out = append(out, chat.NewDict(chat.Field{Name: "page", Value: s}))
		}
		page = nil
	}
	for _, line := range strings.Split(text.String(), "\n") {
		title := strings.ReplaceAll(strings.ReplaceAll(line, "= = =", "==="), "= =", "==")
		if title = strings.TrimSpace(title); strings.HasPrefix(title, "= ") && strings.HasSuffix(title, " =") {
			flush()
		}
		page = append(page, line)
	}
	flush()
	return out, nil
}

// detokenizer undoes the tokens of WikiText, in this order.
var detokenizer = []struct {
	re       *pyre.Regexp // nil: from is a plain text
	from, to string
}{
	{nil, "s '", "s'"},
	{pyre.MustCompile(`/' [0-9]/`), "", `/'[0-9]/`},
	{nil, " @-@ ", "-"}, {nil, " @,@ ", ","}, {nil, " @.@ ", "."},
	{nil, " : ", ": "}, {nil, " ; ", "; "}, {nil, " . ", ". "}, {nil, " ! ", "! "}, {nil, " ? ", "? "}, {nil, " , ", ", "},
	{pyre.MustCompile(`\(\s*([^\)]*?)\s*\)`), "", `(\1)`},
	{pyre.MustCompile(`\[\s*([^\]]*?)\s*\]`), "", `[\1]`},
	{pyre.MustCompile(`{\s*([^}]*?)\s*}`), "", `{\1}`},
	{pyre.MustCompile(`"\s*([^"]*?)\s*"`), "", `"\1"`},
	{pyre.MustCompile(`'\s*([^']*?)\s*'`), "", `'\1'`},
	{nil, "= = = =", "===="}, {nil, "= = =", "==="}, {nil, "= =", "=="},
	{nil, " ° ", "°"}, {nil, " \n", "\n"}, {nil, "\n ", "\n"}, {nil, " N ", " 1 "}, {nil, " 's", "'s"},
}

func wikitextText(d Doc) (any, error) {
	s, err := column(d, "page")
	for _, step := range detokenizer {
		if err != nil {
			return nil, err
		}
		if step.re == nil {
			s = strings.ReplaceAll(s, step.from, step.to)
		} else {
			s, err = step.re.Sub(step.to, s, 0)
		}
	}
	return s, err
}

// wikitextResults weigh by the words and bytes of the page before it was detokenized.
func wikitextResults(d Doc, r results) ([]Named, error) {
	page, err := column(d, "page")
	if err != nil {
		return nil, err
	}
	all := rollingValues(r.answers[0].LogProb, page)
	var out []Named
	for _, name := range []string{"word_perplexity", "byte_perplexity", "bits_per_byte"} {
		out = append(out, Named{name, all[name]})
	}
	return out, nil
}
