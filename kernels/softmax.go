package kernels

import "math"

// LogSumExp returns log Σ exp(x_i), computed from the maximum; -Inf when x is empty, NaN when a value is NaN,
// +Inf when a value is +Inf. The absolute error is below 1e-6 + 1e-7·|result|.
func LogSumExp(x []float32) (lse float32) {
	m := maxNum(x)
	if math.IsInf(float64(m), 0) {
		for _, v := range x {
			if v != v {
				return v
			}
		}
		return m
	}
	return m + float32(math.Log(sumExp(x, m)))
}

// SoftmaxGrad writes x_j = g·exp(x_j - lse) in place: with lse = LogSumExp(x) and g the gradient of -log of one
// probability, the gradient of the logits except for the -g of the label.
func SoftmaxGrad(x []float32, lse, g float32) { scaleExp(x, lse, g) }

// ExpSum writes x_i = exp(x_i - m) and returns their sum. m is not below the largest value.
func ExpSum(x []float32, m float32) float64 { return expSum(x, m) }

// sumExpPlain returns Σ exp(x_i - m) in float64.
func sumExpPlain(x []float32, m float32) float64 {
	var s [lanes]float64
	for i, v := range x {
		s[i%lanes] += float64(exp(v - m))
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

// expSumPlain leaves in x what sumExpPlain sums.
func expSumPlain(x []float32, m float32) float64 {
	s := sumExpPlain(x, m)
	scaleExpPlain(x, m, 1)
	return s
}

func scaleExpPlain(x []float32, m, g float32) {
	for i, v := range x {
		x[i] = g * exp(v-m)
	}
}

// Constants of exp: eˣ = 2ⁿ·eʳ with n = round(x·log2 e) and |r| <= ln2/2; ln 2 is split so that n·ln2Hi is exact.
// The polynomial is the Taylor series of eʳ with its last coefficients adjusted to the interval (Cephes expf).
const (
	expMin   = -87.336544 // below: 0, as results would be subnormal (the AVX-512 form gives those)
	expMax   = 88.37626   // above: held there, 2.4e38
	expLog2e = 1.44269504088896341
	expLn2Hi = 0.693359375
	expLn2Lo = -2.12194440e-4
	expC2    = 5.0000001201e-1
	expC3    = 1.6666665459e-1
	expC4    = 4.1665795894e-2
	expC5    = 8.3334519073e-3
	expC6    = 1.3981999507e-3
	expC7    = 1.9875691500e-4
	expMagic = 12582912 // 1.5·2²³: adding it rounds to an integer
)

// exp returns eˣ within 2 units in the last place for expMin <= x <= expMax; NaN for NaN, 0 below, e^expMax above.
func exp(x float32) float32 {
	if x < expMin {
		return 0
	}
	if x > expMax {
		x = expMax
	}
	if x != x {
		return x
	}
	n := float32(x*expLog2e) + expMagic
	n -= expMagic
	r := x - n*expLn2Hi
	r -= n * expLn2Lo
	p := float32(expC7)
	p = p*r + expC6
	p = p*r + expC5
	p = p*r + expC4
	p = p*r + expC3
	p = p*r + expC2
	p = p*(r*r) + r + 1
	return p * math.Float32frombits(uint32(int32(n)+127)<<23)
}
