package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/eval"
	"tune/eval/ask"
	"tune/eval/local"
	"tune/eval/report"
	"tune/eval/task"
	"tune/internal/hint"
	"tune/recipes"
	"tune/train"
)

// benchmark is the part of a recipe's eval section that asks tasks of the base and of the trained model.
type benchmark struct {
	recipe *recipes.Recipe
	name   string // of the recipe
	model  *evalModel
	before ask.Model
	after  ask.Model
	show   *progress
	fetch  task.Fetch
}

// benchmarkDir is where a recipe's benchmark is written, in its output folder.
const benchmarkDir = "eval"

// fewshotSeed is lm-eval's.
const fewshotSeed = 1234

// evalRecipe is `tune eval --recipe`: the base, then what the recipe trained.
func (e *env) evalRecipe(c *cli.Context) error {
	r, name, err := readRecipe(c)
	if err != nil {
		return err
	}
	if len(r.Eval.Tasks) == 0 {
		return hint.Errorf("eval: {tasks: [licenses]}", "recipe %s: its eval section names no tasks", name)
	}
	x, err := e.runBenchmark(c, r, name, newProgress(e.stderr))
	if err != nil {
		return err
	}
	if err := e.lock(c, x.Before, x.After); err != nil {
		return err
	}
	if err := e.writeReports(c, x); err != nil {
		return err
	}
	if c.Bool("json") {
		err = writeJSON(e.stdout, benchmarkJSON(x))
	} else {
		err = e.printReport(x)
	}
	if err != nil {
		return err
	}
	return verdict(x.Gates)
}

// benchmarkJSON is what --json prints of a comparison.
func benchmarkJSON(r *report.Report) any {
	gates := r.Gates
	if gates == nil {
		gates = []report.Outcome{}
	}
	return struct {
		*report.Comparison
		Warnings []string         `json:"warnings"`
		Gates    []report.Outcome `json:"gates"`
	}{r.Comparison, r.Warnings(), gates}
}

// newBenchmark opens no model yet.
func (e *env) newBenchmark(r *recipes.Recipe, name string, show *progress) (*benchmark, error) {
	fetch, err := e.hubFetch(false)
	return &benchmark{recipe: r, name: name, model: &evalModel{}, show: show, fetch: fetch}, err
}

// runBenchmark asks both models and writes results, samples and reports into the output folder.
func (e *env) runBenchmark(c *cli.Context, r *recipes.Recipe, name string, show *progress) (*report.Report, error) {
	b, err := e.newBenchmark(r, name, show)
	if err != nil {
		return nil, err
	}
	defer b.model.close()
	if err := b.open(c); err != nil {
		return nil, err
	}
	j, gates, err := b.judged()
	if err != nil {
		return nil, err
	}
	trained, err := overlapsOf(e.ctx, r, j)
	if err != nil {
		return nil, err
	}
	var runs [2]*report.Run
	for i, m := range []ask.Model{b.before, b.after} {
		side := []string{"before", "after"}[i]
		var overlaps []report.Overlap
		if i == 1 {
			overlaps = trained
		}
		if runs[i], err = b.run(e.ctx, m, side, overlaps); err != nil {
			return nil, fmt.Errorf("eval, %s: %w", side, err)
		}
	}
	show.end()
	comparison, err := report.Compare(runs[0], runs[1], report.DefaultOptions())
	if err != nil {
		return nil, err
	}
	outcomes, err := report.Judge(gates, runs[1], comparison)
	if err != nil {
		return nil, err
	}
	x := &report.Report{Title: "Evaluation of " + name, Before: runs[0], After: runs[1], Comparison: comparison, Gates: outcomes}
	return x, writeReportFiles(filepath.Join(r.Output, benchmarkDir), x)
}

// checkBenchmark finds what would stop a recipe's benchmark, before the hours of its training: unknown tasks, missing data, a base
// without the template that is asked for, gates on metrics that there are not.
func (e *env) checkBenchmark(r *recipes.Recipe, name string) error {
	b, err := e.newBenchmark(r, name, nil)
	if err != nil {
		return err
	}
	defer b.model.close()
	j, _, err := b.judged()
	if err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	base, err := b.model.open(r.Base, "", local.Options{})
	if err != nil {
		return err
	}
	if _, err := j.Plan(base); err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	return nil
}

// open opens the base, and the base with the adapter, or the merged model of a full training, as both were written.
func (b *benchmark) open(c *cli.Context) (err error) {
	r := b.recipe
	o := local.Options{Exact: r.Precision == "f32"}
	adapter, merged := filepath.Join(r.Output, "adapter"), filepath.Join(r.Output, "merged")
	var after ask.Model
	switch {
	case exists(adapter):
		o.Name = b.name
		after, err = b.model.open(r.Base, adapter, o)
	case exists(merged):
		o.Name = b.name
		after, err = b.model.open(merged, "", o)
	default:
		err = hint.Errorf("train it first: `tune lora --recipe ...`; after `tune full` export {merged: bf16}", "%s: neither an adapter nor a merged model to evaluate", r.Output)
	}
	if err != nil {
		return err
	}
	o.Name = r.Base
	before, err := b.model.open(r.Base, "", o)
	if err != nil {
		return err
	}
	j, err := b.model.openJournal(c)
	if err != nil || j == nil {
		b.before, b.after = before, after
		return err
	}
	b.before, b.after = j.Wrap(before), j.Wrap(after)
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (b *benchmark) job() (*eval.Job, error) {
	l, err := task.NewLibrary()
	if err != nil {
		return nil, err
	}
	r := b.recipe
	j := &eval.Job{Sources: b.sources(), Shots: r.Eval.Shots, Limit: r.Eval.TaskLimit, Seed: fewshotSeed, Chat: r.Eval.Chat, Bootstrap: task.Bootstrap,
		Version: strings.TrimSpace(readBuildInfo().Version + " " + readBuildInfo().Commit), Config: report.Config{Model: "local", ModelArgs: map[string]any{"recipe": b.name, "base": r.Base}}}
	j.Selection, err = l.Select(r.Eval.Tasks)
	return j, err
}

// judged is the job and the recipe's gates, each on a task and a metric that the job has.
func (b *benchmark) judged() (j *eval.Job, gates []report.Gate, err error) {
	if j, err = b.job(); err != nil {
		return nil, nil, err
	}
	for _, text := range b.recipe.Eval.Gates {
		g, err := report.ParseGate(text)
		if err != nil {
			return nil, nil, err
		}
		gates = append(gates, g)
	}
	return j, gates, checkGates(gates, j.Selection)
}

func (b *benchmark) sources() task.Sources {
	return task.Sources{Folders: b.recipe.Eval.Folders, Fetch: b.fetch, Files: map[string][]task.Doc{}}
}

// run evaluates one side and reads back what it wrote.
func (b *benchmark) run(ctx context.Context, m ask.Model, side string, trained []report.Overlap) (*report.Run, error) {
	j, err := b.job()
	if err != nil {
		return nil, err
	}
	plan, err := j.Plan(m)
	if err != nil {
		return nil, err
	}
	last := ""
	out, err := j.Run(ctx, m, plan, func(p eval.Progress) {
		// A line for each quarter of a task where lines are kept.
		if at := fmt.Sprint(p.Task, 4*p.Done/max(1, p.Requests)); b.show.terminal || at != last {
			last = at
			b.show.text(side + ": " + progressLine(p))
		}
	})
	if err != nil {
		return nil, err
	}
	out.Results.Tune.Trained = trained
	dir := filepath.Join(b.recipe.Output, benchmarkDir, side)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := report.Write(dir, out.Results, out.Samples); err != nil {
		return nil, err
	}
	return report.Read(dir)
}

// benchmarkFacts are the lines of a training's report about its benchmark.
func benchmarkFacts(dir string, r *report.Report) []train.Fact {
	facts := []train.Fact{{Name: "evaluation", Value: filepath.Join(dir, benchmarkDir, "report.html")}}
	for _, o := range r.After.Tune.Trained {
		facts = append(facts, train.Fact{Name: "contamination", Value: o.String()})
	}
	for _, g := range r.Gates {
		facts = append(facts, train.Fact{Name: "gate " + string(g.Verdict), Value: g.Gate + ": " + g.Why})
	}
	return facts
}

// writeReportFiles writes every kind of report into a folder.
func writeReportFiles(dir string, r *report.Report) error {
	var all []error
	for _, f := range []struct {
		name  string
		write reportWriter
	}{{"report.html", r.HTML}, {"junit.xml", r.JUnit}, {"summary.md", r.Markdown}} {
		all = append(all, writeReport(filepath.Join(dir, f.name), f.write))
	}
	return errors.Join(slices.DeleteFunc(all, func(err error) bool { return err == nil })...)
}
