package train

import (
	"fmt"
	"math"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/internal/rng"
)

// engine turns micro-batches into log-probabilities and gradients. It keeps one program for each token count; all of them
// share parameters, gradients and the arena.
type engine struct {
	job      *Job
	o        objective
	formulas formulas
	params   []model.Param
	store    *graph.Store
	sessions map[shape]*graph.Session
	options  graph.Options
	micro    int // token limit of a micro-batch
	dropout  rng.Stream
}

// shape of a program.
type shape struct {
	tokens int
	train  bool
}

func newEngine(j *Job, budget int64, micro int) (*engine, error) {
	e := &engine{job: j, o: objectives[j.Config.Objective], params: j.Trainable.Params(), sessions: map[shape]*graph.Session{},
		options: j.options(budget), micro: micro, dropout: rng.New(j.Seed, "dropout")}
	e.formulas.o = e.o
	if len(e.params) == 0 {
		return nil, fmt.Errorf("train: expected parameters to train, found none")
	}
	p, err := e.compile(shape{granule, true}) // the smallest program has all parameters
	if err != nil {
		return nil, err
	}
	if e.store, err = graph.NewStore(graph.NewHost(j.Pool), p); err != nil {
		return nil, err
	}
	e.push()
	return e, nil
}

func (e *engine) close() {
	for _, s := range e.sessions {
		s.Close()
	}
	e.store.Close()
	e.formulas.close()
}

// push copies the trainable's values into the store, pull copies them back.
func (e *engine) push() {
	for _, p := range e.params {
		copy(e.store.Param(p.Name), p.Data)
	}
}

func (e *engine) pull() {
	for _, p := range e.params {
		copy(p.Data, e.store.Param(p.Name))
	}
}

// compile builds a program: outputs are logp and hit, both (N, 1).
func (e *engine) compile(k shape) (*graph.Program, error) {
	m, g := e.job.Model, graph.New()
	var t model.Trainable = e.job.Trainable
	if !k.train {
		t = model.NoDropout(t)
	}
	b := m.Batch(g, k.tokens)
	x := m.Hidden(b, t)
	head := m.Head(b, t)
	if !k.train {
		logp, hit := nn.LogProb(x, b.Labels, head, m.Exact)
		return g.Compile(e.options, logp, hit)
	}
	d := g.Input("dlogp", graph.Shape{k.tokens, 1})
	var logp, hit *graph.Node
	if e.o.linear {
		logp, hit = nn.LogProbFused(x, b.Labels, d, head, m.Exact)
	} else {
		logp, hit = nn.LogProb(x, b.Labels, head, m.Exact)
		g.Split()
	}
	wrt := make([]*graph.Node, len(e.params))
	for i, p := range e.params {
		if wrt[i] = g.Named(p.Name); wrt[i] == nil {
			return nil, fmt.Errorf("train: parameter %s: the model does not use it", p.Name)
		}
	}
	grads, err := g.Backward(logp, d, wrt...)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	for i, p := range e.params {
		g.Accumulate(p.Name, grads[i])
	}
	return g.Compile(e.options, logp, hit)
}

// session returns the bound program for a shape.
func (e *engine) session(k shape) (*graph.Session, error) {
	if s := e.sessions[k]; s != nil {
		return s, nil
	}
	p, err := e.compile(k)
	if err != nil {
		return nil, err
	}
	s, err := e.store.Bind(p)
	if err != nil {
		return nil, err
	}
	e.sessions[k] = s
	return s, nil
}

// set writes a batch into a session. key is the random stream of this run of the program.
func (e *engine) set(s *graph.Session, b *MicroBatch, key uint64) error {
	for name, x := range map[string][]int32{"ids": b.IDs, "pos": b.Pos, "start": b.Start, "labels": b.Labels} {
		if err := s.SetInts(name, x); err != nil {
			return err
		}
	}
	if s.Ints("rng") != nil { // absent where nothing is random
		return s.SetInts("rng", []int32{int32(uint32(key)), int32(uint32(key >> 32))})
	}
	return nil
}

// learn runs a micro-batch forwards and backwards, adding to the gradients. count is the number of supervised tokens of
// the global batch; the losses of its micro-batches add up to the objective.
func (e *engine) learn(b *MicroBatch, count int64, key uint64) (float64, error) {
	s, err := e.session(shape{len(b.IDs), true})
	if err != nil {
		return 0, err
	}
	if err := e.set(s, b, key); err != nil {
		return 0, err
	}
	ops := e.o.operands(b, count)
	f, err := e.formulas.get(len(b.IDs), ops)
	if err != nil {
		return 0, err
	}
	d := s.Floats("dlogp")
	if e.o.linear { // any log-probabilities give the gradient; those of the forward give the loss
		if _, err := f.eval(make([]float32, len(b.IDs)), ops, d); err != nil {
			return 0, err
		}
		if err := s.RunAll(); err != nil {
			return 0, err
		}
		if err := finite(s.Output(0), b); err != nil {
			return 0, err
		}
		return f.eval(s.Output(0), ops, nil)
	}
	if err := s.Run(0); err != nil {
		return 0, err
	}
	if err := finite(s.Output(0), b); err != nil {
		return 0, err
	}
	loss, err := f.eval(s.Output(0), ops, d)
	if err != nil {
		return 0, err
	}
	return loss, s.Run(1)
}

// score runs a micro-batch forwards: log-probabilities and hits (N), valid until the next run.
func (e *engine) score(b *MicroBatch) (logp, hit []float32, err error) {
	s, err := e.session(shape{len(b.IDs), false})
	if err != nil {
		return nil, nil, err
	}
	if err := e.set(s, b, 0); err != nil {
		return nil, nil, err
	}
	if err := s.RunAll(); err != nil {
		return nil, nil, err
	}
	return s.Output(0), s.Output(1), finite(s.Output(0), b)
}

// finite names the sample of the first log-probability that is no number.
func finite(logp []float32, b *MicroBatch) error {
	for i, x := range logp {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("sample %s: expected finite log-probabilities, found %v at token %d", b.key(i), x, b.Pos[i])
		}
	}
	return nil
}
