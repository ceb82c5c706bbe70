package lora

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
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

func writeGGUF(t *testing.T, a *Adapter, o GGUFOptions) (string, *GGUFExport) {
	t.Helper()
	x, err := a.GGUF(o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := gguf.Write(path, x.Meta, x.Src, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return path, x
}

func golden(t *testing.T, run, which string) (*model.Model, *Adapter) {
	t.Helper()
	_, m := open(t, runs[run])
	return m, load(t, m, filepath.Join(testkit.Golden(t, "lora/"+run), which))
}

// The files of convert_lora_to_gguf.py, key by key and tensor by tensor, for the adapters it converts correctly.
func TestGGUFGoldens(t *testing.T) {
	for _, c := range []struct {
		run, which string
		types      []qtype.Type
	}{
		{"llama3", "adapter_final", []qtype.Type{qtype.F32, qtype.F16, qtype.BF16, qtype.Q8_0}},
		{"llama3", "adapter_init", []qtype.Type{qtype.F32}},
		{"qwen3", "adapter_final", []qtype.Type{qtype.F32}},
		{"qwen3_embed", "adapter_final", []qtype.Type{qtype.F32}},
	} {
		_, a := golden(t, c.run, c.which)
		for _, ty := range c.types {
			t.Run(c.run+"."+c.which+"."+ty.String(), func(t *testing.T) {
				path, x := writeGGUF(t, a, GGUFOptions{Type: ty, Name: model.TitleOf(c.run + "-" + c.which)})
				if x.Notes != nil {
					t.Errorf("notes %q", x.Notes)
				}
				compareGGUF(t, path, filepath.Join("testdata", "gguf", c.run+"."+c.which+"."+strings.ToLower(ty.String())+".json"))
			})
		}
	}
}

func compareGGUF(t *testing.T, path, golden string) {
	t.Helper()
	var want struct {
		Size     int64    `json:"file_bytes"`
		Metadata [][3]any `json:"metadata"`
		Tensors  []struct {
			Name, Type, SHA256 string
			Shape              []int
		}
	}
	text, err := os.ReadFile(golden)
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got, expected []string
	for _, key := range f.Meta().Keys() {
		v, _ := f.Meta().Get(key)
		got = append(got, fmt.Sprint(key, " ", gguf.TypeName(v), " ", v))
	}
	for _, m := range want.Metadata {
		expected = append(expected, fmt.Sprint(m[0], " ", m[1], " ", m[2]))
	}
	for _, name := range f.Names() {
		v, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		ne, h := slices.Clone(v.Shape), sha256.Sum256(v.Data)
		slices.Reverse(ne)
		got = append(got, fmt.Sprintf("%s %s %v %s", name, v.Type, ne, hex.EncodeToString(h[:])))
	}
	for _, w := range want.Tensors {
		expected = append(expected, fmt.Sprintf("%s %s %v %s", w.Name, w.Type, w.Shape, w.SHA256))
	}
	if !slices.Equal(got, expected) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(expected, "\n"))
	}
	if st, err := os.Stat(path); err != nil || st.Size() != want.Size {
		t.Errorf("%d bytes, want %d (%v)", st.Size(), want.Size, err)
	}
}

// effective is what a reader of the file adds to each tensor: alpha / rank B A, in the file's order of rows.
func effective(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	alpha, err := f.Meta().Float(alphaKey)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for _, name := range f.Names() {
		base, ok := strings.CutSuffix(name, endA)
		if !ok {
			continue
		}
		a, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Tensor(base + endB)
		if err != nil {
			t.Fatal(err)
		}
		if base == "token_embd.weight" {
			a = transposed(a)
		}
		r, in, rows := b.Shape[1], a.Shape[1], b.Shape[0]
		first, second, sum := plain(a), plain(b), make([]float32, rows*in)
		for o := range rows {
			for i := range in {
				var s float64
				for k := range r {
					s += float64(second[o*r+k]) * float64(first[k*in+i])
				}
				sum[o*in+i] = float32(alpha / float64(r) * s)
			}
		}
		out[base] = sum
	}
	return out
}

// What the converter writes wrongly without a word - rank-stabilized scales, patterns of alpha, PiSSA - is right here: read as
// llama.cpp reads it, the file adds what the adapter adds; and read back here, it gives the golden logits.
func TestGGUFScales(t *testing.T) {
	const deltaLimit = 1e-6 // products of float32 factors against kernels' sums
	for run, fold := range map[string]bool{"llama3": true, "qwen3_rslora": false, "qwen3_patterns": false, "qwen3_pissa": false, "qwen3_embed": true} {
		t.Run(run, func(t *testing.T) {
			m, a := golden(t, run, "adapter_final")
			path, x := writeGGUF(t, a, GGUFOptions{Type: qtype.F32, Name: "X", Fold: fold})
			if len(x.Notes) == 0 {
				t.Error("no note")
			}
			for name, got := range effective(t, path) {
				hf, ok := model.HFName(name)
				at := a.modules[moduleOf(hf)]
				if !ok || at == nil {
					t.Fatalf("%s: no such module", name)
				}
				want := make([]float32, at.Out*at.In)
				a.addDelta(want, at)
				v := tensor.FromFloats(hf, []int{at.Out, at.In}, want)
				if at.Kind == model.Embedding {
					v = transposed(v)
				}
				v, err := m.GGUFRows(moduleOf(hf), v, true)
				if err != nil {
					t.Fatal(err)
				}
				check(t, name, worst(got, plain(v)), deltaLimit)
			}
			back := load(t, m, path)
			gold := tensors(t, filepath.Join(testkit.Golden(t, "lora/"+run), "logits.safetensors"))
			check(t, "logits", worst(logits(t, m, back, ints(t, gold, "doc0.input_ids")), floatsOf(t, gold, "doc0.final")), pissaLimit)
		})
	}
}

// A file read back and saved as a PEFT directory has the tensors it was made of, byte for byte.
func TestGGUFBack(t *testing.T) {
	for _, run := range []string{"llama3", "qwen3", "qwen3_embed"} {
		m, a := golden(t, run, "adapter_final")
		path, _ := writeGGUF(t, a, GGUFOptions{Type: qtype.F32, Name: "X"})
		dir := t.TempDir()
		if err := load(t, m, path).Save(dir, SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		want, got := a.Tensors(), tensors(t, filepath.Join(dir, weightsFile))
		if len(got.Names()) != len(want.Names()) {
			t.Errorf("%s: tensors %v, want %v", run, got.Names(), want.Names())
		}
		for _, n := range want.Names() {
			if worst(floatsOf(t, got, n), floatsOf(t, want, n)) != 0 {
				t.Errorf("%s: %s differs", run, n)
			}
		}
		c, err := readConfig(dir)
		if err != nil || c.Rank != a.Config.Rank || c.Alpha != a.Config.Alpha || len(c.Targets.List) > 7 {
			t.Errorf("%s: %+v (%v), want %+v", run, c, err, a.Config)
		}
	}
}

func TestGGUFRefuses(t *testing.T) {
	for run, want := range map[string]string{"qwen3_dora": "magnitudes of dora", "qwen3_modules_to_save": "trained whole", "qwen2_bias": "bias, trained whole"} {
		_, a := golden(t, run, "adapter_final")
		if _, err := a.GGUF(GGUFOptions{}); err == nil || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
			t.Errorf("%s: %v, want %q", run, err, want)
		}
	}
	_, a := golden(t, "llama3", "adapter_final")
	path, x := writeGGUF(t, a, GGUFOptions{Name: "X"})
	_, other := open(t, "qwen3")
	if _, err := Load(path, other); err == nil || !strings.Contains(err.Error(), `general.architecture: expected "qwen3", found "llama"`) {
		t.Errorf("%v", err)
	}
	x.Src.Add(tensor.FromFloats("blk.0.attn_q.bias.lora_a", []int{1, 4}, make([]float32, 4)))
	if err := gguf.Write(path, x.Meta, x.Src, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, a.model); err == nil || !strings.Contains(err.Error(), "tensor blk.0.attn_q.bias.lora_a: expected a tensor of the base") {
		t.Errorf("%v", err)
	}
}

// Without alpha a reader takes each product as it is.
func TestGGUFNoAlpha(t *testing.T) {
	m, a := golden(t, "qwen3_patterns", "adapter_final")
	_, x := writeGGUF(t, a, GGUFOptions{Name: "X"})
	x.Meta.Delete(alphaKey)
	path := filepath.Join(t.TempDir(), "y.gguf")
	if err := gguf.Write(path, x.Meta, x.Src, gguf.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	back := load(t, m, path)
	for name, at := range back.modules {
		if at.scale != 1 {
			t.Errorf("%s: scale %g", name, at.scale)
		}
	}
}

// Any file ends with an adapter or an error.
func FuzzGGUFAdapter(f *testing.F) {
	meta := &gguf.Meta{}
	meta.Set("general.architecture", "llama")
	meta.Set("general.type", "adapter")
	meta.Set("adapter.type", "lora")
	meta.Set(alphaKey, float32(8))
	src := tensor.NewMap(tensor.FromFloats("blk.0.attn_q.weight.lora_a", []int{1, 64}, make([]float32, 64)),
		tensor.FromFloats("blk.0.attn_q.weight.lora_b", []int{64, 1}, make([]float32, 64)))
	path := filepath.Join(f.TempDir(), "x.gguf")
	if err := gguf.Write(path, meta, src, gguf.WriteOptions{}); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	c, err := model.Open(testkit.Golden(f, "models/llama"))
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	m, err := model.New(c, model.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if file, err := gguf.Parse("fuzz", data); err == nil {
			_, _ = fromGGUF(file, m)
		}
	})
}
