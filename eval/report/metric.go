package report

import (
	"math"

	"tune/eval/stats"
)

// A reduction says how the values of documents become the metric of a task, as a function of totals, so that the metric
// can be computed again over drawn documents.
type reduction struct {
	name string
	sums func(value any) (stats.Sums, bool) // of one document; false: not a value of this kind
	of   stats.Metric
	each stats.Metric // a single document's own number, where more of it moves the metric as more of "of" does; nil: of
}

// reductions are lm-eval's aggregations that are functions of totals. A metric's own is the first one that gives the
// number in the results file; metrics of corpora, such as BLEU, have none here and are not tested.
var reductions = []reduction{
	{name: "mean", sums: scalar, of: func(t stats.Sums) float64 { return t[0] / t[1] }},
	{name: "perplexity", sums: scalar, of: func(t stats.Sums) float64 { return math.Exp(-t[0] / t[1]) }},
	{name: "weighted_perplexity", sums: couple, of: func(t stats.Sums) float64 { return math.Exp(-t[0] / t[1]) }},
	{name: "bits_per_byte", sums: couple, of: func(t stats.Sums) float64 { return -t[0] / t[1] / math.Ln2 }},
	{name: "f1", sums: confusion, each: right, of: func(t stats.Sums) float64 { return 2 * t[0] / (2*t[0] + t[1] + t[2]) }},
	{name: "matthews_corrcoef", sums: confusion, each: right, of: func(t stats.Sums) float64 {
		d := math.Sqrt((t[0] + t[1]) * (t[0] + t[2]) * (t[3] + t[1]) * (t[3] + t[2]))
		if d == 0 {
			return 0
		}
		return (t[0]*t[3] - t[1]*t[2]) / d
	}},
}

// right is 1 for a right answer of a confusion table.
func right(t stats.Sums) float64 { return t[0] + t[3] }

// scalar is (x, 1).
func scalar(v any) (stats.Sums, bool) {
	x, ok := (&Sample{Values: map[string]any{"": v}}).Number("")
	return stats.Sums{x, 1}, ok && !math.IsNaN(x)
}

// couple is (log-likelihood, number of words or bytes).
func couple(v any) (stats.Sums, bool) {
	x, y, ok := two(v)
	return stats.Sums{x, y}, ok
}

// confusion of (gold, prediction), both 0 or 1: true positives, false positives, false negatives, true negatives.
func confusion(v any) (stats.Sums, bool) {
	gold, pred, ok := two(v)
	switch {
	case !ok || gold != 0 && gold != 1 || pred != 0 && pred != 1:
		return stats.Sums{}, false
	case gold == 1 && pred == 1:
		return stats.Sums{1, 0, 0, 0}, true
	case pred == 1:
		return stats.Sums{0, 1, 0, 0}, true
	case gold == 1:
		return stats.Sums{0, 0, 1, 0}, true
	}
	return stats.Sums{0, 0, 0, 1}, true
}

func two(v any) (x, y float64, ok bool) {
	switch list := v.(type) {
	case []any:
		if len(list) != 2 {
			return 0, 0, false
		}
		a, okA := scalar(list[0])
		b, okB := scalar(list[1])
		return a[0], b[0], okA && okB
	case []float64:
		if len(list) != 2 {
			return 0, 0, false
		}
		return list[0], list[1], true
	}
	return 0, 0, false
}

// agreement is how far a metric computed from samples may lie from the results file, relative: both are float64 sums.
const agreement = 1e-9

// reduce finds the reduction that gives want from the values of a metric.
func reduce(list []Sample, metric, filter string, want float64) (reduction, bool) {
	for _, r := range reductions {
		var total stats.Sums
		n := 0
		for i := range list {
			if list[i].Filter != filter {
				continue
			}
			s, ok := r.sums(list[i].Values[metric])
			if !ok {
				n = 0
				break
			}
			total.Add(s)
			n++
		}
		if got := r.of(total); n > 0 && math.Abs(got-want) <= agreement*max(1, math.Abs(want)) {
			return r, true
		}
	}
	return reduction{}, false
}
