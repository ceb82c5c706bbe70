package model

import (
	"errors"

	"tune/internal/gguf"
)

func fromGGUF(*gguf.File) (*Checkpoint, error) { return nil, errors.New("GGUF files are not read yet") }
