package chat

import (
	"fmt"
	"strings"

	"tune/internal/hint"
)

// PartKind says what of an assistant turn a part is.
type PartKind uint8

const (
	PartReasoning PartKind = iota
	PartToolCalls
)

// Part is a half-open range of bytes of a rendered text that stands there because message Message has reasoning or tool calls, the
// template's own words around them (<think>, <tool_call>) included.
type Part struct {
	Start, End, Message int
	Kind                PartKind
}

// Parts finds the reasoning and the tool calls of the assistant's turns in the text of a conversation that Render has given with
// Options.Spans: what is there with them and not without, each time the whole is rendered. A part that the template leaves out has
// no range.
func (t *Template) Parts(c Conversation, o Options, r Rendered) ([]Part, error) {
	o.Spans = false
	var parts []Part
	for _, s := range r.Spans {
		m := c.Messages[s.Message]
		for _, kind := range []PartKind{PartReasoning, PartToolCalls} {
			without, has := m.without(kind)
			if !has {
				continue
			}
			changed := c
			changed.Messages = append([]Message(nil), c.Messages...)
			changed.Messages[s.Message] = without
			p := Part{s.Start, s.End, s.Message, kind}
			if other, err := t.Render(changed, o); err == nil {
				p.Start, p.End = difference(r.Text, other.Text)
			} else if kind == PartReasoning || m.Content != "" { // a turn of tool calls alone may be an error without them
				return nil, partError(s.Message)
			}
			for least := r.valueEnd(s.Start, p.Start); p.Start > least && p.Start < p.End && r.Text[p.Start-1] == r.Text[p.End-1]; {
				p.Start, p.End = p.Start-1, p.End-1 // the same difference, one byte before
			}
			if p.Start == p.End {
				continue
			}
			if p.Start < s.Start || p.End > s.End {
				return nil, partError(s.Message)
			}
			parts = append(parts, p)
		}
	}
	return parts, nil
}

func partError(message int) error {
	return hint.Errorf("leave data.loss_parts out", "message %d: cannot tell which part of the turn is its reasoning or its tool calls", message)
}

// without is the message less a part.
func (m Message) without(kind PartKind) (Message, bool) {
	switch kind {
	case PartReasoning:
		has := m.Reasoning != ""
		m.Reasoning = ""
		return m, has
	case PartToolCalls:
		has := len(m.ToolCalls) > 0
		m.ToolCalls = nil
		return m, has
	}
	panic(fmt.Sprintf("chat: part %d", kind))
}

// valueEnd returns where between from and to the last value of an assistant message ends, from if none does.
func (r *Rendered) valueEnd(from, to int) int {
	for _, m := range r.values {
		if m.end <= to {
			from = max(from, m.end)
		}
	}
	return from
}

// difference returns the range of text that other does not have at its place: between their longest common start and end.
func difference(text, other string) (start, end int) {
	n := min(len(text), len(other))
	for start < n && text[start] == other[start] {
		start++
	}
	k := 0
	for k < n-start && text[len(text)-1-k] == other[len(other)-1-k] {
		k++
	}
	return start, len(text) - k
}

// A Turn is what the template's loop over the messages writes while it is at message Message.
type Turn struct{ Start, End, Message int }

// Prompt returns what the model sees before it begins to write message i: the text of the messages before it with generation
// prompt.
func (t *Template) Prompt(c Conversation, o Options, i int) (string, error) {
	c.Messages = c.Messages[:i]
	o.AddGenerationPrompt, o.Spans = true, false
	r, err := t.Render(c, o)
	return r.Text, err
}

// turns lists the turns of a text by its marks.
func turns(out str) []Turn {
	var list []Turn
	for _, m := range out.m {
		if m.kind == markTurn && strings.TrimSpace(out.s[m.start:m.end]) != "" {
			list = append(list, Turn{m.start, m.end, int(m.msg)})
		}
	}
	return list
}
