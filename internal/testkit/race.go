//go:build race

package testkit

// RaceDetector says that the race detector is in the test program, which multiplies its memory.
const RaceDetector = true
