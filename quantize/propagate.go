package quantize

import (
	"context"

	"tune/internal/grouped"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/tensor"
	"tune/kernels"
)

// With propagation a layer is quantized, runs with its quantized weights, and what it gives is what the next one is measured on.

// planPropagation divides a bound of memory (bytes beside mapped files; 0: none) between solving for one module at a time and running
// layers, whose quantized matrices are float32 then, their codes beside them.
func (p *PackedPlan) planPropagation(m *model.Model, weights tensor.Source, text Text, limit int64, threads int) (budget, error) {
	c := &collecting{infos: map[string]tensor.Info{}}
	if err := c.list(m); err != nil {
		return budget{}, err
	}
	layer := p.largestLayer(4 + 1)
	if p.o.Resident > 0 { // the model's own matrices are copies too
		stored, err := layerWeights(m, weights)
		if err != nil {
			return budget{}, err
		}
		layer += stored
	}
	if limit <= 0 {
		return planWalk(m, text, c.inputs, layer, 0)
	}
	solving := max(p.module()+p.solving(threads), p.folding())
	b, err := planWalk(m, text, c.inputs, layer, max(limit-solving, 1))
	if err != nil && b.total > 0 {
		err = hint.Errorf("raise --memory, choose shorter sequences, or leave out --propagate", "memory: expected at least %d bytes to solve for a layer and to run it, found %d", solving+b.total, limit)
	}
	return b, err
}

// PropagationMemory is what running layers takes at most beside what Memory says of one worker.
func (p *PackedPlan) PropagationMemory(m *model.Model, weights tensor.Source, text Text, limit int64, threads int) (int64, error) {
	b, err := p.planPropagation(m, weights, text, limit, threads)
	return b.total, err
}

// advance quantizes the layer at hand, runs it, and prepares to measure the next one.
func (s *Solver) advance(ctx context.Context) error {
	if s.layer >= 0 {
		run, err := s.quantized()
		if err != nil {
			return err
		}
		s.clock.lap(&s.Phases.Statistics)
		if err := s.walk.layer(ctx, s.layer, run, true, 0, 0, nil); err != nil {
			return err
		}
		s.clock.lap(&s.Phases.Propagate)
	}
	s.enter(s.layer+1, s.walk.statistics(ctx, s.layer+1, s.calibration.inputs[s.layer+1], s.o.Few))
	s.solved = map[string]*grouped.Linear{}
	return nil
}

// quantized is the layer at hand with the matrices that were solved for, as they are before folding.
func (s *Solver) quantized() (run *override, err error) {
	run = &override{matrices: map[string]kernels.Matrix{}}
	for _, in := range s.stats.inputs {
		for _, name := range in.Modules {
			if s.o.Kept[name] {
				continue
			}
			q := s.solved[name]
			if q == nil {
				if q, err = s.solve(name); err != nil {
					return nil, err
				}
			}
			w := make([]float32, q.Out*q.In)
			for o := range q.Out {
				q.Decode(w[o*q.In:(o+1)*q.In], o)
			}
			if s.Folds != nil {
				s.Folds.unscale(name+".weight", w)
			}
			run.matrices[name+".weight"] = kernels.Floats(w, q.Out, q.In)
		}
	}
	return run, nil
}
