package tune

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// vectorUse is a line of assembly that names a vector register: its instruction in front.
var vectorUse = regexp.MustCompile(`^\s+([A-Z][A-Z0-9]*)\s.*\b[XYZ]\d+\b`)

// An instruction of the old encoding among those of AVX keeps the upper halves of registers: each one may cost over a hundred
// cycles. A plain MOVL into X0 did so in every search of a codebook.
func TestVectorEncoding(t *testing.T) {
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_amd64.s") {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			line, _, _ = strings.Cut(line, "//")
			if m := vectorUse.FindStringSubmatch(line); m != nil && m[1][0] != 'V' && m[1][0] != 'K' {
				t.Errorf("%s:%d: %s is not VEX encoded: %s", name, i+1, m[1], strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
