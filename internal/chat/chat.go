// Package chat renders conversations with the Jinja templates that models ship, and says which bytes of the result a model
// should learn to produce.
//
// The measure is Jinja as the transformers library sets it up: trim_blocks and lstrip_blocks on, loop controls,
// {% generation %}, raise_exception, strftime_now, and tojson without escapes of its own. Templates are foreign programs: time,
// memory and nesting of an evaluation are bounded, and no template can change its inputs.
package chat

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"
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
	Now                 time.Time // the clock of strftime_now; zero: a template that asks for the time fails
	Spans               bool      // also compute Rendered.Spans
	ContinueFinal       bool      // the text ends where the content of the last message, the assistant's, ends: for the model to go on
}

// Span is a half-open range of bytes of a rendered text: what assistant message Message produces, its end-of-turn token
// included, the whitespace after that not.
type Span struct{ Start, End, Message int }

// Rendered is a conversation as text.
type Rendered struct {
	Text  string
	Spans []Span // in order of Start; only with Options.Spans
	Turns []Turn // of all messages that the template loops over, in order of their ends; only with Options.Spans

	values []mark // what came from values of assistant messages; only with Options.Spans
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

// Delete takes a key out.
func (d *Dict) Delete(key string) {
	delete(d.values, key)
	d.keys = slices.DeleteFunc(d.keys, func(k string) bool { return k == key })
}

// Update sets all keys of another Dict.
func (d *Dict) Update(from *Dict) {
	for _, k := range from.keys {
		d.Set(k, from.values[k])
	}
}

// Template is a parsed template; safe for concurrent use.
type Template struct {
	source     string
	body       []stmt
	generation bool // has a {% generation %} block
}

// Source is the text that was parsed.
func (t *Template) Source() string { return t.source }

// Parse reads a Jinja template.
func Parse(template string) (*Template, error) { return parse(template, false) }

func parse(template string, exact bool) (*Template, error) {
	tokens, err := lex(template, exact)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens, text: exact}
	body, _, err := p.body()
	if err != nil {
		return nil, err
	}
	return &Template{template, body, p.generation}, nil
}

// Render renders a conversation.
func (t *Template) Render(c Conversation, o Options) (Rendered, error) {
	r, err := newRendering(t, c, o)
	if err != nil {
		return Rendered{}, fmt.Errorf("chat template: %w", err)
	}
	out, err := r.run(len(c.Messages), o.AddGenerationPrompt)
	if err != nil {
		return Rendered{}, fmt.Errorf("chat template: %w", err)
	}
	if o.ContinueFinal {
		if out, err = r.continued(out); err != nil {
			return Rendered{}, fmt.Errorf("chat template: %w", err)
		}
	}
	result := Rendered{Text: out.s}
	if o.Spans {
		if result.Spans, err = r.spans(out); err != nil {
			return Rendered{}, fmt.Errorf("chat template: %w", err)
		}
		result.Turns = turns(out)
		for _, m := range out.m {
			if m.kind == markContent {
				result.values = append(result.values, m)
			}
		}
	}
	return result, nil
}

// A rendering holds a conversation as values.
type rendering struct {
	t        *Template
	o        Options
	roles    []string
	messages []any
	long     int // bytes of their texts
	globals  scope
}

func newRendering(t *Template, c Conversation, o Options) (*rendering, error) {
	if len(c.Messages) == 0 {
		return nil, errors.New("expected at least one message, found none")
	}
	r := &rendering{t: t, o: o}
	for i, m := range c.Messages {
		d, err := m.value(i)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		r.roles, r.messages = append(r.roles, m.Role), append(r.messages, d)
		r.long += len(m.Content) + len(m.Reasoning)
	}
	for _, f := range []Field{{"bos_token", o.BOS}, {"eos_token", o.EOS}, {"pad_token", o.Pad}, {"unk_token", o.Unk}} {
		if f.Value != "" {
			r.globals.set(f.Name, text(f.Value.(string)))
		}
	}
	lists := []Field{{"tools", nil}, {"documents", nil}}
	if c.Tools != nil {
		lists[0].Value = c.Tools
	}
	if c.Documents != nil {
		lists[1].Value = c.Documents
	}
	for _, f := range append(lists, c.Extra...) {
		v, err := fromGo(f.Value, -1, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		r.globals.set(f.Name, v)
	}
	return r, nil
}

// value converts a message; only what an assistant says is marked.
func (m *Message) value(i int) (*dict, error) {
	from := int32(-1)
	if m.Role == assistant {
		from = int32(i)
	}
	d := &dict{msg: int32(i) + 1}
	put := func(name string, v any, from int32) error {
		x, err := fromGo(v, from, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		d.set(text(name), x)
		return nil
	}
	err := put("role", m.Role, -1)
	content := true
	for _, f := range m.Extra {
		content = content && f.Name != "content"
	}
	if content {
		err = errors.Join(err, put("content", m.Content, from))
	}
	if m.Reasoning != "" {
		err = errors.Join(err, put("reasoning_content", m.Reasoning, from), put("thinking", m.Reasoning, from))
	}
	if m.ToolCalls != nil {
		err = errors.Join(err, put("tool_calls", m.ToolCalls, from))
	}
	for _, f := range m.Extra {
		if f.Value != nil {
			err = errors.Join(err, put(f.Name, f.Value, from))
		}
	}
	return d, err
}

const assistant = "assistant"

// run renders the first n messages.
func (r *rendering) run(n int, generationPrompt bool) (str, error) {
	base := &scope{parent: &r.globals}
	base.set("messages", &list{items: r.messages[:n:n]})
	base.set("add_generation_prompt", generationPrompt)
	e := &evaluator{scope: &scope{parent: base}, out: &rope{}, now: r.o.Now, marks: r.o.Spans || r.o.ContinueFinal, long: r.long}
	if n == len(r.messages) {
		e.out.b = make([]byte, 0, r.long+r.long/8)
	}
	if err := e.run(r.t.body); err != nil {
		return str{}, err
	}
	return str{unsafe.String(unsafe.SliceData(e.out.b), len(e.out.b)), e.out.m}, nil // nobody writes to it any more
}

// continued cuts a text behind the last value of the last message.
func (r *rendering) continued(out str) (str, error) {
	end := -1
	for _, m := range out.m {
		if m.kind == markContent && int(m.msg) == len(r.messages)-1 {
			end = max(end, m.end)
		}
	}
	if end < 0 {
		return str{}, errors.New("the text cannot be continued: expected a last message of the assistant that the template shows as it is")
	}
	return out.cut(0, end), nil
}
