package stats

import (
	"math"
	"slices"
)

// Corrections adjust p-values for having asked many questions; an adjusted value is compared with the same level as a
// single one. Values that are not numbers are not counted and stay.
var Corrections = map[string]func([]float64) []float64{
	"none": slices.Clone[[]float64],
	"holm": Holm,
	"bh":   BenjaminiHochberg,
}

// Holm bounds the probability of one false alarm among all, under any dependence (Holm 1979).
func Holm(p []float64) []float64 {
	out, order := slices.Clone(p), ascending(p)
	worst := 0.0
	for k, i := range order {
		worst = max(worst, min(1, float64(len(order)-k)*p[i]))
		out[i] = worst
	}
	return out
}

// BenjaminiHochberg bounds the expected share of false alarms among the alarms (1995).
func BenjaminiHochberg(p []float64) []float64 {
	out, order := slices.Clone(p), ascending(p)
	best := 1.0
	for k := len(order) - 1; k >= 0; k-- {
		i := order[k]
		best = min(best, float64(len(order))/float64(k+1)*p[i])
		out[i] = best
	}
	return out
}

func ascending(p []float64) (order []int) {
	for i, x := range p {
		if !math.IsNaN(x) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return 0
	})
	return order
}
