package hint

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestHintSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("load: %w", Errorf("try the other file", "a.gguf: %w", io.ErrUnexpectedEOF))
	if Of(err) != "try the other file" || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "load: a.gguf: unexpected EOF" {
		t.Errorf("got %q, hint %q", err, Of(err))
	}
	if Of(io.EOF) != "" {
		t.Error("a plain error has a hint")
	}
}
