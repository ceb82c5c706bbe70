package model

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

func TestWriteHF(t *testing.T) {
	c := open(t, "qwen2") // four shards, f32, tied
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := c.WriteHF(dir, nil, HFOptions{Keep: true}); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	x, _ := c.Hash()
	if y, err := d.Hash(); err != nil || x != y {
		t.Errorf("the copy has other weights: %v", err)
	}
	if err := c.WriteHF(dir, nil, HFOptions{Keep: true}); err == nil {
		t.Error("an existing folder was overwritten")
	}
	if err := c.WriteHF(filepath.Join(t.TempDir(), "q"), nil, HFOptions{Type: qtype.Q8_0}); err == nil {
		t.Error("q8_0 was written as safetensors")
	}
	// A head of its own, in another type.
	head, err := c.Weights.Tensor(EmbedModule + ".weight")
	if err != nil {
		t.Fatal(err)
	}
	head.Name = HeadModule + ".weight"
	dir = filepath.Join(t.TempDir(), "untied")
	if err := c.WriteHF(dir, tensor.NewMap(append(all(t, c.Weights), head)...), HFOptions{Type: qtype.BF16, Untied: true}); err != nil {
		t.Fatal(err)
	}
	u, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := New(u, Options{}); err != nil || u.Spec.Tied {
		t.Errorf("tied %v, %v", u.Spec.Tied, err)
	}
	if i, err := u.Weights.Info("model.norm.weight"); err != nil || i.Type != qtype.BF16 {
		t.Errorf("%v %v", i, err)
	}
}

// broken fails in the middle.
type broken struct{ tensor.Source }

var errDisk = errors.New("disk on fire")

func (b broken) Tensor(name string) (tensor.Tensor, error) {
	if name == "model.norm.weight" {
		return tensor.Tensor{}, errDisk
	}
	return b.Source.Tensor(name)
}

func TestWriteHFLeavesNothing(t *testing.T) {
	c, parent := open(t, "llama"), t.TempDir()
	if err := c.WriteHF(filepath.Join(parent, "out"), broken{c.Weights}, HFOptions{Keep: true}); !errors.Is(err, errDisk) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What lies beside the weights goes with them.
func TestSideFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(testkit.Golden(t, "models/llama"), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"generation_config.json": `{"eos_token_id":[2,7]}`, "chat_template.jinja": "{{ x }}", "notes.txt": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	files, err := c.SideFiles(nil, false)
	if err != nil || len(files) != 3 || c.ChatTemplate() != "{{ x }}" || !slices.Equal(c.Stops(), []int32{2, 7}) {
		t.Errorf("files %v, template %q, stops %v, %v", files, c.ChatTemplate(), c.Stops(), err)
	}
}
