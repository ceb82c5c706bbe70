package kernels

import "math"

// RMSNorm writes y_i = x_i·rstd·w_i with rstd = 1/√(mean(x²) + eps), and returns rstd; y may be x.
// The mean is taken in float64 (SumSquares). (Zhang and Sennrich 2019)
func RMSNorm(y, x, w []float32, eps float32) (rstd float32) {
	rstd = float32(1 / math.Sqrt(SumSquares(x)/float64(len(x))+float64(eps)))
	scaleMul(y[:len(x)], rstd, x, w[:len(x)])
	return rstd
}

// RMSNormBackward is the backward of RMSNorm for one row, with g_i = dy_i·w_i:
//
//	dx_i = rstd·(g_i - x_i·rstd²·mean(g·x))        dw_i += dy_i·x_i·rstd
//
// dx is written and may be dy or x; dw is added to. Each may be nil.
func RMSNormBackward(dx, dw, dy, x, w []float32, rstd float32) {
	n := len(x)
	dy, w = dy[:n], w[:n]
	if dw != nil {
		axpyMul(dw[:n], rstd, dy, x)
	}
	if dx != nil {
		c := rstd * rstd * rstd * dot3(dy, w, x) / float32(n)
		normGrad(dx[:n], rstd, dy, w, -c, x)
	}
}

// scaleMulPlain: y_i = (x_i·a)·w_i.
func scaleMulPlain(y []float32, a float32, x, w []float32) {
	for i, v := range x {
		y[i] = v * a * w[i]
	}
}

// axpyMulPlain: dst_i += a·(x_i·y_i).
func axpyMulPlain(dst []float32, a float32, x, y []float32) {
	for i, v := range x {
		dst[i] += v * y[i] * a
	}
}

// dot3Plain returns Σ x_i·y_i·z_i.
func dot3Plain(x, y, z []float32) float32 {
	var s [lanes]float32
	n := len(x) &^ (lanes - 1)
	for i := 0; i < n; i += lanes {
		for l := range s {
			s[l] += x[i+l] * y[i+l] * z[i+l]
		}
	}
	for i := n; i < len(x); i++ {
		s[i-n] += x[i] * y[i] * z[i]
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

// normGradPlain: dst_i = a·x_i·w_i + c·z_i.
func normGradPlain(dst []float32, a float32, x, w []float32, c float32, z []float32) {
	for i, v := range x {
		dst[i] = a*(v*w[i]) + c*z[i]
	}
}
