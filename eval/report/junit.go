package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The JUnit schema as GitHub's and GitLab's readers take it: a suite for each task, a case for each gate, and one for
// each score that no gate is about.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitMessage `xml:"failure,omitempty"`
		Skipped *junitMessage `xml:"skipped,omitempty"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// worst is how many documents that got worse are shown with a missed gate.
const worst = 10

// JUnit writes the report as JUnit XML. A missed gate is a failure, an inconclusive one is skipped, each with its reason.
func (r *Report) JUnit(w io.Writer) error {
	out := junitSuites{Name: r.Title}
	at := map[string]int{}
	add := func(task string, c junitCase) {
		i, ok := at[task]
		if !ok {
			i = len(out.Suites)
			at[task] = i
			out.Suites = append(out.Suites, junitSuite{Name: task})
		}
		s := &out.Suites[i]
		s.Cases = append(s.Cases, c)
		s.Tests++
		out.Tests++
		if c.Failure != nil {
			s.Failures++
			out.Failures++
		}
		if c.Skipped != nil {
			s.Skipped++
			out.Skipped++
		}
	}
	gated := map[string]bool{}
	for _, g := range r.Gates {
		gated[g.Task+"."+g.Metric] = true
		c := junitCase{Class: g.Task, Name: g.Gate, Out: g.Why}
		switch g.Verdict {
		case Missed:
			c.Failure = &junitMessage{Message: g.Why, Type: string(Missed), Text: r.examples(g)}
		case Inconclusive:
			c.Skipped = &junitMessage{Message: "inconclusive: " + g.Why}
		}
		add(g.Task, c)
	}
	for _, l := range lines(r.After) {
		if gated[l.Task+"."+l.Metric] {
			continue
		}
		c := junitCase{Class: l.Task, Name: l.Metric, Out: strings.TrimSpace(l.Value + " " + l.Stderr)}
		if r.Comparison != nil {
			for _, row := range r.Comparison.Rows {
				if row.Task == l.Task && row.Key() == l.Metric {
					c.Out = rowText(&row)
				}
			}
		}
		add(l.Task, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("JUnit: %w", err)
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// rowText is a row in one line.
func rowText(row *Row) string {
	text := fmt.Sprintf("%s -> %s, %s", Format(float64(row.Before)), Format(float64(row.After)), row.FormatDifference(row.Difference()))
	if row.Test != nil {
		text += fmt.Sprintf(", interval %s, p = %s", row.FormatInterval(), FormatP(row.Test.Adjusted))
	}
	if row.Noise() {
		text += ", may be noise"
	}
	return text
}

// examples are the documents behind a missed gate.
func (r *Report) examples(g Outcome) string {
	if r.Comparison == nil {
		return ""
	}
	var b strings.Builder
	for _, row := range r.Comparison.Rows {
		if row.Task != g.Task || row.Key() != g.Metric {
			continue
		}
		for i, f := range r.flips(row) {
			if i == worst || !f.worse {
				break
			}
			fmt.Fprintf(&b, "document %d: %s before, %s after; expected %s\n%s\n", f.after.DocID, clip(answer(f.before), 200), clip(answer(f.after), 200), clip(f.after.Target, 200), clip(tail(prompt(f.after), 300), 300))
		}
	}
	return b.String()
}

// clip shortens a text to a number of characters.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// tail keeps the end of a text: with examples in front, that is where the question is.
func tail(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return "…" + string(r[len(r)-most:])
	}
	return s
}
