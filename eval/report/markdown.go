package report

import (
	"fmt"
	"io"
	"strings"
)

// icons of verdicts in Markdown.
var icons = map[Verdict]string{Passed: "✅", Missed: "❌", Inconclusive: "❔"}

// Markdown writes the report for a step summary, a merge request or a file: verdicts first.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", cell(r.Title))
	if len(r.Gates) > 0 {
		fmt.Fprintf(&b, "**%s**\n\n| | Gate | Why |\n|---|---|---|\n", cell(verdictText(r.Gates)))
		for _, g := range r.Gates {
			fmt.Fprintf(&b, "| %s %s | `%s` | %s |\n", icons[g.Verdict], g.Verdict, code(g.Gate), cell(g.Why))
		}
		b.WriteString("\n")
	}
	if r.Comparison != nil {
		fmt.Fprintf(&b, "| Task | Metric | Before | After | Change | %.0f %% interval | p | Documents |\n|---|---|--:|--:|--:|--:|--:|--:|\n", 100*r.Comparison.Level)
		for _, row := range r.Comparison.Rows {
			c := columns(&row)
			for i := range c {
				c[i] = cell(c[i])
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(c, " | "))
		}
		fmt.Fprintf(&b, "\n%s\n", cell(r.Comparison.legend()))
	} else {
		b.WriteString("| Task | Metric | Value | | Documents |\n|---|---|--:|:--|--:|\n")
		for _, l := range lines(r.After) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(l.Task), cell(l.Metric), l.Value, l.Stderr, l.Documents)
		}
	}
	if warnings := r.Warnings(); len(warnings) > 0 {
		b.WriteString("\n")
		for _, text := range warnings {
			fmt.Fprintf(&b, "- %s\n", cell(text))
		}
	}
	if len(r.Facts) > 0 {
		b.WriteString("\n<details><summary>How it was run</summary>\n\n| | |\n|---|---|\n")
		for _, f := range r.Facts {
			fmt.Fprintf(&b, "| %s | %s |\n", cell(f.Name), cell(f.Value))
		}
		b.WriteString("\n</details>\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// columns are a row's cells: task, metric, before, after, change, interval, p, documents.
func columns(row *Row) []string {
	change := row.FormatDifference(row.Difference())
	interval, p := "", ""
	if t := row.Test; t != nil {
		interval = row.FormatInterval()
		p = FormatP(t.Adjusted)
	}
	if row.Noise() {
		change = "~ " + change
	}
	docs := fmt.Sprint(row.Documents)
	if row.Partial {
		docs += " (partial)"
	}
	return []string{row.Task, row.Key(), Format(float64(row.Before)), Format(float64(row.After)), change, interval, p, docs}
}

// corrections in words.
var correctionWords = map[string]string{"none": "not corrected", "holm": "corrected by Holm's method", "bh": "corrected by Benjamini and Hochberg's method"}

// legend says what the table's signs mean.
func (c *Comparison) legend() string {
	return fmt.Sprintf("Paired by document. ~: may be noise (p ≥ %.2g, %s for all comparisons).", 1-c.Level, correctionWords[c.Correction])
}

// verdictText counts verdicts.
func verdictText(gates []Outcome) string {
	n := map[Verdict]int{}
	for _, g := range gates {
		n[g.Verdict]++
	}
	var parts []string
	for _, v := range []Verdict{Missed, Inconclusive, Passed} {
		if n[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[v], v))
		}
	}
	what := "gates"
	if len(gates) == 1 {
		what = "gate"
	}
	return fmt.Sprintf("%d %s: %s", len(gates), what, strings.Join(parts, ", "))
}

// cell makes a text safe in a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;", "*", "\\*", "`", "\\`", "~", "\\~").Replace(s)
}

// code makes a text safe between backticks in a table.
func code(s string) string { return strings.NewReplacer("|", "\\|", "`", "'", "\n", " ").Replace(s) }
