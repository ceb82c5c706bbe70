package tensor

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"tune/internal/qtype"
)

// What is released is read again from its file; memory of our own, and what is not of the tensor's file, stays.
func TestRelease(t *testing.T) {
	want := bytes.Repeat([]byte("bytes of a page "), 4096)
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, want, 0o666); err != nil {
		t.Fatal(err)
	}
	data, closeFile, err := MapFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFile()
	info := Info{Name: "x", Type: qtype.U8, Shape: []int{len(want)}}
	own := bytes.Clone(want)
	for name, x := range map[string]Tensor{"view": View(info, data), "own": {Info: info, Data: own}, "replaced": func() Tensor {
		x := View(info, data[:8192])
		x.Data = own
		return x
	}()} {
		x.Release(x.Data)
		x.Release(x.Data[100:9000])
		if !bytes.Equal(x.Data, want) {
			t.Errorf("%s: bytes are lost", name)
		}
	}
}
