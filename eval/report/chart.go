package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// mark is a line of a chart: an estimate with its interval.
type mark struct {
	label        string
	low, x, high float64
	class        string // "good", "bad", "noise" or "plain"
	bounds       []float64
	text         string
}

// intervals draws estimates and their intervals as SVG, one under the other, with the axis in the chart's unit. zero asks
// for a line at 0.
func intervals(title string, marks []mark, zero bool, axis func(float64) string) template.HTML {
	const width, row, right = 760.0, 24.0, 118.0
	if len(marks) == 0 {
		return ""
	}
	lo, hi, longest := marks[0].low, marks[0].high, 0
	for _, m := range marks {
		for _, v := range append([]float64{m.low, m.high, m.x}, m.bounds...) {
			lo, hi = min(lo, v), max(hi, v)
		}
		longest = max(longest, len([]rune(m.label)))
	}
	if zero {
		lo, hi = min(lo, 0), max(hi, 0)
	}
	ticks := niceTicks(lo, hi)
	lo, hi = min(lo, ticks[0]), max(hi, ticks[len(ticks)-1])
	left := min(280, 12+6.6*float64(longest))
	height := row*float64(len(marks)) + 30
	at := func(v float64) float64 { return left + (v-lo)/(hi-lo)*(width-left-right) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(title))
	for _, v := range ticks {
		class := "grid"
		if zero && v == 0 {
			class = "zero"
		}
		fmt.Fprintf(&b, `<line class="%s" x1="%.1f" x2="%.1f" y1="0" y2="%g"/><text x="%.1f" y="%g" text-anchor="middle">%s</text>`, class, at(v), at(v), height-24, at(v), height-8, template.HTMLEscapeString(axis(v)))
	}
	for i, m := range marks {
		y := row*float64(i) + row/2
		for _, v := range m.bounds {
			fmt.Fprintf(&b, `<line class="bound" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, at(v), at(v), y-9, y+9)
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text><g class="%s"><line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><circle cx="%.1f" cy="%.1f" r="4"/></g><text x="%.1f" y="%.1f">%s</text>`,
			left-8, y+4, template.HTMLEscapeString(clip(m.label, 40)), m.class, at(m.low), at(m.high), y, y, at(m.x), y, width-right+10, y+4, template.HTMLEscapeString(m.text))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// niceTicks are about five round numbers around a range.
func niceTicks(lo, hi float64) []float64 {
	if !(hi > lo) || math.IsInf(hi-lo, 0) {
		return []float64{lo, lo + max(1e-6, math.Abs(lo)/10)}
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/4)))
	for _, f := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*f) <= 6 {
			step *= f
			break
		}
	}
	var ticks []float64
	for k := math.Floor(lo / step); k*step < hi+step/2; k++ {
		ticks = append(ticks, k*step)
	}
	if last := ticks[len(ticks)-1]; last < hi {
		ticks = append(ticks, last+step)
	}
	return ticks
}

// changeChart shows the changes of shares in percentage points, and those of other metrics in percent.
func (r *Report) changeChart(share bool) template.HTML {
	if r.Comparison == nil {
		return ""
	}
	var marks []mark
	for _, row := range r.Comparison.Rows {
		t := row.Test
		if t == nil || row.Share != share {
			continue
		}
		scale := 100.0
		if !share {
			scale /= math.Abs(float64(row.Before))
		}
		m := mark{label: row.Task + " " + row.Key(), low: scale * t.Interval.Low, x: scale * row.Difference(), high: scale * t.Interval.High, class: rowClass(&row)}
		m.text = fmt.Sprintf("%+.2f", m.x)
		for _, g := range r.Gates {
			parsed, err := ParseGate(g.Gate)
			if err == nil && g.Task == row.Task && g.Metric == row.Key() && parsed.Unit != Value {
				bound := parsed.Bound
				if parsed.Unit == Change || parsed.Unit == Percent && share {
					bound *= scale
				}
				if parsed.Unit == Percent && share {
					bound *= float64(row.Before) / 100
				}
				m.bounds = append(m.bounds, bound)
			}
		}
		marks = append(marks, m)
	}
	unit := "pp"
	if !share {
		unit = "%"
	}
	return intervals("changes", marks, true, func(v float64) string { return fmt.Sprintf("%+.4g%s", v, unit) })
}

// rowClass is how a change is to be read.
func rowClass(row *Row) string {
	switch d := row.Difference(); {
	case row.Noise():
		return "noise"
	case row.Higher == nil:
		return "plain"
	case (d > 0) == *row.Higher:
		return "good"
	}
	return "bad"
}

// scoreChart shows the shares of a run alone.
func (r *Report) scoreChart() template.HTML {
	if r.Comparison != nil {
		return ""
	}
	var marks []mark
	for _, l := range lines(r.After) {
		if l.share {
			marks = append(marks, mark{label: l.Task + " " + l.Metric, low: l.interval.Low, x: l.value, high: l.interval.High, class: "plain", text: l.Value,
				bounds: slices.Clone(r.valueBounds(l))})
		}
	}
	return intervals("scores", marks, false, func(v float64) string { return fmt.Sprintf("%.3g", v) })
}

func (r *Report) valueBounds(l line) (bounds []float64) {
	for _, g := range r.Gates {
		if parsed, err := ParseGate(g.Gate); err == nil && parsed.Unit == Value && g.Task == l.Task && g.Metric == l.Metric {
			bounds = append(bounds, parsed.Bound)
		}
	}
	return bounds
}
