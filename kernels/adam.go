package kernels

import "math"

// AdamWStep is what one step of AdamW has in common for all parameters.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps float32
	Decay                 float32 // weight decay, multiplied by LR (decoupled)
	C1, C2                float32 // bias corrections 1 - Beta1^t and 1 - Beta2^t of step t = 1, 2, ...
	GradScale             float32 // the gradient is multiplied by it (clipping, averaging); 0 means 1
}

// Corrected returns h with the bias corrections of step t = 1, 2, ..., computed in float64.
func (h AdamWStep) Corrected(t int) AdamWStep {
	h.C1 = float32(1 - math.Pow(float64(h.Beta1), float64(t)))
	h.C2 = float32(1 - math.Pow(float64(h.Beta2), float64(t)))
	return h
}

// AdamW updates parameters p and moments m, v from gradients g, over len(p) elements (Loshchilov and Hutter 2019,
// in PyTorch's order of operations):
//
//	g' = GradScale·g             p = p·(1 - LR·Decay)
//	m  = Beta1·m + (1-Beta1)·g'  v = Beta2·v + (1-Beta2)·g'²
//	p  = p - LR/C1 · m / (√v/√C2 + Eps)
func AdamW(p, g, m, v []float32, h AdamWStep) {
	n := len(p)
	if h.GradScale == 0 {
		h.GradScale = 1
	}
	c := adamConst{
		scale: h.GradScale, keep: 1 - h.LR*h.Decay,
		b1: h.Beta1, a1: float32(1 - float64(h.Beta1)), b2: h.Beta2, a2: float32(1 - float64(h.Beta2)),
		rate: float32(float64(h.LR) / float64(h.C1)), root: float32(1 / math.Sqrt(float64(h.C2))), eps: h.Eps,
	}
	adamW(p, g[:n], m[:n], v[:n], &c)
}

// adamConst holds the factors of one step; assembly reads it by offset.
type adamConst struct{ scale, keep, b1, a1, b2, a2, rate, root, eps float32 }

func adamWPlain(p, g, m, v []float32, c *adamConst) {
	for i, x := range g {
		x *= c.scale
		mi := c.b1*m[i] + c.a1*x
		vi := c.b2*v[i] + c.a2*x*x
		m[i], v[i] = mi, vi
		p[i] = p[i]*c.keep - c.rate*(mi/(float32(math.Sqrt(float64(vi)))*c.root+c.eps))
	}
}
