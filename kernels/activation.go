package kernels

// SwiGLU writes y_i = gate_i·σ(gate_i)·up_i over len(y) elements; y may be gate or up. (Shazeer 2020)
// A NaN or infinity stays one; otherwise the relative error is below 1e-6.
func SwiGLU(y, gate, up []float32) { swiGLU(y, gate[:len(y)], up[:len(y)]) }

// SwiGLUBackward writes, with s = σ(gate):
//
//	dup_i = dy_i·gate_i·s        dgate_i = dy_i·up_i·s·(1 + gate_i·(1 - s))
//
// over len(dy) elements. Outputs may be any of the inputs.
func SwiGLUBackward(dgate, dup, dy, gate, up []float32) {
	n := len(dy)
	swiGLUBackward(dgate[:n], dup[:n], dy, gate[:n], up[:n])
}

func swiGLUPlain(y, gate, up []float32) {
	for i, g := range gate {
		y[i] = g / (1 + exp(-g)) * up[i]
	}
}

func swiGLUBackwardPlain(dgate, dup, dy, gate, up []float32) {
	for i, g := range gate {
		s := 1 / (1 + exp(-g))
		d, u := dy[i], up[i]
		dup[i] = d * (g * s)
		dgate[i] = d * u * (s * (1 + g*(1-s)))
	}
}
