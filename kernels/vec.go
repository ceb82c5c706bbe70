package kernels

import "math"

// Dot returns Σ x_i·y_i over len(x) elements, summed in float32 in a fixed tree of lanes.
func Dot(x, y []float32) float32 { return dot(x, y[:len(x)]) }

// Axpy adds a·x to dst: dst_i += a·x_i over len(dst) elements.
func Axpy(dst []float32, a float32, x []float32) { axpy(dst, a, x[:len(dst)]) }

// Add writes dst_i = x_i + y_i over len(dst) elements; dst may be x or y.
func Add(dst, x, y []float32) { add(dst, x[:len(dst)], y[:len(dst)]) }

// Mul writes dst_i = x_i·y_i over len(dst) elements; dst may be x or y.
func Mul(dst, x, y []float32) { mul(dst, x[:len(dst)], y[:len(dst)]) }

// Scale writes dst_i = a·x_i over len(dst) elements; dst may be x.
func Scale(dst []float32, a float32, x []float32) { scale(dst, a, x[:len(dst)]) }

// SumSquares returns Σ x_i² in float64. Squares of float32 are exact in float64 and the lanes are added in a fixed
// tree, so every CPU level returns the same bits.
func SumSquares(x []float32) float64 { return sumSquares(x) }

// ArgMax returns the index of the largest value, the first of equals. NaN never wins; it is 0 when all are NaN, -1 when x is empty.
func ArgMax(x []float32) int {
	if len(x) == 0 {
		return -1
	}
	if i := indexOf(x, maxNum(x)); i < len(x) {
		return i
	}
	return 0
}

// lanes is the number of partial sums of a plain float32 reduction: enough to hide the latency of an addition.
const lanes = 8

func dotPlain(x, y []float32) float32 {
	var s [lanes]float32
	n := len(x) &^ (lanes - 1)
	for i := 0; i < n; i += lanes {
		a, b := x[i:i+lanes:i+lanes], y[i:i+lanes:i+lanes]
		for l := range s {
			s[l] += a[l] * b[l]
		}
	}
	for i, v := range x[n:] {
		s[i] += v * y[n+i]
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

func axpyPlain(dst []float32, a float32, x []float32) {
	for i, v := range x {
		dst[i] += a * v
	}
}

func addPlain(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v + y[i]
	}
}

func mulPlain(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

func scalePlain(dst []float32, a float32, x []float32) {
	for i, v := range x {
		dst[i] = a * v
	}
}

// squareLanes is the number of partial sums of SumSquares: two 512-bit or four 256-bit registers of float64.
const squareLanes = 16

func sumSquaresPlain(x []float32) float64 {
	var s [squareLanes]float64
	n := len(x) &^ (squareLanes - 1)
	for i := 0; i < n; i += squareLanes {
		for l, v := range x[i : i+squareLanes] {
			s[l] += float64(v) * float64(v)
		}
	}
	for l, v := range x[n:] {
		s[l] += float64(v) * float64(v)
	}
	for w := squareLanes / 2; w > 0; w /= 2 {
		for l := range w {
			s[l] += s[l+w]
		}
	}
	return s[0]
}

// maxNumPlain returns the largest value that is not NaN, -Inf when there is none.
func maxNumPlain(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// indexOfPlain returns the first i with x_i = m, len(x) when there is none.
func indexOfPlain(x []float32, m float32) int {
	for i, v := range x {
		if v == m {
			return i
		}
	}
	return len(x)
}
