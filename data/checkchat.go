package data

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"tune/internal/chat"
)

// conversationChecks look at a conversation as it stands in the data; each says what is wrong, or "".
var conversationChecks = []struct {
	name string
	find func(c *chat.Conversation, marks []string) string
}{
	{"unknown-role", unknownRole}, {"null-content", nullContent}, {"role-order", roleOrder}, {"tool-call", toolCalls},
	{"empty-turn", emptyTurn}, {"markup", markup},
}

var knownRoles = []string{"system", "developer", "user", "assistant", "tool", "ipython", "function"}

func unknownRole(c *chat.Conversation, _ []string) string {
	for i, m := range c.Messages {
		if !slices.Contains(knownRoles, m.Role) {
			return fmt.Sprintf("message %d has the role %q", i, m.Role)
		}
	}
	return ""
}

func nullContent(c *chat.Conversation, _ []string) string {
	for i, m := range c.Messages {
		null := slices.ContainsFunc(m.Extra, func(f chat.Field) bool { return f.Name == "content" && f.Value == nil })
		if null && len(m.ToolCalls) == 0 && m.Reasoning == "" {
			return fmt.Sprintf("message %d (%s)", i, m.Role)
		}
	}
	return ""
}

// roleOrder wants the roles that answer each other to alternate, and an answer at the end.
func roleOrder(c *chat.Conversation, _ []string) string {
	before := ""
	for i, m := range c.Messages {
		switch {
		case (m.Role == "system" || m.Role == "developer") && i > 0 && before != "system" && before != "developer":
			return fmt.Sprintf("message %d is a %s turn behind %s", i, m.Role, before)
		case m.Role == "user" && before == "user":
			return fmt.Sprintf("messages %d and %d are both of the user", i-1, i)
		case m.Role == "assistant" && before == "assistant" && len(c.Messages[i-1].ToolCalls) == 0:
			return fmt.Sprintf("messages %d and %d are both of the assistant", i-1, i)
		case m.Role == "assistant" && (before == "" || before == "system" || before == "developer"):
			return fmt.Sprintf("message %d: the assistant answers before anyone has asked", i)
		}
		before = m.Role
	}
	if before == "user" || before == "system" {
		return fmt.Sprintf("the last turn is of the %s", before)
	}
	return ""
}

func toolCalls(c *chat.Conversation, _ []string) string {
	open := 0 // calls without a result yet
	for i, m := range c.Messages {
		switch {
		case m.Role == "tool" || m.Role == "ipython" || m.Role == "function":
			if open == 0 {
				return fmt.Sprintf("message %d is a result without a call", i)
			}
			open--
		case open > 0:
			return fmt.Sprintf("message %d comes before the result of a call", i)
		}
		if open = max(open, len(m.ToolCalls)); len(m.ToolCalls) > 0 {
			for k, call := range m.ToolCalls {
				if why := badCall(call); why != "" {
					return fmt.Sprintf("message %d, call %d: %s", i, k, why)
				}
			}
		}
		for _, tag := range []string{"tool_call", "function_call", "think"} {
			if o, e := strings.Count(m.Content, "<"+tag+">"), strings.Count(m.Content, "</"+tag+">"); m.Role == "assistant" && o > e {
				return fmt.Sprintf("message %d: <%s> is not closed", i, tag)
			}
		}
	}
	return "" // a call at the end is what the model is to learn
}

// badCall looks at {"function": {"name", "arguments"}} or {"name", "arguments"}.
func badCall(call any) string {
	d, ok := call.(*chat.Dict)
	if !ok {
		return "expected an object"
	}
	if f, ok := d.Get("function"); ok {
		if d, ok = f.(*chat.Dict); !ok {
			return "function: expected an object"
		}
	}
	if name, _ := d.Get("name"); name == nil || name == "" {
		return "expected a name"
	}
	arguments, _ := d.Get("arguments")
	if text, ok := arguments.(string); ok && !json.Valid([]byte(text)) {
		return fmt.Sprintf("the arguments are not JSON: %.60q", text)
	}
	return ""
}

func emptyTurn(c *chat.Conversation, _ []string) string {
	for i, m := range c.Messages {
		parts := slices.ContainsFunc(m.Extra, func(f chat.Field) bool { return f.Name == "content" })
		if m.Role == "assistant" && !parts && strings.TrimSpace(m.Content) == "" && len(m.ToolCalls) == 0 && m.Reasoning == "" {
			return fmt.Sprintf("message %d", i)
		}
	}
	return ""
}

// otherMarks are what published templates write around turns: in content they say that it has been rendered already.
var otherMarks = regexp.MustCompile(`<\|(im_start|im_end|start_header_id|end_header_id|eot_id|user|assistant|system|endoftext|end)\|>` +
	`|<start_of_turn>|<end_of_turn>|\[/?INST\]|<</?SYS>>|<｜(User|Assistant)｜>|(?m)^###\s*(Instruction|Response|Human|Assistant):`)

func markup(c *chat.Conversation, marks []string) string {
	for i, m := range c.Messages {
		found := otherMarks.FindString(m.Content)
		for _, mark := range marks {
			if found == "" && strings.Contains(m.Content, mark) {
				found = mark
			}
		}
		if found != "" {
			return fmt.Sprintf("message %d (%s) contains %q", i, m.Role, found)
		}
	}
	return ""
}

// marks are the special tokens that can be taken for nothing else.
func (e encoder) marks() []string {
	var list []string
	for _, s := range []string{e.options.BOS, e.options.EOS} {
		if len(s) > 3 { // <s> stands in HTML
			list = append(list, s)
		}
	}
	return list
}

// hasMojibake finds UTF-8 that was read as Latin-1 or Windows-1252.
func hasMojibake(s string) bool {
	for _, m := range []string{"Ã©", "Ã¨", "Ã¼", "Ã¶", "Ã¤", "Ã ", "Â ", "â€™", "â€œ", "â€“", "ï»¿"} {
		if strings.Contains(s, m) {
			return true
		}
	}
	return false
}
