package kernels

type panels struct{}

func newPanels(workers int) []panels { return make([]panels, workers) }

type multiply struct{}

func (m *multiply) bind(*Pool) {}

func pause() {}

// Scratch is how many float32 of scratch MatMul needs for x.
func (x *Product) Scratch() int { return 0 }

// MatMul computes every Out of x. scratch holds x.Scratch() values and must not overlap an operand.
func (p *Pool) MatMul(x *Product, scratch []float32) {
	x.check()
	matMulPlain(x)
}
