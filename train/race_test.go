//go:build race

package train

// raceDetector says that the race detector is in the test program, which multiplies its memory.
const raceDetector = true
