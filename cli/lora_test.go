package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/safetensors"
	"tune/internal/testkit"
)

// Limits of goldens/README.md for another float32 implementation.
const (
	lossLimit = 5e-5
	normLimit = 2e-4 // relative
)

// tokenRows writes the batches of a golden run as a JSON-lines file of token ids and labels.
func tokenRows(t *testing.T, from, to string) {
	t.Helper()
	d, err := safetensors.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	read := func(name string) (out []int64, width int) {
		x, err := d.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(x.Data); i += 8 {
			out = append(out, int64(binary.LittleEndian.Uint64(x.Data[i:])))
		}
		return out, x.Shape[3]
	}
	ids, width := read("input_ids")
	labels, _ := read("labels")
	mask, _ := read("attention_mask")
	var b bytes.Buffer
	for at := 0; at < len(ids); at += width {
		n := 0
		for n < width && mask[at+n] == 1 {
			n++
		}
		row, err := json.Marshal(map[string]any{"ids": ids[at : at+n], "labels": labels[at : at+n]})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(row, '\n'))
	}
	if err := os.WriteFile(to, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

const goldenRecipe = `base: %s
precision: f32
data: {train: %s, format: tokens, seq: 16, packing: false, order: file}
lora: {rank: 4, alpha: 8, init: %s, target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]}
train: {steps: 10, batch: 4, lr: 1e-2, weight_decay: 0.01, schedule: {name: cosine, warmup: 2}}
export: [{merged: f32}]
output: %s
`

// The PEFT run llama3 as a user would do it: recipe and JSON lines of token ids in, adapter and merged model out. The base has
// no tokenizer, and needs none.
func TestGoldenRunFromRecipe(t *testing.T) {
	golden, dir := testkit.Golden(t, "lora/llama3"), t.TempDir()
	rows, recipe, out := filepath.Join(dir, "rows.jsonl"), filepath.Join(dir, "golden.yaml"), filepath.Join(dir, "out")
	tokenRows(t, filepath.Join(golden, "batches.safetensors"), rows)
	text := fmt.Sprintf(goldenRecipe, testkit.Golden(t, "models/llama3"), rows, filepath.Join(golden, "adapter_init"), out)
	if err := os.WriteFile(recipe, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"tune", "lora", "train.log_every=5", "--recipe", recipe}, nil, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr.String())
	}
	var want struct {
		Steps []struct {
			Loss, LR float64
			Norm     float64 `json:"grad_norm"`
		}
	}
	b, err := os.ReadFile(filepath.Join(golden, "run.json"))
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(metrics)), "\n")
	if len(lines) != len(want.Steps) {
		t.Fatalf("%d steps, expected %d", len(lines), len(want.Steps))
	}
	for i, w := range want.Steps {
		var m struct {
			Loss float64
			Norm float64 `json:"grad_norm"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &m); err != nil {
			t.Fatal(err)
		}
		if !(math.Abs(m.Loss-w.Loss) <= lossLimit) || !(math.Abs(m.Norm-w.Norm) <= normLimit*w.Norm) {
			t.Errorf("step %d: loss %v norm %v, expected %v %v", i, m.Loss, m.Norm, w.Loss, w.Norm)
		}
	}
	for _, name := range []string{"adapter/adapter_config.json", "adapter/adapter_model.safetensors", "merged/config.json",
		"merged/model.safetensors", "report.html", "recipe.yaml", "run.json"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(out, "*.partial")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if !strings.Contains(stdout.String(), "adapter") || strings.Contains(stdout.String(), "step 5/10") || !strings.Contains(stderr.String(), "step 5/10") {
		t.Errorf("standard output:\n%s\nstandard error:\n%s", stdout.String(), stderr.String())
	}
	stderr.Reset()
	if code := Main([]string{"tune", "lora", "--recipe", recipe}, nil, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "exists and is not empty") {
		t.Errorf("a second run: exit code %d\n%s", code, stderr.String())
	}
	// A run that is done is continued by writing its results again.
	adapter := filepath.Join(out, "adapter", "adapter_model.safetensors")
	before, err := os.ReadFile(adapter)
	if err != nil {
		t.Fatal(err)
	}
	stderr.Reset()
	if code := Main([]string{"tune", "lora", "--resume", "--recipe", recipe}, nil, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr.String())
	}
	if strings.Contains(stderr.String(), " 0 rows") {
		t.Errorf("a run that read nothing tells of it:\n%s", stderr.String())
	}
	after, err := os.ReadFile(adapter)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the adapter of a continued run differs (%v)", err)
	}
	if again, err := os.ReadFile(filepath.Join(out, "metrics.jsonl")); err != nil || !bytes.Equal(again, metrics) {
		t.Errorf("metrics of a continued run differ (%v)", err)
	}
	stderr.Reset()
	if code := Main([]string{"tune", "lora", "--resume", "--recipe", recipe, "train.lr=1"}, nil, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "found one of another run") {
		t.Errorf("another rate: exit code %d\n%s", code, stderr.String())
	}
}
