package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

// FromJSON reads one JSON value, keeping the order of keys.
func FromJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := readJSON(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("json: expected one value, found more behind it")
	}
	return v, nil
}

func readJSON(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("json: nested deeper than %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return n, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			list := []any{}
			for d.More() {
				v, err := readJSON(d, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err := d.Token()
			return list, err
		}
		dict := NewDict()
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := readJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			dict.Set(key.(string), v)
		}
		_, err := d.Token()
		return dict, err
	}
	return t, nil // nil, bool, string
}

// MessagesFromJSON reads a list of messages, as OpenAI's chat format writes them: role, content, reasoning_content,
// tool_calls and whatever else; a null is an absent key.
func MessagesFromJSON(data []byte) ([]Message, error) {
	v, err := FromJSON(data)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("messages: expected a list")
	}
	out := make([]Message, len(list))
	for i, x := range list {
		d, ok := x.(*Dict)
		if !ok {
			return nil, fmt.Errorf("message %d: expected an object", i)
		}
		if out[i], err = MessageFromDict(d); err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
	}
	return out, nil
}

// MessageFromDict reads one message as MessagesFromJSON does.
func MessageFromDict(d *Dict) (Message, error) {
	var m Message
	role, ok := d.values["role"].(string)
	if !ok {
		return m, fmt.Errorf("role: expected a string")
	}
	m.Role = role
	content, hasContent := d.values["content"]
	if s, ok := content.(string); ok {
		m.Content = s
	} else if !hasContent || content == nil {
		m.Extra = append(m.Extra, Field{"content", nil})
	}
	for _, k := range d.keys {
		v := d.values[k]
		if v == nil || k == "role" {
			continue
		}
		s, isStr := v.(string)
		list, isList := v.([]any)
		switch {
		case k == "content" && isStr:
		case isReasoning(k) && isStr && m.Reasoning == "":
			m.Reasoning = s
		case k == "tool_calls" && isList:
			m.ToolCalls = list
		default:
			m.Extra = append(m.Extra, Field{k, v})
		}
	}
	return m, nil
}

// MarshalJSON writes a Dict as an object, in the order of its keys.
func (d *Dict) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, k := range d.keys {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(d.values[k])
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), v...)
	}
	return append(b, '}'), nil
}

func isReasoning(key string) bool {
	return key == "reasoning_content" || key == "thinking" || key == "reasoning"
}

// filterToJSON is json.dumps with ensure_ascii off.
func filterToJSON(e *evaluator, v any, a arguments) (any, error) {
	w := &jsonWriter{e: e, item: ", ", colon: ": ", indent: oneLine}
	ascii, _ := a.arg(0, "ensure_ascii")
	w.ascii = truth(ascii)
	if indent, ok := a.arg(1, "indent"); ok && indent != nil {
		w.item = ","
		if n, ok := asInt(indent); ok {
			w.indent = strings.Repeat(" ", int(min(max(n, 0), 1000)))
		} else {
			w.indent = toStr(indent).s
		}
	}
	if sep, ok := a.arg(2, "separators"); ok && sep != nil {
		l, ok := sep.(*list)
		if !ok || len(l.items) != 2 {
			return nil, fmt.Errorf("separators: expected two strings")
		}
		w.item, w.colon = toStr(l.items[0]).s, toStr(l.items[1]).s
	}
	sorted, _ := a.arg(3, "sort_keys")
	w.sorted = truth(sorted)
	if err := w.value(v, 0); err != nil {
		return nil, err
	}
	return text(string(w.b)), nil
}

// oneLine is the indent of JSON without line breaks.
const oneLine = "\x00"

type jsonWriter struct {
	e           *evaluator // bounds what a template makes; nil: public values, which are as large as they are
	b           []byte
	item, colon string
	indent      string
	ascii       bool
	sorted      bool
	counted     int
}

func (w *jsonWriter) newline(depth int) {
	if w.indent != oneLine {
		w.b = append(w.b, '\n')
		for range depth {
			w.b = append(w.b, w.indent...)
		}
	}
}

// spend counts a value and what was written since the last one.
func (w *jsonWriter) spend(depth int) error {
	if w.e == nil {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("values nested deeper than %d", maxDepth)
	}
	if err := w.e.made(len(w.b) - w.counted); err != nil {
		return err
	}
	w.counted = len(w.b)
	return w.e.step()
}

func (w *jsonWriter) value(v any, depth int) error {
	if err := w.spend(depth); err != nil {
		return err
	}
	switch v := view(v).(type) {
	case nil:
		w.b = append(w.b, "null"...)
	case bool:
		w.b = strconv.AppendBool(w.b, v)
	case int64:
		w.b = strconv.AppendInt(w.b, v, 10)
	case float64:
		w.b = append(w.b, jsonFloat(v)...)
	case str:
		w.str(v.s)
	case *list:
		return w.items('[', ']', len(v.items), depth, func(i int) error { return w.value(v.items[i], depth+1) })
	case *dict:
		d := v
		if w.sorted {
			d = &dict{}
			l := items(v)
			if err := sortBy(l.items, int64(0), true, false); err != nil {
				return err
			}
			for _, x := range l.items {
				d.set(x.(*list).items[0], x.(*list).items[1])
			}
		}
		return w.items('{', '}', len(d.keys), depth, func(i int) error {
			switch k := d.keys[i].(type) {
			case str:
				w.str(k.s)
			case nil:
				w.str("null")
			case bool:
				w.str(strconv.FormatBool(k))
			case float64:
				w.str(jsonFloat(k))
			default:
				w.str(toStr(k).s)
			}
			w.b = append(w.b, w.colon...)
			return w.value(d.vals[i], depth+1)
		})
	default:
		if w.e != nil {
			return fmt.Errorf("object of type %s is not JSON serializable", typeName(v))
		}
		w.str(fmt.Sprint(v))
	}
	return nil
}

func jsonFloat(f float64) string {
	switch s := floatRepr(f); s {
	case "inf":
		return "Infinity"
	case "-inf":
		return "-Infinity"
	case "nan":
		return "NaN"
	default:
		return s
	}
}

func (w *jsonWriter) items(open, end byte, n, depth int, item func(i int) error) error {
	w.b = append(w.b, open)
	for i := range n {
		if i > 0 {
			w.b = append(w.b, w.item...)
		}
		w.newline(depth + 1)
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		w.newline(depth)
	}
	w.b = append(w.b, end)
	return nil
}

func (w *jsonWriter) str(s string) {
	w.b = append(w.b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b = append(w.b, '\\', byte(r))
		case r == '\n':
			w.b = append(w.b, `\n`...)
		case r == '\r':
			w.b = append(w.b, `\r`...)
		case r == '\t':
			w.b = append(w.b, `\t`...)
		case r == '\b':
			w.b = append(w.b, `\b`...)
		case r == '\f':
			w.b = append(w.b, `\f`...)
		case r < 0x20 || w.ascii && r >= 0x7f && r < 0x10000:
			w.b = fmt.Appendf(w.b, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			a, b := utf16.EncodeRune(r)
			w.b = fmt.Appendf(w.b, `\u%04x\u%04x`, a, b)
		default:
			w.b = append(w.b, string(r)...)
		}
	}
	w.b = append(w.b, '"')
}
