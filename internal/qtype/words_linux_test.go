package qtype

import (
	"os"
	"syscall"
	"testing"
)

// TestDecodeBF16Ends: blocks end where memory does, so that a decoder that reads on would crash.
func TestDecodeBF16Ends(t *testing.T) {
	page := os.Getpagesize()
	m, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err == nil {
		defer func() { _ = syscall.Munmap(m) }()
		err = syscall.Mprotect(m[page:], syscall.PROT_NONE)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, ty := range All() {
		row := ty.Row()
		if row.DecodeBF16 == nil {
			continue
		}
		for n := 1; n <= 3; n++ {
			b := m[page-n*row.Bytes : page : page]
			copy(b, wildBlocks(ty, n))
			checkBF16(t, ty, b)
		}
	}
}
