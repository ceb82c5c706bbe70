package train

import (
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/data"
	"tune/internal/model"
	"tune/internal/testkit"
	"tune/kernels"
)

// smallJob trains every weight of the tiny Llama for 12 steps, with held-out data and evaluations every 4.
func smallJob(t testing.TB, dir string) *Job {
	stream, _ := goldenPacks(t, testkit.Golden(t, "fullft/llama"))
	held := &packs{all: stream.all[:5]}
	stream.all = stream.all[5:]
	m := openModel(t, "llama")
	c := Defaults()
	c.Steps, c.Batch, c.LR, c.MicroTokens, c.SaveEvery = 12, 3, 1e-3, 32, 2
	c.Schedule.Warmup = 2
	pool := kernels.NewPool(2)
	t.Cleanup(pool.Close)
	v := EvalDefaults()
	v.Every = 4
	return &Job{Model: m, Trainable: model.NewFull(m, 1), Config: c, Eval: v, Seed: 3, Train: stream, Held: held, Seq: 16, Pool: pool,
		Dir: dir, Now: func() float64 { return 0 }}
}

func values(j *Job) (all []float32) {
	for _, p := range j.Trainable.Params() {
		all = append(all, p.Data...)
	}
	return all
}

// sameBits compares without taking NaN for NaN or 0 for -0.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// reference is the run nobody interrupts.
func reference(t testing.TB) (*Job, *Result) {
	j := smallJob(t, t.TempDir())
	res, err := j.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return j, res
}

func compareRuns(t *testing.T, want, got *Job) {
	t.Helper()
	if !sameBits(values(want), values(got)) {
		t.Error("the parameters differ from those of an uninterrupted run")
	}
	a, err1 := os.ReadFile(filepath.Join(want.Dir, "metrics.jsonl"))
	b, err2 := os.ReadFile(filepath.Join(got.Dir, "metrics.jsonl"))
	if err1 != nil || err2 != nil || string(a) != string(b) {
		t.Errorf("metrics.jsonl differs from that of an uninterrupted run:\n%s\n%s%v %v", a, b, err1, err2)
	}
}

// Interrupted after every possible step, also between a step and its evaluation.
func TestResumeAfterInterrupt(t *testing.T) {
	want, _ := reference(t)
	for _, stop := range []int{1, 3, 4, 7, 11} {
		dir := t.TempDir()
		j := smallJob(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		j.AfterStep = func(m Metric) {
			if m.Step == stop-1 {
				cancel()
			}
		}
		if _, err := j.Run(ctx); !errors.Is(err, ErrInterrupted) {
			t.Fatalf("found %v, expected an interruption", err)
		}
		j = smallJob(t, dir)
		j.Resume = true
		if _, err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		compareRuns(t, want, j)
	}
}

// An evaluation that is interrupted is made up for.
func TestResumeInEvaluation(t *testing.T) {
	want, _ := reference(t)
	dir := t.TempDir()
	j := smallJob(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	j.Held = cancelling{j.Held, func() {
		if s, _ := readState(dir); s != nil && s.Step == 6 { // the evaluation after step 8
			cancel()
		}
	}}
	if _, err := j.Run(ctx); !errors.Is(err, ErrInterrupted) {
		t.Fatalf("found %v, expected an interruption", err)
	}
	if s, err := readState(dir); err != nil || s.Step != 8 || s.Pending == nil {
		t.Fatalf("state %+v, %v", s, err)
	}
	j = smallJob(t, dir)
	j.Resume = true
	if _, err := j.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	compareRuns(t, want, j)
}

type cancelling struct {
	Stream
	before func()
}

func (c cancelling) Seek(s data.State) error {
	c.before()
	return c.Stream.Seek(s)
}

const killEnv = "TUNE_TEST_KILL_DIR"

// The test runs itself in another process, which dies without notice in the middle of step 9.
func TestResumeAfterKill(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		j := smallJob(t, dir)
		j.AfterStep = func(m Metric) {
			if m.Step == 8 {
				p, err := os.FindProcess(os.Getpid())
				if err == nil {
					err = p.Kill()
				}
				t.Fatal("still alive", err)
			}
		}
		j.Run(t.Context())
		return
	}
	want, _ := reference(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestResumeAfterKill$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || strings.Contains(string(out), "still alive") {
		t.Fatalf("the process ended in peace: %v\n%s", err, out)
	}
	if s, err := readState(dir); err != nil || s == nil || s.Step != 8 {
		t.Fatalf("state %+v, %v", s, err)
	}
	j := smallJob(t, dir)
	j.Resume = true
	if _, err := j.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	compareRuns(t, want, j)
}

func TestResumeRefusesAnotherRun(t *testing.T) {
	j, _ := reference(t)
	other := smallJob(t, j.Dir)
	other.Resume, other.Config.LR = true, 2e-3
	if _, err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "found one of another run") {
		t.Errorf("found %v", err)
	}
}

// Numbers depend neither on the number of workers nor, beyond float32 sums, on how a batch is cut.
func TestSameNumbers(t *testing.T) {
	const limit = 2e-6 // gradients summed in another order, Adam's steps of 1e-3
	want, _ := reference(t)
	one := smallJob(t, t.TempDir())
	one.Pool = nil
	if _, err := one.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	compareRuns(t, want, one)
	whole := smallJob(t, t.TempDir())
	whole.Config.MicroTokens = 64
	res, err := whole.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, ref := reference(t)
	for i, m := range res.Metrics[:3] {
		ref := ref.Metrics[i]
		if math.Abs(m.Loss-ref.Loss) > limit*ref.Loss {
			t.Errorf("step %d: loss %v with one micro-batch, %v with several", i, m.Loss, ref.Loss)
		}
	}
}
