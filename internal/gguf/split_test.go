package gguf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/tensor"
)

func tensors(n int) *tensor.Map {
	m := &tensor.Map{}
	for i := range n {
		m.Add(tensor.FromFloats(fmt.Sprintf("t%d", i), []int{i + 1}, make([]float32, i+1)))
		t, _ := m.Tensor(fmt.Sprintf("t%d", i))
		t.Data[0] = byte(i + 1)
	}
	return m
}

// writeSplit writes five tensors as three files; edit may change the metadata, or leave out a file by saying false.
func writeSplit(t *testing.T, dir string, edit func(i int, m *Meta) bool) string {
	src := tensors(5)
	base := filepath.Join(dir, "m.gguf")
	for i, names := range [][]string{{"t0", "t1"}, {"t2"}, {"t3", "t4"}} {
		m := &Meta{}
		if i == 0 {
			m.Set("general.architecture", "llama")
		}
		SetSplit(m, i, 3, 5)
		if edit != nil && !edit(i, m) {
			continue
		}
		part := &tensor.Map{}
		for _, n := range names {
			x, err := src.Tensor(n)
			if err != nil {
				t.Fatal(err)
			}
			part.Add(x)
		}
		if err := Write(ShardPath(base, i, 3), m, part, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

func TestSplit(t *testing.T) {
	base := writeSplit(t, t.TempDir(), nil)
	want := tensors(5)
	for i := range 3 {
		f, err := Open(ShardPath(base, i, 3))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if !slices.Equal(f.Names(), want.Names()) || !slices.Equal(f.Meta().Keys(), []string{"general.architecture"}) || len(f.Shards()) != 3 {
			t.Errorf("names %v, keys %v, %d files", f.Names(), f.Meta().Keys(), len(f.Shards()))
		}
		for _, n := range want.Names() {
			a, _ := want.Tensor(n)
			b, err := f.Tensor(n)
			if err != nil || !bytes.Equal(a.Data, b.Data) {
				t.Errorf("%s: %v, %v", n, b, err)
			}
		}
		if a, b := f.Shard("t2"), f.Shard("x"); a != 1 || b != -1 || f.Offset("t3") != f.Shards()[2].Offset("t3") {
			t.Errorf("shards %d and %d", a, b)
		}
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(base), "*.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	if path, ok := Only(found); !ok || path != ShardPath(base, 0, 3) {
		t.Errorf("only %s %t", path, ok)
	}
	if _, ok := Only(found[1:]); ok {
		t.Error("two of three are a set")
	}
	if _, ok := Only([]string{"a.gguf", "b.gguf"}); ok {
		t.Error("two models are a set")
	}
}

func TestSplitErrors(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(i int, m *Meta) bool
		part string
	}{
		"missing":      {func(i int, _ *Meta) bool { return i != 1 }, "file 2 of 3 is missing: "},
		"number":       {func(i int, m *Meta) bool { SetSplit(m, i/2, 3, 5); return true }, "expected file 2 of 3 with 5 tensors in all, found file 1 of 3"},
		"count":        {func(i int, m *Meta) bool { SetSplit(m, i, 3+i, 5); return true }, "found file 2 of 4"},
		"first count":  {func(i int, m *Meta) bool { SetSplit(m, i, 4, 5); return true }, "expected the name NAME-00001-of-00004.gguf"},
		"tensors":      {func(i int, m *Meta) bool { SetSplit(m, i, 3, 6); return true }, "split.tensors.count: expected 6 tensors in 3 files, found 5"},
		"other model":  {func(i int, m *Meta) bool { m.Set("general.architecture", fmt.Sprint(i)); return true }, "general.architecture: expected what m-00001-of-00003.gguf says"},
		"not split":    {func(i int, m *Meta) bool { dropAfterFirst(i, m); return true }, "found file 1 of 1"},
		"past the end": {func(i int, m *Meta) bool { m.Set(splitNo, uint16(7)); return true }, "found 7 of 3"},
		"type":         {func(i int, m *Meta) bool { m.Set(splitCount, "3"); return true }, "split.count: expected an integer, found string"},
		"no number":    {func(i int, m *Meta) bool { m.Delete(splitNo); return true }, "split.no: no such key"},
		"negative":     {func(i int, m *Meta) bool { m.Set(splitTensors, int32(-1)); return true }, "expected a number of at least 0"},
	} {
		base := writeSplit(t, t.TempDir(), c.edit)
		f, err := Open(ShardPath(base, 0, 3))
		if err == nil {
			f.Close()
		}
		if !errors.Is(err, ErrSplit) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v, want %q", name, err, c.part)
		}
	}
}

func dropAfterFirst(i int, m *Meta) {
	if i > 0 {
		DropSplit(m)
	}
}

func TestSplitFiles(t *testing.T) {
	base := writeSplit(t, t.TempDir(), nil)
	copyFile := func(from, to string) {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	renamed := filepath.Join(t.TempDir(), "model.gguf")
	copyFile(ShardPath(base, 0, 3), renamed)
	if _, err := Open(renamed); !errors.Is(err, ErrSplit) || !strings.Contains(err.Error(), "expected the name NAME-00001-of-00003.gguf") {
		t.Error(err)
	}
	// the same tensors twice, and a file of which nothing is left
	m := &Meta{}
	SetSplit(m, 1, 3, 5)
	if err := Write(ShardPath(base, 1, 3), m, tensors(1), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ShardPath(base, 2, 3)); !errors.Is(err, ErrName) || !strings.Contains(err.Error(), `"t0" is also in m-00001-of-00003.gguf`) {
		t.Error(err)
	}
	if err := os.Truncate(ShardPath(base, 1, 3), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ShardPath(base, 2, 3)); !errors.Is(err, ErrMagic) || !strings.Contains(err.Error(), "m-00002-of-00003.gguf") {
		t.Error(err)
	}
}

func TestPlanShards(t *testing.T) {
	src := tensors(5)
	var infos []tensor.Info
	for _, n := range src.Names() {
		i, _ := src.Info(n)
		infos = append(infos, i)
	}
	for most, want := range map[int64][]int{1: {1, 2, 3, 4}, 32: {1, 2, 3, 4}, 64: {2, 4}, 1 << 20: nil} {
		if got := CutBySize(infos, most); !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", most, got, want)
		}
	}
	meta := &Meta{}
	meta.Set("k", uint32(1))
	parts, err := PlanShards(meta, infos, []int{2, 4})
	if err != nil {
		t.Fatal(err)
	}
	first, err := Parse("first", append(parts[0].Head, make([]byte, parts[0].Size-int64(len(parts[0].Head)))...))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{splitNo: "u16", splitCount: "u16", splitTensors: "i32"} {
		if v, _ := first.Meta().Get(key); TypeName(v) != want {
			t.Errorf("%s: %s", key, TypeName(v))
		}
	}
	if len(first.Names()) != 2 || parts[1].First != 2 || parts[2].Count != 1 || !slices.Equal(first.Meta().Keys(), []string{"k", splitNo, splitCount, splitTensors}) {
		t.Errorf("parts %+v, keys %v", parts, first.Meta().Keys())
	}
	if len(meta.Keys()) != 1 {
		t.Error("the caller's metadata was changed")
	}
	if one, err := PlanShards(meta, infos, nil); err != nil || len(one) != 1 || bytes.Contains(one[0].Head, []byte(splitCount)) {
		t.Errorf("one file: %v", err)
	}
	if _, err := PlanShards(meta, append(infos, infos[0]), []int{5}); !errors.Is(err, ErrName) {
		t.Error(err)
	}
}
