package kernels

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// TestGeneratedIsCurrent: the assembly names the hash of the generator's sources it was written by. When it differs, run
// "go run ." in kernels/_asm, and "go test ." there, which compares the files themselves.
func TestGeneratedIsCurrent(t *testing.T) {
	names, err := filepath.Glob("_asm/*.go")
	if err != nil || len(names) == 0 {
		t.Fatal("no generator sources", err)
	}
	sort.Strings(names)
	h := sha256.New()
	for _, n := range names {
		if strings.HasSuffix(n, "_test.go") {
			continue
		}
		text, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %d\n%s", filepath.Base(n), len(text), text)
	}
	want := fmt.Sprintf("(sources %x)", h.Sum(nil)[:12])
	files, err := filepath.Glob("*_asm_amd64.*")
	if err != nil || len(files) == 0 {
		t.Fatal("no generated files", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if head, _, _ := strings.Cut(string(text), "\n"); !strings.Contains(head, want) {
			t.Errorf("%s is older than kernels/_asm: expected %s, found %s", f, want, head)
		}
	}
}
