package quantize

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/gguf"
)

// planShards plans Q5_K_M in several files.
func planShards(src *Source) (*Plan, error) {
	m, err := ParseMix("Q5_K_M")
	if err != nil {
		return nil, err
	}
	return NewPlan(src, m, PlanOptions{ShardBytes: 300_000})
}

func openSmall(t *testing.T, path string) (*Source, *Plan) {
	t.Helper()
	src, err := OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	p, err := planShards(src)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Parts) < 3 {
		t.Fatalf("%d files, want several", len(p.Parts))
	}
	return src, p
}

// contents of the files of a plan.
func contents(t *testing.T, p *Plan, path string) (all [][]byte) {
	t.Helper()
	for _, name := range p.Paths(path) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// A model in several files holds the tensors of the one that is written whole, whatever the number of threads.
func TestShards(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.gguf")
	smallModel(t, path, nil)
	one, err := gguf.Parse("whole", written(t, path, "Q5_K_M", WriteOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	_, p := openSmall(t, path)
	var all [][]byte
	for i, o := range []WriteOptions{{Threads: 1}, {Threads: 5, sync: 1}, {Memory: 10 << 20}} {
		out := filepath.Join(t.TempDir(), "out.gguf")
		if err := p.Write(context.Background(), out, o); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) != len(p.Parts) {
			t.Errorf("files %v, want %d", left, len(p.Parts))
		}
		got := contents(t, p, out)
		if i == 0 {
			all = got
		}
		if !same(got, all) {
			t.Errorf("%+v: other bytes", o)
		}
	}
	out := filepath.Join(dir, "split", "out.gguf")
	if err := p.Write(context.Background(), out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(p.Paths(out)[1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !slices.Equal(f.Names(), one.Names()) || !slices.Equal(f.Meta().Keys(), one.Meta().Keys()) {
		t.Errorf("names %v, keys %v", f.Names(), f.Meta().Keys())
	}
	for _, name := range one.Names() {
		a, _ := one.Tensor(name)
		b, err := f.Tensor(name)
		if err != nil || a.Type != b.Type || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
	keepSplit(t, p, p.Paths(out)[0], one)
}

// keepSplit copies a split model with its cut, and without.
func keepSplit(t *testing.T, p *Plan, path string, one *gguf.File) {
	src, err := OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	mix, err := ParseMix("COPY")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	kept, err := NewPlan(src, mix, PlanOptions{KeepSplit: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Write(context.Background(), out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, kept, out); len(got) != len(p.Parts) {
		t.Errorf("%d files, want %d", len(got), len(p.Parts))
	}
	for i, part := range kept.Parts {
		if part.First != p.Parts[i].First || part.Count != p.Parts[i].Count {
			t.Errorf("file %d: tensors %d and %d more, want %d and %d", i, part.First, part.Count, p.Parts[i].First, p.Parts[i].Count)
		}
	}
	joined, err := NewPlan(src, mix, PlanOptions{ShardBytes: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	if err := joined.Write(context.Background(), out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !slices.Equal(f.Meta().Keys(), one.Meta().Keys()) || len(f.Shards()) != 1 {
		t.Errorf("keys %v, %d files", f.Meta().Keys(), len(f.Shards()))
	}
	if _, err := NewPlan(src, mix, PlanOptions{KeepSplit: true, ShardBytes: 1}); err == nil || !strings.Contains(err.Error(), "found both") {
		t.Error(err)
	}
	src.Shard = nil
	if _, err := NewPlan(src, mix, PlanOptions{KeepSplit: true}); err == nil || !strings.Contains(err.Error(), "whose files can be kept") {
		t.Error(err)
	}
}

// The first file may hold metadata alone, and the order of tensors is the source's when its cut is kept.
func TestKeepSplitOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	smallModel(t, path, nil)
	src, _ := openSmall(t, path)
	names := src.Tensors.Names()
	src.Shard = func(name string) int { return 1 + slices.Index(names, name)/4 }
	p, err := NewPlan(src, Mixes()[0], PlanOptions{KeepSplit: true})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range p.Choices {
		order = append(order, c.Name)
	}
	if !slices.Equal(order, names) || len(p.Parts) != 3 || p.Parts[0].Count != 0 || p.Parts[1].Count != 4 {
		t.Errorf("order %v, files %+v", order, p.Parts)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := p.Write(context.Background(), out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(p.Paths(out)[2])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !slices.Equal(f.Names(), names) || f.Shard(names[0]) != 1 {
		t.Errorf("names %v", f.Names())
	}
}

// Killed at some moment, again and again, several files end as they would have otherwise.
func TestShardsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	smallModel(t, path, nil)
	_, p := openSmall(t, path)
	ref := filepath.Join(t.TempDir(), "ref.gguf")
	if err := p.Write(context.Background(), ref, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	killed(t, []int{1, 4, 9, 12}, childEnv+"="+path, childShards+"=1")
	if isThere(p.Paths(path + ".out")[0]) {
		t.Log("the last child ended before it was killed")
	} else if !p.Begun(path + ".out") {
		t.Error("there is nothing to continue")
	}
	var notes []string
	if err := p.Write(context.Background(), path+".out", WriteOptions{Note: func(s string) { notes = append(notes, s) }}); err != nil {
		t.Fatal(err)
	}
	if !same(contents(t, p, path+".out"), contents(t, p, ref)) {
		t.Error("other bytes")
	}
	if len(notes) == 0 {
		t.Error("nothing was told of the earlier run")
	}
}

// stopped leaves what a run leaves that is killed after everything is on disk and n files, the last ones, have their names.
func stopped(t *testing.T, p *Plan, out string, n int) {
	t.Helper()
	if err := p.Write(context.Background(), out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	paths := p.Paths(out)
	for _, path := range paths[:len(paths)-n] {
		if err := os.Rename(path, partial(path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(journalPath(out), []byte(startLine(p.stamp)+"\n"+wholeLine), 0o666); err != nil {
		t.Fatal(err)
	}
}

// A run that was killed between two renames is continued, and a set that is not the run's is begun anew.
func TestShardsRenamed(t *testing.T) {
	dir := t.TempDir()
	path, out := filepath.Join(dir, "m.gguf"), filepath.Join(dir, "out.gguf")
	smallModel(t, path, nil)
	_, p := openSmall(t, path)
	ref := filepath.Join(dir, "ref.gguf")
	if err := p.Write(context.Background(), ref, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	want := contents(t, p, ref)
	last := p.Paths(out)[len(p.Parts)-1]
	for name, c := range map[string]struct {
		spoil func()
		note  string
	}{
		"before":   {func() { stopped(t, p, out, 0) }, "an earlier run wrote everything"},
		"between":  {func() { stopped(t, p, out, 2) }, "an earlier run wrote everything"},
		"complete": {func() { stopped(t, p, out, len(p.Parts)) }, ""},
		"lost":     {func() { stopped(t, p, out, 1); os.Remove(last) }, "begun anew"},
		"cut":      {func() { stopped(t, p, out, 1); os.Truncate(last, 5) }, "begun anew"},
	} {
		c.spoil()
		var notes []string
		worked := 0
		o := WriteOptions{Note: func(s string) { notes = append(notes, s) }, Progress: func(_, _ int64) { worked++ }}
		if err := p.Write(context.Background(), out, o); err != nil {
			t.Fatal(err)
		}
		if !same(contents(t, p, out), want) {
			t.Errorf("%s: other bytes", name)
		}
		if text := strings.Join(notes, ";"); !strings.Contains(text, c.note) || (worked == 0) != strings.Contains(c.note, "wrote everything") {
			t.Errorf("%s: notes %q, %d parts written", name, text, worked)
		}
		if p.Begun(out) {
			t.Errorf("%s: the journal is left", name)
		}
	}
}

// A set that was not finished has no first file, also where an older model had one.
func TestShardsAbsent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	smallModel(t, path, nil)
	_, p := openSmall(t, path)
	out := filepath.Join(t.TempDir(), "out.gguf")
	ctx, stop := context.WithCancel(context.Background())
	err := p.Write(ctx, out, WriteOptions{Threads: 1, Progress: func(done, _ int64) {
		if done > 100_000 {
			stop()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, name := range p.Paths(out) {
		if isThere(name) || !isThere(partial(name)) {
			t.Errorf("%s: expected a partial file alone", name)
		}
	}
}
