//go:build !purego

package kernels

import (
	"strings"

	"golang.org/x/sys/cpu"
)

const (
	levelAVX2       cpuLevel = iota + 1 // AVX2, FMA, F16C
	levelAVX512                         // AVX-512 F, BW, DQ, VL, CD
	levelAVX512BF16                     // and AVX512_BF16
)

var levelNames = []string{"plain", "avx2", "avx512", "avx512bf16"}

// vnni tells whether integers are multiplied by AVX-512 VNNI, which a CPU may have or lack at both levels of AVX-512.
func vnni() bool { return level >= levelAVX512 && cpu.X86.HasAVX512VNNI }

// feature is one CPU feature and the level that needs it.
type feature struct {
	name  string
	has   bool
	level cpuLevel
}

func features() []feature {
	x := &cpu.X86
	return []feature{
		{"avx2", x.HasAVX2, levelAVX2},
		{"fma", x.HasFMA, levelAVX2},
		{"avx512f", x.HasAVX512F, levelAVX512},
		{"avx512bw", x.HasAVX512BW, levelAVX512},
		{"avx512dq", x.HasAVX512DQ, levelAVX512},
		{"avx512vl", x.HasAVX512VL, levelAVX512},
		{"avx512cd", x.HasAVX512CD, levelAVX512},
		{"avx512_bf16", x.HasAVX512BF16, levelAVX512BF16},
	}
}

// detectLevel is the highest level whose features are all there.
func detectLevel() (cpuLevel, string) {
	var missing []string
	l := levelAVX512BF16
	for _, f := range features() {
		if !f.has {
			l = min(l, f.level-1)
			missing = append(missing, f.name)
		}
	}
	if missing == nil {
		return l, "the CPU has all of it"
	}
	return l, "the CPU lacks " + strings.Join(missing, ", ")
}

func cpuFeatures() []string {
	var names []string
	for _, f := range features() {
		if f.has {
			names = append(names, f.name)
		}
	}
	if cpu.X86.HasAVX512VNNI {
		names = append(names, "avx512_vnni")
	}
	return names
}
