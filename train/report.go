package train

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
)

// Fact is a line of a table in the report.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Sample is a held-out example with the model's answers.
type Sample struct {
	Key, Prompt, Expected, Before, After string
}

// Report is everything the HTML report shows. It is one file without scripts or outside resources.
type Report struct {
	Title       string
	Result      *Result
	Metrics     []Metric
	Data        []Fact
	Environment []Fact
	Exports     [][]string // exported files beside the trained model; the first row is the heading
	Outputs     []Fact
	Recipe      string // resolved, YAML
	Samples     []Sample
}

//go:embed report.html
var reportHTML string

// Write writes the report.
func (r *Report) Write(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"percent": percent, "loss": lossText}).Parse(reportHTML)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	curve, held := points(r.Metrics)
	if err := t.Execute(w, struct {
		*Report
		Curve, Rate template.HTML
		Table       [][]string
	}{r, chart("loss, nats per token", curve, held), chart("learning rate", rates(r.Metrics), nil), r.Result.Table()}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func percent(x float64) string  { return fmt.Sprintf("%.1f %%", 100*x) }
func lossText(x float64) string { return fmt.Sprintf("%.4f", x) }

type point struct{ x, y float64 }

func points(ms []Metric) (train, held []point) {
	for _, m := range ms {
		train = append(train, point{float64(m.Step + 1), m.Loss})
		if m.Eval != nil {
			held = append(held, point{float64(m.Step + 1), m.Eval.Loss})
		}
	}
	return train, held
}

func rates(ms []Metric) (ps []point) {
	for _, m := range ms {
		ps = append(ps, point{float64(m.Step + 1), m.LR})
	}
	return ps
}

// chart draws lines as SVG: every step thin, its running mean bold, held-out values as dots.
func chart(title string, line, dots []point) template.HTML {
	const width, height, left, bottom = 720.0, 260.0, 64.0, 28.0
	if len(line) < 2 {
		return ""
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, p := range slices.Concat(line, dots) {
		if !math.IsNaN(p.y) && !math.IsInf(p.y, 0) {
			lo, hi = min(lo, p.y), max(hi, p.y)
		}
	}
	if !(hi > lo) {
		hi = lo + 1
	}
	x0, x1 := line[0].x, line[len(line)-1].x
	at := func(p point) (float64, float64) {
		return left + (p.x-x0)/(x1-x0)*(width-left-8), 8 + (hi-p.y)/(hi-lo)*(height-bottom-8)
	}
	path := func(ps []point) string {
		var b strings.Builder
		for _, p := range ps {
			x, y := at(p)
			fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
		}
		return b.String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(title))
	for i := range 5 {
		v := lo + (hi-lo)*float64(i)/4
		_, y := at(point{x0, v})
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text x="%g" y="%.1f" text-anchor="end">%.3g</text>`,
			left, width-8, y, y, left-6, y+4, v)
	}
	for i := range 5 {
		v := x0 + (x1-x0)*float64(i)/4
		x, _ := at(point{v, lo})
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%.0f</text>`, x, height-8, v)
	}
	fmt.Fprintf(&b, `<polyline class="thin" points="%s"/><polyline class="bold" points="%s"/>`, path(line), path(smooth(line)))
	for _, p := range dots {
		x, y := at(p)
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="4"/>`, x, y)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// smooth is the mean over a centred window of a twentieth of the points.
func smooth(ps []point) []point {
	half := len(ps) / 40
	out := make([]point, len(ps))
	for i := range ps {
		lo, hi := max(0, i-half), min(len(ps), i+half+1)
		sum := 0.0
		for _, p := range ps[lo:hi] {
			sum += p.y
		}
		out[i] = point{ps[i].x, sum / float64(hi-lo)}
	}
	return out
}
