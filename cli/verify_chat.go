package cli

import (
	"time"

	"tune/internal/chat"
	"tune/internal/model"
)

// How two chat templates compare, from best to worst. Templates may be written differently and yet say the same: that is
// for a few conversations to show.
const (
	templateNone      = "none" // neither model has one
	templateText      = "same text"
	templateRendering = "same rendering"
	templateOther     = "different"
)

// template is a chat template, "" for none, and the names of tokens that it may write.
type template struct {
	text  string
	names chat.Options
}

func templateOf(c *model.Checkpoint) template {
	t := template{text: c.ChatTemplate()}
	tok, err := c.Tokenizer()
	if err != nil {
		return t // weights alone; what needs the tokenizer tells
	}
	t.names.BOS, t.names.EOS, t.names.Pad = tok.Names()
	return t
}

// verifyTalk is what both templates render, whole and cut after the user's turn, with and without the system message, which
// some templates refuse. The spaces and line ends are there because templates trim them or do not.
var verifyTalk = []chat.Message{
	{Role: "system", Content: "Answer in one sentence. "},
	{Role: "user", Content: " What is 2 + 2 < 5?\nSay \"why\"."},
	{Role: "assistant", Content: "It is 4,\nwhich is less than 5."},
	{Role: "user", Content: "Thank you."},
}

// renderings of the conversations; nil stands for one that the template refuses.
func (t template) renderings() (list []*string) {
	parsed, err := chat.Parse(t.text)
	for _, messages := range [][]chat.Message{verifyTalk, verifyTalk[:3], verifyTalk[:2], verifyTalk[1:], verifyTalk[1:3], verifyTalk[1:2]} {
		var text *string
		if err == nil {
			o := t.names
			o.AddGenerationPrompt = messages[len(messages)-1].Role == "user"
			o.Now = time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC) // some templates write the day: any, but one
			if r, err := parsed.Render(chat.Conversation{Messages: messages}, o); err == nil {
				text = &r.Text
			}
		}
		list = append(list, text)
	}
	return list
}

// compareTemplates says how two templates compare. Those that refuse the same conversations and render the others alike, at
// least one, are the same rendering.
func compareTemplates(a, b template) string {
	switch {
	case a.text == "" && b.text == "":
		return templateNone
	case a.text == b.text && a.names == b.names:
		return templateText
	case a.text == "" || b.text == "":
		return templateOther
	}
	x, y := a.renderings(), b.renderings()
	result := templateOther
	for i := range x {
		switch {
		case x[i] == nil && y[i] == nil:
		case x[i] == nil || y[i] == nil || *x[i] != *y[i]:
			return templateOther
		default:
			result = templateRendering
		}
	}
	if result == templateRendering && a.text == b.text {
		return templateText // the tokens whose names differ are not used
	}
	return result
}
