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

// ownMemory is Memory without the pages of mapped files, which the plan counts as weights, but with those of the program itself.
func ownMemory() int64 {
	all := Memory()
	exe, err := os.Executable()
	maps, err2 := os.ReadFile("/proc/self/smaps")
	if err != nil || err2 != nil {
		return all
	}
	mapped := false // the mapping being described is of a file, and not of the program
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 6 && strings.HasPrefix(f[5], "/"):
			mapped = f[5] != exe
		case len(f) == 5 && strings.Contains(f[0], "-"):
			mapped = false
		case mapped && len(f) == 3 && f[0] == "Rss:":
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			all -= kib << 10
		}
	}
	return all
}

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
