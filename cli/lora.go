package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/eval/report"
	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/recipes"
	"tune/train"
)

func loraCommand(e *env) *cli.Command {
	return trainCommand(e, "lora", "train an adapter on a frozen model", false)
}

func fullCommand(e *env) *cli.Command {
	return trainCommand(e, "full", "train every weight of a model", true)
}

func trainCommand(e *env, name, usage string, full bool) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     usage,
		UsageText: fmt.Sprintf("tune %s --recipe RECIPE [--base MODEL] [--output FOLDER] [--steps N] [--resume | --overwrite] [key=value ...]", name),
		Description: "A key=value argument sets any key of the recipe: train.lr=1e-4 data.seq=1024.\n" +
			"Ctrl-C saves a checkpoint; --resume continues there and gives the numbers of a run that was never interrupted.",
		Flags: append(recipeFlags(),
			&cli.BoolFlag{Name: "resume", Usage: "continue the run in the output folder"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace the run in the output folder"},
			&cli.BoolFlag{Name: "skip-check", Usage: "train whatever is wrong in the first rows of the data"},
			jsonFlag()),
		Action: func(c *cli.Context) error { return e.finetune(c, full) },
	}
}

// finetune is the whole job: recipe, training, files, table.
func (e *env) finetune(c *cli.Context, full bool) (err error) {
	r, name, err := readRecipe(c)
	if err != nil {
		return err
	}
	if full && len(r.Eval.Tasks) > 0 && !slices.ContainsFunc(r.Export, func(a recipes.Artifact) bool { return a.Form() == "merged" }) {
		return hint.Errorf("export: [{merged: bf16}]", "eval.tasks are asked of the merged model, and the recipe exports none")
	}
	show := newProgress(e.stderr)
	j, err := openInputs(r, name, full, show.line)
	if err != nil {
		return err
	}
	defer j.close()
	if !c.Bool("resume") && !c.Bool("skip-check") {
		if err := j.check(e.ctx, show); err != nil {
			return err
		}
	}
	if len(r.Eval.Tasks) > 0 {
		if err := e.checkBenchmark(r, name); err != nil {
			return err
		}
	}
	if err := j.load(); err != nil {
		return err
	}
	if err := prepareOutput(r.Output, c.Bool("resume"), c.Bool("overwrite")); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			removeFailed(r.Output)
		}
	}()
	if err := j.identify(); err != nil {
		return err
	}
	j.Resume = c.Bool("resume")
	text, err := r.Marshal()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(r.Output, "recipe.yaml"), text); err != nil {
		return err
	}
	samples, err := j.samples(e.ctx)
	if err != nil {
		return err
	}
	j.describe(show.line)
	show.line(fmt.Sprintf("%s: %s on %s, results in %s", j.name, c.Command.Name, r.Base, r.Output))
	res, err := j.train(e.ctx, show)
	if err != nil {
		return err
	}
	if x := j.streams["train"].Stats(); x.Rows > 0 { // none where a run was resumed behind its last step
		show.line(j.readingOf("data") + ": " + x.Line())
	}
	return e.deliver(c, j, res, samples, string(text), show)
}

// train plans the memory and runs the training within it.
func (j *job) train(ctx context.Context, show *progress) (*train.Result, error) {
	j.Progress = show.status
	plan, err := j.Plan()
	if err != nil {
		return nil, err
	}
	show.line(fmt.Sprintf("memory planned: %s; micro-batches of %d tokens", train.BytesText(plan.Total), plan.MicroTokens))
	limit := plan.Total
	if j.base.Quantized == nil {
		limit -= plan.Weights // mapped weights are not Go's
	}
	before := debug.SetMemoryLimit(limit)
	defer func() {
		debug.FreeOSMemory() // garbage of what comes after training may grow as large as what is in use
		if j.Memory == 0 {   // nobody set a limit: that has not been planned
			debug.SetMemoryLimit(before)
		}
	}()
	defer show.end()
	return j.Run(ctx)
}

// deliver writes and judges what came of a training, and tells about it.
func (e *env) deliver(c *cli.Context, j *job, res *train.Result, samples []*sample, recipe string, show *progress) error {
	outputs, err := j.outputs()
	if err != nil {
		return err
	}
	list, err := j.export(e.ctx, show)
	if err == nil {
		err = j.verify(e.ctx, list, show)
	}
	if err != nil {
		return err
	}
	if err := j.answer(e.ctx, samples, true); err != nil {
		return err
	}
	outputs = append(outputs, list.facts()...)
	var bench *report.Report
	if len(j.recipe.Eval.Tasks) > 0 {
		if bench, err = e.runBenchmark(c, j.recipe, j.name, show); err != nil {
			return err
		}
		outputs = append(outputs, benchmarkFacts(j.recipe.Output, bench)...)
	}
	if outputs, err = j.report(res, samples, list, outputs, recipe); err != nil {
		return err
	}
	if err := e.printFinetuned(c.Bool("json"), res, list, outputs, bench); err != nil {
		return err
	}
	if err := list.gate(); err != nil || bench == nil {
		return err
	}
	return verdict(bench.Gates)
}

// printFinetuned prints the result of a training; bench may be nil.
func (e *env) printFinetuned(asJSON bool, res *train.Result, list exports, outputs []train.Fact, bench *report.Report) error {
	if asJSON {
		return writeJSON(e.stdout, struct {
			*train.Result
			Exports   exports      `json:"exports,omitempty"`
			Outputs   []train.Fact `json:"outputs"`
			Benchmark any          `json:"benchmark,omitempty"`
		}{res, list, outputs, benchmarkOrNil(bench)})
	}
	if err := printResult(e.stdout, res, list, outputs); err != nil || bench == nil {
		return err
	}
	fmt.Fprintln(e.stdout)
	return e.printReport(bench)
}

func benchmarkOrNil(r *report.Report) any {
	if r == nil {
		return nil
	}
	return benchmarkJSON(r)
}

// printResult prints the table of a run, that of the exported files, and where they are.
func printResult(w io.Writer, res *train.Result, list exports, outputs []train.Fact) error {
	if err := printTable(w, res.Table()); err != nil {
		return err
	}
	if len(list) > 0 {
		fmt.Fprintln(w)
		if err := printTable(w, list.table()); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	return printFacts(w, outputs)
}

// printTable prints rows of cells in columns.
func printTable(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

func printFacts(w io.Writer, facts []train.Fact) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, f := range facts {
		fmt.Fprintf(tw, "%s\t%s\n", f.Name, f.Value)
	}
	return tw.Flush()
}
