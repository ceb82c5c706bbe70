package task

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"tune/internal/chat"
	"tune/internal/pyre"
)

// Unparsed is what a filter gives for an answer in which it finds nothing, unless the task says otherwise.
const Unparsed = "[invalid]"

// filter works on the answers to a request, one for each repeat.
type filter func(answers []string, doc Doc) ([]string, error)

// filterTable makes a filter of its options; the names are lm-eval's.
var filterTable = map[string]func(o *chat.Dict) (filter, error){
	"take_first":         func(*chat.Dict) (filter, error) { return takeFirst(1), nil },
	"take_first_k":       func(o *chat.Dict) (filter, error) { k, err := count(o, "k"); return takeFirst(k), err },
	"majority_vote":      func(*chat.Dict) (filter, error) { return majority, nil },
	"remove_whitespace":  func(*chat.Dict) (filter, error) { return each(strings.TrimSpace), nil },
	"lowercase":          func(*chat.Dict) (filter, error) { return each(chat.Lower), nil },
	"uppercase":          func(*chat.Dict) (filter, error) { return each(strings.ToUpper), nil },
	"map":                mapFilter,
	"regex":              regexFilter,
	"multi_choice_regex": choiceRegexFilter,
	"custom":             customFilter,
}

func each(f func(string) string) filter {
	return func(answers []string, _ Doc) ([]string, error) {
		out := make([]string, len(answers))
		for i, a := range answers {
			out[i] = f(a)
		}
		return out, nil
	}
}

func takeFirst(k int) filter {
	return func(answers []string, _ Doc) ([]string, error) {
		if len(answers) < k {
			return nil, fmt.Errorf("expected %d answers to a request, found %d: repeats is too small", k, len(answers))
		}
		return answers[:k], nil
	}
}

// majority is the answer given most often, the first of several.
func majority(answers []string, _ Doc) ([]string, error) {
	seen := map[string]int{}
	for _, a := range answers {
		seen[a]++
	}
	best := answers[0]
	for _, a := range answers {
		if seen[a] > seen[best] {
			best = a
		}
	}
	return []string{best}, nil
}

func count(o *chat.Dict, key string) (int, error) {
	v, _ := o.Get(key)
	n, ok := v.(int64)
	if !ok || n < 1 {
		return 0, fmt.Errorf("%s: expected a count, found %s", key, chat.Repr(v))
	}
	return int(n), nil
}

func mapFilter(o *chat.Dict) (filter, error) {
	f := &fields{d: o, at: "map"}
	table := f.dict("mapping_dict")
	unset := f.any("default_value")
	return each(func(a string) string {
		if v, ok := table.Get(a); ok {
			return chat.Str(v)
		}
		return chat.Str(unset)
	}), f.err()
}

// regexOptions are those of regex and multi_choice_regex.
type regexOptions struct {
	re       *pyre.Regexp
	which    int
	fallback string
}

func readRegex(o *chat.Dict) (regexOptions, error) {
	f := &fields{d: o, at: "regex"}
	r := regexOptions{fallback: f.text("fallback", Unparsed)}
	switch v := f.any("group_select").(type) {
	case nil:
	case int64:
		r.which = int(v)
	default:
		f.bad("group_select: expected a number, found %s", kindOf(v))
	}
	var err error
	if r.re, err = pyre.Compile(f.text("regex_pattern", `#### (\-?[0-9\.\,]+)`)); err != nil {
		return r, err
	}
	return r, f.err()
}

// find returns the selected match, "" and false when there is none.
func (r regexOptions) find(re *pyre.Regexp, s string) (string, bool, error) {
	all, err := re.FindAll(s)
	if err != nil || len(all) == 0 {
		return "", false, err
	}
	i := r.which
	if i < 0 {
		i += len(all)
	}
	if i < 0 || i >= len(all) {
		return "", false, fmt.Errorf("group_select: no match %d among %d", r.which, len(all))
	}
	for _, group := range all[i] {
		if group != "" {
			return strings.TrimSpace(group), true, nil
		}
	}
	return "", len(all[i]) == 1, nil
}

func regexFilter(o *chat.Dict) (filter, error) {
	r, err := readRegex(o)
	return func(answers []string, _ Doc) ([]string, error) {
		out := make([]string, len(answers))
		for i, a := range answers {
			m, ok, err := r.find(r.re, a)
			if err != nil {
				return nil, err
			}
			if out[i] = m; !ok {
				out[i] = r.fallback
			}
		}
		return out, nil
	}, err
}

// choiceRegexFilter looks for a letter in brackets by the pattern, then for the text of a choice, then for a letter
// behind a colon.
func choiceRegexFilter(o *chat.Dict) (filter, error) {
	r, err := readRegex(o)
	if err != nil {
		return nil, err
	}
	f := &fields{d: o, at: "multi_choice_regex"}
	ignore, err := compileAll(f.texts("regexes_to_ignore"))
	if err != nil {
		return nil, err
	}
	lower, bare := f.bool("ignore_case"), f.bool("ignore_punctuation")
	plain := func(s string) (string, error) {
		for _, re := range ignore {
			var err error
			if s, err = re.Sub("", s, 0); err != nil {
				return "", err
			}
		}
		if lower {
			s = chat.Lower(s)
		}
		if bare {
			s = strings.Map(func(c rune) rune {
				if unicode.IsPunct(c) {
					return -1
				}
				return c
			}, s)
		}
		return s, nil
	}
	return func(answers []string, doc Doc) ([]string, error) {
		v, _ := doc.Get("choices")
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("multi_choice_regex: expected a column choices that is a list, found %s", kindOf(v))
		}
		return findChoices(r, answers, list, plain)
	}, f.err()
}

func compileAll(patterns []string) ([]*pyre.Regexp, error) {
	var out []*pyre.Regexp
	for _, p := range patterns {
		re, err := pyre.Compile(p)
		if err != nil {
			return nil, err
		}
		out = append(out, re)
	}
	return out, nil
}

func findChoices(r regexOptions, answers []string, choices []any, plain func(string) (string, error)) ([]string, error) {
	var texts, letters []string
	byText, byLetter := map[string]string{}, map[string]string{}
	for i, c := range choices {
		text, err := plain(strings.TrimSpace(chat.Str(c)))
		if err != nil {
			return nil, err
		}
		letter := string(rune('A' + i))
		byText[text], byLetter[letter] = "("+letter+")", "("+letter+")"
		texts, letters = append(texts, text), append(letters, letter)
	}
	second, err := pyre.Compile(alternatives(texts))
	if err != nil {
		return nil, err
	}
	third, err := pyre.Compile(`:[\s]*(` + strings.Join(letters, "|") + ")")
	if err != nil {
		return nil, err
	}
	out := make([]string, len(answers))
	for i, a := range answers {
		same, err := plain(a)
		if err != nil {
			return nil, err
		}
		for _, try := range []struct {
			re   *pyre.Regexp
			text string
			as   map[string]string
		}{{r.re, a, nil}, {second, same, byText}, {third, a, byLetter}} {
			m, _, err := r.find(try.re, try.text)
			if err != nil {
				return nil, err
			}
			if as, ok := try.as[m]; ok && m != "" {
				m = as
			}
			if out[i] = m; m != "" {
				break
			}
		}
		if out[i] == "" {
			out[i] = r.fallback
		}
	}
	return out, nil
}

// alternatives matches any of several texts, longer ones first.
func alternatives(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = pyre.Quote(t)
	}
	slices.SortStableFunc(quoted, func(a, b string) int { return len(b) - len(a) })
	return strings.Join(quoted, "|")
}

func customFilter(o *chat.Dict) (filter, error) {
	v, _ := o.Get("filter_fn")
	f, ok := v.(Function)
	if !ok || functionTable[f.String()].filter == nil {
		return nil, fmt.Errorf("custom: filter_fn: expected a known function of answers, found %v", v)
	}
	apply := functionTable[f.String()].filter
	return func(answers []string, doc Doc) ([]string, error) {
		out := make([]string, len(answers))
		for i, a := range answers {
			out[i] = apply(a, doc)
		}
		return out, nil
	}, nil
}

// pipeline compiles a list of filters. single says that it ends with one answer instead of a list.
func (p FilterConfig) pipeline() (run filter, single bool, err error) {
	var steps []filter
	for _, s := range p.Steps {
		v, _ := s.Get("function")
		name, _ := v.(string)
		f, err := filterTable[name](s)
		if err != nil {
			return nil, false, fmt.Errorf("filter %s: %w", p.Name, err)
		}
		steps = append(steps, f)
		single = single || name == "take_first"
	}
	return func(answers []string, doc Doc) ([]string, error) {
		var err error
		for _, f := range steps {
			if answers, err = f(answers, doc); err != nil {
				return nil, fmt.Errorf("filter %s: %w", p.Name, err)
			}
		}
		return answers, nil
	}, single, nil
}
