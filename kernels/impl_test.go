package kernels

import "testing"

// eachLevel runs f once for every level this machine can run, the best first. Not for parallel tests: the level is the package's.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	old := level
	defer func() { level = old }()
	for l := bestLevel; l >= levelPlain; l-- {
		level = l
		t.Run(l.String(), f)
	}
	for l := bestLevel + 1; int(l) < len(levelNames); l++ {
		t.Run(l.String(), func(t *testing.T) { t.Skip(bestReason) })
	}
}
