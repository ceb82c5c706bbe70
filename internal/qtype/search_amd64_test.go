//go:build !purego

package qtype

import (
	"bytes"
	"testing"
)

// The plain forms give the bytes of the assembly, for every type, case and importance.
func TestPlain(t *testing.T) {
	if !vectors {
		t.Skip("no vector kernels here: the other tests run the plain forms")
	}
	defer func() { vectors = true }()
	for _, ty := range blockTypes() {
		for _, c := range cases {
			for _, cols := range []int{256, 320} {
				if cols%ty.Row().Block != 0 {
					continue
				}
				x := generate(t, c.name, 2, cols)
				for _, kind := range []string{"none", "A", "B"} {
					w := generateImportance(t, kind, cols)
					vectors = true
					fast, ok := encode(t, ty, x, w, cols)
					vectors = false
					plain, _ := encode(t, ty, x, w, cols)
					if ok && hash(fast) != hash(plain) {
						t.Errorf("%s %s 2x%d importance %s: assembly and plain form differ", ty, c.name, cols, kind)
					}
				}
			}
		}
	}
}

// Of a largest and a smallest value of the same magnitude the first one decides the sign of the scale, wherever both lie; nothing
// behind the blocks is written.
func TestTiesOfQ4_0(t *testing.T) {
	if !vectors {
		t.Skip("no vector kernels here: there is one form only")
	}
	const blocks, guard = 9, 32 // a group of eight and one that is encoded by itself
	for pair := range 32 * 32 {
		x := make([]float32, 32*blocks)
		for i := range x {
			x[i] = float32(i%7) - 3
		}
		for b := range blocks {
			x[32*b+(pair+b)%32], x[32*b+(pair/32+3*b)%32] = 5, -5
		}
		fast, plain := make([]byte, 18*blocks+guard), make([]byte, 18*blocks+guard)
		encodeQ4_0(fast[:18*blocks], x)
		vectors = false
		encodeQ4_0(plain[:18*blocks], x)
		vectors = true
		if !bytes.Equal(fast, plain) {
			t.Fatalf("pair %d: %x, want %x", pair, fast, plain)
		}
	}
}
