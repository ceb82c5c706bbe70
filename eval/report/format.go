package report

import (
	"fmt"
	"math"
	"strings"
)

// Format prints a metric: four digits behind the point, as lm-eval does, and fewer of large numbers.
func Format(x float64) string {
	switch {
	case math.IsNaN(x):
		return "n/a"
	case math.Abs(x) >= 1e4:
		return fmt.Sprintf("%.4g", x)
	case math.Abs(x) >= 100:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.4f", x)
}

// FormatDifference prints a difference of the row: percentage points of shares, else the metric's unit and percent of
// the baseline.
func (r *Row) FormatDifference(d float64) string {
	if math.IsNaN(d) {
		return "n/a"
	}
	if r.Share {
		return fmt.Sprintf("%+.2fpp", 100*d)
	}
	text := fmt.Sprintf("%+.4g", d)
	if b := float64(r.Before); b != 0 && !math.IsInf(b, 0) && !math.IsNaN(b) {
		text += fmt.Sprintf(" (%+.1f%%)", 100*d/math.Abs(b))
	}
	return text
}

// FormatBound prints a bound of the difference in one unit: percentage points of shares, else percent of the baseline.
func (r *Row) FormatBound(d float64) string {
	b := math.Abs(float64(r.Before))
	if r.Share || b == 0 || math.IsInf(b, 0) || math.IsNaN(b) {
		return r.FormatDifference(d)
	}
	return fmt.Sprintf("%+.1f%%", 100*d/b)
}

// FormatInterval prints the interval of a tested row.
func (r *Row) FormatInterval() string {
	return r.FormatBound(r.Test.Interval.Low) + " ... " + r.FormatBound(r.Test.Interval.High)
}

// FormatDetectable prints the smallest change that a tested row's documents show.
func (r *Row) FormatDetectable() string {
	return strings.TrimPrefix(r.FormatBound(r.Test.Detectable), "+")
}

// FormatP prints a p-value.
func FormatP(p float64) string {
	if p < 0.0001 {
		return "<0.0001"
	}
	return fmt.Sprintf("%.4f", p)
}
