package safetensors

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/tensor"
)

// bad maps each broken file of testdata/bad to the rule it breaks; nil: the file is valid.
var bad = map[string]error{
	"ok-one": nil, "ok-metadata": nil, "ok-spaces": nil, "ok-unordered": nil, "ok-empty-tensor": nil, "ok-scalar": nil,
	"header-leading-space": nil, // the reference reader lets it pass
	"empty-file":           ErrTooShort, "short-length": ErrTooShort,
	"header-too-long": ErrHeaderSize, "header-length-huge": ErrHeaderSize, "header-length-max": ErrHeaderSize,
	"header-over-100mb": ErrHeaderSize, // the file is shorter still
	"header-zero":       ErrNotJSON, "not-json": ErrNotJSON, "json-array": ErrNotJSON, "json-trailing": ErrNotJSON, "json-truncated": ErrNotJSON,
	"not-utf8":      ErrNotUTF8,
	"dtype-unknown": ErrDType, "dtype-lower-case": ErrDType, "odd-bits": ErrDType,
	"size-mismatch-small": ErrSizeMismatch, "size-mismatch-large": ErrSizeMismatch,
	"offsets-reversed": ErrOffsets, "offsets-negative": ErrOffsets, "offsets-outside": ErrOffsets,
	"offsets-overlap": ErrGap, "offsets-same": ErrGap, "offsets-hole": ErrGap, "offsets-hole-start": ErrGap, "trailing-data": ErrGap,
	"shape-overflow": ErrShape, "shape-wrap-to-small": ErrShape, "shape-negative": ErrShape, "shape-float": ErrShape,
	"duplicate-name": ErrDuplicate,
	"missing-dtype":  ErrEntry, "missing-offsets": ErrEntry, "three-offsets": ErrEntry,
	"metadata-not-string": ErrMetadata,
}

func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.safetensors")
	if err != nil || len(files) != len(bad) {
		t.Fatalf("%d files, want %d (%v)", len(files), len(bad), err)
	}
	for name, want := range bad {
		data, err := os.ReadFile("testdata/bad/" + name + ".safetensors")
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(name, data)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		d, mapped := Open("testdata/bad/" + name + ".safetensors")
		if (mapped == nil) != (err == nil) {
			t.Errorf("%s: mapped: %v, in memory: %v", name, mapped, err)
		}
		if mapped == nil {
			d.Close()
		}
	}
}

// The limit on the header counts even when the file is long enough. A sparse file costs nothing.
func TestHeaderLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long.safetensors")
	if err := os.WriteFile(path, []byte{1, 0xe1, 0xf5, 5, 0, 0, 0, 0}, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8+maxHeader+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrHeaderLimit) {
		t.Errorf("%v, want %v", err, ErrHeaderLimit)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := Parse("fuzz", data)
		if err != nil {
			return
		}
		var total int64
		for _, name := range x.Names() {
			v, err := x.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			total += int64(len(v.Data))
			if int64(len(v.Data)) != v.Bytes() || slices.Contains(v.Shape, -1) {
				t.Fatalf("tensor %q: %v holds %d bytes", name, v.Info, len(v.Data))
			}
		}
		if total != int64(len(x.data)) {
			t.Fatalf("tensors have %d bytes of %d", total, len(x.data))
		}
	})
}

// TestReleaseKeepsMemory: pages of a mapped file can be given back and are read again; what was parsed from memory stays as it is.
func TestReleaseKeepsMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	x := make([]float32, 1<<16)
	for i := range x {
		x[i] = float32(i + 1)
	}
	src := &tensor.Map{}
	src.Add(tensor.FromFloats("x", []int{len(x)}, x))
	if err := WriteFile(path, src, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mapped, closeFile, err := tensor.MapFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFile()
	for name, f := range map[string]func() (*File, error){
		"memory": func() (*File, error) { return Parse(path, bytes.Clone(data)) }, "mapped": func() (*File, error) { return ParseMapped(path, mapped) },
	} {
		file, err := f()
		if err != nil {
			t.Fatal(err)
		}
		got, err := file.Tensor("x")
		if err != nil {
			t.Fatal(err)
		}
		got.Release(got.Data)
		if y, err := tensor.Floats(got); err != nil || !slices.Equal(x, y) {
			t.Errorf("%s: other values after a release, %v", name, err)
		}
	}
}
