//go:build !linux

package kernels

import "time"

var clockStart = time.Now()

// threadTime is the wall clock, in nanoseconds, where the thread's own is not at hand.
func threadTime() int64 { return int64(time.Since(clockStart)) }
