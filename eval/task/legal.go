package task

import (
	"fmt"
	"slices"
	"strings"

	"tune/internal/chat"
	"tune/internal/hint"
)

// unseenRows leaves out rows whose clause also occurs in the training contracts.
func unseenRows(docs []Doc) ([]Doc, error) {
	var out []Doc
	for _, d := range docs {
		v, ok := d.Get("seen_in_train")
		seen, isBool := v.(bool)
		if !ok || !isBool {
			return nil, fmt.Errorf("column seen_in_train: expected true or false, found %s", kindOf(v))
		}
		if !seen {
			out = append(out, d)
		}
	}
	return out, nil
}

// promptOptions are the lines of a prompt that begin with a dash: the options it gives, behind the last line that says
// that they follow.
func promptOptions(d Doc) (any, error) {
	text, err := column(d, "input_text")
	if err != nil {
		return nil, err
	}
	var out []any
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasSuffix(line, "options:") {
			out = nil
		} else if o, ok := strings.CutPrefix(line, "- "); ok {
			out = append(out, o)
		}
	}
	if out == nil {
		return nil, fmt.Errorf("column input_text: expected lines with options, found none")
	}
	return out, nil
}

// labelResults compare the labels that an answer names with the right ones: the same set, and the F1 of this document.
// no_label counts answers that name none of the options.
func labelResults(d Doc, r results) ([]Named, error) {
	options, err := promptOptions(d)
	if err != nil {
		return nil, err
	}
	answer, err := column(d, "answer")
	if err != nil {
		return nil, err
	}
	right := strings.Split(strings.ToLower(answer), ", ")
	var named []string
	text := strings.ToLower(r.texts[0])
	for _, o := range options.([]any) {
		if option := strings.ToLower(o.(string)); strings.Contains(text, option) {
			named = append(named, option)
		}
	}
	both := 0
	for _, n := range named {
		both += b2i(slices.Contains(right, n))
	}
	f1 := 0.0
	if len(named) > 0 {
		f1 = 2 * float64(both) / float64(len(named)+len(right))
	}
	return []Named{{"exact_match", float64(b2i(both == len(named) && both == len(right)))}, {"label_f1", f1}, {"no_label", float64(b2i(len(named) == 0))}}, nil
}

// find returns the first of some files that lies below a data folder.
func (s Sources) find(names ...string) (string, error) {
	for _, root := range s.Folders {
		for _, name := range names {
			if p, ok := below(root, name); ok {
				return p, nil
			}
		}
	}
	return "", hint.Errorf("--data FOLDER says where data sets are", "%w: no file %s in the data folders", ErrNoData, strings.Join(names, " or "))
}

// legalbenchRows are the rows of one task of LegalBench with the columns instruction, query, options and answer. The
// instruction is the beginning of the task's prompt, the query its end with the row's columns put in; the options are all
// answers that its rows have.
func legalbenchRows(c *Config, s Sources) ([]Doc, error) {
	prompt, err := legalbenchPrompt(c, s)
	if err != nil {
		return nil, err
	}
	file, err := s.find("legal/eval/legalbench/test.jsonl", "legal/eval/legalbench/train.jsonl")
	if err != nil {
		return nil, err
	}
	rows, err := s.rows(file)
	if err != nil {
		return nil, err
	}
	blocks := strings.Split(strings.TrimSpace(prompt), "\n\n")
	query, err := chat.ParseText(blocks[len(blocks)-1])
	if err != nil {
		return nil, err
	}
	var out []Doc
	var options []any
	for _, row := range rows {
		name, _ := row.Get("task")
		answer, _ := row.Get("answer")
		inputs, _ := row.Get("inputs")
		columns, ok := inputs.(Doc)
		if name != c.DatasetName {
			continue
		}
		if !ok || answer == nil {
			return nil, fmt.Errorf("%s: expected the columns answer and inputs, found %s", file, strings.Join(row.Keys(), ", "))
		}
		q, err := query.Render(columns)
		if err != nil {
			return nil, fmt.Errorf("%s: prompt of %s: %w", file, c.DatasetName, err)
		}
		if !slices.Contains(options, answer) {
			options = append(options, answer)
		}
		out = append(out, chat.NewDict(chat.Field{Name: "instruction", Value: blocks[0]}, chat.Field{Name: "query", Value: q}, chat.Field{Name: "answer", Value: answer}))
	}
	slices.SortFunc(options, func(a, b any) int { return strings.Compare(chat.Str(a), chat.Str(b)) })
	for _, d := range out {
		d.Set("options", options)
	}
	return out, nil
}

func legalbenchPrompt(c *Config, s Sources) (string, error) {
	file, err := s.find("legal/eval/legalbench/prompts.jsonl")
	if err != nil {
		return "", err
	}
	rows, err := s.rows(file)
	if err != nil {
		return "", err
	}
	for _, row := range rows {
		if name, _ := row.Get("task"); name == c.DatasetName {
			return column(row, "base_prompt")
		}
	}
	return "", fmt.Errorf("%s: no prompt of task %s", file, c.DatasetName)
}
