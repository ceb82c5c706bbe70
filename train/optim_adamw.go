package train

import "tune/kernels"

// adamW is kernels.AdamW with its state as first and second moment.
func adamW(p, g []float32, state [][]float32, h hyper) {
	s := kernels.AdamWStep{LR: float32(h.rate), Beta1: float32(h.cfg.Beta1), Beta2: float32(h.cfg.Beta2), Eps: float32(h.cfg.Eps),
		Decay: float32(h.decay), GradScale: float32(h.scale)}
	kernels.AdamW(p, g, state[0], state[1], s.Corrected(h.t))
}
