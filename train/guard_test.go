package train

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A weight that is no number stops the run, and the error names step and sample.
func TestNonFinite(t *testing.T) {
	j := smallJob(t, t.TempDir())
	embed := j.Trainable.Params()[0]
	id := int(j.Train.(*packs).all[1].IDs[2])
	embed.Data[id*embed.Shape[1]] = float32(math.NaN())
	j.Held = nil
	_, err := j.Run(t.Context())
	if err == nil || !regexp.MustCompile(`^step 0: sample row \d+: expected finite log-probabilities, found NaN at token \d+$`).MatchString(err.Error()) {
		t.Errorf("found %v", err)
	}
}

// A rate far too high ends in the guard, with the samples of the step.
func TestDiverging(t *testing.T) {
	j := smallJob(t, "")
	j.Held, j.Config.LR, j.Config.Optimizer, j.Config.Clip, j.Config.Schedule = nil, 1e30, "sgd", 0, Schedule{Name: "constant"}
	_, err := j.Run(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "step ") || !strings.Contains(err.Error(), "row ") {
		t.Errorf("found %v", err)
	}
}

func TestEarlyStopKeepsTheBest(t *testing.T) {
	j := smallJob(t, t.TempDir())
	j.Config.Steps, j.Config.LR, j.Config.Schedule = 40, 3e-2, Schedule{Name: "constant"} // gets worse after a while
	j.Eval.Every, j.Eval.Patience = 1, 3
	res, err := j.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	best, at := math.Inf(1), 0
	for _, m := range res.Metrics {
		if m.Eval.Loss < best {
			best, at = m.Eval.Loss, m.Step+1
		}
	}
	if !res.Stopped || res.Steps != at+3 || res.BestStep != at || res.Chosen != at || res.After.Loss != best {
		t.Errorf("stopped %v after %d steps, best %d, chosen %d with loss %v; the metrics say %d with %v", res.Stopped, res.Steps, res.BestStep, res.Chosen, res.After.Loss, at, best)
	}
	// The parameters are those that were measured.
	e, err := newEngine(j, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	m, err := e.evaluate(t.Context(), j.Held, (&packs{}).State(), 0)
	if err != nil || m.Loss != best {
		t.Errorf("the result has held-out loss %v, expected %v (%v)", m.Loss, best, err)
	}
	if steps, err := checkpoints(j.Dir); err != nil || len(steps) != 2 || steps[0] != at || steps[1] != res.Steps {
		t.Errorf("checkpoints %v, %v", steps, err)
	}
}

func TestNothingToLearn(t *testing.T) {
	j := smallJob(t, "")
	j.Train = &packs{}
	if _, err := j.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "expected at least one example") {
		t.Errorf("found %v", err)
	}
	j = smallJob(t, "")
	for _, p := range j.Train.(*packs).all {
		for i := range p.Labels {
			p.Labels[i] = -1
		}
		p.Supervised = 0
	}
	j.Held = nil
	if _, err := j.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "expected supervised tokens, found none in [\"row ") {
		t.Errorf("found %v", err)
	}
}

// Epochs are counted in packs; the last step takes the rest from the next epoch.
func TestEpochs(t *testing.T) {
	j := smallJob(t, "")
	j.Config.Steps, j.Config.Epochs, j.Config.Batch = 0, 1.5, 4
	j.Train.(*packs).all = j.Train.(*packs).all[:10]
	j.Eval.Every = 0
	res, err := j.Run(t.Context())
	if err != nil || res.Steps != 4 {
		t.Errorf("%d steps, expected 4 for 1.5 epochs of 10 packs, 4 in each (%v)", res.Steps, err)
	}
}

// The plan weighs recomputation against smaller micro-batches, and memory only where the user set a limit.
func TestPlanWeighs(t *testing.T) {
	j := smallJob(t, t.TempDir())
	twice := 2 * packing * j.Model.Spec.Values() // what four micro-batches cost beyond two
	for _, c := range []struct {
		memory      int64
		micro       int
		activations int64 // of the larger micro-batches
		again       int64 // recomputed with them
		better      bool
	}{
		{0, 0, comfortable, twice, false},
		{0, 0, comfortable + 1, 0, true},
		{0, 256, comfortable + 1, 0, false},
		{1 << 30, 0, comfortable + 1, twice, false},
		{1 << 30, 256, 0, twice + 1, true},
	} {
		j.Memory, j.Config.MicroTokens = c.memory, c.micro
		found := j.better(&Plan{MicroBatches: 4}, &Plan{MicroBatches: 2, Activations: c.activations, Again: c.again})
		if found != c.better {
			t.Errorf("%+v: found %v", c, found)
		}
	}
}

// A limit makes the plan recompute and cut smaller micro-batches, then give up; numbers stay the same.
func TestMemoryLimit(t *testing.T) {
	job := func(memory int64) *Job {
		j := smallJob(t, t.TempDir())
		j.Seq, j.Config.MicroTokens, j.Memory = 64, 256, memory
		return j
	}
	free, err := job(0).plan(1000)
	if err != nil {
		t.Fatal(err)
	}
	if free.Total != free.Weights+free.Params+free.Gradients+free.Optimizer+free.Activations+free.Inputs+free.Program || free.MicroTokens != 256 {
		t.Errorf("plan %+v", free)
	}
	var again, smaller bool
	for take := int64(0); ; take += 16 << 10 {
		limit := free.Total - take
		p, err := job(limit).plan(1000)
		if err != nil {
			if !strings.Contains(err.Error(), "one sequence of 64 tokens with every layer recomputed lacks") {
				t.Errorf("found %v", err)
			}
			break
		}
		if p.Total > limit {
			t.Fatalf("planned %d of %d bytes", p.Total, limit)
		}
		again = again || p.Recomputed+p.CheapOnly > 0 && p.MicroTokens == 256
		smaller = smaller || p.MicroTokens < 256
	}
	if !again || !smaller {
		t.Errorf("recomputed at full size: %v, smaller micro-batches: %v", again, smaller)
	}
}

func TestReport(t *testing.T) {
	j := smallJob(t, t.TempDir())
	res, err := j.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := Report{Title: "a <b> title", Result: res, Metrics: res.Metrics, Recipe: "base: x", Data: []Fact{{"train", "3 rows"}},
		Samples: []Sample{{Key: "k", Prompt: "<script>", Expected: "yes", Before: "no", After: "yes"}}}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	html := b.String()
	for _, want := range []string{"a &lt;b&gt; title", "<polyline", "<circle", "&lt;script&gt;", `class="text right">yes`, `class="text wrong">no`, "3 rows", "base: x", "held-out loss"} {
		if !strings.Contains(html, want) {
			t.Errorf("lacks %s", want)
		}
	}
	for _, not := range []string{"<script", "http", "src=", "<link", "NaN", "ZgotmplZ"} {
		if strings.Contains(html, not) {
			t.Errorf("contains %s", not)
		}
	}
	if events, _ := filepath.Glob(filepath.Join(j.Dir, "events.out.tfevents.*")); len(events) != 1 {
		t.Errorf("event files %v", events)
	} else if info, err := os.Stat(events[0]); err != nil || info.Size() < 1000 {
		t.Errorf("event file %v, %v", info, err)
	}
}
