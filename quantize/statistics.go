package quantize

import (
	"context"
	"fmt"
	"math"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/kernels"
	"tune/quantize/solve"
)

// Statistics is what solvers know of an input of linears.
type Statistics struct {
	Input
	Gram *solve.Gram
	Mean []float64 // magnitudes (Width)
}

// measure runs layer l and returns the statistics of its inputs. With advance the hidden states become those after it.
func (w *walk) measure(ctx context.Context, l int, t model.Trainable, advance bool) ([]Statistics, error) {
	var all []Statistics
	err := w.layer(ctx, l, t, advance, func(i int, in Input, x []float32, rows int) {
		if i == len(all) {
			all = append(all, Statistics{in, solve.NewGram(in.Width), make([]float64, in.Width)})
		}
		s := &all[i]
		s.Gram.Add(x, rows, w.m.Exact, w.pool)
		addMagnitudes(s.Mean, x, rows, w.pool)
	})
	if err != nil {
		return nil, fmt.Errorf("layer %d: %w", l, err)
	}
	for i := range all {
		s := &all[i]
		if err := s.Gram.Check(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Modules[0], err)
		}
		for j := range s.Mean {
			s.Mean[j] /= float64(s.Gram.Tokens)
		}
	}
	return all, nil
}

// addMagnitudes adds |x| (rows, len(sums)) to sums, in the order of the rows.
func addMagnitudes(sums []float64, x []float32, rows int, pool *kernels.Pool) {
	n := len(sums)
	pool.Run((n+columnTask-1)/columnTask, func(_, t int) {
		s := sums[t*columnTask : min((t+1)*columnTask, n)]
		for r := range rows {
			for i, v := range x[r*n+t*columnTask:][:len(s)] {
				s[i] += math.Abs(float64(v))
			}
		}
	})
}

// tapped declares layer l and tells what its linears read, each input once, and the nodes of these inputs.
func tapped(m *model.Model, l int, x *graph.Node, b model.Batch, t model.Trainable) (y *graph.Node, inputs []Input, nodes []*graph.Node) {
	seen := map[*graph.Node]int{}
	m.Tap.In = func(module string, x *graph.Node) {
		i, ok := seen[x]
		if !ok {
			i = len(inputs)
			seen[x] = i
			inputs, nodes = append(inputs, Input{Width: x.Shape()[1]}), append(nodes, x)
		}
		inputs[i].Modules = append(inputs[i].Modules, module)
	}
	defer func() { m.Tap.In = nil }()
	return m.Block(l, x, b, t), inputs, nodes
}

// inputsOf names what the linears of layer l read, without running anything.
func inputsOf(m *model.Model, l int) []Input {
	g := graph.New()
	_, inputs, _ := tapped(m, l, g.Input("x", graph.Shape{1, m.C}), m.Batch(g, 1), nil)
	return inputs
}
