package data

import (
	"context"
	"fmt"
	"slices"

	"tune/internal/chat"
)

// ConvertForms are what Convert can make of rows: the columns as they stand, conversations, token ids with labels.
var ConvertForms = []string{"columns", "messages", "tokens"}

// Convert goes through the rows of the split in the order of the files and calls visit with each in another form. Values are those
// of chat.FromJSON. A row that cannot be read ends it.
func (s *Stream) Convert(ctx context.Context, form string, visit func(row *chat.Dict) error) error {
	turn, ok := map[string]func(drawn) (*chat.Dict, error){
		"columns": func(d drawn) (*chat.Dict, error) { return d.row.record() }, "messages": messagesRow, "tokens": s.tokensRow,
	}[form]
	if !ok {
		return fmt.Errorf("expected one of the forms %v, found %q", ConvertForms, form)
	}
	for _, o := range s.sources {
		if form == "columns" { // also those that training does not read
			all := *o
			all.keeps = make([]func(string) bool, len(o.keeps))
			o = &all
		}
		r := &reader{source: o, order: fileOrder, passes: 1}
		err := r.chunks(ctx, func(chunk []drawn) error {
			for _, d := range chunk {
				row, err := turn(d)
				if err != nil {
					return fmt.Errorf("%s: %w", d.key(d.i), err)
				}
				if row == nil {
					continue
				}
				if err := visit(row); err != nil {
					return err
				}
			}
			return nil
		})
		r.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Stream) tokensRow(d drawn) (*chat.Dict, error) {
	it, err := d.entry.item(formatRow{d.row, d.names})
	if err != nil {
		return nil, err
	}
	ex, err := s.encoder.encode(it.item)
	if err != nil || len(ex.IDs) == 0 {
		return nil, err
	}
	return chat.NewDict(chat.Field{Name: "input_ids", Value: numbers(ex.IDs)}, chat.Field{Name: "labels", Value: numbers(ex.Labels)}), nil
}

func numbers(ids []int32) []any {
	list := make([]any, len(ids))
	for i, id := range ids {
		list[i] = int64(id)
	}
	return list
}

// messagesRow writes a conversation as messages and tools, a preference as chosen and rejected, text as text.
func messagesRow(d drawn) (*chat.Dict, error) {
	it, err := d.entry.item(formatRow{d.row, d.names})
	if err != nil {
		return nil, err
	}
	out := chat.NewDict()
	put := func(key string, it item) {
		switch {
		case it.chat != nil:
			out.Set(key, messageValues(it.chat.Messages))
			if it.chat.Tools != nil {
				out.Set("tools", it.chat.Tools)
			}
		case it.text != nil && it.prompt > 0:
			out.Set("prompt", (*it.text)[:it.prompt])
			out.Set("completion", (*it.text)[it.prompt:])
		case it.text != nil:
			out.Set("text", *it.text)
		default:
			out.Set("input_ids", numbers(it.ids))
			if it.labels != nil {
				out.Set("labels", numbers(it.labels))
			}
		}
	}
	if it.rejected != nil && (it.chat == nil || it.rejected.chat == nil) {
		return nil, fmt.Errorf("expected conversations as chosen and rejected, found text; convert the columns as they are")
	}
	if it.rejected != nil {
		put("chosen", it.item)
		put("rejected", *it.rejected)
		return out, nil
	}
	put("messages", it.item)
	if it.role == Desirable || it.role == Undesirable {
		out.Set("label", it.role == Desirable)
	}
	return out, nil
}

// messageValues is the messages as MessagesFromJSON reads them.
func messageValues(messages []chat.Message) []any {
	list := make([]any, len(messages))
	for i, m := range messages {
		d := chat.NewDict(chat.Field{Name: "role", Value: m.Role})
		if !slices.ContainsFunc(m.Extra, func(f chat.Field) bool { return f.Name == "content" }) {
			d.Set("content", m.Content)
		}
		if m.Reasoning != "" {
			d.Set("reasoning_content", m.Reasoning)
		}
		if m.ToolCalls != nil {
			d.Set("tool_calls", m.ToolCalls)
		}
		for _, f := range m.Extra {
			d.Set(f.Name, f.Value)
		}
		list[i] = d
	}
	return list
}

// appendValue writes a value of chat.FromJSON as JSON; HTML characters stay as they are.
func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return fmt.Appendf(dst, "%t", v), nil
	case int64:
		return fmt.Appendf(dst, "%d", v), nil
	case float64:
		return appendFloat(dst, v, 64)
	case string:
		return appendQuoted(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, x := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendValue(dst, x); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case *chat.Dict:
		dst = append(dst, '{')
		for i, k := range v.Keys() {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendQuoted(dst, k); err != nil {
				return nil, err
			}
			x, _ := v.Get(k)
			if dst, err = appendValue(append(dst, ':'), x); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	}
	return nil, fmt.Errorf("expected a value of JSON, found %T", v)
}
