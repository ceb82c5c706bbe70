package kernels

import (
	"fmt"
	"os"
)

// cpuLevel orders the instruction sets that an architecture's kernels are written for; each contains those below it. Level 0
// is Go only. levelNames names those of the architecture.
type cpuLevel int

const levelPlain cpuLevel = 0

func (l cpuLevel) String() string { return levelNames[l] }

// bestLevel is what the CPU and the build can do, with why not more; level is the one in use, never higher. Both are set once.
var (
	bestLevel, bestReason = detectLevel()
	level, levelReason    = chooseLevel(bestLevel, bestReason, os.Getenv("TUNE_KERNELS"))
)

// chooseLevel lowers best to the wanted level, if one is named.
func chooseLevel(best cpuLevel, reason, wanted string) (cpuLevel, string) {
	if wanted == "" {
		return best, reason
	}
	for i, name := range levelNames {
		switch l := cpuLevel(i); {
		case name != wanted:
		case l > best:
			return best, fmt.Sprintf("TUNE_KERNELS=%s asks for more than there is: %s", wanted, reason)
		default:
			return l, "TUNE_KERNELS=" + wanted
		}
	}
	return best, fmt.Sprintf("TUNE_KERNELS=%s is not one of %v: ignored", wanted, levelNames)
}

// Level names the instruction set in use: plain, avx2, avx512 or avx512bf16; neon on arm64.
func Level() string { return level.String() }

// Reason says in a few words why Level is what it is.
func Reason() string { return levelReason }

// Features lists the CPU features the kernels look at that this CPU has.
func Features() []string { return cpuFeatures() }
