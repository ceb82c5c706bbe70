package train

import (
	"os"
	"strconv"
	"strings"
)

// PeakMemory is the most memory the process has held at once, in bytes: VmHWM, which counts mapped weights that were
// touched as well as the heap.
func PeakMemory() int64 { return statusBytes("VmHWM:") }

// Memory is the memory the process holds now, in bytes.
func Memory() int64 { return statusBytes("VmRSS:") }

func statusBytes(key string) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return goMemory()
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
			if err != nil {
				break
			}
			return kib << 10
		}
	}
	return goMemory()
}
