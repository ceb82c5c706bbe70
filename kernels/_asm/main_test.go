package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUpToDate: the files on disk are what this program writes. "go run ." writes them.
func TestUpToDate(t *testing.T) {
	files, err := generate(".")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != text {
			t.Errorf("%s is not what the generator writes: run \"go run .\"", name)
		}
	}
}
