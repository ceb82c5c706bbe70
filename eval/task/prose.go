package task

import (
	_ "embed"
	"fmt"
	"strings"

	"tune/internal/chat"
)

//go:embed prose.jsonl
var prose string

// proseDocuments are the passages that come with the program.
func proseDocuments(*Config, Sources) (docs []Doc, err error) {
	for line := range strings.Lines(prose) {
		v, err := chat.FromJSON([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("prose: %w", err)
		}
		docs = append(docs, v.(*chat.Dict))
	}
	return docs, nil
}
