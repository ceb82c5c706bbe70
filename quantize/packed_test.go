package quantize

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tune/internal/grouped"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/packed"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

const packedConfig = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":96,"hidden_size":128,"intermediate_size":256,"num_hidden_layers":2,
"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"hidden_act":"silu","max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":false,
"dtype":"bfloat16","bos_token_id":1,"eos_token_id":2}`

// tinyModel makes a folder of a small model in bf16; edit may spoil the values of a tensor.
func tinyModel(t testing.TB, dir string, edit func(name string, x []float32)) {
	t.Helper()
	s, err := model.ParseConfig([]byte(packedConfig))
	if err != nil {
		t.Fatal(err)
	}
	src := &tensor.Map{}
	for _, x := range s.Tensors() {
		v := gauss(seedOf(x.Name), elems(x.Shape))
		if strings.HasSuffix(x.Name, "gate_proj.weight") {
			clear(v[:3*128]) // rows of zeros
		}
		if edit != nil {
			edit(x.Name, v)
		}
		y, err := tensor.Convert(tensor.FromFloats(x.Name, x.Shape, v), qtype.BF16)
		if err != nil {
			t.Fatal(err)
		}
		src.Add(y)
	}
	if err := safetensors.Write(dir, src, safetensors.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(packedConfig), 0o666); err != nil {
		t.Fatal(err)
	}
}

func intp(x int) *int    { return &x }
func boolp(x bool) *bool { return &x }

func planFolder(dir string, o PackedOptions) (*PackedPlan, *model.Checkpoint, error) {
	c, err := model.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	if o.Loader == "" {
		o.Loader = "vllm"
	}
	if o.Stamp, err = Stamp(dir); err != nil {
		return nil, nil, err
	}
	if o.Method == "" {
		o.Method = RTN
	}
	o.Version = "tune test"
	p, err := PlanPacked(c, nil, o)
	if err != nil {
		c.Close()
	}
	return p, c, err
}

func writeFolder(t testing.TB, dir, out string, o PackedOptions, w WriteOptions, solve Linears) {
	t.Helper()
	p, c, err := planFolder(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := p.Write(context.Background(), out, w, solve); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(out + ".*"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	if n := folderBytes(t, out); n != p.Size() {
		t.Errorf("%s: %d bytes, announced %d", out, n, p.Size())
	}
}

func folderBytes(t testing.TB, dir string) (n int64) {
	for _, data := range folder(t, dir) {
		n += int64(len(data))
	}
	return n
}

func folder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = b
	}
	return out
}

func sameFolder(t testing.TB, what, got, want string) {
	t.Helper()
	a, b := folder(t, got), folder(t, want)
	for name := range b {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s: other bytes in %s", what, name)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s: %d files, want %d", what, len(a), len(b))
	}
}

// Every format is written and read by a reader that knows only its description, and by ours: the same numbers, near the source.
func TestPackedFormats(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	tinyModel(t, source, nil)
	orig, err := model.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer orig.Close()
	for _, c := range []struct {
		o      packed.Options
		loader string
		value  valueFunc
		error  float64 // relative to the source
	}{
		{packed.Options{Format: "gptq", Group: intp(32)}, "vllm", gptqValue(4, 32, 1), 0.12},
		{packed.Options{Format: "gptq"}, "vllm", gptqValue(4, 128, 1), 0.15},
		{packed.Options{Format: "gptq", Bits: 8, Group: intp(-1)}, "vllm", gptqValue(8, 1<<20, 1), 0.012},
		{packed.Options{Format: "gptq", Bits: 3, Group: intp(32)}, "transformers", gptqValue(3, 32, 1), 0.25},
		{packed.Options{Format: "gptq", Bits: 2, Group: intp(32), Sym: boolp(false)}, "transformers", gptqValue(2, 32, 0), 0.5},
		{packed.Options{Format: "gptq", Sym: boolp(false)}, "transformers", gptqValue(4, 128, 0), 0.13},
		{packed.Options{Format: "awq", Group: intp(64)}, "vllm", awqValue, 0.12},
		{packed.Options{Format: "nf4"}, "vllm", nf4Value, 0.1},
		{packed.Options{Format: "compressed-tensors", Scheme: "W4A16", Group: intp(64)}, "vllm", packValue(4), 0.13},
		{packed.Options{Format: "compressed-tensors", Scheme: "W4A16_ASYM"}, "vllm", packValue(4), 0.13},
		{packed.Options{Format: "compressed-tensors", Scheme: "w8a16"}, "vllm", packValue(8), 0.012},
		{packed.Options{Format: "compressed-tensors", Scheme: "W8A8"}, "vllm", int8Value, 0.012},
		{packed.Options{Format: "compressed-tensors", Scheme: "FP8_DYNAMIC"}, "vllm", fp8Value, 0.03},
		{packed.Options{Format: "compressed-tensors", Scheme: "FP8_BLOCK"}, "transformers", fp8Value, 0.03},
		{packed.Options{Format: "compressed-tensors", Scheme: "NVFP4A16"}, "vllm", nvfp4Value, 0.11},
		{packed.Options{Format: "compressed-tensors", Scheme: "MXFP4A16"}, "vllm", mxfp4Value, 0.15},
	} {
		name := c.o.Format + " " + c.o.Scheme
		out := filepath.Join(dir, "out")
		writeFolder(t, source, out, PackedOptions{Scheme: c.o, Loader: c.loader}, WriteOptions{}, nil)
		raw := readRaw(t, out)
		ours, err := model.Open(out)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := model.New(ours, model.Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var off, sum float64
		for _, m := range ours.Spec.Modules() {
			if m.Kind != model.Linear {
				continue
			}
			w, x := floatsOf(t, orig.Weights, m.Name+".weight"), floatsOf(t, ours.Weights, m.Name+".weight")
			for i, v := range x {
				want := c.value(raw, m.Name, m.Out, m.In, i/m.In, i%m.In)
				if math.Abs(float64(v)-want) > 1e-6*math.Abs(want)+1e-12 { // float32 against float64
					t.Fatalf("%s: %s [%d %d] is %g, want %g", name, m.Name, i/m.In, i%m.In, v, want)
				}
				off, sum = off+(float64(v)-float64(w[i]))*(float64(v)-float64(w[i])), sum+float64(w[i])*float64(w[i])
			}
		}
		if e := math.Sqrt(off / sum); !(e < c.error) || e == 0 {
			t.Errorf("%s: relative error %.4f, want at most %g", name, e, c.error)
		}
		for _, kept := range []string{"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} {
			if a, b := bytesOf(t, orig.Weights, kept), bytesOf(t, ours.Weights, kept); !bytes.Equal(a, b) {
				t.Errorf("%s: %s was changed", name, kept)
			}
		}
		ours.Close()
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
}

func bytesOf(t testing.TB, s tensor.Source, name string) []byte {
	t.Helper()
	x, err := s.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return x.Data
}

func floatsOf(t testing.TB, s tensor.Source, name string) []float32 {
	t.Helper()
	x, err := s.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tensor.Floats(x)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var someScheme = packed.Options{Format: "gptq", Group: intp(64)}

// The bytes depend on neither threads nor memory, shards hold the same tensors, and what does not fit is said.
func TestPackedThreads(t *testing.T) {
	dir := t.TempDir()
	source, want := filepath.Join(dir, "source"), filepath.Join(dir, "want")
	tinyModel(t, source, nil)
	o := PackedOptions{Scheme: someScheme}
	writeFolder(t, source, want, o, WriteOptions{Threads: 1}, nil)
	for i, w := range []WriteOptions{{Threads: 5}, {Memory: 3 << 20}, {Threads: 2, sync: 1}} {
		out := filepath.Join(dir, "out"+string(rune('a'+i)))
		writeFolder(t, source, out, o, w, nil)
		sameFolder(t, out, out, want)
	}
	o.Shard = 50_000
	out := filepath.Join(dir, "shards")
	writeFolder(t, source, out, o, WriteOptions{}, nil)
	whole, cut := readRaw(t, want), readRaw(t, out)
	for name, x := range whole {
		if y := cut[name]; y == nil || !bytes.Equal(x.data, y.data) {
			t.Errorf("shards: %s differs", name)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(out, "*.safetensors")); len(files) < 5 {
		t.Errorf("shards: %q", files)
	}
	p, c, err := planFolder(source, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := p.Memory(1<<10, 1); err == nil {
		t.Error("1 KiB of memory was enough")
	}
}

// packedChild is what TestMain runs in a child of TestPackedKilled.
func packedChild(source string) error {
	p, c, err := planFolder(source, PackedOptions{Scheme: someScheme})
	if err != nil {
		return err
	}
	defer c.Close()
	return p.Write(context.Background(), source+".out", WriteOptions{Threads: 2, sync: 1, Progress: func(_, _ int64) { os.Stdout.WriteString(".") }}, nil)
}

// A process that is killed at some moment, again and again, ends with the same folder as one that is not.
func TestPackedKilled(t *testing.T) {
	dir := t.TempDir()
	source, want := filepath.Join(dir, "source"), filepath.Join(dir, "want")
	tinyModel(t, source, nil)
	writeFolder(t, source, want, PackedOptions{Scheme: someScheme}, WriteOptions{}, nil)
	killed(t, []int{1, 5, 9, 14}, childPacked+"="+source)
	var notes []string
	writeFolder(t, source, source+".out", PackedOptions{Scheme: someScheme}, WriteOptions{Note: func(s string) { notes = append(notes, s) }}, nil)
	sameFolder(t, "after kills", source+".out", want)
	if text := strings.Join(notes, ";"); !strings.Contains(text, "continuing an earlier run") {
		t.Errorf("notes: %q", text)
	}
}

// solvedChild calibrates a model unless that is done, and writes it with AWQ and GPTQ.
func solvedChild(source string) error { return solvedFolder(source, source+".out", 2, os.Stdout) }

// openLazy opens a model that keeps no layer in memory. The checkpoint is to be closed.
func openLazy(path string) (*model.Checkpoint, *model.Model, error) {
	c, err := model.Open(path)
	if err != nil {
		return nil, nil, err
	}
	m, err := model.New(c, model.Options{Lazy: true})
	if err != nil {
		c.Close()
	}
	return c, m, err
}

// writeSolved writes a planned folder with the codes that its method chooses.
func writeSolved(c *model.Checkpoint, m *model.Model, cal *Calibration, po PackedOptions, mo MethodOptions, out string, wo WriteOptions) error {
	p, err := PlanPacked(c, nil, po)
	if err != nil {
		return err
	}
	s, err := StartMethod(context.Background(), p, m, c.Weights, cal, mo)
	if err != nil {
		return err
	}
	defer s.Close()
	po.Stamp = s.Stamp
	if p, err = PlanPacked(c, s.Weights, po); err != nil {
		return err
	}
	return p.Write(context.Background(), out, wo, s.Linear)
}

// solvedFolder writes a folder with AWQ and GPTQ; it tells every part.
func solvedFolder(source, out string, threads int, told io.Writer) error {
	c, m, err := openLazy(source)
	if err != nil {
		return err
	}
	defer c.Close()
	ids := someTokens(m, 8*32)
	pool := kernels.NewPool(threads)
	defer pool.Close()
	path := source + ".calib"
	if _, err := CalibrateOnce(context.Background(), path, m, c.Weights, CalibrateOptions{Text: Text{ids, 32}, Pool: pool}); err != nil {
		return err
	}
	cal, err := OpenCalibration(path)
	if err != nil {
		return err
	}
	defer cal.Close()
	po := PackedOptions{Scheme: packed.Options{Format: "awq", Group: intp(32)}, Method: "awq+gptq", Loader: "transformers"}
	o := DefaultMethod()
	o.Pool = pool
	return writeSolved(c, m, cal, po, o, out, WriteOptions{Threads: threads, sync: 1, Progress: func(_, _ int64) { io.WriteString(told, ".") }})
}

// A process that is killed while it solves ends with the bytes of one that is not, whatever the number of threads.
func TestSolvedKilled(t *testing.T) {
	dir := t.TempDir()
	source, want := filepath.Join(dir, "source"), filepath.Join(dir, "want")
	tinyModel(t, source, nil)
	if err := solvedFolder(source, want, 1, io.Discard); err != nil {
		t.Fatal(err)
	}
	killed(t, []int{1, 4, 9}, childSolved+"="+source)
	if !isThere(journalPath(source + ".out")) {
		t.Error("nothing was left to be continued")
	}
	if err := solvedFolder(source, source+".out", 2, io.Discard); err != nil {
		t.Fatal(err)
	}
	sameFolder(t, "after kills", source+".out", want)
}

// Activations that are not finite stop a calibration with the layer and the token, and nothing is left.
func TestDivergingActivations(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	tinyModel(t, source, func(name string, x []float32) {
		if name == "model.layers.0.mlp.down_proj.weight" || name == "model.layers.0.mlp.up_proj.weight" {
			for i := range x {
				x[i] *= 1e30
			}
		}
	})
	c, m, err := openLazy(source)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = Calibrate(context.Background(), filepath.Join(dir, "x.calib"), m, c.Weights, CalibrateOptions{Text: Text{make([]int32, 64), 32}})
	if err == nil || !regexp.MustCompile(`layer 0, token \d+: expected finite activations, found [-+]?(Inf|NaN)`).MatchString(err.Error()) {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "x.*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// What was begun with another source, other options or damaged files is begun anew.
func TestPackedBegunAnew(t *testing.T) {
	dir := t.TempDir()
	source, out, want := filepath.Join(dir, "source"), filepath.Join(dir, "out"), filepath.Join(dir, "want")
	interrupted := func(o packed.Options) {
		p, c, err := planFolder(source, PackedOptions{Scheme: o})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, stop := context.WithCancel(context.Background())
		err = p.Write(ctx, out, WriteOptions{Threads: 1, Progress: func(done, _ int64) {
			if done > 30_000 {
				stop()
			}
		}}, nil)
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(){
		"options": func() { interrupted(packed.Options{Format: "gptq", Group: intp(32)}) },
		"source": func() {
			interrupted(someScheme)
			tinyModel(t, source, func(_ string, x []float32) { x[0]++ })
		},
		"no journal":   func() { interrupted(someScheme); os.Remove(out + ".partial.journal") },
		"no file":      func() { interrupted(someScheme); os.Remove(out + ".partial/model.safetensors") },
		"short file":   func() { interrupted(someScheme); os.Truncate(out+".partial/model.safetensors", 1000) },
		"torn journal": func() { interrupted(someScheme); appendTo(t, out+".partial.journal", "99\nx\n1") },
	} {
		tinyModel(t, source, nil)
		spoil()
		writeFolder(t, source, want, PackedOptions{Scheme: someScheme}, WriteOptions{}, nil)
		writeFolder(t, source, out, PackedOptions{Scheme: someScheme}, WriteOptions{}, nil)
		sameFolder(t, name, out, want)
		for _, d := range []string{out, want} {
			if err := os.RemoveAll(d); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What cannot be written is refused with the tensor or rule that is to blame, and leaves no folder.
func TestPackedRefused(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	tinyModel(t, source, nil)
	for _, c := range []struct {
		o          PackedOptions
		part, hint string
	}{
		{PackedOptions{Scheme: packed.Options{Format: "gptq", Bits: 3}}, "expected 4 or 8 bits", "--bits 4"},
		{PackedOptions{Scheme: packed.Options{Format: "gptq", Sym: boolp(false)}}, "symmetric", "W4A16_ASYM"},
		{PackedOptions{Scheme: packed.Options{Format: "gptq", Group: intp(16)}}, "groups of 32, 64 or 128", "--group-size 32"},
		{PackedOptions{Scheme: packed.Options{Format: "gptq", Group: intp(96)}}, "model.layers.0.self_attn.q_proj: expected rows that are a multiple of the group of 96, found 128", "128, 64, 32"},
		{PackedOptions{Scheme: packed.Options{Format: "gptq", Group: intp(-1), DescAct: true}}, "desc-act", ""},
		{PackedOptions{Scheme: packed.Options{Format: "awq", Bits: 8}}, "bits: expected 4", ""},
		{PackedOptions{Scheme: packed.Options{Format: "awq", Sym: boolp(true)}}, "zeros", "--asym"},
		{PackedOptions{Scheme: packed.Options{Format: "compressed-tensors", Scheme: "W5A16"}}, "W5A16", "W4A16_ASYM"},
		{PackedOptions{Scheme: packed.Options{Format: "compressed-tensors", Scheme: "FP8_BLOCK"}}, "multiple of 128, found 64 x 128 in model.layers.0.self_attn.k_proj and 3 more", "FP8_DYNAMIC"},
		{PackedOptions{Scheme: packed.Options{Format: "gguf"}}, "gguf", "compressed-tensors"},
		{PackedOptions{Scheme: someScheme, Loader: "sglang"}, "sglang", "transformers"},
		{PackedOptions{Scheme: someScheme, Ignore: []*regexp.Regexp{regexp.MustCompile("k_proj")}}, "fused", "--ignore"},
		{PackedOptions{Scheme: someScheme, Ignore: []*regexp.Regexp{regexp.MustCompile("")}}, "found none", "--ignore"},
	} {
		_, _, err := planFolder(source, c.o)
		if err == nil || !strings.Contains(err.Error(), c.part) || !strings.Contains(hint.Of(err), c.hint) {
			t.Errorf("%+v: %v (hint %q), want %q (%q)", c.o.Scheme, err, hint.Of(err), c.part, c.hint)
		}
	}
	for name, at := range map[string]int{"model.layers.1.mlp.up_proj.weight": 130, "model.norm.weight": 3} {
		tinyModel(t, source, func(n string, x []float32) {
			if n == name {
				x[at] = float32(math.NaN())
			}
		})
		p, c, err := planFolder(source, PackedOptions{Scheme: someScheme})
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "out")
		err = p.Write(context.Background(), out, WriteOptions{}, nil)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "NaN") {
			t.Errorf("%s: %v", name, err)
		}
		if isThere(out) {
			t.Errorf("%s: a folder was left", name)
		}
		c.Close()
	}
}

// Modules that are left out are copied through and named in the configuration; the rest is quantized.
func TestPackedIgnore(t *testing.T) {
	dir := t.TempDir()
	source, out := filepath.Join(dir, "source"), filepath.Join(dir, "out")
	tinyModel(t, source, nil)
	for _, o := range []packed.Options{someScheme, {Format: "compressed-tensors", Scheme: "W4A16"}} {
		writeFolder(t, source, out, PackedOptions{Scheme: o, Ignore: []*regexp.Regexp{regexp.MustCompile(`layers\.1\.mlp`)}}, WriteOptions{}, nil)
		raw := readRaw(t, out)
		if raw["model.layers.1.mlp.up_proj.weight"] == nil || raw["model.layers.0.mlp.up_proj.weight"] != nil {
			t.Errorf("%s: the wrong modules were quantized", o.Format)
		}
		if config, _ := os.ReadFile(filepath.Join(out, "config.json")); !regexp.MustCompile(`layers[\\.]*1[\\.]*mlp[\\.]*up_proj`).Match(config) {
			t.Errorf("%s: %s", o.Format, config)
		}
		c, err := model.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.New(c, model.Options{}); err != nil {
			t.Error(err)
		}
		c.Close()
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
}

// A solver's integers are stored as they are, one module after the other in the order of the forward.
func TestPackedSolved(t *testing.T) {
	dir := t.TempDir()
	source, out := filepath.Join(dir, "source"), filepath.Join(dir, "out")
	tinyModel(t, source, nil)
	var order []string
	solve := func(_ context.Context, module string) (*grouped.Linear, error) {
		order = append(order, module)
		c, err := model.Open(source)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		info, err := c.Weights.Info(module + ".weight")
		if err != nil {
			return nil, err
		}
		l := &grouped.Linear{Out: info.Shape[0], In: info.Shape[1], Bits: 4, Group: 64, Codes: make([]uint8, info.Elems())}
		for i := range l.Codes {
			l.Codes[i] = uint8(i*7/3) & 15
		}
		for range l.Out * l.Groups() {
			l.Scale = append(l.Scale, 0.25)
		}
		return l, nil
	}
	writeFolder(t, source, out, PackedOptions{Scheme: someScheme, Method: "gptq"}, WriteOptions{}, solve)
	raw := readRaw(t, out)
	const m = "model.layers.1.self_attn.k_proj"
	for i := range 64 * 128 {
		if got, want := gptqValue(4, 64, 1)(raw, m, 64, 128, i/128, i%128), float64(int(uint8(i*7/3)&15)-8)/4; got != want {
			t.Fatalf("value %d is %g, want %g", i, got, want)
		}
	}
	if len(order) != 14 || !slices.Contains(order[:3], "model.layers.0.self_attn.q_proj") || order[13] != "model.layers.1.mlp.down_proj" {
		t.Errorf("order %q", order)
	}
}

// Experts are quantized one by one; the router that chooses among them is copied through and named in the configuration.
func TestPackedExperts(t *testing.T) {
	source, out := testkit.Golden(t, "models/mixtral"), filepath.Join(t.TempDir(), "out")
	writeFolder(t, source, out, PackedOptions{Scheme: packed.Options{Format: "compressed-tensors", Scheme: "FP8_DYNAMIC"}}, WriteOptions{}, nil)
	raw := readRaw(t, out)
	const block = "model.layers.0.block_sparse_moe."
	for name, want := range map[string]string{"experts.5.w1.weight": "F8_E4M3", "experts.0.w2.weight": "F8_E4M3", "gate.weight": "F32"} {
		if x := raw[block+name]; x == nil || x.DType != want {
			t.Errorf("%s: %+v, want %s", name, x, want)
		}
	}
	if config, _ := os.ReadFile(filepath.Join(out, "config.json")); !bytes.Contains(config, []byte(`"`+block+`gate"`)) {
		t.Errorf("the router is not among what is ignored: %s", config)
	}
	c, err := model.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := model.New(c, model.Options{}); err != nil {
		t.Error(err)
	}
}

// transformers refuses a threshold of bitsandbytes that is no float, and 6 is none to it.
func TestPackedThreshold(t *testing.T) {
	dir := t.TempDir()
	source, out := filepath.Join(dir, "source"), filepath.Join(dir, "out")
	tinyModel(t, source, nil)
	writeFolder(t, source, out, PackedOptions{Scheme: packed.Options{Format: "nf4"}}, WriteOptions{}, nil)
	if config, _ := os.ReadFile(filepath.Join(out, "config.json")); !bytes.Contains(config, []byte(`"llm_int8_threshold": 6.0,`)) {
		t.Errorf("%s", config)
	}
}
