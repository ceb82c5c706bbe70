package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/testkit"
)

// refused checks that a command ended with exit code 1 and one error, perhaps with a hint, that names the file.
func refused(t *testing.T, name, file string, code int, errs string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
	if code != exitFailed || !strings.HasPrefix(lines[0], "tune: error: ") || !strings.Contains(lines[0], file) ||
		len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "tune: hint: ") {
		t.Errorf("%s: exit code %d, expected one error that names %s, found\n%s", name, code, file, errs)
	}
}

// Every broken file gives one clear error, from the commands that open models first of all; nothing is written.
func TestBadFiles(t *testing.T) {
	dir := testkit.Shared(t, "quant/bad")
	text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]map[string]struct {
		Valid *bool // nil: either, but no crash
	}
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(testkit.Golden(t, "models/qwen3"), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	for format, files := range expected {
		for file, want := range files {
			path, source, named := filepath.Join(dir, format, file), filepath.Join(dir, format, file), file
			code, out, errs := run("inspect", "--json", "--hash", path)
			switch {
			case want.Valid != nil && !*want.Valid:
				refused(t, "inspect "+file, file, code, errs)
			case want.Valid != nil && (code != 0 || !json.Valid([]byte(out))):
				t.Errorf("inspect %s: exit code %d\n%s", file, code, errs)
			}
			if format == "safetensors" {
				source, named = folderOf(t, config, path), "model.safetensors"
			}
			to := t.TempDir()
			made := filepath.Join(to, "out.gguf")
			code, _, errs = run("quantize", "--mix", "Q4_0", source, made)
			if code == 0 && (want.Valid == nil || *want.Valid) { // quantizing does not ask for a whole model
				if code, _, errs = run("inspect", made); code != 0 {
					t.Errorf("inspect what quantize made of %s: %s", file, errs)
				}
				continue
			}
			if want.Valid == nil || *want.Valid {
				named = "" // of a tensor that cannot be quantized, or of what a model misses
			}
			refused(t, "quantize "+file, named, code, errs)
			if left, err := os.ReadDir(to); err != nil || len(left) > 0 {
				t.Errorf("quantize %s: left %v, %v", file, left, err)
			}
		}
	}
	if len(expected["gguf"]) < 60 || len(expected["safetensors"]) < 40 {
		t.Errorf("%d and %d files, want more", len(expected["gguf"]), len(expected["safetensors"]))
	}
}

// folderOf makes a model's folder with a file in the place of the weights.
func folderOf(t *testing.T, config []byte, weights string) string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(weights)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "model.safetensors"), b, 0o666)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
