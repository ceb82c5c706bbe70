package train

import (
	"fmt"

	"tune/internal/graph"
	"tune/internal/hint"
)

// Plan is where the memory of a run goes, known before its first step, and what its steps cost. Sizes in bytes.
type Plan struct {
	Weights     int64 `json:"weights"`     // of the base, mapped
	Params      int64 `json:"params"`      // trained values: the working copy and the one that is saved
	Gradients   int64 `json:"gradients"`   // summed over micro-batches
	Optimizer   int64 `json:"optimizer"`   // moments
	Activations int64 `json:"activations"` // of one micro-batch, with the working memory of its operations
	Inputs      int64 `json:"inputs"`
	Program     int64 `json:"program"` // the program itself, tokenizer, data, as measured now, and Garbage
	Total       int64 `json:"total"`

	MicroTokens   int   `json:"micro_tokens"`
	MicroBatches  int   `json:"micro_batches"` // of a step with full sequences
	Recomputed    int   `json:"recomputed_layers"`
	CheapOnly     int   `json:"cheaply_recomputed_layers"` // layers of which only cheap operations are recomputed
	Layers        int   `json:"layers"`
	TokensPerStep int   `json:"tokens_per_step"` // at most
	FLOPs         int64 `json:"flops_per_step"`  // of full sequences, each token supervised, nothing done twice
	Again         int64 `json:"recomputed_flops_per_step"`

	budget int64 // bytes left for a program
}

// Garbage is what may lie about, rows of data for the most part, before it is collected.
const Garbage = 16 << 20

// packing is what a micro-batch costs beside its work, in operations for each value of the base: its weights are decoded and packed
// for each pass anew. Measured: SmolLM2-135M in two micro-batches of 256 tokens took 5 % longer than in one of 512, and no longer in
// two of 512 than in one of 1,024.
const packing = 110

// comfortable is how many bytes of activations a run takes that was given no limit: with more, smaller micro-batches cost less
// than the memory that they save.
const comfortable = 512 << 20

// Plan chooses the micro-batch and the recomputation that cost least within the memory limit. When one sequence does not fit, the
// error says how much is missing.
func (j *Job) Plan() (*Plan, error) { return j.plan(ownMemory() + Garbage) }

// plan is Plan for a process that takes so many bytes already.
func (j *Job) plan(program int64) (*Plan, error) {
	p := Plan{Weights: j.Model.WeightBytes(), Program: program, TokensPerStep: j.Config.Batch * j.Seq}
	for _, x := range j.Trainable.Params() {
		p.Optimizer += 4 * int64(len(x.Data)*len(optimizers[j.Config.Optimizer].states))
		p.Params += 4 * int64(len(x.Data))
	}
	if j.Memory > 0 {
		p.budget = j.Memory - p.Weights - p.Program - p.Optimizer - p.Params
		if p.budget <= 0 {
			return nil, hint.Errorf("a smaller or quantized base, a lower lora.rank or more memory",
				"memory plan: expected at most %s, found %s before the first activation", BytesText(j.Memory), BytesText(j.Memory-p.budget))
		}
	}
	one, err := j.program(roundUp(j.Seq), graph.Options{})
	if err != nil {
		return nil, err
	}
	p.FLOPs = one.Report.FLOPs * int64(j.Config.Batch)
	var best *Plan
	least := roundUp(j.Seq)
	for micro := roundUp(j.microTokens()); ; micro = max(least, roundUp(micro/2)) {
		missing, err := j.missing(micro, p.budget)
		if err != nil {
			return nil, err
		}
		if missing <= 0 {
			program, err := j.program(micro, j.options(p.budget))
			if err != nil {
				return nil, err
			}
			next := p
			next.fill(j, program, micro)
			if best == nil || j.better(&next, best) {
				best = &next
			}
		}
		if micro > least {
			continue
		}
		if best == nil {
			return nil, hint.Errorf("a shorter data.seq, a lower lora.rank or more memory",
				"memory plan: expected at most %s; one sequence of %d tokens with every layer recomputed lacks %s", BytesText(j.Memory), j.Seq, BytesText(missing))
		}
		return best, nil
	}
}

// better says whether a plan with smaller micro-batches is to be preferred.
func (j *Job) better(smaller, larger *Plan) bool {
	if j.Memory == 0 {
		return j.Config.MicroTokens == 0 && larger.Activations > comfortable
	}
	values := j.Model.Spec.Values()
	cost := func(p *Plan) int64 { return p.Again + packing*values*int64(p.MicroBatches) }
	return cost(smaller) < cost(larger)
}

// options bound a program to so many bytes, 0: no bound. Cheap operations are recomputed in any case: they take less time than
// the memory that their outputs fill.
func (j *Job) options(budget int64) graph.Options {
	return graph.Options{Budget: budget, Recompute: j.Model.L}
}

// missing is how many bytes a program of so many tokens lacks when it recomputes all it can.
func (j *Job) missing(tokens int, budget int64) (int64, error) {
	if budget == 0 {
		return 0, nil
	}
	const everything = 1 << 30 // stages; a program has two for each layer
	p, err := j.program(tokens, graph.Options{Recompute: everything})
	if err != nil {
		return 0, err
	}
	return p.Total() - budget, nil
}

// program compiles one training program without memory.
func (j *Job) program(tokens int, o graph.Options) (*graph.Program, error) {
	e := &engine{job: j, o: objectives[j.Config.Objective], params: j.Trainable.Params(), options: o}
	return e.compile(shape{tokens, true})
}

func (p *Plan) fill(j *Job, g *graph.Program, micro int) {
	r := g.Report
	p.MicroTokens, p.MicroBatches = micro, (p.TokensPerStep+micro-1)/micro
	p.Params += r.Params
	p.Gradients, p.Activations, p.Inputs = r.Grads, r.Arena, r.Inputs
	p.Recomputed, p.CheapOnly, p.Layers = r.Full, r.Cheap, r.Layers
	p.Again = r.Again * int64(p.TokensPerStep) / int64(micro)
	p.Total = p.Weights + p.Params + p.Gradients + p.Optimizer + p.Activations + p.Inputs + p.Program
}

// Facts are the plan's lines for a table.
func (p *Plan) Facts() []Fact {
	again := "nothing"
	switch {
	case p.Recomputed > 0:
		again = fmt.Sprintf("%d of %d layers, %.1f %% more work", p.Recomputed, p.Layers, 100*float64(p.Again)/float64(p.FLOPs))
	case p.CheapOnly > 0:
		again = fmt.Sprintf("cheap operations of %d of %d layers", p.CheapOnly, p.Layers)
	}
	return []Fact{
		{"base weights", BytesText(p.Weights)}, {"trained values", BytesText(p.Params)}, {"gradients", BytesText(p.Gradients)},
		{"optimizer", BytesText(p.Optimizer)}, {"activations", BytesText(p.Activations)}, {"inputs", BytesText(p.Inputs)},
		{"program", BytesText(p.Program)}, {"total", BytesText(p.Total)},
		{"micro-batch", fmt.Sprintf("%d tokens, %d per step", p.MicroTokens, p.MicroBatches)}, {"recomputed", again},
		{"work", fmt.Sprintf("%.3g TFLOP per step of %d tokens", float64(p.FLOPs)/1e12, p.TokensPerStep)},
	}
}
