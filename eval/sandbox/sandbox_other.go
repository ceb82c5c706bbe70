//go:build !linux || !(amd64 || arm64)

package sandbox

import (
	"context"
	"runtime"

	"tune/internal/hint"
)

func refuse() error {
	return hint.Errorf("run tasks that execute code on Linux (amd64 or arm64)", "generated code is not run on %s/%s: it has none of the kernel walls of the sandbox", runtime.GOOS, runtime.GOARCH)
}

// FindPython refuses: there is no sandbox here.
func FindPython(context.Context) (Python, error) { return Python{}, refuse() }

// Run refuses: there is no sandbox here.
func Run(context.Context, Program) (Result, error) { return Result{}, refuse() }

// IsChild is never true here.
func IsChild([]string) bool { return false }

// Child is never called here.
func Child() int { return 1 }
