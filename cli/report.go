package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/eval/report"
	"tune/internal/atomicfile"
	"tune/internal/hint"
)

// exitInconclusive is the exit code when no gate was missed and one could not be decided.
const exitInconclusive = 4

// inconclusiveError ends a command whose gates the documents do not decide.
type inconclusiveError struct{ error }

// ExitCode is that of an inconclusive gate.
func (inconclusiveError) ExitCode() int { return exitInconclusive }

func (e inconclusiveError) Unwrap() error { return e.error }

// repeated is a flag that may be given several times and whose values may hold commas.
type repeated []string

// Set adds a value.
func (r *repeated) Set(s string) error {
	*r = append(*r, s)
	return nil
}

func (r *repeated) String() string { return strings.Join(*r, "; ") }

// gateFlag is --gate, for commands that end with a verdict on a run.
func gateFlag() cli.Flag {
	return &cli.GenericFlag{Name: "gate", Value: &repeated{}, Usage: "`CONDITION` such as 'arc_easy.acc >= -0.5pp' or 'piqa.acc >= 0.7'; may be repeated"}
}

// reportFlags say which files to write about a run.
func reportFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "html", Usage: "write one self-contained page to `FILE`"},
		&cli.StringFlag{Name: "junit", Usage: "write JUnit XML to `FILE`"},
		&cli.StringFlag{Name: "markdown", Usage: "write Markdown to `FILE`"},
		&cli.BoolFlag{Name: "github", Usage: "add to the step summary of GitHub Actions and annotate missed gates"},
	}
}

// lockFlags guard the benchmark itself.
func lockFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "lock", Value: report.LockName, Usage: "`FILE` that says what the benchmark is"},
		&cli.BoolFlag{Name: "locked", Usage: "fail when tasks, data, prompts or the model before are not those of the lock file"},
		&cli.BoolFlag{Name: "update-lock", Usage: "write the lock file"},
	}
}

// lock checks a run against the lock file, or writes the file. A baseline's model is part of the benchmark, that of a
// candidate is what is measured.
func (e *env) lock(c *cli.Context, baseline *report.Run, candidates ...*report.Run) error {
	path := c.String("lock")
	if c.Bool("update-lock") {
		if err := report.NewLock(baseline).Write(path); err != nil {
			return err
		}
		fmt.Fprintf(e.stderr, "wrote %s\n", path)
	}
	if !c.Bool("locked") && !c.Bool("update-lock") {
		return nil
	}
	l, err := report.ReadLock(path)
	if err != nil {
		return err
	}
	if err := l.Check(baseline, true); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, run := range candidates {
		if err := l.Check(run, false); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// checkLock reads the lock file that a run will be checked against, before the run.
func checkLock(c *cli.Context) error {
	if !c.Bool("locked") || c.Bool("update-lock") {
		return nil
	}
	_, err := report.ReadLock(c.String("lock"))
	return err
}

// parseGates reads the conditions of the command line.
func parseGates(c *cli.Context) (gates []report.Gate, err error) {
	texts, _ := c.Generic("gate").(*repeated)
	if texts == nil {
		return nil, nil
	}
	for _, t := range *texts {
		g, err := report.ParseGate(t)
		if err != nil {
			return nil, usageError{err}
		}
		gates = append(gates, g)
	}
	return gates, nil
}

// writeReports writes the files that the flags ask for.
func (e *env) writeReports(c *cli.Context, r *report.Report) error {
	for _, f := range []struct {
		flag  string
		write reportWriter
	}{{"html", r.HTML}, {"junit", r.JUnit}, {"markdown", r.Markdown}} {
		path := c.String(f.flag)
		if path == "" {
			continue
		}
		if err := writeReport(path, f.write); err != nil {
			return err
		}
		fmt.Fprintf(e.stderr, "wrote %s\n", path)
	}
	if !c.Bool("github") {
		return nil
	}
	return e.github(r)
}

// reportWriter is one of a report's forms.
type reportWriter func(io.Writer) error

// writeReport writes a form of a report to a file.
func writeReport(path string, write reportWriter) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return atomicfile.Write(path, b.Bytes())
}

// github adds to the step summary, a file that other steps write as well, and prints workflow commands.
func (e *env) github(r *report.Report) error {
	path := os.Getenv("GITHUB_STEP_SUMMARY")
	if path == "" {
		return hint.Errorf("use --markdown FILE elsewhere", "--github: GITHUB_STEP_SUMMARY is not set, this is no GitHub Actions step")
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("step summary: %w", err)
	}
	defer f.Close()
	if err := r.Markdown(f); err != nil {
		return fmt.Errorf("step summary: %w", err)
	}
	for _, g := range r.Gates {
		switch g.Verdict {
		case report.Missed:
			fmt.Fprintf(e.stderr, "::error title=%s::%s\n", githubText(g.Gate, true), githubText(g.Why, false))
		case report.Inconclusive:
			fmt.Fprintf(e.stderr, "::warning title=%s::%s\n", githubText("inconclusive: "+g.Gate, true), githubText(g.Why, false))
		}
	}
	return nil
}

// githubText escapes a workflow command's message, or one of its properties.
func githubText(s string, property bool) string {
	s = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
	if property {
		s = strings.NewReplacer(":", "%3A", ",", "%2C").Replace(s)
	}
	return s
}

// printGates prints verdicts and their reasons.
func printGates(w io.Writer, gates []report.Outcome) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range gates {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", g.Verdict, g.Gate, g.Why)
	}
	return tw.Flush()
}

// verdict is the error that ends a command whose gates did not all pass.
func verdict(gates []report.Outcome) error {
	count := map[report.Verdict]int{}
	for _, g := range gates {
		count[g.Verdict]++
	}
	switch report.Worst(gates) {
	case report.Missed:
		return gateError{fmt.Errorf("%d of %d gates missed", count[report.Missed], len(gates))}
	case report.Inconclusive:
		return inconclusiveError{hint.Errorf("evaluate more documents, or allow a larger change", "%d of %d gates inconclusive: these documents do not decide them", count[report.Inconclusive], len(gates))}
	}
	return nil
}

// printComparison prints the table of a comparison.
func printComparison(w io.Writer, c *report.Comparison) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "before\t%s\nafter\t%s\n\n", sideText(c.Before), sideText(c.After))
	err := tw.Flush()
	fmt.Fprintf(tw, "TASK\tMETRIC\tBEFORE\tAFTER\t\tCHANGE\t%.0f %% INTERVAL\tP\tDOCUMENTS\tDETECTABLE\n", 100*c.Level)
	for i := range c.Rows {
		fmt.Fprintln(tw, strings.Join(comparisonCells(&c.Rows[i]), "\t"))
	}
	return errors.Join(err, tw.Flush())
}

func sideText(s report.Side) string {
	if s.Model == "" {
		return s.Path
	}
	return fmt.Sprintf("%s (%s)", s.Path, s.Model)
}

func comparisonCells(row *report.Row) []string {
	sign, interval, p, detectable := "", "", "", ""
	if row.Noise() {
		sign = "~"
	}
	if t := row.Test; t != nil {
		interval, p, detectable = row.FormatInterval(), report.FormatP(t.Adjusted), row.FormatDetectable()
	} else {
		interval = "not tested: " + row.Untested
	}
	documents := fmt.Sprint(row.Documents)
	if row.Partial {
		documents += " (partial)"
	}
	return []string{row.Task, row.Key(), report.Format(float64(row.Before)), report.Format(float64(row.After)), sign, row.FormatDifference(row.Difference()), interval, p, documents, detectable}
}
