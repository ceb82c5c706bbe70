package quantize

import (
	"math"
	"runtime/debug"

	"tune/internal/graph"
	"tune/internal/hint"
	"tune/internal/model"
)

// budget says how a walk over a text stays within a bound of memory.
type budget struct {
	batch   int   // tokens that run at a time
	spool   bool  // hidden states go to disk
	grams   int64 // bytes of the Gram matrices of one run of a layer
	total   int64 // bytes of everything at its fullest, mapped files aside
	bounded bool
}

func (b budget) pieces(t Text) int { return min(max(b.batch/t.Length, 1), t.Pieces()) }

// unbounded is the budget of a walk that may take what it wants.
var unbounded = budget{batch: batchTokens, grams: math.MaxInt64}

// gramBytes is what one Gram matrix takes.
func gramBytes(width int) int64 { return 8 * int64(width) * int64(width) }

// planWalk divides a bound of memory (bytes beside mapped files; 0: none) among the activations of a batch, the Gram matrices of a layer
// and the hidden states of the text; with an error, total is the least that would do. layer is what the matrices of one layer take in memory, 0 when files are mapped.
func planWalk(m *model.Model, text Text, inputs [][]Input, layer, memory int64) (budget, error) {
	if err := text.check(&m.Spec); err != nil {
		return budget{}, err
	}
	widest, most := 0, int64(0) // of an input; of all of a layer
	for _, list := range inputs {
		sum := int64(0)
		for _, in := range list {
			widest, sum = max(widest, in.Width), sum+gramBytes(in.Width)
		}
		most = max(most, sum)
	}
	states := 4 * int64(text.Pieces()) * int64(text.Length) * int64(m.C)
	for batch := batchTokens; ; batch /= 2 {
		b := budget{batch: batch, grams: most, bounded: memory > 0}
		run, err := layerBytes(m, b.pieces(text)*text.Length)
		if err != nil {
			return b, err
		}
		// beside these: one product of rows, hidden states on their way to disk, the upper half of a matrix as it goes to the file
		n := int64(b.pieces(text) * text.Length)
		fixed := layer + run + 8*gramStripeBytes*max(int64(widest), n) + 4*n*int64(m.C) + gramBytes(widest)/2
		switch {
		case memory <= 0 || fixed+most+states <= memory:
			b.total = fixed + most + states
			return b, nil
		case fixed+gramBytes(widest) <= memory:
			b.spool, b.grams = true, min(most, memory-fixed)
			b.total = fixed + b.grams
			return b, nil
		case b.pieces(text) == 1:
			b.total = fixed + gramBytes(widest)
			return b, hint.Errorf("raise --memory, or choose shorter sequences", "memory: expected at least %d bytes to calibrate, found %d", b.total, memory)
		}
	}
}

// gramStripeBytes is what solve.Gram.Add keeps of each row and column, as floats of a stripe of 192.
const gramStripeBytes = 192

// layerBytes is what running the largest layer on so many tokens takes.
func layerBytes(m *model.Model, tokens int) (most int64, err error) {
	for _, l := range []int{0, m.L - 1} { // mixtures begin with dense layers, if they have some
		err := func() error {
			defer m.Unload(layerPrefix(l))
			if err := m.Load(layerPrefix(l)); err != nil {
				return err
			}
			g := graph.New()
			y, taps := tapped(m, l, g.Input("x", graph.Shape{tokens, m.C}), m.Batch(g, tokens), nil)
			out, _ := outputs(y, taps)
			p, err := g.Compile(graph.Options{}, out...)
			if err == nil {
				most = max(most, p.Total())
			}
			return err
		}()
		if err != nil {
			return 0, err
		}
	}
	return most, nil
}

// tidy gives what nothing refers to any more back to the system when memory is bounded: the collector itself waits until the heap has
// doubled.
func tidy(bounded bool) {
	if bounded {
		debug.FreeOSMemory()
	}
}

// passes cuts the inputs of a layer into runs whose Gram matrices fit.
func (b budget) passes(inputs []Input) (ends []int) {
	sum := int64(0)
	for i, in := range inputs {
		n := gramBytes(in.Width)
		if sum += n; sum > b.grams && i > 0 {
			ends, sum = append(ends, i), n
		}
	}
	return append(ends, len(inputs))
}
