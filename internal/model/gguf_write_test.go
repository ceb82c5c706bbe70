package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/gguf"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

// folder puts the golden checkpoint of a family and a tokenizer together, in a folder named after the family.
//
// The converter refuses the checkpoints of two families (experts joined, a dense layer between mixtures); they take the tokenizer
// of another.
func folder(t *testing.T, family string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), family)
	files := family
	if foreign[family] != "" {
		files = foreign[family]
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "gguf", files))); err != nil {
		t.Fatal(err)
	}
	from := testkit.Golden(t, "models/"+family)
	list, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() != "config.json" && !strings.HasPrefix(e.Name(), "model") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, e.Name()), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// fact is a metadata value as the goldens state it: long arrays and strings as count and hash of their bytes in the file.
func fact(t *testing.T, m *gguf.Meta, key string) string {
	t.Helper()
	v, _ := m.Get(key)
	raw := func(n int, each func(i int) []byte) any {
		var all []byte
		for i := range n {
			all = append(all, each(i)...)
		}
		return map[string]any{"count": n, "raw_sha256": sum(all)}
	}
	value := v
	switch a := v.(type) {
	case string:
		if len(a) > 200 {
			value = map[string]any{"bytes": len(a), "sha256": sum([]byte(a))}
		}
	case []string:
		if len(a) > 16 {
			value = raw(len(a), func(i int) []byte {
				n := len(a[i])
				return append([]byte{byte(n), byte(n >> 8), 0, 0, 0, 0, 0, 0}, a[i]...)
			})
		}
	case []int32:
		if len(a) > 16 {
			value = raw(len(a), func(i int) []byte { return []byte{byte(a[i]), 0, 0, 0} })
		}
	case []float32:
		b := make([]byte, 4*len(a))
		qtype.F32.Row().Encode(b, a)
		if len(a) > 16 {
			value = raw(1, func(int) []byte { return b })
			value.(map[string]any)["count"] = len(a)
		}
	case float32:
		value = float64(a)
	}
	text, err := json.Marshal([]any{key, gguf.TypeName(v), value})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The files of the converter, key by key and tensor by tensor, in order.
func TestGGUFExport(t *testing.T) {
	for _, family := range families {
		if foreign[family] != "" {
			continue
		}
		dir := folder(t, family)
		for _, ty := range []qtype.Type{qtype.F32, qtype.BF16, qtype.F16, qtype.Q8_0} {
			t.Run(family+"."+ty.String(), func(t *testing.T) { checkExport(t, dir, ty) })
		}
	}
}

func checkExport(t *testing.T, dir string, ty qtype.Type) {
	var want struct {
		Pre      string `json:"pre_tokenizer_forced"`
		Size     int64  `json:"file_bytes"`
		Metadata []json.RawMessage
		Tensors  []struct {
			Name, Type, SHA256 string
			Shape              []int
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.Base(dir)+"."+strings.ToLower(ty.String())+".json"))
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, err := c.GGUF(nil, GGUFOptions{Type: ty, Pre: want.Pre})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := gguf.Write(path, x.Meta, x.Src, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got, expected []string
	for _, key := range f.Meta().Keys() {
		got = append(got, fact(t, f.Meta(), key))
	}
	for _, m := range want.Metadata {
		var v any
		if err := json.Unmarshal(m, &v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		expected = append(expected, string(text))
	}
	compare(t, "metadata", got, expected)
	got, expected = nil, nil
	for _, name := range f.Names() {
		v, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		ne := slices.Clone(v.Shape)
		slices.Reverse(ne)
		got = append(got, fmt.Sprintf("%s %s %v %s", name, v.Type, ne, sum(v.Data)))
	}
	for _, w := range want.Tensors {
		expected = append(expected, fmt.Sprintf("%s %s %v %s", w.Name, w.Type, w.Shape, w.SHA256))
	}
	compare(t, "tensors", got, expected)
	if st, err := os.Stat(path); err != nil || st.Size() != want.Size {
		t.Errorf("%v bytes, want %d (%v)", st.Size(), want.Size, err)
	}
	if ty == qtype.F32 {
		checkReread(t, c, path)
	}
}

// foreign tokenizers, by family.
var foreign = map[string]string{"olmoe": "qwen3", "qwen3_moe": "llama3"}

// From a folder to a GGUF file and back to a folder: the same configuration where GGUF can state it, and the same tensors.
func TestRoundTrip(t *testing.T) {
	for _, family := range families {
		if family == "llama3" {
			continue // its scaling has numbers of its own, of which a GGUF file keeps only the result
		}
		dir := folder(t, family)
		c, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		x, err := c.GGUF(nil, GGUFOptions{Keep: true})
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		path, again := filepath.Join(dir, "x.gguf"), filepath.Join(t.TempDir(), "again")
		if err := gguf.Write(path, x.Meta, x.Src, gguf.WriteOptions{}); err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		g, err := Open(path)
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		defer g.Close()
		if err := g.WriteHF(again, nil, HFOptions{Keep: true}); err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		back, err := Open(again)
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		defer back.Close()
		a, b := back.Spec, c.Spec
		if a.Experts != b.Experts || a.QKNormWhole != b.QKNormWhole || a.Rope.Theta != b.Rope.Theta || fmt.Sprint(a.Tensors()) != fmt.Sprint(b.Tensors()) {
			t.Errorf("%s: back as %+v, was %+v", family, a, b)
		}
		for _, ts := range b.Tensors() {
			u, err := back.Weights.Tensor(ts.Name)
			if err != nil {
				t.Fatal(err)
			}
			v, err := c.Weights.Tensor(ts.Name)
			if err != nil {
				t.Fatal(err)
			}
			f, _ := tensor.Floats(u)
			if h, _ := tensor.Floats(v); !slices.Equal(u.Shape, v.Shape) || !slices.Equal(f, h) {
				t.Errorf("%s: %s changed", family, ts.Name)
			}
		}
	}
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("%s %d: found %s, want %s", what, i, g, w)
			return
		}
	}
}

// checkReread opens the written file as a checkpoint: the same model with the same numbers.
func checkReread(t *testing.T, c *Checkpoint, path string) {
	t.Helper()
	back, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if a, b := back.Spec, c.Spec; a.V != b.V || a.C != b.C || a.F != b.F || a.L != b.L || a.H != b.H || a.K != b.K || a.D != b.D || a.Eps != b.Eps ||
		a.Tied != b.Tied || a.QKNorm != b.QKNorm || a.QKVBias != b.QKVBias || a.Positions != b.Positions || a.Rope.Theta != b.Rope.Theta {
		t.Errorf("read back %+v, want %+v", a, b)
	}
	f, _ := back.Spec.Rope.Frequencies(back.Spec.D)
	g, _ := c.Spec.Rope.Frequencies(c.Spec.D)
	for i := range f {
		if d := f[i]/g[i] - 1; d > 1e-6 || d < -1e-6 { // a few roundings to float32
			t.Errorf("frequency %d: %g, want %g", i, f[i], g[i])
		}
	}
	for _, ts := range c.Spec.Tensors() {
		a, err := back.Weights.Tensor(ts.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Weights.Tensor(ts.Name)
		if err != nil {
			t.Fatal(err)
		}
		x, err := tensor.Floats(a)
		if err != nil {
			t.Fatal(err)
		}
		if y, _ := tensor.Floats(b); !slices.Equal(x, y) || !slices.Equal(a.Shape, b.Shape) {
			t.Errorf("%s: numbers or shape changed", ts.Name)
		}
	}
	// once more, from the file: equal bytes
	x, err := back.GGUF(nil, GGUFOptions{Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "y.gguf")
	if err := gguf.Write(again, x.Meta, x.Src, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(path)
	b, _ := os.ReadFile(again)
	if back.Spec.Arch == c.Spec.Arch && string(a) != string(b) {
		t.Error("a file written from the file is another")
	}
}
