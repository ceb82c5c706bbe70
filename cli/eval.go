package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/eval"
	scores "tune/eval/report"
	"tune/eval/task"
	"tune/internal/chat"
	"tune/internal/hint"
)

func evalCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "eval",
		Usage:     "measure a model on benchmarks, with lm-evaluation-harness' numbers",
		UsageText: "tune eval --base MODEL [--adapter DIR] --tasks TASK[,TASK...] --data DIR [flags]\ntune eval ls | show TASK | validate FILE",
		Description: `Tasks are names, groups, tags, patterns such as mmlu_* and files in lm-evaluation-harness' YAML format. Their data is looked for in
the folders of --data; nothing is fetched unless --download is given. Answers are kept in a journal: a run that was stopped goes on, and
a second run of the same model and tasks asks nothing.

Example: tune eval --base model/ --tasks arc_easy,mmlu --data benchmarks/ --output results/`,
		Flags: slices.Concat(evalModelFlags(), evalTaskFlags(), evalRunFlags(), []cli.Flag{gateFlag(),
			&cli.StringFlag{Name: "recipe", Aliases: []string{"r"}, Usage: "a recipe `FILE` or name: runs its eval section on the base and on what was trained, and compares"}}, reportFlags(), lockFlags()),
		Subcommands: []*cli.Command{
			{
				Name: "ls", Usage: "list tasks, groups and tags", UsageText: "tune eval ls [--include-path DIR] [--data DIR ...] [--json] [PATTERN]",
				Description: "Each task with its data set and that data's licence; with --data also the documents of those whose data is there.",
				Flags:       []cli.Flag{includeFlag(), dataFolderFlag(), jsonFlag()},
				Action:      func(c *cli.Context) error { return e.evalList(c) },
			},
			{
				Name: "show", Usage: "print a task, its data and the text of its requests", UsageText: "tune eval show [--data DIR] [--num-fewshot K] [--doc N] TASK",
				Flags:  append(evalTaskFlags(), &cli.IntFlag{Name: "doc", Usage: "`N`: number of the document whose requests are printed"}),
				Action: func(c *cli.Context) error { return e.evalShow(c) },
			},
			{
				Name: "validate", Usage: "check task files", UsageText: "tune eval validate [--data DIR] FILE...",
				Flags:  []cli.Flag{dataFolderFlag(), includeFlag()},
				Action: func(c *cli.Context) error { return e.evalValidate(c) },
			},
		},
		Action: func(c *cli.Context) error { return e.evalRun(c) },
	}
}

func includeFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "include-path", Aliases: []string{"include_path"}, Usage: "`DIR` with task files of your own"}
}

func dataFolderFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "data", Usage: "`DIR` where data sets are; may be given several times"}
}

// evalTaskFlags say what is asked.
func evalTaskFlags() []cli.Flag {
	return []cli.Flag{
		includeFlag(), dataFolderFlag(),
		&cli.BoolFlag{Name: "download", Usage: "take data sets that are in no folder from the Hugging Face hub into the cache"},
		&cli.IntFlag{Name: "num-fewshot", Aliases: []string{"num_fewshot"}, Value: -1, Usage: "`K` examples before each question; else what the task says"},
		&cli.Float64Flag{Name: "limit", Usage: "`N` first documents of each task, or a share below 1; the results are marked as partial"},
		&cli.BoolFlag{Name: "skip-missing", Usage: "leave out tasks whose data is not there, with a note, instead of stopping"},
		&cli.StringFlag{Name: "metadata", Usage: "keys of the tasks' metadata as `JSON`, such as {\"words\": [2000]} for the lengths of needle tasks"},
		&cli.StringFlag{Name: "samples", Usage: "documents to use, as `JSON`: {\"task\": [0, 3, 7]}"},
		&cli.BoolFlag{Name: "apply-chat-template", Aliases: []string{"apply_chat_template"}, Usage: "ask in the words of the model's chat template"},
		&cli.BoolFlag{Name: "fewshot-as-multiturn", Aliases: []string{"fewshot_as_multiturn"}, Usage: "examples are turns of the conversation"},
		&cli.StringFlag{Name: "system", Aliases: []string{"system-instruction", "system_instruction"}, Usage: "system instruction `TEXT`"},
		&cli.StringFlag{Name: "seed", Value: "0,1234,1234,1234", Usage: "seed of the few-shot draws: one number, or lm-eval's four of which the last counts"},
		&cli.StringFlag{Name: "gen-kwargs", Aliases: []string{"gen_kwargs"}, Usage: "settings of generation for all tasks, as temperature=0.7,max_gen_toks=512"},
	}
}

// evalRunFlags say how it is run and what is written.
func evalRunFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "tasks", Aliases: []string{"t"}, Usage: "`NAMES` of tasks, groups, tags or task files, with commas between"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o", "output_path"}, Usage: "`DIR` for results.json and the samples"},
		&cli.BoolFlag{Name: "log-samples", Aliases: []string{"log_samples"}, Value: true, Usage: "write every document with its answers; paired comparisons need them"},
		&cli.StringFlag{Name: "journal", Usage: "`FILE` of kept answers, - for none (default: in the user's cache folder)"},
		&cli.IntFlag{Name: "bootstrap-iters", Aliases: []string{"bootstrap_iters"}, Value: task.Bootstrap, Usage: "draws for standard errors that have no formula; 0: no standard errors"},
		&cli.BoolFlag{Name: "allow-code-execution", Aliases: []string{"confirm_run_unsafe_code"}, Usage: "run code that the model writes, in a sandbox"},
		jsonFlag(),
	}
}

// evalJob reads the flags of what is asked.
func (e *env) evalJob(c *cli.Context, names []string) (*eval.Job, error) {
	l, err := task.NewLibrary(c.StringSlice("include-path")...)
	if err != nil {
		return nil, err
	}
	j := &eval.Job{Limit: c.Float64("limit"), Chat: c.Bool("apply-chat-template"), MultiTurn: c.Bool("fewshot-as-multiturn"), System: c.String("system"), SkipMissing: c.Bool("skip-missing"),
		Sources: task.Sources{Folders: c.StringSlice("data"), Files: map[string][]task.Doc{}}, Version: strings.TrimSpace(readBuildInfo().Version + " " + readBuildInfo().Commit)}
	if j.Selection, err = l.Select(names); err != nil {
		return nil, err
	}
	if j.Sources.Fetch, err = e.hubFetch(c.Bool("download")); err != nil {
		return nil, err
	}
	if err := checkFolders(j.Sources.Folders); err != nil {
		return nil, err
	}
	if k := c.Int("num-fewshot"); k >= 0 {
		j.Shots = &k
	} else if c.IsSet("num-fewshot") {
		return nil, usagef(c, "num-fewshot: expected a number not below 0, found %d", k)
	}
	if j.Limit < 0 || j.Limit > 1 && j.Limit != math.Trunc(j.Limit) {
		return nil, usagef(c, "limit: expected a number of documents or a share below 1, found %v", j.Limit)
	}
	if j.MultiTurn && !j.Chat {
		return nil, usagef(c, "fewshot-as-multiturn needs apply-chat-template")
	}
	seeds := strings.Split(c.String("seed"), ",")
	if j.Seed, err = strconv.ParseUint(seeds[len(seeds)-1], 10, 64); err != nil {
		return nil, usagef(c, "seed: expected numbers, found %q", c.String("seed"))
	}
	if s := c.String("samples"); s != "" {
		if err := json.Unmarshal([]byte(s), &j.Only); err != nil {
			return nil, usagef(c, "samples: expected {\"task\": [documents]}, found %q", s)
		}
		if err := checkSamples(j.Only, j.Selection); err != nil {
			return nil, err
		}
	}
	if s := c.String("metadata"); s != "" {
		v, err := chat.FromJSON([]byte(s))
		d, ok := v.(*chat.Dict)
		if err != nil || !ok {
			return nil, usagef(c, "metadata: expected an object of JSON, found %q", s)
		}
		for _, key := range d.Keys() {
			value, _ := d.Get(key)
			for _, t := range j.Selection.Tasks {
				t.SetMetadata(key, value)
			}
		}
	}
	for _, pair := range strings.Split(c.String("gen-kwargs"), ",") {
		key, value, ok := strings.Cut(pair, "=")
		if pair == "" {
			continue
		}
		if !ok {
			return nil, usagef(c, "gen-kwargs: expected key=value, found %q", pair)
		}
		for _, t := range j.Selection.Tasks {
			t.SetGeneration(key, value)
		}
	}
	return j, nil
}

// taskNames are those of --tasks.
func taskNames(c *cli.Context) []string {
	return strings.FieldsFunc(c.String("tasks"), func(r rune) bool { return r == ',' || r == ' ' })
}

func (e *env) evalRun(c *cli.Context) error {
	if err := checkEvalFlags(c); err != nil {
		return err
	}
	if c.String("recipe") != "" {
		return e.evalRecipe(c)
	}
	if c.NArg() > 0 {
		return usagef(c, "expected no argument, found %q", c.Args().First())
	}
	gates, err := parseGates(c)
	if err != nil {
		return err
	}
	names := taskNames(c)
	if len(names) == 0 {
		return usageError{hint.Errorf("`tune eval ls` lists them", "expected --tasks")}
	}
	j, err := e.evalJob(c, names)
	if err != nil {
		return err
	}
	if err := errors.Join(checkAlone(gates), checkGates(gates, j.Selection)); err != nil {
		return err
	}
	if err := checkLock(c); err != nil {
		return err
	}
	if dir := c.String("output"); dir != "" {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	if c.Bool("allow-code-execution") {
		if j.Env, err = codeEnv(e.ctx); err != nil {
			return err
		}
	}
	m, err := openEvalModel(c)
	if err != nil {
		return err
	}
	defer m.close()
	j.Bootstrap, j.Judge, j.Config, j.Template = c.Int("bootstrap-iters"), m.judge, m.config, m.template
	show := newProgress(e.stderr)
	defer show.end()
	plan, err := j.Plan(m.model)
	if err != nil {
		return err
	}
	out, err := j.Run(e.ctx, m.model, plan, e.evalWatch(c, show))
	if err != nil {
		return err
	}
	show.end()
	if c.String("endpoint") == "" {
		tellTraining(e.ctx, c.String("base"), c.String("adapter"), j, out.Results)
	}
	if dir := c.String("output"); dir != "" {
		samples := out.Samples
		if !c.Bool("log-samples") {
			samples = nil
		}
		if err := scores.Write(dir, out.Results, samples); err != nil {
			return err
		}
	}
	if err := e.evalPrint(c, out.Results, m); err != nil {
		return err
	}
	return e.evalJudge(c, out, gates)
}

// evalJudge checks the lock, decides the gates of a run alone, and writes its reports.
func (e *env) evalJudge(c *cli.Context, out *eval.Outcome, gates []scores.Gate) error {
	run, err := scores.NewRun(out.Results.ModelName, out.Results, out.Samples)
	if err != nil {
		return err
	}
	if err := e.lock(c, run); err != nil {
		return err
	}
	outcomes, err := scores.Judge(gates, run, nil)
	if err != nil {
		return err
	}
	if err := e.writeReports(c, &scores.Report{Title: "Evaluation: " + run.ModelName, After: run, Gates: outcomes}); err != nil {
		return err
	}
	if len(outcomes) > 0 && c.Bool("json") {
		writeEvent(e.stdout, "gates", outcomes)
	} else if len(outcomes) > 0 {
		fmt.Fprintln(e.stdout)
		if err := printGates(e.stdout, outcomes); err != nil {
			return err
		}
	}
	return verdict(outcomes)
}

// evalWatch shows progress: a line that changes on a terminal, a line for each tenth of a task elsewhere, events with
// --json.
func (e *env) evalWatch(c *cli.Context, show *progress) func(eval.Progress) {
	last := ""
	return func(p eval.Progress) {
		tenth := fmt.Sprintf("%s %d", p.Task, 10*p.Done/p.Requests)
		if c.Bool("json") {
			if tenth != last {
				writeEvent(e.stdout, "progress", p)
			}
		} else if show.terminal || tenth != last {
			show.text(progressLine(p))
		}
		last = tenth
	}
}

func progressLine(p eval.Progress) string {
	s := fmt.Sprintf("%s (%d of %d): %d of %d requests", p.Task, p.Index+1, p.Tasks, p.Done, p.Requests)
	if p.Cached > 0 {
		s += fmt.Sprintf(", %d from the journal", p.Cached)
	}
	if p.SecondsLeft >= 0 {
		s += ", " + shortTime(p.SecondsLeft) + " left"
	}
	return s
}

// shortTime writes seconds as 4m05s.
func shortTime(s float64) string {
	n := int(math.Ceil(s))
	switch {
	case n >= 3600:
		return fmt.Sprintf("%dh%02dm", n/3600, n/60%60)
	case n >= 60:
		return fmt.Sprintf("%dm%02ds", n/60, n%60)
	}
	return fmt.Sprintf("%ds", n)
}

// writeEvent writes a line of JSON.
func writeEvent(w io.Writer, kind string, v any) {
	text, err := json.Marshal(map[string]any{"event": kind, kind: v})
	if err == nil {
		fmt.Fprintf(w, "%s\n", text)
	}
}

// evalPrint prints the table of results and what was lost on the way.
func (e *env) evalPrint(c *cli.Context, r *scores.Results, m *evalModel) error {
	for _, n := range r.Tune.Notes {
		fmt.Fprintln(e.stderr, "note:", n)
	}
	for _, o := range r.Tune.Trained {
		fmt.Fprintln(e.stderr, "note:", o)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Tune.Tasks)) {
		f := r.Tune.Tasks[name]
		for _, loss := range []struct {
			n    int
			what string
		}{{f.Truncated, "requests lost the beginning of their context"}, {f.Cut, "answers ended at the token limit"}, {f.Unparsed, "answers in which a filter found nothing"}} {
			if loss.n > 0 {
				fmt.Fprintf(e.stderr, "note: %s: %d %s\n", name, loss.n, loss.what)
			}
		}
	}
	m.usage(e.stderr)
	if c.Bool("json") {
		writeEvent(e.stdout, "results", r)
		return nil
	}
	rows := [][]string{{"task", "version", "filter", "n-shot", "documents", "metric", "", "value", "", "stderr"}}
	for _, name := range resultOrder(r) {
		s := r.Results[name]
		for i, x := range s.List {
			row := make([]string, 5, 10)
			if i == 0 {
				row = []string{name, fmt.Sprint(r.Versions[name]), "", fmt.Sprint(r.NumFewshot[name]), fmt.Sprint(s.Documents)}
			}
			row[2] = x.Filter
			arrow := "↑"
			if h := r.HigherIsBetter[name][x.Metric]; h != nil && !*h {
				arrow = "↓"
			}
			stderr := "N/A"
			if !math.IsNaN(x.Stderr) {
				stderr = fmt.Sprintf("%.4f", x.Stderr)
			}
			rows = append(rows, append(row, x.Metric, arrow, fmt.Sprintf("%.4f", x.Value), "±", stderr))
		}
	}
	return printTable(e.stdout, rows)
}

// resultOrder lists tasks by name with the groups first.
func resultOrder(r *scores.Results) []string {
	names := slices.Sorted(maps.Keys(r.Results))
	slices.SortStableFunc(names, func(a, b string) int {
		_, aGroup := r.GroupSubtasks[a]
		_, bGroup := r.GroupSubtasks[b]
		switch {
		case aGroup == bGroup:
			return 0
		case aGroup:
			return -1
		}
		return 1
	})
	return names
}

func (e *env) evalShow(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef(c, "expected one task")
	}
	j, err := e.evalJob(c, []string{c.Args().First()})
	if err != nil {
		return err
	}
	t := j.Selection.Tasks[0]
	if j.Shots != nil {
		t.Shots = j.Shots
	}
	fmt.Fprintf(e.stdout, "%s\nlicence of the data: %s\n", chat.JSON(t.Raw, 2, false), cmp.Or(t.Licence(), "not known here"))
	if len(j.Sources.Folders) == 0 {
		fmt.Fprintln(e.stdout, "--data DIR shows the requests as well")
		return nil
	}
	loaded, err := task.Load(t, j.Sources)
	if err != nil {
		return err
	}
	set, err := loaded.Requests(task.Options{Seed: j.Seed, First: c.Int("doc") + 1})
	if err != nil {
		return err
	}
	if c.Int("doc") >= len(set.Items) || c.Int("doc") < 0 {
		return usagef(c, "doc: expected a number below %d, found %d", len(loaded.Docs), c.Int("doc"))
	}
	for _, n := range loaded.Notes {
		fmt.Fprintln(e.stderr, "note:", n)
	}
	item := set.Items[c.Int("doc")]
	fmt.Fprintf(e.stdout, "documents: %d\ndocument %d: %s\n", len(loaded.Docs), item.ID, chat.JSON(item.Doc, 0, false))
	last := ""
	for i, r := range item.Requests {
		if i == 0 || r.Context != last {
			fmt.Fprintf(e.stdout, "\n--- context of request %d\n%s\n--- end\n", i, r.Context)
		}
		last = r.Context
		if r.Continuation != "" {
			fmt.Fprintf(e.stdout, "continuation %d: %q\n", i, r.Continuation)
		}
	}
	return nil
}

// evalValidate checks every task of files and, with data, that their requests can be made.
func (e *env) evalValidate(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef(c, "expected a task file")
	}
	l, err := task.NewLibrary(c.StringSlice("include-path")...)
	if err != nil {
		return err
	}
	var problems []error
	for _, file := range c.Args().Slice() {
		names, err := l.AddFile(file)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, name := range names {
			if err := validateTask(c, l, name); err != nil {
				problems = append(problems, err)
				continue
			}
			fmt.Fprintf(e.stdout, "%s: %s is well formed\n", file, name)
		}
	}
	return errors.Join(problems...)
}

func validateTask(c *cli.Context, l *task.Library, name string) error {
	if g, err := l.Group(name); g != nil || err != nil {
		return err
	}
	t, err := l.Task(name)
	if err != nil || len(c.StringSlice("data")) == 0 {
		return err
	}
	loaded, err := task.Load(t, task.Sources{Folders: c.StringSlice("data")})
	if err != nil {
		return err
	}
	_, err = loaded.Requests(task.Options{Seed: 1234})
	return err
}
