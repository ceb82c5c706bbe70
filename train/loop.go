package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"tune/data"
	"tune/internal/hint"
)

// run is a Job under way.
type run struct {
	*Job
	*engine
	opt     optimizer
	moments [][][]float32 // by parameter, by state of the optimizer
	state   State
	held    data.State // where Held and Test begin
	test    data.State
	metrics []Metric
	log     *metricsFile
	events  *eventWriter
	file    *os.File // of events
	saved   int      // steps done at the last checkpoint
	pace    pace
}

// ErrInterrupted is returned when the context was cancelled; the run can be continued when it has a folder.
var ErrInterrupted = errors.New("interrupted")

// Run trains. When ctx is cancelled it saves a checkpoint of the last whole step and returns ErrInterrupted.
func (j *Job) Run(ctx context.Context) (*Result, error) {
	plan, err := j.Plan()
	if err != nil {
		return nil, err
	}
	e, err := newEngine(j, plan.budget, plan.MicroTokens)
	if err != nil {
		return nil, err
	}
	defer e.close()
	r := &run{Job: j, engine: e, opt: optimizers[j.Config.Optimizer]}
	for _, p := range e.params {
		var st [][]float32
		for range r.opt.states {
			st = append(st, make([]float32, len(p.Data)))
		}
		r.moments = append(r.moments, st)
	}
	if j.Held != nil {
		r.held = j.Held.State()
	}
	if j.Test != nil {
		r.test = j.Test.State()
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer r.closeFiles()
	if err := r.all(ctx); err != nil {
		return nil, r.interrupted(ctx, err)
	}
	res, err := r.finish(ctx)
	if err != nil {
		return nil, r.interrupted(ctx, err)
	}
	return res, nil
}

// open starts a new run or continues one.
func (r *run) open(ctx context.Context) error {
	if r.Resume && r.Dir != "" {
		if err := r.load(); err != nil {
			return err
		}
	}
	if r.Dir != "" {
		if err := r.openFiles(); err != nil {
			return err
		}
	}
	if r.state.Fingerprint != "" {
		return nil
	}
	r.state = State{Fingerprint: r.fingerprint(), Data: r.Train.State()}
	if err := r.count(ctx); err != nil {
		return err
	}
	return nil
}

// count finds the number of steps of the run; epochs are counted in packs of the first one.
func (r *run) count(ctx context.Context) error {
	r.state.Steps = r.Config.Steps
	if r.state.Steps > 0 {
		return nil
	}
	packs := 0
	for ; ; packs++ {
		_, err := r.Train.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("training data: %w", err)
		}
	}
	if packs == 0 {
		return errEmpty
	}
	r.state.Steps = int(math.Ceil(float64(packs) * r.Config.Epochs / float64(r.Config.Batch)))
	return r.Train.Seek(r.state.Data)
}

var errEmpty = hint.Errorf("look at it with `tune data stats`", "training data: expected at least one example, found none")

// load continues at the last checkpoint, if there is one.
func (r *run) load() error {
	s, err := readState(r.Dir)
	if err != nil || s == nil {
		return err
	}
	if err := checkFingerprint(r.Dir, s, r.fingerprint()); err != nil {
		return err
	}
	dir := checkpointDir(r.Dir, s.Step)
	params, moments := r.vectors()
	if err := errors.Join(readVectors(filepath.Join(dir, paramsFile), params), readVectors(filepath.Join(dir, optimizerFile), moments)); err != nil {
		return err
	}
	if err := r.Train.Seek(s.Data); err != nil {
		return fmt.Errorf("training data: %w", err)
	}
	if r.state = *s; s.Pending == nil {
		r.saved = s.Step
	}
	return nil
}

// vectors are the parameters in the store and the optimizer's state, by name.
func (r *run) vectors() (params, moments []vector) {
	for i, p := range r.params {
		shape := []int{p.Shape[0], p.Shape[1]}
		params = append(params, vector{p.Name, shape, r.store.Param(p.Name)})
		for k, name := range r.opt.states {
			moments = append(moments, vector{p.Name + "." + name, shape, r.moments[i][k]})
		}
	}
	return params, moments
}

// save writes a checkpoint unless there is one of this step.
func (r *run) save() error {
	if r.Dir == "" || r.saved == r.state.Step && r.saved > 0 {
		return nil
	}
	params, moments := r.vectors()
	if err := writeCheckpoint(r.Dir, r.state, params, moments); err != nil {
		return err
	}
	if r.state.Pending == nil {
		r.saved = r.state.Step
	}
	return nil
}

func (r *run) openFiles() error {
	var err error
	if r.log, r.metrics, err = openMetrics(filepath.Join(r.Dir, "metrics.jsonl"), r.state.Step); err != nil {
		return err
	}
	if r.file, err = os.Create(filepath.Join(r.Dir, fmt.Sprintf("events.out.tfevents.%010d.tune", int64(r.Now())))); err != nil {
		return err
	}
	r.events = newEventWriter(r.file, r.Now())
	return nil
}

func (r *run) closeFiles() {
	if r.log != nil {
		r.log.close()
	}
	if r.file != nil {
		r.file.Close()
	}
}

// all does every step that is left.
func (r *run) all(ctx context.Context) error {
	if (r.Held != nil || r.Test != nil) && r.state.Before == nil {
		m, err := r.judge(ctx)
		if err != nil {
			return err
		}
		r.state.Before, r.state.Baseline = &m.Quality, m.baseline()
		r.tell(Status{Step: r.state.Step, Steps: r.state.Steps, Eval: r.state.Before, Left: -1, Loss: math.NaN()})
	}
	if m := r.state.Pending; m != nil { // the run was interrupted between a step and its evaluation
		if err := r.after(ctx, m); err != nil {
			return err
		}
	}
	for r.state.Step < r.state.Steps && !r.state.Stopped {
		start := r.Now()
		metric, err := r.step(ctx)
		if err != nil {
			return err
		}
		took := r.Now() - start
		r.state.Seconds += took
		metric.Seconds = r.state.Seconds
		r.pace.add(metric.Tokens, took)
		r.state.Pending = &metric
		if err := r.after(ctx, &metric); err != nil {
			return err
		}
	}
	return nil
}

// judge measures the data of the result: all of test, or else what evaluations during training look at.
func (r *run) judge(ctx context.Context) (*measure, error) {
	if r.Test != nil {
		return r.evaluate(ctx, r.Test, r.test, 0)
	}
	return r.evaluate(ctx, r.Held, r.held, r.Eval.Limit)
}

// step does one optimizer step. Until it moves the parameters nothing has changed but the gradients, so it can be given up.
func (r *run) step(ctx context.Context) (Metric, error) {
	s := &r.state
	asked := r.Now()
	packs, err := r.take(ctx)
	if err != nil {
		return Metric{}, err
	}
	m := Metric{Step: s.Step, DataWait: r.Now() - asked, LR: r.Config.Schedule.Rate(s.Step, s.Steps, r.Config.LR)}
	for _, p := range packs {
		m.Tokens += int64(len(p.IDs))
		m.Supervised += int64(p.Supervised)
	}
	if m.Supervised == 0 {
		return m, fmt.Errorf("step %d: expected supervised tokens, found none in %s", s.Step, keys(packs))
	}
	r.store.ZeroGrads()
	for i, group := range cut(packs, r.micro) {
		if err := ctx.Err(); err != nil {
			return m, err
		}
		tokens := 0
		for _, p := range group {
			tokens += len(p.IDs)
		}
		loss, err := r.learn(join(group, roundUp(tokens)), m.Supervised, r.dropout.Sub(uint64(s.Step)).Sub(uint64(i)).Key())
		if err != nil {
			return m, fmt.Errorf("step %d: %w", s.Step, err)
		}
		m.Loss += loss
	}
	if err := r.move(&m); err != nil {
		return m, fmt.Errorf("%w in %s", err, keys(packs))
	}
	s.Step++
	s.Tokens += m.Tokens
	s.Supervised += m.Supervised
	s.Data = r.Train.State()
	return m, nil
}

// move clips the gradients and updates the parameters.
func (r *run) move(m *Metric) error {
	var ps, gs [][]float32
	hs := make([]hyper, len(r.params))
	for _, p := range r.params {
		ps, gs = append(ps, r.store.Param(p.Name)), append(gs, r.store.Grad(p.Name))
	}
	m.GradNorm = norm(r.Pool, gs)
	if bad := m.Loss + m.GradNorm; math.IsNaN(bad) || math.IsInf(bad, 0) {
		return hint.Errorf("a lower train.lr, train.clip=1 or precision=f32 often helps",
			"step %d: expected finite numbers, found loss %v and gradient norm %v", m.Step, m.Loss, m.GradNorm)
	}
	for i, p := range r.params {
		hs[i] = hyper{cfg: &r.Config, rate: m.LR, scale: clipScale(m.GradNorm, r.Config.Clip), t: m.Step + 1}
		if p.Decay {
			hs[i].decay = r.Config.WeightDecay
		}
	}
	r.opt.update(r.Pool, ps, gs, r.moments, hs)
	return nil
}

// take reads the packs of one step, into the next epoch if need be.
func (r *run) take(ctx context.Context) ([]*data.Pack, error) {
	var packs []*data.Pack
	ends := 0
	for len(packs) < r.Config.Batch {
		p, err := r.Train.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			if ends++; ends > 1 && len(packs) == 0 {
				return nil, errEmpty
			}
		case err != nil:
			return nil, fmt.Errorf("training data: %w", err)
		default:
			packs = append(packs, p)
		}
	}
	return packs, nil
}

// keys names a few samples of packs.
func keys(packs []*data.Pack) string {
	const most = 8
	var all []string
	for _, p := range packs {
		all = append(all, p.Keys...)
	}
	if len(all) > most {
		return fmt.Sprintf("%q and %d more", all[:most], len(all)-most)
	}
	return fmt.Sprintf("%q", all)
}

// after measures, reports and saves what is due after a step.
func (r *run) after(ctx context.Context, m *Metric) error {
	s := &r.state
	last := s.Step == s.Steps
	improved := false
	if r.Held != nil && (last || r.Eval.Every > 0 && s.Step%r.Eval.Every == 0) {
		q, err := r.evaluate(ctx, r.Held, r.held, r.Eval.Limit)
		if err != nil {
			return err
		}
		m.Eval = &q.Quality
		improved = s.Best == nil || q.Loss < s.Best.Loss-r.Eval.MinDelta
		if s.Worse++; improved {
			s.Best, s.BestStep, s.Worse = &q.Quality, s.Step, 0
		}
		s.Stopped = !last && r.Eval.Patience > 0 && s.Worse >= r.Eval.Patience
	}
	s.Pending = nil
	r.metrics = append(r.metrics, *m)
	if err := r.record(m); err != nil {
		return err
	}
	every := r.Config.SaveEvery
	if improved || last || s.Stopped || every == 0 && m.Eval != nil || every > 0 && s.Step%every == 0 {
		if err := r.save(); err != nil {
			return err
		}
	}
	if r.AfterStep != nil {
		r.AfterStep(*m)
	}
	st := Status{Step: s.Step, Steps: s.Steps, Loss: m.Loss, LR: m.LR, TokensPerSec: r.pace.tokensPerSec(), Left: r.pace.left(s.Steps - s.Step),
		Eval: m.Eval, Due: last || m.Eval != nil || s.Step%r.Config.LogEvery == 0}
	if s.Stopped {
		st.Note = fmt.Sprintf("stopped: no better held-out loss in %d evaluations", s.Worse)
	}
	r.tell(st)
	return nil
}

// record writes a step to metrics.jsonl and the event file.
func (r *run) record(m *Metric) error {
	if r.log == nil {
		return nil
	}
	if err := r.log.write(*m); err != nil {
		return err
	}
	values := []scalar{{"train/loss", m.Loss}, {"train/grad_norm", m.GradNorm}, {"train/lr", m.LR}, {"train/tokens_per_second", r.pace.tokensPerSec()},
		{"train/data_wait", m.DataWait}}
	if m.Eval != nil {
		values = append(values, scalar{"held/loss", m.Eval.Loss}, scalar{"held/token_accuracy", m.Eval.Accuracy}, scalar{"held/exact_match", m.Eval.Exact})
	}
	return r.events.scalars(r.Now(), m.Step, values)
}

func (r *run) tell(s Status) {
	if r.Progress != nil {
		s.Memory = Memory()
		r.Progress(s)
	}
}

// interrupted saves what a cancelled run has reached.
func (r *run) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if r.Dir == "" {
		return ErrInterrupted
	}
	if r.state.Step > 0 {
		if err := r.save(); err != nil {
			return fmt.Errorf("%w after step %d, and the checkpoint could not be written: %w", ErrInterrupted, r.state.Step, err)
		}
	}
	return hint.Errorf("continue with --resume", "%w after step %d of %d", ErrInterrupted, r.state.Step, r.state.Steps)
}

// finish brings the chosen parameters back into the trainable.
func (r *run) finish(ctx context.Context) (*Result, error) {
	s := &r.state
	res := &Result{Steps: s.Step, BestStep: s.BestStep, Chosen: s.Step, Stopped: s.Stopped, Tokens: s.Tokens, Supervised: s.Supervised,
		Seconds: s.Seconds, TokensPerSec: float64(s.Tokens) / max(s.Seconds, 1e-9), Before: s.Before, Baseline: s.Baseline, Metrics: r.metrics}
	for i := len(r.metrics) - 1; i >= 0 && res.After == nil; i-- {
		res.After = r.metrics[i].Eval
	}
	if r.Eval.Select == "best" && s.BestStep > 0 && s.BestStep != s.Step && r.Dir != "" {
		params, _ := r.vectors()
		if err := readVectors(filepath.Join(checkpointDir(r.Dir, s.BestStep), paramsFile), params); err != nil {
			return nil, err
		}
		res.Chosen, res.After = s.BestStep, s.Best
	}
	if r.Test != nil {
		m, err := r.evaluate(ctx, r.Test, r.test, 0)
		if err != nil {
			return nil, err
		}
		res.After = &m.Quality
	}
	r.pull()
	for _, p := range r.params {
		res.Params += int64(len(p.Data))
	}
	for _, m := range r.metrics {
		res.DataWait += m.DataWait
	}
	if n := len(r.metrics); n > 0 {
		res.FirstLoss = r.metrics[0].Loss
		tail := r.metrics[max(0, n-max(1, n/20)):] // a single step is noise
		for _, m := range tail {
			res.LastLoss += m.Loss / float64(len(tail))
		}
	}
	res.PeakMemory = PeakMemory()
	return res, nil
}

// pace measures speed over the last steps.
type pace struct{ tokens, seconds []float64 }

func (p *pace) add(tokens int64, seconds float64) {
	const window = 20
	if len(p.tokens) == window {
		p.tokens, p.seconds = slices.Delete(p.tokens, 0, 1), slices.Delete(p.seconds, 0, 1)
	}
	p.tokens, p.seconds = append(p.tokens, float64(tokens)), append(p.seconds, seconds)
}

func sum(xs []float64) (s float64) {
	for _, x := range xs {
		s += x
	}
	return s
}

func (p *pace) tokensPerSec() float64 { return sum(p.tokens) / max(sum(p.seconds), 1e-9) }

// left is the time of the remaining steps at the speed of the last ones.
func (p *pace) left(steps int) float64 {
	if len(p.seconds) == 0 {
		return -1
	}
	return sum(p.seconds) / float64(len(p.seconds)) * float64(steps)
}
