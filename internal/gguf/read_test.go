package gguf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// bad maps each broken file of testdata/bad to what is wrong with it; nil: the file must be read. The reference reader and
// this one agree on all of them but those marked with either.
var bad = map[string]error{
	"ok-two-tensors": nil, "ok-no-tensors": nil, "ok-align-64": nil, "ok-empty-string-value": nil, "ok-v2": nil, "tensor-name-63": nil, "alignment-4": nil,
	"no-final-padding": nil, // either
	"dims-zero-count":  nil, // either: a scalar
	"dim-zero":         nil, // either: no values
	"empty-file":       ErrMagic, "short-magic": ErrMagic, "wrong-magic": ErrMagic, "byte-swapped-magic": ErrMagic,
	"version-0": ErrVersion, "version-1": ErrVersion, "version-4": ErrVersion, "version-big-endian": ErrVersion,
	"truncated-counts": ErrTruncated, "truncated-kv": ErrTruncated, "truncated-tensor-info": ErrTruncated, "truncated-data": ErrTruncated,
	"kv-count-huge": ErrKey, "tensor-count-huge": ErrTruncated, "tensor-count-negative": ErrTruncated, "kv-count-too-large": ErrTruncated,
	"key-length-huge": ErrTruncated, "string-length-huge": ErrTruncated, "string-length-max": ErrTruncated,
	"array-length-huge": ErrTruncated, "array-string-count-huge": ErrTruncated,
	"array-nested": ErrValue, "value-type-unknown": ErrValue, "array-type-unknown": ErrValue,
	"duplicate-key": ErrKey, "empty-key": ErrKey,
	"bool-value-2":     ErrValue, // either
	"key-not-utf8":     ErrKey,   // either
	"duplicate-tensor": ErrName, "tensor-name-too-long": ErrName,
	"dims-five": ErrShape, "dims-count-huge": ErrShape, "dim-negative": ErrShape, "dims-overflow": ErrShape, "dims-overflow-bytes": ErrShape,
	"dims-wrap-to-small": ErrShape, "row-not-multiple-of-block": ErrShape, "row-not-multiple-but-total-is": ErrShape,
	"type-unknown": ErrType, "type-negative": ErrType, "type-removed-4": ErrType, "type-removed-31": ErrType, "type-removed-36": ErrType,
	"offset-outside": ErrOffset, "offset-huge": ErrOffset, "offset-misaligned": ErrOffset, "tensors-overlap": ErrOffset, "tensors-hole": ErrOffset,
	"tensors-out-of-order": ErrOffset,
	"alignment-0":          ErrAlignment, "alignment-3": ErrAlignment, "alignment-wrong-type": ErrAlignment, "alignment-u64": ErrAlignment,
	"alignment-2147483648": ErrTruncated, // either
}

func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.gguf")
	if err != nil || len(files) != len(bad) {
		t.Fatalf("%d files, want %d (%v)", len(files), len(bad), err)
	}
	for name, want := range bad {
		data, err := os.ReadFile("testdata/bad/" + name + ".gguf")
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(name, data)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		f, mapped := Open("testdata/bad/" + name + ".gguf")
		if (mapped == nil) != (err == nil) {
			t.Errorf("%s: mapped: %v, in memory: %v", name, mapped, err)
		}
		if mapped == nil {
			f.Close()
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.gguf")
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
		for _, name := range x.Names() {
			v, err := x.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(v.Data)) != v.Bytes() {
				t.Fatalf("tensor %q: %v holds %d bytes", name, v.Info, len(v.Data))
			}
		}
	})
}
