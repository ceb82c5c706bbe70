// Package testkit finds golden data for tests: small files committed under testdata/, and the large shared folder that
// may lie beside the checkout.
package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// Root is the folder of go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}

// Golden returns the path of a committed golden, such as "models/llama"; a missing one fails the test.
func Golden(t testing.TB, name string) string {
	t.Helper()
	p := filepath.Join(Root(t), "testdata", "goldens", filepath.FromSlash(name))
	if _, err := os.Stat(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Shared returns the path of a file or folder of the shared material, such as "tokenizers/cases"; the test is skipped,
// and says why, when that material does not lie beside the checkout.
func Shared(t testing.TB, name string) string {
	t.Helper()
	p := filepath.Join(Root(t), "..", "shared", filepath.FromSlash(name))
	if _, err := os.Stat(p); err != nil {
		t.Skipf("large goldens not beside the checkout: no ../shared/%s", name)
	}
	return p
}

// SmolLM2 is the path of the Q4_1 GGUF file of SmolLM2-135M-Instruct that ../shared/models/get.sh brings into the user's cache,
// or into the folder that TUNE_TEST_MODELS names; the test is skipped, and says why, where it is not.
func SmolLM2(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("TUNE_TEST_MODELS")
	if cache, err := os.UserCacheDir(); err == nil && dir == "" {
		dir = filepath.Join(cache, "tune-test-models")
	}
	path := filepath.Join(dir, "SmolLM2-135M-Instruct.Q4_1.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no SmolLM2: ../shared/models/get.sh brings it to %s", path)
	}
	return path
}
