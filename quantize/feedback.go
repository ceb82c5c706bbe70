package quantize

import (
	"fmt"
	"strings"

	"tune/internal/model"
	"tune/kernels"
	"tune/quantize/solve"
)

// Feedback rounds matrices to GGUF's types with GPTQ's correction of errors: the encoders find the scales of each block for the
// weights as corrected so far, codes are chosen one column after the other. Only the bytes' content changes: what reads the types
// reads the file.
type Feedback struct {
	Reports []FeedbackReport // in the order of the file
	c       *Calibration
	damp    float64
	pool    *kernels.Pool
	layer   int
	stats   *layerStatistics
	factors map[factorKey]*solve.Factor // of the layer
}

// FeedbackReport is what became of one tensor.
type FeedbackReport struct {
	Tensor string  `json:"tensor"`
	Damp   float64 `json:"damping"`
	Tries  int     `json:"damping_raised,omitempty"`
	Dead   int     `json:"dead_columns,omitempty"`
}

type factorKey struct{ input, block int }

// NewFeedback takes the products of a calibration and a damping, as a share of the mean square (0: 0.01).
func NewFeedback(c *Calibration, damp float64, pool *kernels.Pool) *Feedback {
	if damp == 0 {
		damp = 0.01
	}
	return &Feedback{c: c, damp: damp, pool: pool, layer: -1}
}

// factor of a tensor's inputs in the order for its type; nil without feedback, for types whose values share codes, and for
// tensors that the calibration does not know. Called in the order of the file.
func (f *Feedback) factor(c *Choice) (*solve.Factor, error) {
	if f == nil || c.To == c.Type || len(c.Dims) != 2 || !solve.Storable(c.To, c.cols()) {
		return nil, nil
	}
	name, ok := model.HFName(c.Name)
	l, err := layerNumber(name)
	if !ok || err != nil || l >= len(f.c.inputs) {
		return nil, nil
	}
	if l != f.layer {
		f.layer, f.stats, f.factors = l, f.c.layer(l, Few{}), map[factorKey]*solve.Factor{}
	}
	i := f.stats.find(strings.TrimSuffix(name, ".weight"))
	if i < 0 {
		return nil, nil
	}
	if n := f.stats.inputs[i].Width; n != c.cols() {
		return nil, fmt.Errorf("%w: expected %d columns, found %d", ErrCalibration, c.cols(), n)
	}
	key := factorKey{i, c.To.Row().Block}
	if f.factors[key] == nil {
		in, _, _, err := f.stats.of(i)
		if err != nil {
			return nil, err
		}
		g := in.Gram
		if f.factors[key], err = solve.NewFactor(g, solve.ByGroup(g.Diagonal(), key.block), f.damp, f.pool); err != nil {
			return nil, err
		}
	}
	x := f.factors[key]
	f.Reports = append(f.Reports, FeedbackReport{c.Name, x.Damp, x.Tries, x.Dead})
	return x, nil
}
