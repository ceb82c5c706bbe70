// Package chat renders conversations with the Jinja templates that models ship, and says which bytes of the result a model
// should learn to produce.
package chat

import (
	"errors"
	"time"
)

// Field is a named value. Values that reach a template are nil, bool, int64, float64, string, []any and *Dict; FromJSON
// makes them. Go maps are never used, because the order of keys reaches the prompt.
type Field struct {
	Name  string
	Value any
}

// Message is one turn of a conversation.
type Message struct {
	Role      string
	Content   string
	Reasoning string  // given to the template as reasoning_content and thinking; "" is absent
	ToolCalls []any   // values as of FromJSON; nil is absent
	Extra     []Field // further keys; a field "content" replaces Content: a list of parts, or nil for no content at all
}

// Conversation is what a template renders.
type Conversation struct {
	Messages  []Message
	Tools     []any   // values as of FromJSON; nil is none
	Documents []any   // the same
	Extra     []Field // further variables, such as enable_thinking
}

// Options of Render.
type Options struct {
	AddGenerationPrompt bool
	BOS, EOS, Pad, Unk  string    // bos_token and so on; "" leaves the variable undefined
	Now                 time.Time // the clock of strftime_now
	Spans               bool      // also compute Rendered.Spans
}

// Span is a half-open range of bytes of a rendered text: what assistant message Message produces, its end-of-turn token
// included, the whitespace after that not.
type Span struct{ Start, End, Message int }

// Rendered is a conversation as text.
type Rendered struct {
	Text  string
	Spans []Span // in order of Start; only with Options.Spans
}

// Dict is a map that keeps the order of its keys.
type Dict struct {
	keys   []string
	values map[string]any
}

// NewDict returns a Dict of fields.
func NewDict(fields ...Field) *Dict {
	d := &Dict{values: map[string]any{}}
	for _, f := range fields {
		d.Set(f.Name, f.Value)
	}
	return d
}

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// Keys in order; not to be changed.
func (d *Dict) Keys() []string { return d.keys }

// Get returns the value of a key.
func (d *Dict) Get(key string) (any, bool) { v, ok := d.values[key]; return v, ok }

// Set adds a key at the end or replaces its value.
func (d *Dict) Set(key string, v any) {
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = v
}

var errUnbuilt = errors.New("chat: not built yet")

// FromJSON reads one JSON value, keeping the order of keys.
func FromJSON(data []byte) (any, error) { return nil, errUnbuilt }

// MessagesFromJSON reads a list of messages, as OpenAI's chat format writes them: role, content, reasoning_content,
// tool_calls and whatever else; a null is an absent key.
func MessagesFromJSON(data []byte) ([]Message, error) { return nil, errUnbuilt }

// Template is a parsed template; safe for concurrent use.
type Template struct{}

// Parse reads a Jinja template.
func Parse(template string) (*Template, error) { return nil, errUnbuilt }

// Render renders a conversation.
func (t *Template) Render(c Conversation, o Options) (Rendered, error) {
	return Rendered{}, errUnbuilt
}
