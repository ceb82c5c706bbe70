package data

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tune/internal/chat"
	"tune/internal/hint"
)

// item is what a row holds: exactly one of a conversation, a text, or tokens.
type item struct {
	chat   *chat.Conversation
	from   int // messages before this one are never supervised
	text   *string
	prompt int // bytes at the begin of text that are never supervised
	ids    []int32
	labels []int32 // nil: ids
}

// formatEntry makes items of rows of one kind.
type formatEntry struct {
	name    string
	detect  []string // columns that a file of this format has
	columns []string // keys of Config.Columns that it reads
	truth   string   // the one of them that must hold true or false for auto, "" for none
	item    func(r formatRow) (rowItem, error)
}

// why says by what auto recognised a format.
func (f formatEntry) why(names map[string]string) string {
	var columns []string
	for _, key := range f.detect {
		columns = append(columns, columnName(names, key))
	}
	if len(columns) == 1 {
		return "it has a column " + columns[0]
	}
	return "it has columns " + strings.Join(columns[:len(columns)-1], ", ") + " and " + columns[len(columns)-1]
}

// formats lists the formats in the order in which auto tries them.
var formats = []formatEntry{
	{"preference", []string{"chosen", "rejected"},
		[]string{"chosen", "rejected", "prompt", "messages", "conversations", "system", "instruction", "input", "tools"}, "", preferenceItem},
	{"kto", []string{"messages", "label"}, []string{"messages", "tools", "label"}, "label", judged("label", messagesItem)},
	{"kto", []string{"prompt", "completion", "label"}, []string{"prompt", "completion", "tools", "label"}, "label", judged("label", promptItem)},
	{"kto", []string{"messages", "kto_tag"}, []string{"messages", "tools", "kto_tag"}, "kto_tag", judged("kto_tag", messagesItem)},
	{"kto", []string{"instruction", "output", "kto_tag"}, []string{"system", "instruction", "input", "output", "kto_tag"}, "kto_tag", judged("kto_tag", alpacaItem)},
	{"messages", []string{"messages"}, []string{"messages", "tools"}, "", one(messagesItem)},
	{"sharegpt", []string{"conversations"}, []string{"conversations", "system", "tools"}, "", one(shareGPTItem)},
	{"alpaca", []string{"instruction", "output"}, []string{"system", "instruction", "input", "output"}, "", one(alpacaItem)},
	{"prompt/completion", []string{"prompt", "completion"}, []string{"prompt", "completion", "tools"}, "", one(promptItem)},
	{"tokens", []string{"ids"}, []string{"ids", "labels"}, "", one(tokensItem("ids"))},
	{"tokens", []string{"input_ids"}, []string{"input_ids", "labels"}, "", one(tokensItem("input_ids"))},
	{"text", []string{"text"}, []string{"text"}, "", one(textItem)},
}

// formatNames are the values of Config.Format.
var formatNames = formatList()

func formatList() []string {
	names := []string{"auto"}
	for _, f := range formats {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

// columnKeys are the names that Config.Columns may map to other columns.
var columnKeys = columnList()

func columnList() []string {
	var keys []string
	for _, f := range formats {
		for _, k := range f.columns {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// formatRow is a row whose columns are named by the keys of Config.Columns.
type formatRow struct {
	row
	names map[string]string
}

func columnName(names map[string]string, key string) string {
	if n, ok := names[key]; ok {
		return n
	}
	return key
}

func (r formatRow) text(key string) (string, bool, error) {
	return r.row.text(columnName(r.names, key))
}
func (r formatRow) json(key string) ([]byte, bool, error) {
	return r.row.json(columnName(r.names, key))
}

// need is a string column that must not be null.
func (r formatRow) need(key string) (string, error) {
	s, ok, err := r.text(key)
	if err == nil && !ok {
		err = fmt.Errorf("expected a string in column %s, found null or no such column", columnName(r.names, key))
	}
	return s, err
}

// pickFormat finds the format of a file with the given columns. isTruth tells whether a column holds true or false; it is
// asked where the names fit: other data has labels too.
func pickFormat(s Source, columns []string, isTruth func(column string) bool) (formatEntry, error) {
	has := func(key string) bool { return slices.Contains(columns, columnName(s.Columns, key)) }
	var missing error
	for _, f := range formats {
		if s.Format != "auto" && s.Format != f.name {
			continue
		}
		i := slices.IndexFunc(f.detect, func(key string) bool { return !has(key) })
		if i < 0 && s.Format == "auto" && f.truth != "" && !isTruth(columnName(s.Columns, f.truth)) {
			continue
		}
		if i < 0 {
			return f, nil
		}
		if s.Format != "auto" && missing == nil {
			missing = hint.Errorf("columns: {"+f.detect[i]+": name} maps it to another name",
				"format %s: expected a column %s, found %s", f.name, columnName(s.Columns, f.detect[i]), strings.Join(columns, ", "))
		}
	}
	if missing != nil {
		return formatEntry{}, missing
	}
	return formatEntry{}, hint.Errorf("set format and columns", "expected columns of one of the formats %s, found %s",
		strings.Join(formatNames[1:], ", "), strings.Join(columns, ", "))
}

// messagesItem reads messages as OpenAI's chat format has them: role, content, tool_calls and so on.
func messagesItem(r formatRow) (item, error) {
	raw, ok, err := r.json("messages")
	if err != nil || !ok {
		return item{}, errors.Join(errNoMessages, err)
	}
	messages, err := messagesOf(raw)
	if err != nil {
		return item{}, fmt.Errorf("messages: %w", err)
	}
	tools, err := r.tools()
	return item{chat: &chat.Conversation{Messages: messages, Tools: tools}}, err
}

var errNoMessages = errors.New("expected a list of messages, found null or no such column")

// messagesOf reads a list of messages, {role, content} or {from, value}, also one that is stored as JSON text in a string.
func messagesOf(raw []byte) ([]chat.Message, error) {
	v, err := chat.FromJSON(raw)
	if text, ok := v.(string); err == nil && ok {
		v, err = chat.FromJSON([]byte(text))
	}
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("expected a list of messages")
	}
	read, place, first := chat.MessageFromDict, "message", 0
	if len(list) > 0 && isTurn(list[0]) {
		read, place, first = turnMessage, "turn", 1
	}
	messages := make([]chat.Message, len(list))
	for i, x := range list {
		d, ok := x.(*chat.Dict)
		if !ok {
			return nil, fmt.Errorf("%s %d: expected an object", place, first+i)
		}
		if messages[i], err = read(d); err != nil {
			return nil, fmt.Errorf("%s %d: %w", place, first+i, err)
		}
	}
	return messages, nil
}

// isTurn says whether a message is written as {from, value}.
func isTurn(message any) bool {
	d, ok := message.(*chat.Dict)
	if !ok {
		return false
	}
	from, _ := d.Get("from")
	role, _ := d.Get("role")
	_, isText := from.(string)
	return isText && role == nil
}

// tools is the column of tool descriptions: a list, or JSON text of one, or nothing.
func (r formatRow) tools() ([]any, error) {
	v, ok, err := r.value(columnName(r.names, "tools"))
	if err != nil || !ok || v == "" {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("column %s: expected a list of tools", columnName(r.names, "tools"))
	}
	return list, nil
}

// promptItem reads a prompt and its completion. Strings are joined as they are, without a chat template; lists of
// messages are one conversation of which the completion alone is supervised.
func promptItem(r formatRow) (item, error) {
	raw, ok, err := r.json("prompt")
	if err != nil || !ok {
		return item{}, errors.Join(fmt.Errorf("expected a prompt, found null or no such column"), err)
	}
	if len(raw) > 0 && raw[0] == '[' {
		prompt, err := messagesOf(raw)
		if err != nil {
			return item{}, fmt.Errorf("prompt: %w", err)
		}
		raw, _, err := r.json("completion")
		if err != nil {
			return item{}, err
		}
		completion, err := messagesOf(raw)
		if err != nil {
			return item{}, fmt.Errorf("completion: %w", err)
		}
		tools, err := r.tools()
		return item{chat: &chat.Conversation{Messages: append(prompt, completion...), Tools: tools}, from: len(prompt)}, err
	}
	prompt, err := r.need("prompt")
	if err != nil {
		return item{}, err
	}
	completion, err := r.need("completion")
	whole := prompt + completion
	return item{text: &whole, prompt: len(prompt)}, err
}

// shareGPTRoles are the names that ShareGPT files give to roles.
var shareGPTRoles = map[string]string{
	"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant", "system": "system",
	"function_call": "call", "observation": "tool", "tool": "tool", "function_response": "tool",
}

// turnMessage reads a turn {from, value}, also one that is a call of a function or what it has observed.
func turnMessage(d *chat.Dict) (chat.Message, error) {
	from, _ := d.Get("from")
	value, _ := d.Get("value")
	speaker, isSpeaker := from.(string)
	text, isText := value.(string)
	if !isSpeaker || !isText && value != nil {
		return chat.Message{}, fmt.Errorf("expected texts as from and value, found %v and %v", from, value)
	}
	role := shareGPTRoles[speaker]
	switch role {
	case "":
		return chat.Message{}, fmt.Errorf("unknown speaker %q", speaker)
	case "call":
		return toolCall(text)
	}
	return chat.Message{Role: role, Content: text}, nil
}

// shareGPTItem reads conversations, with the system message in a column of its own where there is one.
func shareGPTItem(r formatRow) (item, error) {
	raw, ok, err := r.json("conversations")
	if err != nil || !ok {
		return item{}, errors.Join(errNoMessages, err)
	}
	turns, err := messagesOf(raw)
	if err != nil {
		return item{}, fmt.Errorf("conversations: %w", err)
	}
	system, err := r.system()
	if err != nil {
		return item{}, err
	}
	tools, err := r.tools()
	return item{chat: &chat.Conversation{Messages: append(system, turns...), Tools: tools}}, err
}

// system is the column system as a message, when it holds one.
func (r formatRow) system() ([]chat.Message, error) {
	s, ok, err := r.text("system")
	if err != nil || !ok || s == "" {
		return nil, err
	}
	return []chat.Message{{Role: "system", Content: s}}, nil
}

// toolCall makes an assistant message of the JSON text of a call.
func toolCall(text string) (chat.Message, error) {
	v, err := chat.FromJSON([]byte(text))
	if err != nil {
		return chat.Message{}, fmt.Errorf("function_call: %w", err)
	}
	call := chat.NewDict(chat.Field{Name: "type", Value: "function"}, chat.Field{Name: "function", Value: v})
	return chat.Message{Role: "assistant", ToolCalls: []any{call}}, nil
}

// alpacaItem reads instruction, input and output as one user and one assistant turn; input follows on a line of its own.
func alpacaItem(r formatRow) (item, error) {
	messages, err := r.instruction()
	if err != nil {
		return item{}, err
	}
	output, err := r.need("output")
	return item{chat: &chat.Conversation{Messages: append(messages, chat.Message{Role: "assistant", Content: output})}}, err
}

// instruction is the prompt of a row in the Alpaca format.
func (r formatRow) instruction() ([]chat.Message, error) {
	text, err := r.need("instruction")
	if err != nil {
		return nil, err
	}
	input, ok, err := r.text("input")
	if err != nil {
		return nil, err
	}
	if ok && input != "" {
		text += "\n" + input
	}
	system, err := r.system()
	return append(system, chat.Message{Role: "user", Content: text}), err
}

// textItem reads a document for training on running text.
func textItem(r formatRow) (item, error) {
	text, err := r.need("text")
	return item{text: &text}, err
}

// tokensItem reads token ids from the column of that key and, where there are any, labels: -100 or the id to predict at that
// position.
func tokensItem(key string) func(formatRow) (item, error) {
	return func(r formatRow) (item, error) {
		ids, ok, err := r.ints(columnName(r.names, key))
		if err != nil || !ok {
			return item{}, errors.Join(fmt.Errorf("expected a list of token ids, found null or no such column"), err)
		}
		labels, _, err := r.ints(columnName(r.names, "labels"))
		if err == nil && labels != nil && len(labels) != len(ids) {
			err = fmt.Errorf("expected as many labels as tokens, found %d and %d", len(labels), len(ids))
		}
		return item{ids: ids, labels: labels}, err
	}
}
