package task

import (
	"fmt"
	"strconv"
	"strings"

	"tune/internal/chat"
)

// A field of a task, doc_to_text and its like, says how to make a value of a document: a text that is the name of a
// column stands for that column, another text is a template, a number or list is itself, a Function is called.

// value evaluates a field; rendered says that it was a template.
func (t *Task) value(doc Doc, key string, field any) (v any, rendered bool, err error) {
	switch f := field.(type) {
	case Function:
		fn := functionTable[f.String()].field
		if fn == nil {
			return nil, false, t.failed(key, fmt.Errorf("%s does not make a value of a document", f))
		}
		if v, err = fn(doc); err != nil {
			err = t.failed(key, err)
		}
		return v, false, err
	case string:
		if t.columns[f] {
			v, ok := doc.Get(f)
			if !ok {
				return nil, false, t.failed(key, fmt.Errorf("no column %s in this document, only %s", f, strings.Join(doc.Keys(), ", ")))
			}
			return v, false, nil
		}
		s, err := t.render(f, doc)
		if err != nil {
			return nil, false, t.failed(key, fmt.Errorf("%w; the data has the columns %s", err, strings.Join(doc.Keys(), ", ")))
		}
		return s, true, nil
	}
	return field, false, nil
}

func (t *Task) failed(key string, err error) error {
	return fmt.Errorf("%s: task %s: %s: %w", t.File, t.Name, key, err)
}

func (t *Task) render(template string, doc Doc) (string, error) {
	tm := t.templates[template]
	if tm == nil {
		var err error
		if tm, err = chat.ParseText(template); err != nil {
			return "", err
		}
		t.templates[template] = tm
	}
	return tm.Render(doc)
}

// number reads a text of digits alone, which stands for the index of a choice where there are choices.
func (t *Task) number(s string) (int64, bool) {
	if t.Choice == nil || s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// text is doc_to_text: a text, or the index of a choice.
func (t *Task) text(doc Doc, field any) (any, error) {
	v, rendered, err := t.value(doc, "doc_to_text", field)
	if err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok && rendered {
		if n, ok := t.number(s); ok {
			return n, nil
		}
	}
	switch v.(type) {
	case string, int64:
		return v, nil
	}
	return nil, t.failed("doc_to_text", fmt.Errorf("expected a text, found %s", kindOf(v)))
}

// target is doc_to_target: a text, the index of a choice, or a list of targets.
func (t *Task) target(doc Doc, field any) (any, error) {
	v, rendered, err := t.value(doc, "doc_to_target", field)
	if err != nil || !rendered {
		return v, err
	}
	s := v.(string)
	if n, ok := t.number(s); ok {
		return n, nil
	}
	if len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' {
		if list, err := chat.Literal(s); err == nil {
			return list, nil
		}
	}
	return s, nil
}

// choices is doc_to_choice.
func (t *Task) choices(doc Doc, field any) ([]string, error) {
	v, rendered, err := t.value(doc, "doc_to_choice", field)
	if err != nil {
		return nil, err
	}
	if rendered {
		if v, err = chat.Literal(v.(string)); err != nil {
			return nil, t.failed("doc_to_choice", err)
		}
	}
	var list []any
	switch v := v.(type) {
	case []any:
		list = v
	case *chat.Dict:
		for _, k := range v.Keys() {
			x, _ := v.Get(k)
			list = append(list, x)
		}
	default:
		return nil, t.failed("doc_to_choice", fmt.Errorf("expected a list, found %s", kindOf(v)))
	}
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = chat.Str(x)
	}
	if len(out) == 0 {
		return nil, t.failed("doc_to_choice", fmt.Errorf("expected choices, found none"))
	}
	return out, nil
}

// optional is a description or gen_prefix: a text, "" when there is none.
func (t *Task) optional(doc Doc, key string, field any) (string, error) {
	if field == nil {
		return "", nil
	}
	v, _, err := t.value(doc, key, field)
	if err != nil {
		return "", err
	}
	return chat.Str(v), nil
}

// Query is the text of a document that a training set would hold if it held the document.
func (t *Task) Query(doc Doc) (string, error) {
	field := t.Config.Query
	if field == nil {
		field = t.Text
	}
	v, _, err := t.value(doc, "doc_to_decontamination_query", field)
	if err != nil {
		return "", err
	}
	if n, ok := v.(int64); ok && t.multipleInput {
		list, err := t.choices(doc, t.Choice)
		if err != nil || n >= int64(len(list)) {
			return "", err
		}
		return list[n], nil
	}
	return chat.Str(v), nil
}

// Cluster is the text of the column that the task names in its metadata as cluster, "" without one: documents that
// share it are not independent of each other.
func (t *Task) Cluster(doc Doc) string {
	name, _ := t.Metadata.Get("cluster")
	if column, ok := name.(string); ok {
		if v, ok := doc.Get(column); ok {
			return chat.Str(v)
		}
	}
	return ""
}
