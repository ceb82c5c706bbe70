package train

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"tune/data"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
	"tune/lora"
)

// Limits of goldens/README.md for another float32 implementation.
const (
	lossLimit   = 5e-5
	normLimit   = 2e-4 // relative
	rateLimit   = 1e-9 // the golden has 9 digits
	logitsLimit = 1e-3 // after training
)

// packs is a Stream over packs in memory.
type packs struct {
	all   []*data.Pack
	at    int
	epoch int
}

func (p *packs) Next(context.Context) (*data.Pack, error) {
	if p.at == len(p.all) {
		p.at, p.epoch = 0, p.epoch+1
		return nil, io.EOF
	}
	p.at++
	return p.all[p.at-1], nil
}

func (p *packs) State() data.State { return data.State{Epoch: p.epoch, Packs: p.at} }

func (p *packs) Seek(s data.State) error {
	p.epoch, p.at = s.Epoch, s.Packs
	return nil
}

// goldenRun is run.json.
type goldenRun struct {
	Model    string
	Settings struct {
		LR           float64
		Betas        []float64
		Eps          float64
		WeightDecay  float64 `json:"weight_decay"`
		Clip         float64
		Accumulation int
		Schedule     string
		Warmup       int `json:"warmup_steps"`
		Total        int `json:"schedule_total_steps"`
		Steps        int
	}
	Steps []struct {
		Step       int
		Loss       float64
		GradNorm   float64 `json:"grad_norm"`
		LR         float64
		Supervised int64 `json:"supervised_tokens"`
	}
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func openTensors(t testing.TB, path string) *safetensors.Dir {
	t.Helper()
	d, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// ints reads an int64 tensor.
func ints(t testing.TB, s tensor.Source, name string) ([]int32, []int) {
	t.Helper()
	x, err := s.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int32, x.Elems())
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint64(x.Data[8*i:]))
	}
	return out, x.Shape
}

func floats(t testing.TB, s tensor.Source, name string) []float32 {
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

// row makes a pack of one document from a golden row; labels are not shifted, -100 is none.
func row(key string, ids, labels []int32) *data.Pack {
	p := &data.Pack{IDs: ids, Keys: []string{key}, Docs: 1, Doc: make([]int32, len(ids)), Start: make([]int32, len(ids))}
	for i := range ids {
		p.Pos = append(p.Pos, int32(i))
		next := int32(-1)
		if i+1 < len(ids) && labels != nil && labels[i+1] >= 0 {
			next = labels[i+1]
			p.Supervised++
		}
		p.Labels = append(p.Labels, next)
	}
	return p
}

// goldenPacks reads batches.safetensors: [steps, micro-batches, rows, width], the length of a row from its mask.
func goldenPacks(t testing.TB, dir string) (*packs, int) {
	d := openTensors(t, filepath.Join(dir, "batches.safetensors"))
	ids, shape := ints(t, d, "input_ids")
	labels, _ := ints(t, d, "labels")
	mask, _ := ints(t, d, "attention_mask")
	width := shape[3]
	out := &packs{}
	for at := 0; at < len(ids); at += width {
		n := 0
		for n < width && mask[at+n] == 1 {
			n++
		}
		out.all = append(out.all, row(fmt.Sprintf("row %d", at/width), ids[at:at+n], labels[at:at+n]))
	}
	return out, shape[1] * shape[2]
}

// goldenJob is the loop of goldens/README.md over a trainable.
func goldenJob(t testing.TB, dir string, run *goldenRun, m *model.Model, trained model.Trained) *Job {
	s := run.Settings
	stream, batch := goldenPacks(t, dir)
	c := Defaults()
	c.Steps, c.Batch, c.LR, c.Beta1, c.Beta2, c.Eps, c.WeightDecay, c.Clip = s.Steps, batch, s.LR, s.Betas[0], s.Betas[1], s.Eps, s.WeightDecay, s.Clip
	c.Schedule = Schedule{Name: s.Schedule, Warmup: float64(s.Warmup)}
	pool := kernels.NewPool(0)
	t.Cleanup(pool.Close)
	return &Job{Model: m, Trainable: trained, Config: c, Eval: EvalDefaults(), Train: stream, Seq: 16, Pool: pool, Now: func() float64 { return 0 }}
}

// compareSteps checks loss, gradient norm, rate and token count of every step and logs the greatest differences.
func compareSteps(t *testing.T, run *goldenRun, got []Metric) {
	t.Helper()
	if len(got) != len(run.Steps) {
		t.Fatalf("%d steps, expected %d", len(got), len(run.Steps))
	}
	var loss, norm float64
	for i, want := range run.Steps {
		m := got[i]
		loss = max(loss, math.Abs(m.Loss-want.Loss))
		norm = max(norm, math.Abs(m.GradNorm-want.GradNorm)/want.GradNorm)
		if !(math.Abs(m.Loss-want.Loss) <= lossLimit) || !(math.Abs(m.GradNorm-want.GradNorm) <= normLimit*want.GradNorm) ||
			math.Abs(m.LR-want.LR) > rateLimit || m.Supervised != want.Supervised {
			t.Errorf("step %d: loss %.7f norm %.7f rate %.9g tokens %d, expected %.7f %.7f %.9g %d",
				i, m.Loss, m.GradNorm, m.LR, m.Supervised, want.Loss, want.GradNorm, want.LR, want.Supervised)
		}
	}
	t.Logf("loss within %.1e, gradient norm within %.1e relative", loss, norm)
}

// nlls are the negative log-likelihoods that logits (N, V) give each next token.
func nlls(logits []float32, ids []int32, v int) []float64 {
	var out []float64
	for i := 0; i+1 < len(ids); i++ {
		r := logits[i*v : (i+1)*v]
		hi, sum := math.Inf(-1), 0.0
		for _, x := range r {
			hi = max(hi, float64(x))
		}
		for _, x := range r {
			sum += math.Exp(float64(x) - hi)
		}
		out = append(out, hi+math.Log(sum)-float64(r[ids[i+1]]))
	}
	return out
}

// compareLogits scores both documents of a golden and compares with its logits.
func compareLogits(t *testing.T, j *Job, d tensor.Source, kind string) {
	t.Helper()
	e, err := newEngine(j, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	worst := 0.0
	for _, doc := range []string{"doc0", "doc1"} {
		ids, _ := ints(t, d, doc+".input_ids")
		want := nlls(floats(t, d, doc+"."+kind), ids, j.Model.V)
		logp, _, err := e.score(join([]*data.Pack{row(doc, ids, ids)}, roundUp(len(ids))))
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			worst = max(worst, math.Abs(w+float64(logp[i])))
		}
	}
	t.Logf("log-probabilities with %s logits within %.1e", kind, worst)
	if !(worst <= logitsLimit) {
		t.Errorf("log-probabilities with %s logits: greatest difference %g", kind, worst)
	}
}

func openModel(t testing.TB, name string) *model.Model {
	t.Helper()
	c, err := model.Open(testkit.Golden(t, "models/"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := model.New(c, model.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Ten steps that train every weight.
func TestFullGolden(t *testing.T) {
	dir := testkit.Golden(t, "fullft/llama")
	var run goldenRun
	readJSON(t, filepath.Join(dir, "run.json"), &run)
	m := openModel(t, "llama")
	full := model.NewFull(m, 1)
	for i := range full.Params() {
		full.Params()[i].Decay = true // the reference decays norms as well
	}
	j := goldenJob(t, dir, &run, m, full)
	res, err := j.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compareSteps(t, &run, res.Metrics)
	logits := openTensors(t, filepath.Join(dir, "logits.safetensors"))
	compareLogits(t, j, logits, "final")
}

// PEFT runs: adapters of every kind against the reference's losses, norms and final logits.
func TestLoRAGolden(t *testing.T) {
	for _, name := range []string{"llama3", "qwen2_bias", "qwen3", "qwen3_dora", "qwen3_embed", "qwen3_modules_to_save", "qwen3_patterns",
		"qwen3_pissa", "qwen3_plain", "qwen3_rslora", "mixtral"} {
		t.Run(name, func(t *testing.T) {
			dir := testkit.Golden(t, "lora/"+name)
			var run goldenRun
			readJSON(t, filepath.Join(dir, "run.json"), &run)
			m := openModel(t, run.Model)
			a, err := lora.Load(filepath.Join(dir, "adapter_init"), m)
			if name == "qwen3_pissa" && err == nil { // A and B belong to what PiSSA leaves of the base, and only adapter_final says so
				first := a
				if a, err = lora.Load(filepath.Join(dir, "adapter_final"), m); err == nil {
					for i, p := range first.Params() {
						copy(a.Params()[i].Data, p.Data)
					}
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range a.Params() {
				a.Params()[i].Decay = true // the reference decays every trained tensor
			}
			j := goldenJob(t, dir, &run, m, a)
			res, err := j.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			compareSteps(t, &run, res.Metrics)
			compareLogits(t, j, openTensors(t, filepath.Join(dir, "logits.safetensors")), "final")
		})
	}
}
