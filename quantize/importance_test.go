package quantize

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/testkit"
)

// Both forms of the file are read, and written again byte for byte.
func TestImportanceFiles(t *testing.T) {
	dir := testkit.Shared(t, "quant/smollm2")
	m, err := ReadImportance(filepath.Join(dir, "imatrix.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Names()) != 210 || m.Chunks != 20 || m.ChunkSize != 512 || m.Datasets[0] != "wiki.test.raw" {
		t.Errorf("%d entries, %d chunks of %d, %q", len(m.Names()), m.Chunks, m.ChunkSize, m.Datasets)
	}
	for _, name := range []string{"imatrix.gguf", "imatrix.dat"} {
		path := filepath.Join(t.TempDir(), name)
		if err := m.Write(path); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
			t.Errorf("%s: written with other bytes", name)
		}
	}
	old, err := ReadImportance(filepath.Join(dir, "imatrix.dat"))
	if err != nil || old.Chunks != 20 || old.Datasets[0] != "wiki.test.raw" {
		t.Fatalf("%+v, %v", old, err)
	}
	if err := old.Write(filepath.Join(t.TempDir(), "x.gguf")); err == nil {
		t.Error("means were written as sums")
	}
	const close = 1e-6 // two roundings of float32
	for _, n := range m.Names() {
		a, b := m.Weights(n), old.Weights(n)
		for i := range a {
			if d := a[i] - b[i]; d > close*a[i] || -d > close*a[i] {
				t.Fatalf("%s: %v and %v", n, a[i], b[i])
			}
		}
	}
}

func TestImportanceWeights(t *testing.T) {
	m := &Importance{}
	m.Set("x", Sums{[]float32{2, 4, 0, 0}, []float32{2, 0}})
	if w := m.Weights("x"); len(w) != 4 || w[0] != 1 || w[1] != 2 || w[2] != 1 || w[3] != 1 {
		t.Errorf("%v", w)
	}
	if m.Weights("y") != nil {
		t.Error("weights of nothing")
	}
	if err := m.check([]Choice{{Shape: Shape{Name: "x", Dims: []int{2, 3, 2}}}}); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"x": "columns", "y": "no entry"} {
		if err := m.check([]Choice{{Shape: Shape{Name: name, Dims: []int{3, 2}}}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseImportance(f *testing.F) {
	m := &Importance{Chunks: 3, ChunkSize: 4, Datasets: []string{"d"}}
	m.Set("a.weight", Sums{[]float32{1, 2}, []float32{3}})
	for _, name := range []string{"a.gguf", "a.dat"} {
		path := filepath.Join(f.TempDir(), name)
		if err := m.Write(path); err != nil {
			f.Fatal(err)
		}
		b, _ := os.ReadFile(path)
		f.Add(b)
		f.Add(b[:len(b)-3])
	}
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseImportance("x", b); err == nil {
			for _, n := range m.Names() {
				m.Weights(n)
			}
		}
	})
}
