package cli

import "testing"

// What seen writes of counts in any order.
func TestSeen(t *testing.T) {
	if got, want := seen([]int{7, 0, 3, 0, 12}), "2\t0\t3\t12"; got != want {
		t.Errorf("found %q, expected %q", got, want)
	}
	if got, want := seen([]float32{4096, 185}), "0\t185\t4096\t4096"; got != want {
		t.Errorf("found %q, expected %q", got, want)
	}
}
