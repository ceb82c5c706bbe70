//go:build (!amd64 && !arm64) || purego

package kernels

import "runtime"

var levelNames = []string{"plain"}

// detectLevel: without assembly there is one level.
func detectLevel() (cpuLevel, string) {
	return levelPlain, "this build has no assembly for " + runtime.GOARCH
}

func cpuFeatures() []string { return nil }

func vnni() bool { return false }
