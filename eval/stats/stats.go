// Package stats answers whether a difference between two evaluations is one: confidence intervals, paired tests,
// corrections for many comparisons, and the smallest difference that a sample can show.
//
// Everything random in it comes from internal/rng under a fixed key, so the same data give the same numbers everywhere.
package stats

import (
	"math"
)

// Interval is a confidence interval.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Contains tells whether x lies in the interval.
func (i Interval) Contains(x float64) bool { return i.Low <= x && x <= i.High }

// Quantile is the standard normal quantile.
func Quantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// Normal is the standard normal distribution function.
func Normal(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }

// z is the quantile of a two-sided interval.
func z(level float64) float64 { return Quantile(0.5 + level/2) }

// Mean is the arithmetic mean and its standard error as lm-evaluation-harness gives it: the sample standard deviation
// (n-1) over the square root of n. Fewer than two values have no standard error (NaN).
func Mean(x []float64) (mean, stderr float64) {
	n := float64(len(x))
	for _, v := range x {
		mean += v
	}
	mean /= n
	if len(x) < 2 {
		return mean, math.NaN()
	}
	ss := 0.0
	for _, v := range x {
		ss += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(ss / (n - 1) / n)
}

// ClusteredError is the standard error of the mean when documents of one cluster are not independent, because they share
// a passage: sqrt(G/(G-1) sum_g (sum_{i in g} (x_i - mean))^2) / n for G clusters (Liang and Zeger 1986; Miller 2024,
// "Adding error bars to evals"). With one document a cluster it is Mean's. One cluster alone has none (NaN).
func ClusteredError(x []float64, cluster []string) float64 {
	mean, _ := Mean(x)
	sums := map[string]float64{}
	for i, v := range x {
		sums[cluster[i]] += v - mean
	}
	g := float64(len(sums))
	if g < 2 {
		return math.NaN()
	}
	ss := 0.0
	seen := map[string]bool{}
	for _, c := range cluster { // in the order of the documents: the sum must not depend on the map's
		if !seen[c] {
			seen[c] = true
			ss += sums[c] * sums[c]
		}
	}
	return math.Sqrt(g/(g-1)*ss) / float64(len(x))
}

// Wilson is the score interval of a proportion of k out of n (Wilson 1927).
func Wilson(k, n int, level float64) Interval {
	if n == 0 {
		return Interval{0, 1}
	}
	return wilson(float64(k), float64(n), z(level))
}

func wilson(k, n, z float64) Interval {
	p := k / n
	mid := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return Interval{max(0, mid-half), min(1, mid+half)}
}

// binomialHalf is P(X <= k) for X of n fair coins.
func binomialHalf(k, n int) float64 {
	sum := 0.0
	ln, _ := math.Lgamma(float64(n + 1))
	for i := range k + 1 {
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(ln - a - b - float64(n)*math.Ln2)
	}
	return min(1, sum)
}
