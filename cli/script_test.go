package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very binary as the command tune.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tune": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs testdata/script/*.txt: commands, what they print, and the files they read and write. $ROOT is the
// project's folder.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", root)
			e.Setenv("TUNE_CACHE", filepath.Join(e.WorkDir, "cache"))
			return nil
		},
		RequireExplicitExec: false,
	})
}
