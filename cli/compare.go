package cli

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/eval"
	"tune/eval/local"
	"tune/eval/report"
	"tune/eval/stats"
	"tune/eval/task"
)

func compareCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "compare",
		Usage: "what changed between two evaluations, document by document, and whether it is more than noise",
		UsageText: "tune compare BEFORE AFTER [--gate 'TASK.METRIC >= BOUND' ...] [--html FILE] [--junit FILE] [--markdown FILE] [--github]\n" +
			"tune compare MODEL MODEL|ADAPTER --tasks TASK[,TASK...] [--data DIR ...] [--limit N] [flags]\n" +
			"tune compare --artifacts [--text FILE] [--chunks N] REFERENCE MODEL...",
		Description: `BEFORE and AFTER are results of "tune eval" or of lm-evaluation-harness: a results file, or the folder that holds it. With --tasks they may be models, or an adapter of the model before, which are
then asked.

A change that may be noise is marked ~. Yes/no metrics get McNemar's exact test and Newcombe's interval; others, and
documents that share a passage, a permutation test and a bootstrap interval. DETECTABLE is the smallest change that the
documents show with 80 % probability.

With --artifacts the arguments are forms of one model: a table tells what each takes and how far its predictions of a text are from
those of the first.

A gate's bound without sign is about the number after (piqa.acc >= 0.7); with a sign or a unit it is about the change:
arc_easy.acc >= -0.5pp (percentage points), wikitext.word_perplexity <= +3%. A change passes when its whole interval is
beyond the bound, is missed when its whole interval is short of it, and else is inconclusive; "measured" after the bound
takes the measured change for the true one. Exit codes: 0 all gates passed, 3 one was missed, 4 none was missed and one
is inconclusive, 1 anything else.`,
		Flags: slices.Concat([]cli.Flag{gateFlag(),
			&cli.Float64Flag{Name: "level", Value: 0.95, Usage: "of confidence intervals, between 0.5 and 1"},
			&cli.StringFlag{Name: "correction", Value: "holm", Usage: "of p-values for many comparisons: " + strings.Join(slices.Sorted(maps.Keys(stats.Corrections)), ", ")},
			&cli.GenericFlag{Name: "cluster", Value: &repeated{}, Usage: "`TASK=COLUMN` whose equal values make documents dependent, - for none; may be repeated"},
			&cli.StringFlag{Name: "tasks", Aliases: []string{"t"}, Usage: "`NAMES` of tasks to ask of models, with commas between"},
		}, artifactFlags(), evalTaskFlags(), reportFlags(), lockFlags(), []cli.Flag{jsonFlag()}),
		Action: e.compare,
	}
}

func (e *env) compare(c *cli.Context) error {
	if c.Bool("artifacts") {
		return e.compareArtifacts(c)
	}
	if name := setFlag(c, artifactFlags()); name != "" {
		return usagef(c, "%s: expected --artifacts with it", name)
	}
	if c.NArg() != 2 {
		return usagef(c, "expected two results, before and after, found %d arguments", c.NArg())
	}
	o, err := compareOptions(c)
	if err != nil {
		return err
	}
	gates, err := parseGates(c)
	if err != nil {
		return err
	}
	if names := taskNames(c); len(names) > 0 && len(gates) > 0 {
		j, err := e.evalJob(c, names)
		if err != nil {
			return err
		}
		if err := checkGates(gates, j.Selection); err != nil {
			return err
		}
	}
	var sides [2]*report.Run
	for i := range sides {
		if sides[i], err = e.compared(c, c.Args().Get(i)); err != nil {
			return err
		}
	}
	return e.compareRuns(c, sides[0], sides[1], gates, o)
}

// compared reads the results that an argument names, or asks the model that it names.
func (e *env) compared(c *cli.Context, name string) (*report.Run, error) {
	names := taskNames(c)
	if len(names) == 0 || report.IsResults(name) {
		return report.Read(name)
	}
	j, err := e.evalJob(c, names)
	if err != nil {
		return nil, err
	}
	base, adapter := name, ""
	if exists(filepath.Join(name, "adapter_config.json")) {
		base, adapter = c.Args().First(), name
	}
	m := &evalModel{}
	defer m.close()
	if m.model, err = m.open(base, adapter, local.Options{}); err != nil {
		return nil, err
	}
	if err := m.journal(c); err != nil {
		return nil, err
	}
	j.Bootstrap, j.Config = task.Bootstrap, report.Config{Model: "local", ModelArgs: map[string]any{"base": base, "adapter": adapter}}
	plan, err := j.Plan(m.model)
	if err != nil {
		return nil, err
	}
	show := newProgress(e.stderr)
	defer show.end()
	last := ""
	out, err := j.Run(e.ctx, m.model, plan, func(p eval.Progress) {
		if at := fmt.Sprint(p.Task, 4*p.Done/max(1, p.Requests)); show.terminal || at != last {
			last = at
			show.text(name + ": " + progressLine(p))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	tellTraining(e.ctx, base, adapter, j, out.Results)
	return report.NewRun(name, out.Results, out.Samples)
}

func compareOptions(c *cli.Context) (report.Options, error) {
	o := report.Options{Level: c.Float64("level"), Correction: c.String("correction"), Clusters: map[string]string{}}
	if !(o.Level >= 0.5 && o.Level < 1) {
		return o, usagef(c, "level: expected a number from 0.5 to below 1, found %v", o.Level)
	}
	if stats.Corrections[o.Correction] == nil {
		return o, usagef(c, "correction: expected one of %s, found %q", strings.Join(slices.Sorted(maps.Keys(stats.Corrections)), ", "), o.Correction)
	}
	for _, s := range *c.Generic("cluster").(*repeated) {
		task, column, ok := strings.Cut(s, "=")
		if !ok || task == "" || column == "" {
			return o, usagef(c, "cluster: expected TASK=COLUMN, found %q", s)
		}
		o.Clusters[task] = column
	}
	return o, nil
}

// compareRuns compares, prints, writes the reports and ends with the gates' verdict.
func (e *env) compareRuns(c *cli.Context, before, after *report.Run, gates []report.Gate, o report.Options) error {
	if err := e.lock(c, before, after); err != nil {
		return err
	}
	x, err := report.Compare(before, after, o)
	if err != nil {
		return err
	}
	outcomes, err := report.Judge(gates, after, x)
	if err != nil {
		return err
	}
	r := &report.Report{Title: "Evaluation: " + comparedNames(before, after), Before: before, After: after, Comparison: x, Gates: outcomes}
	if err := e.writeReports(c, r); err != nil {
		return err
	}
	if c.Bool("json") {
		err = writeJSON(e.stdout, benchmarkJSON(r))
	} else {
		err = e.printReport(r)
	}
	if err != nil {
		return err
	}
	return verdict(outcomes)
}

func comparedNames(before, after *report.Run) string {
	if before.ModelName == after.ModelName {
		return after.ModelName
	}
	return before.ModelName + " → " + after.ModelName
}

// printReport prints a comparison and its gates.
func (e *env) printReport(r *report.Report) error {
	if err := printComparison(e.stdout, r.Comparison); err != nil {
		return err
	}
	for _, text := range r.Warnings() {
		fmt.Fprintf(e.stdout, "note: %s\n", text)
	}
	if len(r.Gates) == 0 {
		return nil
	}
	fmt.Fprintln(e.stdout)
	return printGates(e.stdout, r.Gates)
}
