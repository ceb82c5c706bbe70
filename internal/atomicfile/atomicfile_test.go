package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWholeOrAbsent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "a.bin")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("half")
	if _, err := os.Stat(path); err == nil {
		t.Error("the name exists before Commit")
	}
	f.Abort()
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) != 0 {
		t.Errorf("Abort left %v", left)
	}
	if err := Write(path, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "whole" {
		t.Errorf("read back %q", b)
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*.partial"); len(left) != 0 {
		t.Errorf("Write left %v", left)
	}
}
