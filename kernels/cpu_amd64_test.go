//go:build !purego

package kernels

import "testing"

func TestChooseLevel(t *testing.T) {
	for _, c := range []struct {
		best   cpuLevel
		wanted string
		level  cpuLevel
		reason string
	}{
		{levelAVX512, "", levelAVX512, "why"},
		{levelAVX512, "plain", levelPlain, "TUNE_KERNELS=plain"},
		{levelAVX512, "avx2", levelAVX2, "TUNE_KERNELS=avx2"},
		{levelAVX2, "avx512", levelAVX2, "TUNE_KERNELS=avx512 asks for more than there is: why"},
		{levelAVX2, "sse", levelAVX2, "TUNE_KERNELS=sse is not one of [plain avx2 avx512 avx512bf16]: ignored"},
	} {
		if l, r := chooseLevel(c.best, "why", c.wanted); l != c.level || r != c.reason {
			t.Errorf("%v %q: got %v, %q", c.best, c.wanted, l, r)
		}
	}
}
