package quantize

import (
	"context"
	"fmt"
	"math"
	"strings"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/kernels"
	"tune/quantize/solve"
)

// Input is what linears of a layer read, alike.
type Input struct {
	Modules []string `json:"modules"` // that read it
	Width   int      `json:"width"`
	Experts string   `json:"experts,omitempty"` // of an expert: the name that the same input of all experts of the layer shares
}

// Statistics of an input of linears over the tokens of a text.
type Statistics struct {
	Input
	Gram *solve.Gram
	Mean []float64 // magnitudes (Width)
}

func newStatistics(in Input) *Statistics {
	return &Statistics{in, solve.NewGram(in.Width), make([]float64, in.Width)}
}

// measure runs layer l and returns the statistics of its inputs [from, to). With advance the hidden states become those after it.
func (w *walk) measure(ctx context.Context, l int, inputs []Input, from, to int, advance bool) ([]*Statistics, error) {
	tidy(w.budget.bounded) // earlier ones may be gone
	var all []*Statistics
	for _, in := range inputs[from:to] {
		all = append(all, newStatistics(in))
	}
	err := w.layer(ctx, l, nil, advance, from, to, func(i int, x []float32, rows int) {
		s := all[i-from]
		s.Gram.Add(x, rows, w.m.Exact, w.pool)
		w.clock.lap(&w.spent.Products)
		addMagnitudes(s.Mean, x, rows, w.pool)
		w.clock.lap(&w.spent.Magnitudes)
	})
	if err != nil {
		return nil, fmt.Errorf("layer %d: %w", l, err)
	}
	for _, s := range all {
		if err := s.Gram.Check(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Modules[0], err)
		}
		for j := range s.Mean {
			s.Mean[j] /= float64(max(s.Gram.Tokens, 1))
		}
	}
	return all, nil
}

// statistics are those of layer l as the hidden states are now: as many at a time as fit, measured when they are asked for.
func (w *walk) statistics(ctx context.Context, l int, inputs []Input, few Few) *layerStatistics {
	from, to := 0, 0 // of what is at hand
	var now []*Statistics
	return &layerStatistics{inputs: inputs, few: few, read: func(i int) (*Statistics, error) {
		if i >= from && i < to {
			return now[i-from], nil
		}
		now, from = nil, 0
		for _, to = range w.budget.passes(inputs) {
			if i < to {
				break
			}
			from = to
		}
		var err error
		if now, err = w.measure(ctx, l, inputs, from, to, false); err != nil {
			return nil, err
		}
		return now[i-from], nil
	}}
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

// tap is an input of linears and its node: x (N, Width), or, of an expert, what all experts read (M, Width), sorted by expert, and
// how many rows each of them has (1, E).
type tap struct {
	Input
	x, rows *graph.Node
	expert  int
}

// tapped declares layer l and tells what its linears read, each input once. Routers are never quantized and need no statistics.
func tapped(m *model.Model, l int, x *graph.Node, b model.Batch, t model.Trainable) (y *graph.Node, taps []tap) {
	seen := map[*graph.Node]int{} // its first tap
	router := layerPrefix(l) + m.Experts.Block + ".gate"
	m.Tap.In = func(module string, x *graph.Node) {
		if m.Experts.N > 0 && module == router {
			return
		}
		i, ok := seen[x]
		if !ok {
			i = len(taps)
			seen[x] = i
			taps = append(taps, tap{Input: Input{Width: x.Shape()[1]}, x: x})
		}
		taps[i].Modules = append(taps[i].Modules, module)
	}
	m.Tap.Experts = func(modules []string, x *graph.Node, r nn.Routing) {
		i, ok := seen[x]
		if !ok {
			i = len(taps)
			seen[x] = i
			rows := x.Graph().Apply(&expertRows{experts: r.E}, r.Ends)[0]
			for e := range modules {
				taps = append(taps, tap{Input: Input{Width: x.Shape()[1], Experts: strings.Replace(modules[0], ".experts.0.", ".experts.*.", 1)}, x: x, rows: rows, expert: e})
			}
		}
		for e, name := range modules {
			taps[i+e].Modules = append(taps[i+e].Modules, name)
		}
	}
	defer func() { m.Tap.In, m.Tap.Experts = nil, nil }()
	return m.Block(l, x, b, t), taps
}

// inputsOf names what the linears of layer l read, without running anything.
func inputsOf(m *model.Model, l int) (inputs []Input, err error) {
	defer m.Unload(layerPrefix(l))
	if err := m.Load(layerPrefix(l)); err != nil {
		return nil, err
	}
	g := graph.New()
	_, taps := tapped(m, l, g.Input("x", graph.Shape{1, m.C}), m.Batch(g, 1), nil)
	for _, t := range taps {
		inputs = append(inputs, t.Input)
	}
	return inputs, nil
}

// expertRows is how many rows each expert has (1, E) in what is sorted by expert, from where they end (E).
type expertRows struct {
	graph.NoGrad
	experts int
}

// Info describes the op.
func (o *expertRows) Info() graph.Info {
	return graph.Info{Name: "rows of experts", Out: []graph.Shape{{1, o.experts}}}
}

// Host runs the op.
func (o *expertRows) Host(a *graph.Args) func() {
	ends, y := a.Int[0], a.Out[0]
	return func() {
		before := int32(0)
		for e, end := range ends[:o.experts] {
			y[e], before = float32(end-before), end
		}
	}
}
