package stats

import (
	"math"
	"slices"

	"tune/internal/rng"
)

// Sums are what a metric needs of a document, or of several: all metrics here are functions of totals, such as the sum
// of log-likelihoods and the number of words. Unused entries are 0.
type Sums [4]float64

// Add adds s to the total.
func (t *Sums) Add(s Sums) {
	for i, x := range s {
		t[i] += x
	}
}

// Pair is a document, or a cluster of documents that share a passage, before and after.
type Pair struct{ Before, After Sums }

// Metric makes a number of totals.
type Metric func(Sums) float64

// Total is the metric before and after over all pairs.
func Total(pairs []Pair, m Metric) (before, after float64) {
	var b, a Sums
	for _, p := range pairs {
		b.Add(p.Before)
		a.Add(p.After)
	}
	return m(b), m(a)
}

// Rounds is how often data are drawn anew: the Monte Carlo error of a p-value of 0.05 is 0.002.
const Rounds = 10_000

// seed of all draws; a result must not depend on it by more than that error.
const seed = 1

// Bootstrap draws as many pairs as there are, with replacement, many times, and takes the difference of the metric, after
// minus before. It returns the percentile interval of those differences and their standard deviation (Efron 1979).
// Draws for which the metric is not a number are left out; without any the interval is NaN.
func Bootstrap(pairs []Pair, m Metric, level float64) (Interval, float64) {
	s := rng.New(seed, "bootstrap")
	diffs := make([]float64, 0, Rounds)
	n := len(pairs)
	for r := range uint64(Rounds) {
		var before, after Sums
		for i := range n {
			p := &pairs[s.Intn(r*uint64(n)+uint64(i), n)]
			before.Add(p.Before)
			after.Add(p.After)
		}
		if d := m(after) - m(before); !math.IsNaN(d) {
			diffs = append(diffs, d)
		}
	}
	if len(diffs) < 2 {
		return Interval{math.NaN(), math.NaN()}, math.NaN()
	}
	slices.Sort(diffs)
	_, stderr := Mean(diffs)
	return Interval{percentile(diffs, (1-level)/2), percentile(diffs, (1+level)/2)}, stderr * math.Sqrt(float64(len(diffs)))
}

// percentile interpolates linearly between order statistics, as NumPy does.
func percentile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// exactBits is up to how many pairs all exchanges are tried rather than drawn.
const exactBits = 13

// Permutation is the two-sided test that before and after are exchangeable within each pair: the share of all exchanges
// (Rounds drawn ones when there are more) whose difference is at least as large as the one found. Drawn shares count the
// data itself, so that they are never 0 (Phipson and Smyth 2010).
func Permutation(pairs []Pair, m Metric) float64 {
	b, a := Total(pairs, m)
	found := math.Abs(a - b)
	if math.IsNaN(found) {
		return math.NaN()
	}
	// A difference that equals the one found but for rounding counts as equal.
	atLeast := found - 1e-9*max(found, math.Abs(a), math.Abs(b))
	moved := slices.DeleteFunc(slices.Clone(pairs), func(p Pair) bool { return p.Before == p.After })
	if len(moved) == 0 {
		return 1
	}
	var same Sums
	for _, p := range pairs {
		if p.Before == p.After {
			same.Add(p.Before)
		}
	}
	extreme := func(exchanged func(i int) bool) bool {
		before, after := same, same
		for i := range moved {
			if x, y := &moved[i].Before, &moved[i].After; exchanged(i) {
				before.Add(*y)
				after.Add(*x)
			} else {
				before.Add(*x)
				after.Add(*y)
			}
		}
		return !(math.Abs(m(after)-m(before)) < atLeast)
	}
	count := 0
	if len(moved) <= exactBits {
		all := uint(1) << len(moved)
		for mask := range all {
			if extreme(func(i int) bool { return mask>>i&1 == 1 }) {
				count++
			}
		}
		return float64(count) / float64(all)
	}
	s := rng.New(seed, "permutation")
	words := uint64(len(moved)+63) / 64
	for r := range uint64(Rounds) {
		var word uint64
		if extreme(func(i int) bool {
			if i%64 == 0 {
				word = s.Uint64(r*words + uint64(i/64))
			}
			return word>>(i%64)&1 == 1
		}) {
			count++
		}
	}
	return float64(count+1) / (Rounds + 1)
}
