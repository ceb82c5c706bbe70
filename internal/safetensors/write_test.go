package safetensors

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/hint"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

func sample() *tensor.Map {
	return tensor.NewMap(
		tensor.Tensor{Info: tensor.Info{Name: "half", Type: qtype.BF16, Shape: []int{3}}, Data: []byte{1, 2, 3, 4, 5, 6}},
		tensor.FromFloats("b", []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}),
		tensor.FromFloats("a\"<é", []int{}, []float32{7}),
		tensor.Tensor{Info: tensor.Info{Name: "flags", Type: qtype.BOOL, Shape: []int{1}}, Data: []byte{1}},
		tensor.FromFloats("empty", []int{0, 4}, nil),
		tensor.Tensor{Info: tensor.Info{Name: "ids", Type: qtype.I64, Shape: []int{1}}, Data: []byte{1, 0, 0, 0, 0, 0, 0, 0}},
	)
}

func same(t *testing.T, got, want tensor.Source) {
	t.Helper()
	if a, b := slices.Sorted(slices.Values(got.Names())), slices.Sorted(slices.Values(want.Names())); !slices.Equal(a, b) {
		t.Errorf("names %q, want %q", a, b)
	}
	for _, name := range want.Names() {
		w, _ := want.Tensor(name)
		g, err := got.Tensor(name)
		if err != nil || g.Type != w.Type || !slices.Equal(g.Shape, w.Shape) || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("%s: %v %v, want %v", name, g, err, w)
		}
		if i, err := got.Info(name); err != nil || i.Type != w.Type {
			t.Errorf("%s: %v %v", name, i, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, limit := range []int64{0, 1, 16, 24, 1 << 20} {
		dir := t.TempDir()
		var done, total int64
		err := Write(dir, sample(), WriteOptions{ShardBytes: limit, Metadata: map[string]string{"k": "v"}, Progress: func(d, n int64) { done, total = d, n }})
		if err != nil {
			t.Fatal(err)
		}
		if done != total || total != 24+4+6+1+8 {
			t.Errorf("progress ended at %d of %d", done, total)
		}
		d, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		same(t, d, sample())
		if d.Metadata()["k"] != "v" {
			t.Errorf("metadata %v", d.Metadata())
		}
		for _, f := range d.Files() {
			if limit == 0 && filepath.Base(f.Name()) != SingleName {
				t.Errorf("file %s", f.Name())
			}
			if f.start%8 != 0 || len(f.names) > 1 && limit > 0 && int64(len(f.data)) > limit {
				t.Errorf("%s: data at %d, %d bytes", f.Name(), f.start, len(f.data))
			}
			for _, n := range f.Names() {
				i, _ := f.Info(n)
				if f.Offset(n)%int64(i.Type.Row().Bytes) != 0 {
					t.Errorf("%s: %s at %d", n, i.Type, f.Offset(n))
				}
			}
		}
	}
}

// The bytes of a small file, by the description of the format.
func TestGoldenBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := WriteFile(path, tensor.NewMap(tensor.FromFloats("w", []int{1, 2}, []float32{1, -2})), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "\x58\x00\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`
	want += strings.Repeat(" ", 8+0x58-len(want)) + "\x00\x00\x80\x3f" + "\x00\x00\x00\xc0"
	if string(got) != want {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	q := tensor.NewMap(tensor.Tensor{Info: tensor.Info{Name: "w", Type: qtype.Q8_0, Shape: []int{32}}, Data: make([]byte, 34)})
	if err := Write(dir, q, WriteOptions{}); err == nil || hint.Of(err) == "" || !strings.Contains(err.Error(), "Q8_0") {
		t.Errorf("quantized: %v", err)
	}
	short := tensor.NewMap(tensor.Tensor{Info: tensor.Info{Name: "w", Type: qtype.F32, Shape: []int{2}}, Data: []byte{1}})
	if err := Write(dir, short, WriteOptions{}); err == nil || !strings.Contains(err.Error(), "of 1 bytes") {
		t.Errorf("short: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestIndex(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, sample(), WriteOptions{ShardBytes: 24}); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(dir, IndexName)
	text, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, part string }{
		"no json":       {"{", "[", "invalid"},
		"empty":         {`"weight_map"`, `"weights"`, "no weight_map"},
		"outside":       {"model-00001", "../model-00001", "beside the index"},
		"missing file":  {"model-00001", "model-10001", "no such file"},
		"extra tensor":  {`"half"`, `"other"`, `"half" of`},
		"absent tensor": {`"half"`, `"other"`, `"other" is not in`},
	} {
		if err := os.WriteFile(index, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		if !errors.Is(err, ErrIndex) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v, want %q in it", name, err, c.part)
		}
	}
	if _, err := Open(t.TempDir()); err == nil || hint.Of(err) == "" {
		t.Errorf("empty folder: %v", err)
	}
}
