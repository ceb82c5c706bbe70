package stats

import "math"

// Power is the probability with which a Detectable difference is found.
const Power = 0.8

// Detectable is the smallest change of a proportion that n paired documents show with probability Power at a two-sided
// level, when a share of discordant documents changes: the root of
//
//	n = (z_a sqrt(d) + z_b sqrt(d - x^2))^2 / x^2
//
// (Connor 1987, "Sample size for testing differences in proportions for the paired-sample design"). It is at most the
// discordance itself: larger changes contradict it.
func Detectable(n int, discordant, alpha float64) float64 {
	if n == 0 {
		return 1
	}
	za, zb := Quantile(1-alpha/2), Quantile(Power)
	enough := func(x float64) bool {
		s := za*math.Sqrt(discordant) + zb*math.Sqrt(max(0, discordant-x*x))
		return s*s <= float64(n)*x*x
	}
	low, high := 0.0, 1.0
	for range 60 {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// DetectableMean is the same for a difference with a known standard error.
func DetectableMean(stderr, alpha float64) float64 {
	return (Quantile(1-alpha/2) + Quantile(Power)) * stderr
}

// Documents is how many paired documents show a change of a proportion by x.
func Documents(x, discordant, alpha float64) int {
	s := Quantile(1-alpha/2)*math.Sqrt(discordant) + Quantile(Power)*math.Sqrt(max(0, discordant-x*x))
	return int(math.Ceil(s * s / (x * x)))
}
