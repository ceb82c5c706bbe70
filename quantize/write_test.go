package quantize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"tune/internal/gguf"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

const (
	childEnv    = "TUNE_QUANTIZE_CHILD"
	childShards = "TUNE_QUANTIZE_CHILD_SHARDS"
	childPacked = "TUNE_QUANTIZE_CHILD_PACKED"
	childSolved = "TUNE_QUANTIZE_CHILD_SOLVED"
)

// A child process of TestKilled writes a file and tells of each part.
// children are what this program does instead of tests, by the variable of the environment that has the argument.
var children = map[string]func(arg string) error{childPacked: packedChild, childSolved: solvedChild, childMemory: memoryChild, childDisk: diskChild}

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		p, src, err := planFile(path, "Q5_K_M")
		if err == nil && os.Getenv(childShards) != "" {
			p, err = planShards(src)
		}
		if err == nil {
			err = p.Write(context.Background(), path+".out", WriteOptions{Threads: 2, sync: 1, Progress: func(_, _ int64) { os.Stdout.WriteString(".") }})
			src.Close()
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for name, run := range children {
		if arg := os.Getenv(name); arg != "" {
			if err := run(arg); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func planFile(path, mix string) (*Plan, *Source, error) {
	src, err := OpenGGUF(path)
	if err != nil {
		return nil, nil, err
	}
	m, err := ParseMix(mix)
	if err != nil {
		return nil, nil, err
	}
	p, err := NewPlan(src, m, PlanOptions{})
	return p, src, err
}

// smallModel writes a file whose tensors are cut into 14 parts; edit may spoil the values of one.
func smallModel(t *testing.T, path string, edit func(name string, x []float32)) {
	meta := &gguf.Meta{}
	meta.Set("general.architecture", "llama")
	for key, v := range map[string]uint32{"block_count": 2, "attention.head_count": 4, "attention.head_count_kv": 2} {
		meta.Set("llama."+key, v)
	}
	src := &tensor.Map{}
	for _, x := range []struct {
		name  string
		shape []int
	}{{"token_embd.weight", []int{3000, 256}}, {"output_norm.weight", []int{256}}, {"blk.0.attn_v.weight", []int{256, 256}},
		{"blk.0.ffn_down.weight", []int{256, 2048}}, {"blk.1.ffn_down.weight", []int{256, 2048}}, {"blk.1.ffn_up.weight", []int{2048, 256}},
		{"blk.1.ffn_gate_exps.weight", []int{2, 40, 256}}} {
		v := gauss(seedOf(x.name), elems(x.shape))
		if edit != nil {
			edit(x.name, v)
		}
		src.Add(tensor.FromFloats(x.name, x.shape, v))
	}
	if err := gguf.Write(path, meta, src, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func written(t *testing.T, path, mix string, o WriteOptions) []byte {
	p, src, err := planFile(path, mix)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := p.Write(context.Background(), out, o); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestThreadsAndMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	smallModel(t, path, nil)
	want := written(t, path, "Q4_0", WriteOptions{Threads: 1})
	for _, o := range []WriteOptions{{Threads: 5}, {Memory: 3 << 20}, {Memory: 100 << 20, sync: 1}} {
		if !bytes.Equal(written(t, path, "Q4_0", o), want) {
			t.Errorf("%+v: other bytes", o)
		}
	}
	p, src, err := planFile(path, "Q4_0")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for memory, want := range map[int64]int{0: runtime.GOMAXPROCS(0), 1 << 10: 0, 2 << 20: 1} {
		if n, err := p.workers(WriteOptions{Memory: memory}); n != want || (err == nil) != (want > 0) {
			t.Errorf("memory %d: %d workers, %v", memory, n, err)
		}
	}
}

// killed runs this program again and again, as what env says, and kills it after so many parts.
func killed(t *testing.T, parts []int, env ...string) {
	t.Helper()
	for _, n := range parts {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), env...)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(pipe, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// A process that is killed at some moment, again and again, ends with the same file as one that is not.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	smallModel(t, path, nil)
	want := written(t, path, "Q5_K_M", WriteOptions{})
	killed(t, []int{1, 4, 9, 12}, childEnv+"="+path)
	p, src, err := planFile(path, "Q5_K_M")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := os.Stat(path + ".out"); err == nil {
		t.Log("the last child ended before it was killed")
	}
	var notes []string
	if err := p.Write(context.Background(), path+".out", WriteOptions{Note: func(s string) { notes = append(notes, s) }}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path + ".out"); !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
	if text := strings.Join(notes, ";"); !strings.Contains(text, "continuing an earlier run") {
		t.Errorf("notes: %q", text)
	}
}

// What was begun with another source, other options or damaged files is begun anew.
func TestBegunAnew(t *testing.T) {
	dir := t.TempDir()
	path, out := filepath.Join(dir, "m.gguf"), filepath.Join(dir, "out.gguf")
	smallModel(t, path, nil)
	interrupted := func(mix string) {
		p, src, err := planFile(path, mix)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		ctx, stop := context.WithCancel(context.Background())
		err = p.Write(ctx, out, WriteOptions{Threads: 1, Progress: func(done, _ int64) {
			if done > 100_000 {
				stop()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(){
		"options":      func() { interrupted("Q8_0") },
		"source":       func() { interrupted("Q4_0"); smallModel(t, path, func(_ string, x []float32) { x[0]++ }) },
		"no journal":   func() { interrupted("Q4_0"); os.Remove(out + ".partial.journal") },
		"no file":      func() { interrupted("Q4_0"); os.Remove(out + ".partial") },
		"short file":   func() { interrupted("Q4_0"); os.Truncate(out+".partial", 1000) },
		"torn journal": func() { interrupted("Q4_0"); appendTo(t, out+".partial.journal", "99\nx\n1") },
		"empty":        func() { interrupted("Q4_0"); os.Truncate(out+".partial.journal", 0) },
	} {
		spoil()
		want := written(t, path, "Q4_0", WriteOptions{})
		p, src, err := planFile(path, "Q4_0")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Write(context.Background(), out, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		src.Close()
		if got, _ := os.ReadFile(out); !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes", name)
		}
		os.Remove(out)
	}
}

func appendTo(t *testing.T, path, text string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestBadValues(t *testing.T) {
	for _, c := range []struct {
		mix, name string
		at        int
		v         float32
		part      string
	}{
		{"Q4_0", "blk.0.attn_v.weight", 3*256 + 7, float32(math.NaN()), "tensor blk.0.attn_v.weight: value [3 7] is NaN"},
		{"Q8_0", "blk.1.ffn_gate_exps.weight", 50 * 256, float32(math.Inf(-1)), "tensor blk.1.ffn_gate_exps.weight: value [1 10 0] is -Inf"},
		{"F32", "output_norm.weight", 9, float32(math.Inf(1)), "tensor output_norm.weight: value [9] is +Inf"},
		{"F16", "token_embd.weight", 5, 1e6, "tensor token_embd.weight: value [0 5] is too large for F16"},
		{"Q4_0", "token_embd.weight", 5, 1e10, "too large for Q6_K"},
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		smallModel(t, path, func(name string, x []float32) {
			if name == c.name {
				x[c.at] = c.v
			}
		})
		p, src, err := planFile(path, c.mix)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out.gguf")
		if err := p.Write(context.Background(), out, WriteOptions{}); err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v", c.name, err)
		}
		src.Close()
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: there is a file", c.name)
		}
	}
}

// Where it is asked for, values that are not finite are stored as 0 and told, whatever the type.
func TestZeroNonfinite(t *testing.T) {
	broken, whole := filepath.Join(t.TempDir(), "m.gguf"), filepath.Join(t.TempDir(), "w.gguf")
	put := func(v float32) func(string, []float32) {
		return func(name string, x []float32) {
			if name == "blk.0.attn_v.weight" {
				x[5], x[900] = v, v
			}
		}
	}
	smallModel(t, broken, put(float32(math.NaN())))
	smallModel(t, whole, put(0))
	for _, name := range []string{"Q4_0", "F32", "COPY"} {
		var files [2][]byte
		var notes []string
		for i, path := range []string{broken, whole} {
			src, err := OpenGGUF(path)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			mix, err := ParseMix(name)
			if err != nil {
				t.Fatal(err)
			}
			p, err := NewPlan(src, mix, PlanOptions{ZeroNonfinite: true})
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "out.gguf")
			if err := p.Write(context.Background(), out, WriteOptions{Note: func(text string) { notes = append(notes, text) }}); err != nil {
				t.Fatal(err)
			}
			if files[i], err = os.ReadFile(out); err != nil {
				t.Fatal(err)
			}
			files[i] = files[i][len(p.Layout.Head):]
		}
		if string(files[0]) != string(files[1]) {
			t.Errorf("%s: not the file of a model with zeros there", name)
		}
		if len(notes) != 1 || notes[0] != "tensor blk.0.attn_v.weight: 2 values that are not finite are stored as 0" {
			t.Errorf("%s: notes %q", name, notes)
		}
	}
}

func TestPlanErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	smallModel(t, path, nil)
	src, err := OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	q8 := qtype.Q8_0
	other := &Importance{}
	other.Set("blk.0.attn_v.weight", Sums{make([]float32, 255), []float32{1}})
	for _, c := range []struct {
		mix  string
		o    PlanOptions
		part string
	}{
		{"IQ1_S", PlanOptions{}, "needs the importance of its columns"},
		{"Q4_0", PlanOptions{Importance: other}, "expected 256 columns, found 255"},
		{"Q4_0", PlanOptions{Importance: &Importance{}}, "no entry has the name"},
		{"Q4_0", PlanOptions{Options: Options{Output: &q8}}, ""},
	} {
		mix, _ := ParseMix(c.mix)
		p, err := NewPlan(src, mix, c.o)
		if (err == nil) != (c.part == "") || err != nil && !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v, want %q", c.mix, err, c.part)
		}
		if err == nil && p.Choices[1].To != q8 { // output_norm.weight comes first
			t.Errorf("the head is %s", p.Choices[1].To)
		}
	}
}
