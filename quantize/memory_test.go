package quantize

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tune/internal/model"
	"tune/internal/packed"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

// A process of its own calibrates and quantizes a model within a bound of memory, and prints what it had resident at most.
const (
	childMemory = "TUNE_QUANTIZE_CHILD_MEMORY" // the model's folder
	childBound  = "TUNE_QUANTIZE_CHILD_BOUND"  // bytes
)

// deepModel writes a model of many layers of which few have numbers of their own: the others are views of these, and holes in the
// file until they are read.
func deepModel(t *testing.T, dir string, layers, width, inner int) int64 {
	config := fmt.Sprintf(`{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 256, "hidden_size": %d, "intermediate_size": %d, "num_hidden_layers": %d,
 "num_attention_heads": %d, "num_key_value_heads": %d, "max_position_embeddings": 256, "rms_norm_eps": 1e-05, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "hidden_act": "silu"}`,
		width, inner, layers, width/64, width/64)
	s, err := model.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	src := &deepSource{spec: &s, data: map[string][]byte{}}
	for _, x := range s.Tensors() {
		src.names = append(src.names, x.Name)
	}
	if err := safetensors.Write(dir, src, safetensors.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// deepSource has the numbers of two layers.
type deepSource struct {
	spec  *model.Spec
	names []string
	data  map[string][]byte
}

func (d *deepSource) Names() []string { return d.names }

func (d *deepSource) Info(name string) (tensor.Info, error) {
	for _, x := range d.spec.Tensors() {
		if x.Name == name {
			return tensor.Info{Name: name, Type: qtype.BF16, Shape: x.Shape}, nil
		}
	}
	return tensor.Info{}, tensor.Missing(name)
}

func (d *deepSource) Tensor(name string) (tensor.Tensor, error) {
	info, err := d.Info(name)
	if err != nil {
		return tensor.Tensor{}, err
	}
	of := name
	if l := LayerOf(name); l >= 0 {
		of = strings.Replace(name, layerPrefix(l), layerPrefix(l%2), 1)
	}
	if d.data[of] == nil {
		x, err := tensor.Convert(tensor.FromFloats(name, info.Shape, gauss(seedOf(of), elems(info.Shape))), qtype.BF16)
		if err != nil {
			return x, err
		}
		d.data[of] = x.Data
	}
	return tensor.Tensor{Info: info, Data: d.data[of]}, nil
}

// childMeasured is in bytes: what was planned for a calibration, and what was resident at most so far after each step.
type childMeasured struct{ Started, Planned, Calibrated, Written, Propagated int64 }

// memoryChild calibrates, then writes GPTQ without and with propagation, and prints what calibration was said to need and what the process had resident.
func memoryChild(dir string) error {
	var r childMeasured
	limit, err := strconv.ParseInt(os.Getenv(childBound), 10, 64)
	if err != nil {
		return err
	}
	c, m, err := openLazy(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	if r.Started, err = resident(); err != nil {
		return err
	}
	pool := kernels.NewPool(2)
	defer pool.Close()
	ids := someTokens(m, 16*32)
	ctx, path := context.Background(), filepath.Join(dir, "x.calib")
	text := Text{ids, 32}
	took, err := Calibrate(ctx, path, m, c.Weights, CalibrateOptions{Text: text, Memory: limit / 2, Pool: pool})
	if r.Planned = took.Memory; err != nil {
		return err
	}
	if r.Calibrated, err = resident(); err != nil {
		return err
	}
	cal, err := OpenCalibration(path)
	if err != nil {
		return err
	}
	defer cal.Close()
	po := PackedOptions{Scheme: packed.Options{Format: "gptq"}, Loader: "vllm"}
	if m.L > 100 { // solving for layers 0 and 100 is enough, the others are copied
		po.Ignore = append(po.Ignore, regexp.MustCompile(`layers\.([1-9]|\d\d|1[1-9]\d|10[1-9])\.`))
	}
	p, err := PlanPacked(c, nil, po)
	if err != nil {
		return err
	}
	o := DefaultMethod()
	o.Pool, o.Memory, o.Search, o.Sweeps = pool, limit, 2, 1
	write := func(out string) (resides int64, err error) {
		s, err := StartMethod(ctx, p, m, c.Weights, cal, o)
		if err != nil {
			return 0, err
		}
		defer s.Close()
		if err := p.Write(ctx, filepath.Join(dir, out), WriteOptions{Memory: limit - s.Running}, s.Linear); err != nil {
			return 0, err
		}
		return resident()
	}
	if r.Written, err = write("out"); err != nil {
		return err
	}
	o.Propagate = &text
	if r.Propagated, err = write("propagated"); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// resident is the most memory that this process had so far, pages of mapped files among it.
func resident() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var n int64
	_, err = fmt.Sscan(rest, &n)
	return n << 10, err
}

// What a process may have beside its bound and what it had at first: pages of files that were just read, and what does not grow.
const (
	memoryPages  = 2        // layers
	memoryThread = 12 << 20 // the runtime, and what products keep for each thread
)

// TestMemoryBound: calibrating and solving take what --memory says for a model of any size.
func TestMemoryBound(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("what a process has resident is read from /proc, which this system has not")
	}
	if testkit.RaceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	layers, width, inner, limit := 16, 256, 768, int64(40<<20)
	if *full {
		layers, width, inner, limit = 120, 1024, 2816, 320<<20
	}
	dir := filepath.Join(t.TempDir(), "deep")
	size := deepModel(t, dir, layers, width, inner)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMemory+"="+dir, fmt.Sprintf("%s=%d", childBound, limit))
	text, err := cmd.Output()
	var r childMeasured
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	t.Logf("a model of %d MB, bound %d MB, planned %d MB: at first %d MB resident, calibrating %d MB, solving and writing %d MB, with propagation %d MB", size>>20, limit>>20, r.Planned>>20, r.Started>>20, r.Calibrated>>20, r.Written>>20, r.Propagated>>20)
	if r.Planned > limit/2 {
		t.Errorf("planned more than the bound")
	}
	bound := limit + r.Started + memoryThread + memoryPages*size/int64(layers)
	if r.Calibrated > bound-limit/2 || max(r.Written, r.Propagated) > bound {
		t.Errorf("expected at most %d and %d MB resident", (bound-limit/2)>>20, bound>>20)
	}
}
