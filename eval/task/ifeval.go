package task

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"tune/internal/chat"
	"tune/internal/pyre"
)

// The instructions of IFEval (Zhou et al. 2023) that a program can check. Two kinds are checked more plainly than by the
// original, which asks natural-language packages: sentences end at . ! or ? before white space, and languages are told
// by their script or their most frequent words.

// instruction checks whether an answer follows an instruction with its parameters.
type instruction func(answer string, p *fields) (bool, error)

var instructions = map[string]instruction{
	"keywords:existence":         hasKeywords,
	"keywords:frequency":         keywordFrequency,
	"keywords:forbidden_words":   noForbidden,
	"keywords:letter_frequency":  letterFrequency,
	"language:response_language": func(a string, p *fields) (bool, error) { return languageOf(a) == p.text("language", "en"), nil },
	"length_constraints:number_sentences": func(a string, p *fields) (bool, error) {
		return compared(len(sentencesOf(a)), p, "num_sentences", "relation"), nil
	},
	"length_constraints:number_paragraphs": paragraphs,
	"length_constraints:number_words": func(a string, p *fields) (bool, error) {
		return compared(found(`\w+`, a), p, "num_words", "relation"), nil
	},
	"length_constraints:nth_paragraph_first_word": paragraphFirstWord,
	"detectable_content:number_placeholders": func(a string, p *fields) (bool, error) {
		return found(`\[.*?\]`, a) >= number(p, "num_placeholders"), nil
	},
	"detectable_content:postscript": postscript,
	"detectable_format:number_bullet_lists": func(a string, p *fields) (bool, error) {
		return found(`(?m)^\s*\*[^\*].*$`, a)+found(`(?m)^\s*-.*$`, a) == number(p, "num_bullets"), nil
	},
	"detectable_format:constrained_response":        constrained,
	"detectable_format:number_highlighted_sections": highlights,
	"detectable_format:multiple_sections":           sections,
	"detectable_format:json_format":                 isJSON,
	"detectable_format:title":                       hasTitle,
	"combination:two_responses":                     twoResponses,
	"combination:repeat_prompt": func(a string, p *fields) (bool, error) {
		return strings.HasPrefix(folded(a), folded(p.text("prompt_to_repeat", ""))), nil
	},
	"startend:end_checker": func(a string, p *fields) (bool, error) {
		return strings.HasSuffix(folded(strings.Trim(strings.TrimSpace(a), `"`)), folded(p.text("end_phrase", ""))), nil
	},
	"startend:quotation": func(a string, _ *fields) (bool, error) {
		s := strings.TrimSpace(a)
		return len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"', nil
	},
	"change_case:capital_word_frequency": capitalWords,
	"change_case:english_capital": func(a string, _ *fields) (bool, error) {
		return cased(a, unicode.IsLower) && languageOf(a) == "en", nil
	},
	"change_case:english_lowercase": func(a string, _ *fields) (bool, error) {
		return cased(a, unicode.IsUpper) && languageOf(a) == "en", nil
	},
	"punctuation:no_comma": func(a string, _ *fields) (bool, error) { return !strings.Contains(a, ","), nil },
}

func folded(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// found counts the matches of a pattern of this file.
func found(pattern, s string) int {
	all, err := pyre.MustCompile(pattern).FindAll(s)
	if err != nil {
		return 0
	}
	return len(all)
}

func number(p *fields, key string) int {
	if f, ok := p.any(key).(float64); ok {
		return int(f)
	}
	if n := p.int(key); n != nil {
		return *n
	}
	return 0
}

// compared says whether a count is at least, or with the relation "less than" below, what a parameter asks for.
func compared(n int, p *fields, key, relation string) bool {
	if p.text(relation, "at least") == "less than" {
		return n < number(p, key)
	}
	return n >= number(p, key)
}

func hasKeywords(a string, p *fields) (bool, error) {
	for _, k := range p.texts("keywords") {
		re, err := pyre.Compile("(?i)" + k)
		if err != nil {
			return false, err
		}
		if ok, err := re.Match(a); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func keywordFrequency(a string, p *fields) (bool, error) {
	re, err := pyre.Compile("(?i)" + p.text("keyword", ""))
	if err != nil {
		return false, err
	}
	all, err := re.FindAll(a)
	return compared(len(all), p, "frequency", "relation"), err
}

func noForbidden(a string, p *fields) (bool, error) {
	for _, w := range p.texts("forbidden_words") {
		re, err := pyre.Compile(`(?i)\b` + w + `\b`)
		if err != nil {
			return false, err
		}
		if ok, err := re.Match(a); ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func letterFrequency(a string, p *fields) (bool, error) {
	n := strings.Count(strings.ToLower(a), strings.ToLower(p.text("letter", "")))
	return compared(n, p, "let_frequency", "let_relation"), nil
}

func sentencesOf(a string) []string {
	var out []string
	begin := 0
	for i, r := range a {
		if strings.ContainsRune(".!?。！？", r) {
			end := i + len(string(r))
			next := strings.TrimLeft(a[end:], `"'”’)`)
			if next == "" || pyre.IsSpace([]rune(next)[0]) || r > 127 {
				out, begin = append(out, a[begin:end]), end
			}
		}
	}
	if strings.TrimSpace(a[begin:]) != "" {
		out = append(out, a[begin:])
	}
	return out
}

// paragraphs are divided by three stars.
func paragraphs(a string, p *fields) (bool, error) {
	list, err := pyre.MustCompile(`\s?\*\*\*\s?`).Split(a)
	n := len(list)
	for i, x := range list {
		if strings.TrimSpace(x) != "" {
			continue
		}
		if i != 0 && i != len(list)-1 {
			return false, err
		}
		n--
	}
	return n == number(p, "num_paragraphs"), err
}

func paragraphFirstWord(a string, p *fields) (bool, error) {
	list := strings.Split(a, "\n\n")
	n := 0
	for _, x := range list {
		n += b2i(strings.TrimSpace(x) != "")
	}
	at := number(p, "nth_paragraph")
	if at < 1 || at > n {
		return false, nil
	}
	words := strings.Fields(list[at-1])
	if len(words) == 0 {
		return false, nil
	}
	word := strings.TrimLeft(strings.TrimLeft(words[0], "'"), `"`)
	if i := strings.IndexAny(word, `.,?!'"`); i >= 0 {
		word = word[:i]
	}
	lower := strings.ToLower // as Python's lower(), which is not folding
	return n == number(p, "num_paragraphs") && lower(word) == lower(p.text("first_word", "")), nil
}

func postscript(a string, p *fields) (bool, error) {
	pattern := map[string]string{"P.P.S": `\s*p\.\s?p\.\s?s.*$`, "P.S.": `\s*p\.\s?s\..*$`}[p.text("postscript_marker", "P.S.")]
	if pattern == "" {
		pattern = `\s*` + strings.ToLower(p.text("postscript_marker", "")) + `.*$`
	}
	re, err := pyre.Compile("(?m)" + pattern)
	if err != nil {
		return false, err
	}
	return re.Match(strings.ToLower(a))
}

func constrained(a string, _ *fields) (bool, error) {
	for _, s := range []string{"My answer is yes.", "My answer is no.", "My answer is maybe."} {
		if strings.Contains(a, s) {
			return true, nil
		}
	}
	return false, nil
}

func highlights(a string, p *fields) (bool, error) {
	n := 0
	for _, pattern := range []string{`\*[^\n\*]*\*`, `\*\*[^\n\*]*\*\*`} {
		all, err := pyre.MustCompile(pattern).FindAll(a)
		if err != nil {
			return false, err
		}
		for _, m := range all {
			n += b2i(strings.TrimSpace(strings.Trim(m[0], "*")) != "")
		}
	}
	return n >= number(p, "num_highlights"), nil
}

func sections(a string, p *fields) (bool, error) {
	re, err := pyre.Compile(`\s?` + p.text("section_spliter", "Section") + `\s?\d+\s?`)
	if err != nil {
		return false, err
	}
	all, err := re.FindAll(a)
	return len(all) >= number(p, "num_sections"), err
}

func isJSON(a string, _ *fields) (bool, error) {
	a = strings.TrimSpace(a)
	for _, fence := range []string{"```json", "```Json", "```JSON", "```"} {
		a = strings.TrimPrefix(a, fence)
	}
	return json.Valid([]byte(strings.TrimSpace(strings.TrimSuffix(a, "```")))), nil
}

func hasTitle(a string, _ *fields) (bool, error) {
	all, err := pyre.MustCompile(`<<[^\n]+>>`).FindAll(a)
	for _, m := range all {
		if strings.TrimSpace(strings.Trim(m[0], "<>")) != "" {
			return true, err
		}
	}
	return false, err
}

func twoResponses(a string, _ *fields) (bool, error) {
	list := strings.Split(a, "******")
	var full []string
	for i, x := range list {
		if x = strings.TrimSpace(x); x != "" {
			full = append(full, x)
		} else if i != 0 && i != len(list)-1 {
			return false, nil
		}
	}
	return len(full) == 2 && full[0] != full[1], nil
}

func capitalWords(a string, p *fields) (bool, error) {
	n := 0
	for _, w := range strings.Fields(a) {
		n += b2i(cased(w, unicode.IsLower))
	}
	return compared(n, p, "capital_frequency", "capital_relation"), nil
}

// cased says whether a text has letters and none of the other case.
func cased(s string, other func(rune) bool) bool {
	return strings.ContainsFunc(s, unicode.IsLetter) && !strings.ContainsFunc(s, other)
}

// scripts and frequent words that tell a language.
var (
	scripts = []struct {
		language string
		table    *unicode.RangeTable
	}{{"ja", unicode.Hiragana}, {"ko", unicode.Hangul}, {"zh-cn", unicode.Han}, {"ru", unicode.Cyrillic}, {"ar", unicode.Arabic}, {"hi", unicode.Devanagari},
		{"th", unicode.Thai}, {"bn", unicode.Bengali}, {"te", unicode.Telugu}, {"ta", unicode.Tamil}, {"he", unicode.Hebrew}, {"el", unicode.Greek},
		{"gu", unicode.Gujarati}, {"kn", unicode.Kannada}, {"pa", unicode.Gurmukhi}, {"ml", unicode.Malayalam}}
	frequent = map[string][]string{
		"en": {"the", "and", "of", "to", "is", "in", "that", "it", "for", "you"}, "de": {"der", "die", "und", "das", "ist", "nicht", "ein", "zu", "den", "mit"},
		"fr": {"le", "la", "les", "et", "des", "est", "que", "une", "dans", "pour"}, "es": {"el", "los", "que", "en", "una", "por", "las", "con", "para", "es"},
		"it": {"il", "che", "di", "e", "un", "per", "non", "sono", "con", "della"}, "pt": {"o", "os", "que", "do", "da", "um", "uma", "para", "com", "não"},
		"nl": {"de", "het", "een", "en", "van", "is", "dat", "op", "niet", "zijn"}, "vi": {"và", "của", "là", "có", "không", "cho", "một", "được", "trong", "các"},
		"sw": {"na", "ya", "wa", "kwa", "ni", "katika", "za", "la", "kama", "hii"}, "fi": {"ja", "on", "ei", "se", "että", "oli", "hän", "mutta", "kun", "ovat"},
		"pl": {"i", "w", "nie", "na", "się", "z", "jest", "to", "że", "do"}, "tr": {"ve", "bir", "bu", "için", "ile", "de", "da", "çok", "olarak", "en"}}
)

// languageOf guesses the language of a text, "" for none.
func languageOf(s string) string {
	counts := make([]int, len(scripts))
	letters := 0
	for _, r := range s {
		letters += b2i(unicode.IsLetter(r))
		for i, sc := range scripts {
			counts[i] += b2i(unicode.Is(sc.table, r))
		}
	}
	for i, n := range counts {
		if sc := scripts[i].language; n*3 > letters || sc == "ja" && n*10 > letters {
			return sc
		}
	}
	best, most := "", 0
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) })
	for _, language := range keysOf(frequent) {
		n := 0
		for _, w := range words {
			n += b2i(slices.Contains(frequent[language], w))
		}
		if n > most {
			best, most = language, n
		}
	}
	return best
}

// ifevalResults check an answer as it is, and loosely: without its first or last line and without stars.
func ifevalResults(d Doc, r results) ([]Named, error) {
	list, err := columnTexts(d, "instruction_id_list")
	if err != nil {
		return nil, err
	}
	v, _ := d.Get("kwargs")
	parameters, ok := v.([]any)
	if !ok || len(parameters) != len(list) {
		return nil, fmt.Errorf("column kwargs: expected parameters of %d instructions, found %s", len(list), kindOf(v))
	}
	answer := r.texts[0]
	lines := strings.Split(answer, "\n")
	last := len(lines) - 1
	loose := []string{answer, strings.TrimSpace(strings.Join(lines[1:], "\n")), strings.TrimSpace(strings.Join(lines[:last], "\n")), strings.TrimSpace(strings.Join(lines[min(1, last):max(last, min(1, last))], "\n"))}
	for _, s := range loose[:4] {
		loose = append(loose, strings.ReplaceAll(s, "*", ""))
	}
	strictly, loosely := make([]bool, len(list)), make([]bool, len(list))
	for i, id := range list {
		check := instructions[id]
		p, ok := parameters[i].(Doc)
		if check == nil || !ok {
			return nil, fmt.Errorf("instruction %s is not known", id)
		}
		for k, s := range loose {
			if strings.TrimSpace(s) == "" {
				continue
			}
			f := &fields{d: p, at: id}
			ok, err := check(s, f)
			if err = firstError(err, f.err()); err != nil {
				return nil, err
			}
			strictly[i] = strictly[i] || ok && k == 0
			loosely[i] = loosely[i] || ok
		}
	}
	return []Named{{"prompt_level_strict_acc", allOf(strictly)}, {"inst_level_strict_acc", strictly},
		{"prompt_level_loose_acc", allOf(loosely)}, {"inst_level_loose_acc", loosely}}, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func allOf(list []bool) float64 { return float64(b2i(!slices.Contains(list, false))) }

// instructionMean is the share of followed instructions over all documents.
func instructionMean(values []any) (float64, error) {
	n, sum := 0, 0.0
	for _, v := range values {
		list, ok := v.([]bool)
		if !ok {
			return 0, wrongValue("a list of truth values", v)
		}
		for _, b := range list {
			sum += float64(b2i(b))
			n++
		}
	}
	return sum / float64(n), nil
}

// instructionDocuments are requests of our own: every subject with every instruction of a list.
func instructionDocuments(*Config, Sources) ([]Doc, error) {
	subjects := []string{"why leaves change their colour in autumn", "how a bill becomes a law", "how to plan a small vegetable garden", "what a lease is"}
	var out []Doc
	for _, subject := range subjects {
		for _, i := range ownInstructions {
			kwargs, err := chat.FromJSON([]byte(i.kwargs))
			if err != nil {
				return nil, err
			}
			out = append(out, chat.NewDict(chat.Field{Name: "key", Value: int64(len(out))}, chat.Field{Name: "prompt", Value: "Explain " + subject + ". " + i.text},
				chat.Field{Name: "instruction_id_list", Value: []any{i.id}}, chat.Field{Name: "kwargs", Value: []any{kwargs}}))
		}
	}
	return out, nil
}

var ownInstructions = []struct{ id, text, kwargs string }{
	{"length_constraints:number_words", "Use less than 60 words.", `{"num_words": 60, "relation": "less than"}`},
	{"length_constraints:number_words", "Use at least 120 words.", `{"num_words": 120, "relation": "at least"}`},
	{"length_constraints:number_sentences", "Answer with less than 4 sentences.", `{"num_sentences": 4, "relation": "less than"}`},
	{"detectable_format:number_bullet_lists", "Answer with exactly 3 bullet points, each beginning with a star, and nothing else.", `{"num_bullets": 3}`},
	{"detectable_format:json_format", "Answer with one JSON object and nothing else.", `{}`},
	{"detectable_format:title", "Give the answer a title, written in double angular brackets such as <<title>>.", `{}`},
	{"detectable_format:number_highlighted_sections", "Highlight at least 2 phrases with stars, as in *phrase*.", `{"num_highlights": 2}`},
	{"detectable_format:multiple_sections", "Write 2 sections and begin each with Section and its number.", `{"section_spliter": "Section", "num_sections": 2}`},
	{"detectable_content:postscript", "End with a postscript that begins with P.S.", `{"postscript_marker": "P.S."}`},
	{"detectable_content:number_placeholders", "Use at least 2 placeholders in square brackets, such as [name].", `{"num_placeholders": 2}`},
	{"keywords:existence", "Use the words careful and simple.", `{"keywords": ["careful", "simple"]}`},
	{"keywords:forbidden_words", "Do not use the word very.", `{"forbidden_words": ["very"]}`},
	{"keywords:frequency", "Use the word because at least 2 times.", `{"keyword": "because", "frequency": 2, "relation": "at least"}`},
	{"startend:end_checker", "End with the words: Is there anything else?", `{"end_phrase": "Is there anything else?"}`},
	{"startend:quotation", "Put the whole answer in double quotation marks.", `{}`},
	{"change_case:english_lowercase", "Write in English and in lower case letters alone.", `{}`},
	{"change_case:english_capital", "Write in English and in capital letters alone.", `{}`},
	{"combination:two_responses", "Give two different answers, with ****** between them.", `{}`},
	{"punctuation:no_comma", "Do not use a comma.", `{}`},
	{"language:response_language", "Answer in French and in no other language.", `{"language": "fr"}`},
}
