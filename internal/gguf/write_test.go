package gguf

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tune/internal/qtype"
	"tune/internal/tensor"
)

// everything has a value of each type of the format.
func everything() *Meta {
	m := &Meta{}
	for i, v := range []any{uint8(1), int8(-2), uint16(3), int16(-4), uint32(5), int32(-6), uint64(7), int64(-8), float32(1.5), 2.5, true, false, "", "text"} {
		m.Set(string(rune('a'+i)), v)
	}
	for i, v := range []any{[]uint8{1, 2}, []int8{-1}, []uint16{1}, []int16{-1}, []uint32{1}, []int32{-1}, []uint64{1 << 63}, []int64{-1}, []float32{0.5},
		[]float64{0.25}, []bool{true, false}, []string{"", "b", "\xff"}, []string{}} {
		m.Set("array."+string(rune('a'+i)), v)
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	src := tensor.NewMap(
		tensor.FromFloats("b.weight", []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}),
		tensor.FromFloats("a.weight", []int{1}, []float32{7}),
		tensor.Tensor{Info: tensor.Info{Name: "q", Type: qtype.Q8_0, Shape: []int{3, 1, 64}}, Data: bytes.Repeat([]byte{3}, 6*34)},
		tensor.FromFloats("empty", []int{0, 4}, nil),
	)
	for _, align := range []uint32{0, 4, 128} {
		meta := everything()
		if align != 0 {
			meta.Set(alignmentKey, align)
		}
		path := filepath.Join(t.TempDir(), "x.gguf")
		var done, total int64
		if err := Write(path, meta, src, WriteOptions{Progress: func(d, n int64) { done, total = d, n }}); err != nil {
			t.Fatal(err)
		}
		if done != total || total != 4*7+6*34 {
			t.Errorf("progress ended at %d of %d", done, total)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if !slices.Equal(f.Names(), src.Names()) || !slices.Equal(f.Meta().Keys(), meta.Keys()) || f.Version != 3 {
			t.Errorf("names %v, keys %v, version %d", f.Names(), f.Meta().Keys(), f.Version)
		}
		for _, k := range meta.Keys() {
			got, _ := f.Meta().Get(k)
			if want, _ := meta.Get(k); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %#v, want %#v", k, got, want)
			}
		}
		for _, name := range src.Names() {
			want, _ := src.Tensor(name)
			got, err := f.Tensor(name)
			if err != nil || got.Type != want.Type || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) {
				t.Errorf("%s: %v %v, want %v", name, got, err, want)
			}
			if f.Offset(name)%int64(max(align, 4)) != 0 {
				t.Errorf("%s at %d", name, f.Offset(name))
			}
		}
	}
}

// The bytes of a small file, put together by hand from the description of the format.
func TestGoldenBytes(t *testing.T) {
	meta := &Meta{}
	meta.Set("k", uint32(7))
	meta.Set("s", []string{"ab"})
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := Write(path, meta, tensor.NewMap(tensor.FromFloats("w", []int{1, 2}, []float32{1, -2})), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "GGUF" + u(3, 4) + u(1, 8) + u(2, 8) +
		u(1, 8) + "k" + u(4, 4) + u(7, 4) +
		u(1, 8) + "s" + u(9, 4) + u(8, 4) + u(1, 8) + u(2, 8) + "ab" +
		u(1, 8) + "w" + u(2, 4) + u(2, 8) + u(1, 8) + u(0, 4) + u(0, 8)
	want += strings.Repeat("\x00", 128-len(want)) + "\x00\x00\x80\x3f" + "\x00\x00\x00\xc0" + strings.Repeat("\x00", 24)
	if string(got) != want {
		t.Errorf("found\n%swant\n%s", hex.Dump(got), hex.Dump([]byte(want)))
	}
}

// u is n in so many bytes, little endian.
func u(n byte, size int) string { return string([]byte{n}) + strings.Repeat("\x00", size-1) }

func TestWriteRefuses(t *testing.T) {
	long := strings.Repeat("x", 64)
	for name, c := range map[string]struct {
		src  tensor.Source
		part string
	}{
		"name":       {tensor.NewMap(tensor.FromFloats(long, []int{1}, []float32{1})), "at most 63 bytes"},
		"dimensions": {tensor.NewMap(tensor.FromFloats("w", []int{1, 1, 1, 1, 1}, []float32{1})), "at most 4 dimensions"},
		"type":       {tensor.NewMap(tensor.Tensor{Info: tensor.Info{Name: "w", Type: qtype.U8, Shape: []int{1}}, Data: []byte{1}}), "do not hold U8"},
		"size":       {tensor.NewMap(tensor.Tensor{Info: tensor.Info{Name: "w", Type: qtype.F32, Shape: []int{1}}, Data: []byte{1}}), "of 1 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		err := Write(path, &Meta{}, c.src, WriteOptions{})
		if err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v, want %q in it", name, err, c.part)
		}
		for _, p := range []string{path, path + ".partial"} {
			if _, err := os.Stat(p); err == nil {
				t.Errorf("%s: %s was left behind", name, p)
			}
		}
	}
}

func TestMeta(t *testing.T) {
	m := everything()
	m.Set("a", int32(-1)) // moves to the end
	if k := m.Keys(); k[0] != "b" || k[len(k)-1] != "a" {
		t.Errorf("keys %v", k)
	}
	if _, err := m.Uint("a"); err == nil || !strings.Contains(err.Error(), "at least 0") {
		t.Errorf("negative: %v", err)
	}
	if v, err := m.Uint("c"); v != 3 || err != nil {
		t.Errorf("u16: %d, %v", v, err)
	}
	if v, err := m.Float("i"); v != 1.5 || err != nil {
		t.Errorf("f32: %v, %v", v, err)
	}
	if _, err := m.String("c"); err == nil || err.Error() != "c: expected a string, found u16" {
		t.Errorf("wrong type: %v", err)
	}
	if TypeName([]string{}) != "array<string>" {
		t.Error(TypeName([]string{}))
	}
}
