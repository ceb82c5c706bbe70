package quantize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
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

var full = flag.Bool("full", false, "quantize to all mixes of the shared goldens, which takes minutes")

// run is what llama-quantize did, and what its input was.
type run struct {
	Label    string   `json:"label"`
	Mix      string   `json:"mix"`
	Options  []string `json:"options"`
	Exit     int      `json:"exit"`
	Fallback string   `json:"fallback"`
	Bytes    int64    `json:"file_bytes"`
	Hash     string   `json:"file_sha256"`
	Metadata [][3]any `json:"metadata"`
	Tensors  []struct {
		Name   string `json:"name"`
		Type   string `json:"type"`
		Shape  []int  `json:"shape"`
		Hash   string `json:"sha256"`
		Offset *int64 `json:"offset"`
	} `json:"tensors"`
}

func readRun(t testing.TB, path string) (r run) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(path, err)
	}
	return r
}

// The generator of the golden data: splitmix64, 16 draws for each element.
func draw(seed uint64, i, k int) uint64 {
	z := seed + uint64(16*i+k+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return (z ^ z>>31) >> 40
}

func seedOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// gauss is about normal with deviation 2^-6, on the grid of bf16.
func gauss(seed uint64, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		sum := int64(-100663290)
		for k := range 12 {
			sum += int64(draw(seed, i, k))
		}
		b := math.Float32bits(float32(sum) * (1.0 / (1 << 24)) * (1.0 / (1 << 6)))
		x[i] = math.Float32frombits((b + 0x7FFF + b>>16&1) &^ 0xFFFF)
	}
	return x
}

func uniform(seed uint64, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(draw(seed, i, 13)+1) * (1.0 / (1 << 24))
	}
	return x
}

// rebuild makes the input file of a run from the generator, and checks its hash.
func rebuild(t testing.TB, path string, r run, make func(name string, shape []int) []float32) {
	meta, src := &gguf.Meta{}, &tensor.Map{}
	for _, kv := range r.Metadata {
		key := kv[0].(string)
		switch v := kv[2].(type) {
		case string:
			meta.Set(key, v)
		case []any:
			meta.Set(key, []string{v[0].(string)})
		case float64:
			if kv[1] == "f32" {
				meta.Set(key, float32(v))
			} else {
				meta.Set(key, uint32(v))
			}
		}
	}
	for _, x := range r.Tensors {
		shape := slices.Clone(x.Shape)
		slices.Reverse(shape)
		y, err := tensor.Convert(tensor.FromFloats(x.Name, shape, make(x.Name, shape)), parse(t, x.Type))
		if err != nil {
			t.Fatal(err)
		}
		src.Add(y)
	}
	if err := gguf.Write(path, meta, src, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := hashFile(t, path); got != r.Hash {
		t.Fatalf("%s: generated another file", path)
	}
}

func parse(t testing.TB, name string) qtype.Type {
	x, err := qtype.ParseType(name)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func hashFile(t testing.TB, path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return hashOf(b)
}

func hashOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func elems(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// tinyInput makes a model and its importance in a folder.
func tinyInput(t testing.TB, golden, dir string) (model, imatrix string) {
	name := filepath.Base(golden)
	model, imatrix = filepath.Join(dir, name+".gguf"), filepath.Join(dir, name+".imatrix.gguf")
	rebuild(t, model, readRun(t, filepath.Join(golden, "input.json")), func(n string, shape []int) []float32 {
		if len(shape) == 1 {
			return uniform(seedOf(n), shape[0])
		}
		return gauss(seedOf(n), elems(shape))
	})
	rebuild(t, imatrix, readRun(t, filepath.Join(golden, "imatrix.json")), func(n string, shape []int) []float32 {
		x := make([]float32, elems(shape))
		base, isSum := strings.CutSuffix(n, sumsEnding)
		width := len(x)
		if len(shape) == 2 {
			width = shape[1]
		}
		if isSum {
			for i, v := range uniform(seedOf(base+".imatrix"), len(x)) {
				x[i] = v * 64
			}
		} else {
			for i := range x {
				x[i] = 64
			}
		}
		if len(shape) == 2 { // an expert that no token went to
			clear(x[3*width : 4*width])
		}
		return x
	})
	return model, imatrix
}

// quantized does what a run did and compares.
func quantized(t *testing.T, r run, model, imatrix, out string) {
	src, err := OpenGGUF(model)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	mix, err := ParseMix(r.Mix)
	if err != nil {
		t.Fatal(err)
	}
	o := planOptions(t, r, imatrix)
	p, err := NewPlan(src, mix, o)
	if r.Exit != 0 {
		if err == nil {
			t.Errorf("planned what llama-quantize refuses")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.Fallback != "" && !strings.HasPrefix(r.Fallback, fmt.Sprint(p.Fallbacks())+" of ") {
		t.Errorf("%d fallbacks, want %q", p.Fallbacks(), r.Fallback)
	}
	if err := p.Write(context.Background(), out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(out)
	compare(t, r, out)
	if _, err := os.Stat(out + ".partial.journal"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the journal is left")
	}
}

// compare finds the first tensor that differs when the file does.
func compare(t *testing.T, r run, out string) {
	if hashFile(t, out) == r.Hash {
		return
	}
	f, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, x := range r.Tensors {
		y, err := f.Tensor(x.Name)
		if err != nil || y.Type.String() != x.Type || hashOf(y.Data) != x.Hash {
			t.Errorf("%s: %s, want %s %s", x.Name, y.Type, x.Type, x.Hash)
		}
	}
	for _, kv := range r.Metadata {
		v, _ := f.Meta().Get(kv[0].(string))
		if _, hashed := kv[2].(map[string]any); !hashed && fmt.Sprint(v) != fmt.Sprint(kv[2]) {
			t.Errorf("%s: %v, want %v", kv[0], v, kv[2])
		}
	}
	t.Errorf("the file differs: %v", f.Meta().Keys())
}

// foreign runs have options that only llama-quantize has: other metadata, layers cut out, part of an imatrix.
func (r *run) foreign() bool {
	return slices.ContainsFunc([]string{"--override-kv", "--prune-layers", "--leave-output-tensor", "--include-weights", "--exclude-weights"}, func(flag string) bool {
		return slices.Contains(r.Options, flag)
	})
}

func planOptions(t *testing.T, r run, imatrix string) (o PlanOptions) {
	for i := 0; i < len(r.Options); i++ {
		next := func() string { i++; return r.Options[i] }
		switch flag := r.Options[i]; flag {
		case "--pure":
			o.Pure = true
		case "--imatrix":
			o.File = next()
			m, err := ReadImportance(filepath.Join(filepath.Dir(imatrix), filepath.Base(o.File)))
			if err != nil {
				t.Fatal(err)
			}
			o.Importance = m
		case "--output-tensor-type", "--token-embedding-type":
			x := parse(t, next())
			if flag == "--output-tensor-type" {
				o.Output = &x
			} else {
				o.Embedding = &x
			}
		case "--tensor-type":
			x, err := ParseOverride(next())
			if err != nil {
				t.Fatal(err)
			}
			o.Overrides = append(o.Overrides, x)
		default:
			t.Fatalf("option %s", flag)
		}
	}
	return o
}

func tinyRuns(t *testing.T, golden string) {
	dir := t.TempDir()
	model, imatrix := tinyInput(t, golden, dir)
	paths, err := filepath.Glob(filepath.Join(golden, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		r := readRun(t, path)
		if r.Mix == "" || r.foreign() {
			continue
		}
		t.Run(r.Label, func(t *testing.T) { quantized(t, r, model, imatrix, filepath.Join(dir, "out.gguf")) })
	}
}

// A mixture of experts quantized as llama-quantize does it: the whole files are equal.
func TestTiny(t *testing.T) { tinyRuns(t, filepath.Join("testdata", "tiny", "moe8")) }

func TestTinyAll(t *testing.T) {
	if !*full {
		t.Skip("takes minutes: give -full")
	}
	for _, name := range []string{"moe8", "dense16"} {
		t.Run(name, func(t *testing.T) { tinyRuns(t, testkit.Shared(t, "quant/tiny/"+name)) })
	}
}
