//go:build !linux

package train

// PeakMemory is the memory the Go runtime has asked of the system, which it seldom gives back; mapped weights are not in it.
func PeakMemory() int64 { return goMemory() }

// Memory is the same number: systems other than Linux are not asked.
func Memory() int64 { return goMemory() }

// ownMemory is the same number again.
func ownMemory() int64 { return goMemory() }
