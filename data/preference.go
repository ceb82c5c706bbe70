package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"tune/internal/chat"
	"tune/internal/hint"
)

// Role is what a document is to an objective that learns from preferences.
type Role uint8

const (
	Plain       Role = iota // an answer to be learned
	Chosen                  // the better answer of a pair; in a pack its Rejected follows
	Rejected                // the worse answer
	Desirable               // an answer judged good on its own (KTO)
	Undesirable             // an answer judged bad on its own
)

// rowItem is what a row teaches: one item, or the two answers of a preference.
type rowItem struct {
	item
	role     Role
	rejected *item // only beside a Chosen item
}

// one makes a rowItem of a function that gives a plain item.
func one(f func(formatRow) (item, error)) func(formatRow) (rowItem, error) {
	return func(r formatRow) (rowItem, error) {
		it, err := f(r)
		return rowItem{item: it}, err
	}
}

// judged reads a row of another format with a label beside it that says whether the answer is a good one (KTO).
func judged(label string, f func(formatRow) (item, error)) func(formatRow) (rowItem, error) {
	return func(r formatRow) (rowItem, error) {
		good, err := r.truth(label)
		if err != nil {
			return rowItem{}, err
		}
		it, err := f(r)
		if good {
			return rowItem{item: it, role: Desirable}, err
		}
		return rowItem{item: it, role: Undesirable}, err
	}
}

// truth is a column of booleans; CSV writes them as text, some files as 0 and 1.
func (r formatRow) truth(key string) (bool, error) {
	raw, ok, err := r.json(key)
	if err != nil {
		return false, err
	}
	text := strings.ToLower(strings.Trim(string(raw), `"`))
	switch {
	case ok && (text == "true" || text == "1"):
		return true, nil
	case ok && (text == "false" || text == "0"):
		return false, nil
	}
	return false, hint.Errorf("format: messages or prompt/completion reads such rows without the column",
		"column %s: expected true or false, found %.40s", columnName(r.names, key), text)
}

// preferenceItem reads two answers to one prompt. Answers may be texts, messages, or whole conversations; the prompt may
// stand in a column of its own (prompt, messages, conversations, or instruction and input) or be what both begin with.
func preferenceItem(r formatRow) (rowItem, error) {
	var answers [2]answer
	for i, key := range []string{"chosen", "rejected"} {
		raw, ok, err := r.json(key)
		if err == nil && !ok {
			err = errors.New("expected an answer, found null")
		}
		if err == nil {
			answers[i], err = answerOf(raw)
		}
		if err != nil {
			return rowItem{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	if answers[0].isText != answers[1].isText {
		return rowItem{}, errors.New("chosen and rejected: expected two texts or two lists of messages, found one of each")
	}
	prompt, err := r.promptOf()
	if err != nil {
		return rowItem{}, err
	}
	tools, err := r.tools()
	if err != nil {
		return rowItem{}, err
	}
	var items [2]item
	switch {
	case prompt != nil:
		for i, a := range answers {
			items[i] = prompt.with(a)
		}
	case answers[0].isText:
		from := commonText(answers[0].text, answers[1].text)
		for i, a := range answers {
			items[i] = item{text: &a.text, prompt: from}
		}
	default:
		from := commonMessages(answers[0].messages, answers[1].messages)
		for i, a := range answers {
			items[i] = item{chat: &chat.Conversation{Messages: a.messages}, from: from}
		}
	}
	for _, it := range items {
		if it.chat != nil {
			it.chat.Tools = tools
		}
	}
	return rowItem{item: items[0], role: Chosen, rejected: &items[1]}, nil
}

// answer is one answer of a preference as it stands in its column.
type answer struct {
	isText   bool
	text     string
	messages []chat.Message
}

func answerOf(raw []byte) (answer, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && !strings.HasPrefix(strings.TrimSpace(text), "[{") {
		if turns := transcript(text); turns != nil {
			return answer{messages: turns}, nil
		}
		return answer{isText: true, text: text}, nil
	}
	if bytes.HasPrefix(raw, []byte("{")) { // one message
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	messages, err := messagesOf(raw)
	return answer{messages: messages}, err
}

// speakers begin the turns of a transcript as Anthropic's preference data writes them.
var speakers = []struct{ mark, role string }{{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}}

// transcript cuts a text of Human and Assistant turns into messages; nil when it is none.
func transcript(text string) []chat.Message {
	if !strings.HasPrefix(text, speakers[0].mark) {
		return nil
	}
	var messages []chat.Message
	for text != "" {
		next := len(text)
		var role string
		for _, s := range speakers {
			if rest, ok := strings.CutPrefix(text, s.mark); ok {
				role, text = s.role, rest
				break
			}
		}
		for _, s := range speakers {
			if i := strings.Index(text, s.mark); i >= 0 {
				next = min(next, i)
			}
		}
		next = min(next, len(text))
		messages = append(messages, chat.Message{Role: role, Content: strings.TrimSpace(text[:next])})
		text = text[next:]
	}
	return messages
}

// prompt is what both answers of a preference answer.
type prompt struct {
	text     string // when messages is nil
	messages []chat.Message
}

// promptOf looks for a prompt in a column of its own; nil when there is none.
func (r formatRow) promptOf() (*prompt, error) {
	for _, key := range []string{"prompt", "messages", "conversations"} {
		raw, ok, err := r.json(key)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		var text string
		if json.Unmarshal(raw, &text) == nil && !strings.HasPrefix(strings.TrimSpace(text), "[{") {
			return &prompt{text: text}, nil
		}
		messages, err := messagesOf(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return &prompt{messages: messages}, nil
	}
	if _, ok, err := r.text("instruction"); err != nil || !ok {
		return nil, err
	}
	messages, err := r.instruction()
	return &prompt{messages: messages}, err
}

// with joins a prompt and an answer. An answer that is a conversation of its own already begins with the prompt.
func (p *prompt) with(a answer) item {
	if p.messages == nil && a.isText {
		whole := p.text + a.text
		return item{text: &whole, prompt: len(p.text)}
	}
	messages := p.messages
	if messages == nil {
		messages = []chat.Message{{Role: "user", Content: p.text}}
	}
	added := a.messages
	if a.isText {
		added = []chat.Message{{Role: "assistant", Content: a.text}}
	}
	if at := slices.IndexFunc(added, func(m chat.Message) bool { return m.Role == "user" }); at >= 0 {
		from := slices.IndexFunc(added, func(m chat.Message) bool { return m.Role == "assistant" })
		return item{chat: &chat.Conversation{Messages: added}, from: max(from, 0)}
	}
	return item{chat: &chat.Conversation{Messages: slices.Concat(messages, added)}, from: len(messages)}
}

// commonMessages counts the messages that both conversations begin with.
func commonMessages(a, b []chat.Message) int {
	n := 0
	for n < min(len(a), len(b)) && reflect.DeepEqual(a[n], b[n]) {
		n++
	}
	if n == len(a) || n == len(b) { // one is the begin of the other: the last answer is what differs
		for n > 0 && a[n-1].Role == "assistant" {
			n--
		}
	}
	return n
}

// commonText counts the bytes that both texts begin with, whole characters.
func commonText(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if n == min(len(a), len(b)) { // something must be left to prefer
		n = 0
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}
