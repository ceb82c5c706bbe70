package stats

import "math"

// Table counts the documents of a yes/no metric: right both times, only before, only after, never.
type Table struct {
	Both, OnlyBefore, OnlyAfter, Neither int
}

// N is the number of documents.
func (t Table) N() int { return t.Both + t.OnlyBefore + t.OnlyAfter + t.Neither }

// Difference is the change of the proportion, after minus before.
func (t Table) Difference() float64 {
	return float64(t.OnlyAfter-t.OnlyBefore) / float64(t.N())
}

// McNemar is the exact two-sided test that both are right equally often: under it each document that changed did so in
// either direction with the same probability (McNemar 1947).
func McNemar(t Table) float64 {
	changed := t.OnlyBefore + t.OnlyAfter
	if changed == 0 {
		return 1
	}
	return min(1, 2*binomialHalf(min(t.OnlyBefore, t.OnlyAfter), changed))
}

// Newcombe is the interval of the paired difference of two proportions, after minus before: the Wilson intervals of both,
// squared and added with their correlation (method 10 of Newcombe 1998, "Improved confidence intervals for the
// difference between binomial proportions based on paired data").
func Newcombe(t Table, level float64) Interval {
	n := float64(t.N())
	if n == 0 {
		return Interval{-1, 1}
	}
	a, b, c, d := float64(t.Both), float64(t.OnlyAfter), float64(t.OnlyBefore), float64(t.Neither)
	after, before := (a+b)/n, (a+c)/n
	wa, wb := wilson(a+b, n, z(level)), wilson(a+c, n, z(level))
	phi := 0.0
	if m := (a + b) * (c + d) * (a + c) * (b + d); m > 0 {
		r := a*d - b*c
		if r > 0 { // continuity correction of the positive correlation only
			r = max(r-n/2, 0)
		}
		phi = r / math.Sqrt(m)
	}
	part := func(x, y float64) float64 { return math.Sqrt(max(0, x*x-2*phi*x*y+y*y)) }
	diff := after - before
	return Interval{diff - part(after-wa.Low, wb.High-before), diff + part(wa.High-after, before-wb.Low)}
}
