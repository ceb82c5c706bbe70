//go:build !amd64 || purego

package kernels

func dot3(x, y, z []float32) float32                   { return dot3Plain(x, y, z) }
func add(dst, x, y []float32)                          { addPlain(dst, x, y) }
func mul(dst, x, y []float32)                          { mulPlain(dst, x, y) }
func scale(dst []float32, a float32, x []float32)      { scalePlain(dst, a, x) }
func sumSquares(x []float32) float64                   { return sumSquaresPlain(x) }
func maxNum(x []float32) float32                       { return maxNumPlain(x) }
func indexOf(x []float32, m float32) int               { return indexOfPlain(x, m) }
func scaleMul(y []float32, a float32, x, w []float32)  { scaleMulPlain(y, a, x, w) }
func axpyMul(dst []float32, a float32, x, y []float32) { axpyMulPlain(dst, a, x, y) }
func swiGLU(y, gate, up []float32)                     { swiGLUPlain(y, gate, up) }
func sumExp(x []float32, m float32) float64            { return sumExpPlain(x, m) }
func expSum(x []float32, m float32) float64            { return expSumPlain(x, m) }
func scaleExp(x []float32, m, g float32)               { scaleExpPlain(x, m, g) }
func adamW(p, g, m, v []float32, c *adamConst)         { adamWPlain(p, g, m, v, c) }
func bf16FromF32(dst []uint16, src []float32)          { bf16FromF32Plain(dst, src) }
func f32FromBF16(dst []float32, src []uint16)          { f32FromBF16Plain(dst, src) }
func f16FromF32(dst []uint16, src []float32)           { f16FromF32Plain(dst, src) }
func f32FromF16(dst []float32, src []uint16)           { f32FromF16Plain(dst, src) }

func normGrad(dst []float32, a float32, x, w []float32, c float32, z []float32) {
	normGradPlain(dst, a, x, w, c, z)
}

func swiGLUBackward(dgate, dup, dy, gate, up []float32) {
	swiGLUBackwardPlain(dgate, dup, dy, gate, up)
}

func rope(y0, y1, x0, x1, cos, sin []float32, sign float32) {
	ropePlain(y0, y1, x0, x1, cos, sin, sign)
}
