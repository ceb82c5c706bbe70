//go:build !purego

package kernels

// The choice among the forms of each kernel. Assembly wants at least one element: empty slices go to the plain form.

func dot(x, y []float32) float32 {
	switch {
	case len(x) == 0 || level < levelAVX2:
		return dotPlain(x, y)
	case level < levelAVX512:
		return dotAVX2(&x[0], &y[0], len(x))
	}
	return dotAVX512(&x[0], &y[0], len(x))
}

func dot3(x, y, z []float32) float32 {
	switch {
	case len(x) == 0 || level < levelAVX2:
		return dot3Plain(x, y, z)
	case level < levelAVX512:
		return dot3AVX2(&x[0], &y[0], &z[0], len(x))
	}
	return dot3AVX512(&x[0], &y[0], &z[0], len(x))
}

func axpy(dst []float32, a float32, x []float32) {
	switch {
	case len(dst) == 0 || level < levelAVX2:
		axpyPlain(dst, a, x)
	case level < levelAVX512:
		axpyAVX2(&dst[0], a, &x[0], len(dst))
	default:
		axpyAVX512(&dst[0], a, &x[0], len(dst))
	}
}

func add(dst, x, y []float32) {
	switch {
	case len(dst) == 0 || level < levelAVX2:
		addPlain(dst, x, y)
	case level < levelAVX512:
		addAVX2(&dst[0], &x[0], &y[0], len(dst))
	default:
		addAVX512(&dst[0], &x[0], &y[0], len(dst))
	}
}

func mul(dst, x, y []float32) {
	switch {
	case len(dst) == 0 || level < levelAVX2:
		mulPlain(dst, x, y)
	case level < levelAVX512:
		mulAVX2(&dst[0], &x[0], &y[0], len(dst))
	default:
		mulAVX512(&dst[0], &x[0], &y[0], len(dst))
	}
}

func scale(dst []float32, a float32, x []float32) {
	switch {
	case len(dst) == 0 || level < levelAVX2:
		scalePlain(dst, a, x)
	case level < levelAVX512:
		scaleAVX2(&dst[0], a, &x[0], len(dst))
	default:
		scaleAVX512(&dst[0], a, &x[0], len(dst))
	}
}

func sumSquares(x []float32) float64 {
	switch {
	case len(x) == 0 || level < levelAVX2:
		return sumSquaresPlain(x)
	case level < levelAVX512:
		return sumSquaresAVX2(&x[0], len(x))
	}
	return sumSquaresAVX512(&x[0], len(x))
}

func maxNum(x []float32) float32 {
	switch {
	case len(x) == 0 || level < levelAVX2:
		return maxNumPlain(x)
	case level < levelAVX512:
		return maxNumAVX2(&x[0], len(x))
	}
	return maxNumAVX512(&x[0], len(x))
}

func indexOf(x []float32, m float32) int {
	switch {
	case len(x) == 0 || level < levelAVX2:
		return indexOfPlain(x, m)
	case level < levelAVX512:
		return indexOfAVX2(&x[0], len(x), m)
	}
	return indexOfAVX512(&x[0], len(x), m)
}

func scaleMul(dst []float32, a float32, x, w []float32) {
	switch {
	case len(dst) == 0 || level < levelAVX2:
		scaleMulPlain(dst, a, x, w)
	case level < levelAVX512:
		scaleMulAVX2(&dst[0], a, &x[0], &w[0], len(dst))
	default:
		scaleMulAVX512(&dst[0], a, &x[0], &w[0], len(dst))
	}
}

func axpyMul(dst []float32, a float32, x, y []float32) {
	switch {
	case len(dst) == 0 || level < levelAVX2:
		axpyMulPlain(dst, a, x, y)
	case level < levelAVX512:
		axpyMulAVX2(&dst[0], a, &x[0], &y[0], len(dst))
	default:
		axpyMulAVX512(&dst[0], a, &x[0], &y[0], len(dst))
	}
}

func normGrad(dst []float32, a float32, x, w []float32, c float32, z []float32) {
	switch {
	case len(dst) == 0 || level < levelAVX2:
		normGradPlain(dst, a, x, w, c, z)
	case level < levelAVX512:
		normGradAVX2(&dst[0], a, &x[0], &w[0], c, &z[0], len(dst))
	default:
		normGradAVX512(&dst[0], a, &x[0], &w[0], c, &z[0], len(dst))
	}
}

func swiGLU(y, gate, up []float32) {
	switch {
	case len(y) == 0 || level < levelAVX2:
		swiGLUPlain(y, gate, up)
	case level < levelAVX512:
		swiGLUAVX2(&y[0], &gate[0], &up[0], len(y))
	default:
		swiGLUAVX512(&y[0], &gate[0], &up[0], len(y))
	}
}

func swiGLUBackward(dgate, dup, dy, gate, up []float32) {
	switch {
	case len(dy) == 0 || level < levelAVX2:
		swiGLUBackwardPlain(dgate, dup, dy, gate, up)
	case level < levelAVX512:
		swiGLUBackwardAVX2(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], len(dy))
	default:
		swiGLUBackwardAVX512(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], len(dy))
	}
}

func rope(y0, y1, x0, x1, cos, sin []float32, sign float32) {
	switch {
	case len(cos) == 0 || level < levelAVX2:
		ropePlain(y0, y1, x0, x1, cos, sin, sign)
	case level < levelAVX512:
		ropeAVX2(&y0[0], &y1[0], &x0[0], &x1[0], &cos[0], &sin[0], len(cos), sign)
	default:
		ropeAVX512(&y0[0], &y1[0], &x0[0], &x1[0], &cos[0], &sin[0], len(cos), sign)
	}
}

func sumExp(x []float32, m float32) float64 {
	switch {
	case len(x) == 0 || level < levelAVX2:
		return sumExpPlain(x, m)
	case level < levelAVX512:
		return sumExpAVX2(&x[0], len(x), m)
	}
	return sumExpAVX512(&x[0], len(x), m)
}

func expSum(x []float32, m float32) float64 {
	switch {
	case len(x) == 0 || level < levelAVX2:
		return expSumPlain(x, m)
	case level < levelAVX512:
		return expSumAVX2(&x[0], len(x), m)
	}
	return expSumAVX512(&x[0], len(x), m)
}

func scaleExp(x []float32, m, g float32) {
	switch {
	case len(x) == 0 || level < levelAVX2:
		scaleExpPlain(x, m, g)
	case level < levelAVX512:
		scaleExpAVX2(&x[0], len(x), m, g)
	default:
		scaleExpAVX512(&x[0], len(x), m, g)
	}
}

func adamW(p, g, m, v []float32, c *adamConst) {
	switch {
	case len(p) == 0 || level < levelAVX2:
		adamWPlain(p, g, m, v, c)
	case level < levelAVX512:
		adamWAVX2(&p[0], &g[0], &m[0], &v[0], len(p), c)
	default:
		adamWAVX512(&p[0], &g[0], &m[0], &v[0], len(p), c)
	}
}

func bf16FromF32(dst []uint16, src []float32) {
	if len(dst) > 0 && level >= levelAVX512 {
		bf16FromF32AVX512(&dst[0], &src[0], len(dst))
		return
	}
	n := 0
	if level >= levelAVX2 && len(dst) >= 8 {
		n = len(dst) &^ 7
		bf16FromF32AVX2(&dst[0], &src[0], n)
	}
	bf16FromF32Plain(dst[n:], src[n:])
}

func f16FromF32(dst []uint16, src []float32) {
	if len(dst) > 0 && level >= levelAVX512 {
		f16FromF32AVX512(&dst[0], &src[0], len(dst))
		return
	}
	n := 0
	if level >= levelAVX2 && len(dst) >= 8 {
		n = len(dst) &^ 7
		f16FromF32AVX2(&dst[0], &src[0], n)
	}
	f16FromF32Plain(dst[n:], src[n:])
}

func f32FromBF16(dst []float32, src []uint16) {
	if len(dst) > 0 && level >= levelAVX512 {
		f32FromBF16AVX512(&dst[0], &src[0], len(dst))
		return
	}
	n := 0
	if level >= levelAVX2 && len(dst) >= 8 {
		n = len(dst) &^ 7
		f32FromBF16AVX2(&dst[0], &src[0], n)
	}
	f32FromBF16Plain(dst[n:], src[n:])
}

func f32FromF16(dst []float32, src []uint16) {
	if len(dst) > 0 && level >= levelAVX512 {
		f32FromF16AVX512(&dst[0], &src[0], len(dst))
		return
	}
	n := 0
	if level >= levelAVX2 && len(dst) >= 8 {
		n = len(dst) &^ 7
		f32FromF16AVX2(&dst[0], &src[0], n)
	}
	f32FromF16Plain(dst[n:], src[n:])
}
