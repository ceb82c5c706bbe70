//go:build !purego

package qtype

import "testing"

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
