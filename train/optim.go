package train

import (
	"math"

	"tune/kernels"
)

// optimizer is one rule of moving parameters. state holds one slice per name in states, each as long as the parameter.
type optimizer struct {
	states []string
	step   func(p, g []float32, state [][]float32, h hyper)
}

// hyper is what one step of one parameter needs to know.
type hyper struct {
	cfg   *Config
	rate  float64 // learning rate
	decay float64 // weight decay; 0 for parameters that do not decay
	scale float64 // factor on the gradient (clipping)
	t     int     // steps counted from 1
}

// optimizers in the style of torch.optim: the decay is decoupled and comes first, eps is added outside the square root.
var optimizers = map[string]optimizer{
	"adamw": {[]string{"m", "v"}, adamW}, // Loshchilov and Hutter 2019
	"sgd":   {[]string{"momentum"}, sgd},
}

func sgd(p, g []float32, state [][]float32, h hyper) {
	mu, buf := float32(h.cfg.Momentum), state[0]
	keep, rate, scale := float32(1-h.rate*h.decay), float32(h.rate), float32(h.scale)
	for i := range p {
		buf[i] = mu*buf[i] + scale*g[i]
		p[i] = keep*p[i] - rate*buf[i]
	}
}

// chunk is how many values of a parameter one task updates: large enough to hide the call, small enough to share.
const chunk = 1 << 15

// update moves every parameter by one step and returns nothing: p, g and state are as many slices as parameters.
func (o *optimizer) update(pool *kernels.Pool, p, g [][]float32, state [][][]float32, h []hyper) {
	type piece struct{ param, lo, hi int }
	var pieces []piece
	for i := range p {
		for lo := 0; lo < len(p[i]); lo += chunk {
			pieces = append(pieces, piece{i, lo, min(lo+chunk, len(p[i]))})
		}
	}
	pool.Run(len(pieces), func(_, task int) {
		x := pieces[task]
		var st [4][]float32
		for k, s := range state[x.param] {
			st[k] = s[x.lo:x.hi]
		}
		o.step(p[x.param][x.lo:x.hi], g[x.param][x.lo:x.hi], st[:len(state[x.param])], h[x.param])
	})
}

// norm is the L2 norm over all slices. Each chunk is summed by one task and the chunks in order.
func norm(pool *kernels.Pool, gs [][]float32) float64 {
	var parts [][]float32
	for _, g := range gs {
		for lo := 0; lo < len(g); lo += chunk {
			parts = append(parts, g[lo:min(lo+chunk, len(g))])
		}
	}
	sums := make([]float64, len(parts))
	pool.Run(len(parts), func(_, i int) { sums[i] = kernels.SumSquares(parts[i]) })
	var s float64
	for _, x := range sums {
		s += x
	}
	return math.Sqrt(s)
}

// clipScale is the factor that brings a gradient of this norm to at most clip; torch's clip_grad_norm_ has the 1e-6.
func clipScale(norm, clip float64) float64 {
	if clip == 0 {
		return 1
	}
	return min(1, clip/(norm+1e-6))
}
