package task

import (
	"strings"

	"tune/eval/ask"
)

// plainTemplate stands for a model's chat template.
func plainTemplate(chat []ask.Message, prefill bool) (string, error) {
	var b strings.Builder
	for i, m := range chat {
		b.WriteString("<" + m.Role + ">" + m.Content)
		if !prefill || i < len(chat)-1 {
			b.WriteString("\n")
		}
	}
	if !prefill {
		b.WriteString("<assistant>")
	}
	return b.String(), nil
}
