package solve

import (
	"math"
	"slices"

	"tune/kernels"
)

// Weights of one linear (Out, N).
type Weights struct {
	W   []float32
	Out int
}

// ScaleOptions of SearchScale.
type ScaleOptions struct {
	Grid   IntsOptions // what the scaled weights will be rounded to
	Points int         // ratios tried: 0, 1/Points, ...; 0: 20
	Plain  bool        // scales from activations alone; else weights count too ("duo")
	Exact  bool        // float32 products; else bf16 operands where the CPU has them
	Rows   int         // most rows of each linear that errors are computed of, evenly spread; 0: all
}

// A Scaling divides the inputs of linears by Scale and multiplies the columns of their weights by it.
type Scaling struct {
	Scale    []float64 // (N)
	Best     int       // index of the ratio, -1: the identity
	Loss     float64   // mean squared error of an output
	Identity float64   // the same without scaling
	Losses   []float64 // (Points)
}

// SearchScale finds the scaling of the inputs that linears share after which plain rounding changes their outputs least (AWQ; Lin
// et al. 2023). With x the mean magnitudes of the inputs (N), w the mean magnitudes of the weights relative to the largest of
// their row and group, and a ratio r: s = x^r / w^(1-r), or x^r, over the root of its largest times its smallest value. A scaling
// that is no better than none is none.
func SearchScale(layers []Weights, g *Gram, x []float64, o ScaleOptions, pool *kernels.Pool) *Scaling {
	shape("magnitudes", len(x), g.N)
	if o.Points == 0 {
		o.Points = 20
	}
	s := &scaleSearch{ScaleOptions: o, n: g.N, pool: pool, gram: full(g, pool)}
	for _, l := range layers {
		shape("weights", len(l.W), l.Out*g.N)
		s.layers = append(s.layers, sampled(l, g.N, o.Rows))
	}
	w := s.relativeWeights(layers)
	best := &Scaling{Scale: ones(g.N), Best: -1, Identity: s.loss(ones(g.N), g.Tokens)}
	best.Loss = best.Identity
	for i := range o.Points {
		scale := scaleOf(x, w, float64(i)/float64(o.Points), o.Plain)
		l := s.loss(scale, g.Tokens)
		best.Losses = append(best.Losses, l)
		if l < best.Loss {
			best.Scale, best.Best, best.Loss = scale, i, l
		}
	}
	return best
}

func ones(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// full is a Gram matrix as float32 (N, N), both halves.
func full(g *Gram, pool *kernels.Pool) []float32 {
	x := make([]float32, g.N*g.N)
	pool.Run(g.N, func(_, i int) {
		for j := range g.N {
			x[i*g.N+j] = float32(g.At(i, j))
		}
	})
	return x
}

// sampled takes at most rows of the rows of a linear.
func sampled(l Weights, n, rows int) Weights {
	if rows == 0 || l.Out <= rows {
		return l
	}
	w := make([]float32, 0, rows*n)
	for i := range rows {
		r := i * l.Out / rows
		w = append(w, l.W[r*n:(r+1)*n]...)
	}
	return Weights{w, rows}
}

// scaleOf a ratio.
func scaleOf(x, w []float64, ratio float64, plain bool) []float64 {
	const least = 1e-4
	s := make([]float64, len(x))
	lo, hi := math.Inf(1), 0.0
	for i := range s {
		s[i] = math.Pow(x[i], ratio)
		if !plain {
			s[i] /= math.Pow(w[i], 1-ratio) + least
		}
		s[i] = max(s[i], least)
		lo, hi = min(lo, s[i]), max(hi, s[i])
	}
	for i := range s {
		if s[i] /= math.Sqrt(hi * lo); math.IsInf(s[i], 0) || math.IsNaN(s[i]) || s[i] == 0 {
			s[i] = 1
		}
	}
	return s
}

// scaleSearch is the work on one set of linears.
type scaleSearch struct {
	ScaleOptions
	n       int
	layers  []Weights
	gram    []float32 // (n, n)
	pool    *kernels.Pool
	d, y    []float32
	scratch []float32
}

// relativeWeights are the means over all rows of |w| / max |w| of the row's group.
func (s *scaleSearch) relativeWeights(layers []Weights) []float64 {
	const tiny = 1e-6
	mean, rows := make([]float64, s.n), 0
	for _, l := range layers {
		rows += l.Out
	}
	s.pool.Run((s.n+s.Grid.Group-1)/s.Grid.Group, func(_, t int) {
		from, to := t*s.Grid.Group, min((t+1)*s.Grid.Group, s.n)
		for _, l := range layers {
			for r := range l.Out {
				row, most := l.W[r*s.n+from:r*s.n+to], 0.0
				for _, v := range row {
					most = max(most, math.Abs(float64(v)))
				}
				for i, v := range row {
					mean[from+i] += math.Abs(float64(v)) / (most + tiny)
				}
			}
		}
	})
	for i := range mean {
		mean[i] /= float64(rows)
	}
	return mean
}

// loss is the mean squared error of an output when weights are multiplied by scale, rounded, and divided again.
func (s *scaleSearch) loss(scale []float64, tokens int) float64 {
	sum, rows := 0.0, 0
	for _, l := range s.layers {
		sum += s.layerLoss(l, scale)
		rows += l.Out
	}
	return sum / float64(tokens) / float64(rows)
}

func (s *scaleSearch) layerLoss(l Weights, scale []float64) float64 {
	n := s.n
	s.d, s.y = slices.Grow(s.d[:0], l.Out*n)[:l.Out*n], slices.Grow(s.y[:0], l.Out*n)[:l.Out*n]
	g := NewInts(1, n, s.Grid)
	s.pool.Run((l.Out+errorRows-1)/errorRows, func(_, t int) {
		x, weight := make([]float64, g.Group), make([]float64, g.Group)
		for r := t * errorRows; r < min((t+1)*errorRows, l.Out); r++ {
			g.roundError(s.d[r*n:(r+1)*n], l.W[r*n:(r+1)*n], scale, x, weight)
		}
	})
	return s.quadratic(l.Out)
}

// quadratic is the sum over rows of d·G·dᵀ.
func (s *scaleSearch) quadratic(rows int) float64 {
	n := s.n
	p := &kernels.Product{M: rows, K: n, A: s.d[:rows*n], Exact: s.Exact, Outs: []kernels.Out{{N: n, C: s.y, B: kernels.Floats(s.gram, n, n)}}}
	s.scratch = slices.Grow(s.scratch[:0], p.Scratch())[:p.Scratch()]
	s.pool.MatMul(p, s.scratch)
	sums := make([]float64, rows)
	s.pool.Run(rows, func(_, r int) {
		for i, v := range s.d[r*n : (r+1)*n] {
			sums[r] += float64(v) * float64(s.y[r*n+i])
		}
	})
	total := 0.0
	for _, v := range sums {
		total += v
	}
	return total
}

// errorRows of a task.
const errorRows = 16

// roundError writes the error of a row that is scaled, rounded and scaled back; x and weight are memory for a group.
func (g *Ints) roundError(d, row []float32, scale, x, weight []float64) {
	top := float64(int(1)<<g.Bits - 1)
	for at := 0; at < g.in; at += g.Group {
		n := min(g.Group, g.in-at)
		for i := range n {
			x[i] = float64(row[at+i]) * scale[at+i]
			if weight[i] = 1; g.Weight != nil {
				weight[i] = g.Weight[at+i]
			}
		}
		s, z := g.fit(x[:n], weight[:n])
		for i := range n {
			q := (code(x[i], s, z, top) - z) * s
			d[at+i] = float32((x[i] - q) / scale[at+i])
		}
	}
}
