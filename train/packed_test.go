package train

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"tune/data"
	"tune/internal/testkit"
	"tune/kernels"
	"tune/lora"
)

// Three documents in one row with a trained adapter: the loss and the gradient of every tensor are those of the reference.
func TestPackedGolden(t *testing.T) {
	dir := testkit.Golden(t, "packed/qwen3")
	var info struct {
		Lengths    []int
		Mean       float64            `json:"mean_loss"`
		Supervised int64              `json:"supervised_tokens"`
		Norms      map[string]float64 `json:"gradient_l2"`
		Total      float64            `json:"gradient_total_l2"`
	}
	readJSON(t, filepath.Join(dir, "packed.json"), &info)
	d := openTensors(t, filepath.Join(dir, "packed.safetensors"))
	ids, _ := ints(t, d, "input_ids")
	labels, _ := ints(t, d, "labels")
	var docs []*data.Pack
	for at, i := 0, 0; i < len(info.Lengths); i++ {
		docs = append(docs, row("document", ids[at:at+info.Lengths[i]], labels[at:at+info.Lengths[i]]))
		at += info.Lengths[i]
	}
	m := openModel(t, "qwen3")
	a, err := lora.Load(testkit.Golden(t, "lora/qwen3/adapter_final"), m)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(0)
	t.Cleanup(pool.Close)
	e, err := newEngine(&Job{Model: m, Trainable: a, Config: Defaults(), Pool: pool}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	loss, err := e.learn(join(docs, roundUp(len(ids))), info.Supervised, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !(math.Abs(loss-info.Mean) <= lossLimit) {
		t.Errorf("mean loss %.7f, expected %.7f", loss, info.Mean)
	}
	var total float64
	for _, p := range a.Params() {
		var sum float64
		for _, x := range e.store.Grad(p.Name) {
			sum += float64(x) * float64(x)
		}
		total += sum
		name := strings.Replace(p.Name, ".weight", ".default.weight", 1)
		if want, ok := info.Norms[name]; !ok || !(math.Abs(math.Sqrt(sum)-want) <= normLimit*want) {
			t.Errorf("gradient norm of %s: %.7f, expected %.7f", name, math.Sqrt(sum), want)
		}
	}
	if !(math.Abs(math.Sqrt(total)-info.Total) <= normLimit*info.Total) {
		t.Errorf("gradient norm %.7f, expected %.7f", math.Sqrt(total), info.Total)
	}
}
