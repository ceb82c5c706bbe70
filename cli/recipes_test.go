package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDataRecipesRun takes one step of each recipe that teaches about data.
func TestDataRecipesRun(t *testing.T) {
	t.Setenv("TUNE_CACHE", t.TempDir())
	for name, want := range map[string]string{
		"chat-sft":              "data: builtin:licenses: messages, because it has a column messages; 1683 rows\n",
		"continued-pretraining": "data: builtin:licenses-text: text, because it has a column text; 392 rows\n",
		"mix":                   "data: builtin:licenses-text: text, because it has a column text; 392 rows\n",
	} {
		out := filepath.Join(t.TempDir(), "out")
		code, _, errs := run("lora", "--recipe", name, "--steps", "1", "--output", out, "train.batch=1", "data.seq=192", "data.test=[]", "data.overlength=drop",
			"data.token_cache=true", "eval.limit=1", "eval.samples=0", "export=[]")
		if code != 0 || !strings.Contains(errs, want) || !strings.Contains(errs, "writing tokens to ") {
			t.Errorf("%s: exit code %d\n%s", name, code, errs)
			continue
		}
		lines, err := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
		var m struct {
			DataWait *float64 `json:"data_wait"`
		}
		if err != nil || json.Unmarshal(lines, &m) != nil || m.DataWait == nil {
			t.Errorf("%s: metrics %s, %v", name, lines, err)
		}
	}
}
