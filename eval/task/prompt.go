package task

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"tune/eval/ask"
	"tune/internal/chat"
	"tune/internal/pyre"
)

// Options say how documents become requests.
type Options struct {
	Seed      uint64                                                 // of few-shot draws
	Render    func(chat []ask.Message, prefill bool) (string, error) // the model's chat template; nil: plain text
	MultiTurn bool                                                   // with Render: examples are turns of their own
	System    string                                                 // system instruction
	Only      []int                                                  // documents to use, ascending; nil: all
	First     int                                                    // documents to use at most; 0: all
}

// message is a piece of a prompt. after follows it in plain text.
type message struct{ role, text, after string }

// sampler draws examples.
type sampler struct {
	t   *Task
	rnd *Random
}

// examples for a document: n of the pool, without the document itself where the pool is what is evaluated.
func (s *sampler) examples(doc Doc, n int) ([]Doc, error) {
	t := s.t
	without := t.Fewshot.Split == t.Test
	if t.Fewshot.Sampler == "first_n" {
		var out []Doc
		for _, d := range t.shots {
			if len(out) < n && !(without && chat.Equal(d, doc)) {
				out = append(out, d)
			}
		}
		return out, t.enough(len(out), n)
	}
	draw := n
	if without {
		draw++
	}
	if err := t.enough(len(t.shots), draw); err != nil {
		return nil, err
	}
	var out []Doc
	for _, i := range s.rnd.Sample(len(t.shots), draw) {
		if len(out) < n && !(without && chat.Equal(t.shots[i], doc)) {
			out = append(out, t.shots[i])
		}
	}
	if len(out) == n {
		return out, nil
	}
	var others []Doc // rows that equal the document occur more than once
	for _, d := range t.shots {
		if !chat.Equal(d, doc) {
			others = append(others, d)
		}
	}
	if err := t.enough(len(others), n); err != nil {
		return nil, err
	}
	out = nil
	for _, i := range s.rnd.Sample(len(others), n) {
		out = append(out, others[i])
	}
	return out, nil
}

func (t *Task) enough(have, want int) error {
	if have < want {
		return fmt.Errorf("task %s: %d few-shot examples need a pool of %d, found %d", t.Name, *t.Shots, want, have)
	}
	return nil
}

// prompts are the contexts of a document: one, or one for each choice where the choices vary the context. chats are the
// conversations behind them, nil in plain text.
func (t *Task) prompts(doc Doc, s *sampler, o Options) (contexts []string, chats [][]ask.Message, err error) {
	before, err := t.preamble(doc, s, o)
	if err != nil {
		return nil, nil, err
	}
	prefix, err := t.optional(doc, "gen_prefix", t.GenPrefix)
	if err != nil {
		return nil, nil, err
	}
	q, err := t.text(doc, t.Text)
	if err != nil {
		return nil, nil, err
	}
	questions, delimiter := []string{}, t.TargetDelimiter
	switch q := q.(type) {
	case string:
		questions = append(questions, q)
	case int64:
		if !t.multipleInput {
			return nil, nil, t.failed("doc_to_text", fmt.Errorf("expected a text, found the number %d", q))
		}
		if questions, err = t.choices(doc, t.Choice); err != nil {
			return nil, nil, err
		}
		delimiter = ""
	}
	for _, q := range questions {
		all := append(before[:len(before):len(before)], turn(q, "", false, prefix, delimiter, "")...)
		context, chat, err := o.join(all, prefix != "")
		if err != nil {
			return nil, nil, fmt.Errorf("task %s: %w", t.Name, err)
		}
		contexts, chats = append(contexts, context), append(chats, chat)
	}
	return contexts, chats, nil
}

// preamble is what stands before the question: system message and examples.
func (t *Task) preamble(doc Doc, s *sampler, o Options) ([]message, error) {
	description, err := t.optional(doc, "description", t.Description)
	if err != nil {
		return nil, err
	}
	var out []message
	if system := delimit(o.System, description, t.ShotDelimiter); system != "" {
		out = append(out, message{role: "system", text: system})
	}
	if t.Shots == nil || *t.Shots == 0 {
		return out, nil
	}
	shots, err := s.examples(doc, *t.Shots)
	if err != nil {
		return nil, err
	}
	for _, d := range shots {
		m, err := t.example(d)
		if err != nil {
			return nil, err
		}
		out = append(out, m...)
	}
	return out, nil
}

// example is a question with its answer.
func (t *Task) example(doc Doc) ([]message, error) {
	f := &t.Fewshot
	var choices []string
	q, err := t.text(doc, f.Text)
	if err != nil {
		return nil, err
	}
	if f.Choice != nil {
		if choices, err = t.choices(doc, f.Choice); err != nil {
			return nil, err
		}
	}
	a, err := t.target(doc, f.Target)
	if err != nil {
		return nil, err
	}
	prefix, err := t.optional(doc, "gen_prefix", f.GenPrefix)
	if err != nil {
		return nil, err
	}
	if n, ok := q.(int64); ok && t.multipleInput {
		if n < 0 || n >= int64(len(choices)) {
			return nil, t.failed("doc_to_text", fmt.Errorf("expected the number of one of %d choices, found %d", len(choices), n))
		}
		q, choices = choices[n], nil
	}
	question, ok := q.(string)
	if !ok {
		return nil, t.failed("doc_to_text", fmt.Errorf("expected a text, found %s", kindOf(q)))
	}
	answer, err := t.answerText(a, choices)
	if err != nil {
		return nil, err
	}
	return turn(question, answer, a != nil && a != "", prefix, f.TargetDelimiter, f.ShotDelimiter), nil
}

// answerText is the text of a target.
func (t *Task) answerText(a any, choices []string) (string, error) {
	switch a := a.(type) {
	case int64:
		if choices != nil && a >= 0 && a < int64(len(choices)) {
			return choices[a], nil
		}
	case bool: // an index to Python
		if choices != nil && b2i(a) < len(choices) {
			return choices[b2i(a)], nil
		}
	case []any:
		if len(a) > 0 {
			return t.answerText(a[0], choices)
		}
	case string:
		return a, nil
	case nil:
		return "", nil
	}
	return "", t.failed("doc_to_target", fmt.Errorf("expected a text or the number of one of %d choices, found %s", len(choices), chat.Repr(a)))
}

// turn is a question and, where it has one, its answer or the beginning of one.
func turn(question, answer string, answered bool, prefix, delimiter, after string) []message {
	between := ""
	if answered && prefix == "" || prefix != "" && needsDelimiter(question, prefix) {
		between = delimiter
	}
	out := []message{{"user", question, between}}
	if answered {
		out = append(out, message{"assistant", delimit(prefix, answer, " "), after})
	} else if prefix != "" {
		out = append(out, message{"assistant", prefix, ""})
	}
	return out
}

// delimit joins two texts with a delimiter unless one is empty or white space already stands between them.
func delimit(a, b, delimiter string) string {
	if a == "" || b == "" || !needsDelimiter(a, b) {
		return a + b
	}
	return a + delimiter + b
}

func needsDelimiter(a, b string) bool {
	if a == "" || b == "" {
		return a != ""
	}
	last, _ := utf8.DecodeLastRuneInString(a)
	first, _ := utf8.DecodeRuneInString(b)
	return !pyre.IsSpace(last) && !pyre.IsSpace(first)
}

// join makes a prompt of messages.
func (o Options) join(messages []message, prefill bool) (string, []ask.Message, error) {
	if o.Render == nil {
		var b strings.Builder
		for _, m := range messages {
			b.WriteString(m.text + m.after)
		}
		return b.String(), nil, nil
	}
	var chat []ask.Message
	if o.MultiTurn {
		for _, m := range messages {
			chat = append(chat, ask.Message{Role: m.role, Content: m.text})
		}
	} else {
		chat = singleTurn(messages)
	}
	if len(chat) == 0 {
		return "", nil, errors.New("a chat needs a message")
	}
	s, err := o.Render(chat, prefill)
	return s, chat, err
}

// singleTurn puts everything between the system message and the beginning of the answer into one user message.
func singleTurn(messages []message) []ask.Message {
	var out []ask.Message
	if messages[0].role == "system" {
		out = append(out, ask.Message{Role: "system", Content: messages[0].text})
		messages = messages[1:]
	}
	var last *message
	if n := len(messages) - 1; n > 0 && messages[n].role == "assistant" {
		last, messages = &messages[n], messages[:n]
	}
	var b strings.Builder
	for i, m := range messages {
		b.WriteString(m.text)
		if i < len(messages)-1 {
			b.WriteString(m.after)
		}
	}
	out = append(out, ask.Message{Role: "user", Content: b.String()})
	if last != nil {
		out = append(out, ask.Message{Role: "assistant", Content: last.text})
	}
	return out
}
