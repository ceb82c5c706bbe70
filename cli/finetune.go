package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/data"
	"tune/internal/hint"
	"tune/internal/hub"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/kernels"
	"tune/lora"
	"tune/recipes"
	"tune/train"
)

// job is a recipe with everything it names opened.
type job struct {
	train.Job
	recipe    *recipes.Recipe
	name      string // of the recipe
	full      bool   // every weight is trained, not an adapter
	base      *model.Checkpoint
	tokenizer *tokenizer.Tokenizer
	hash      string // of the base
	streams   map[string]*data.Stream
	say       func(string)
	begin     map[string]data.State // where each stream begins
	closers   []func()
}

func (j *job) close() {
	for i := len(j.closers) - 1; i >= 0; i-- {
		j.closers[i]()
	}
}

// recipeFlags are the flags of every command that takes a recipe.
func recipeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "recipe", Aliases: []string{"r"}, Usage: "a recipe `FILE`, or the name of a built-in one (tune recipe ls)"},
		&cli.StringFlag{Name: "base", Aliases: []string{"b"}, Usage: "`MODEL` to start from, instead of the recipe's"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FOLDER` for the results, instead of the recipe's"},
		&cli.IntFlag{Name: "steps", Usage: "optimizer steps, instead of the recipe's"},
		&cli.StringFlag{Name: "memory", Usage: "most memory to use, such as 6GiB"},
	}
}

// readRecipe loads the recipe of a command line with its flags and key=value arguments.
func readRecipe(c *cli.Context) (*recipes.Recipe, string, error) {
	name := c.String("recipe")
	if name == "" {
		return nil, "", usagef(c, "expected --recipe")
	}
	pairs, others := overrides(c.Args().Slice())
	if len(others) > 0 {
		return nil, "", usagef(c, "unexpected argument %q", others[0])
	}
	var list []recipes.Override
	for _, p := range pairs {
		o, err := recipes.ParseOverride(p)
		if err != nil {
			return nil, "", err
		}
		list = append(list, o)
	}
	for _, flag := range []struct {
		name, key string
		text      bool
	}{{"base", "base", true}, {"output", "output", true}, {"steps", "train.steps", false}, {"memory", "memory", false}} {
		if c.IsSet(flag.name) {
			value := fmt.Sprint(c.Value(flag.name))
			list = append(list, recipes.Override{Key: flag.key, Value: value, Text: flag.text, From: "--" + flag.name + "=" + value})
		}
	}
	r, err := recipes.Load(name, list)
	if err != nil {
		return nil, "", err
	}
	short := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	if r.Output == "" {
		r.Output = filepath.Join("runs", short)
	}
	return r, short, nil
}

// openJob opens base, data and trainable of a recipe. say is told of long steps. The caller closes the job.
func openJob(r *recipes.Recipe, name string, full bool, say func(string)) (*job, error) {
	j, err := openInputs(r, name, full, say)
	if err != nil {
		return nil, err
	}
	if err := j.load(); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// openInputs opens base and data of a recipe, as far as that takes no weights.
func openInputs(r *recipes.Recipe, name string, full bool, say func(string)) (_ *job, err error) {
	j := &job{recipe: r, name: name, full: full, say: say, streams: map[string]*data.Stream{}, begin: map[string]data.State{}}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if r.Train.Scratch && !full {
		return nil, hint.Errorf("`tune full` trains from scratch", "train.scratch: expected false with an adapter, found true")
	}
	if r.Precision == "bf16" && kernels.Level() != "avx512bf16" {
		return nil, hint.Errorf("precision: auto takes what this processor has", "precision: expected a processor with AVX512-BF16, found kernels %s", kernels.Level())
	}
	if j.base, err = openBase(r.Base, r.Train.Scratch); err != nil {
		return nil, err
	}
	j.closers = append(j.closers, func() { j.base.Close() })
	if j.tokenizer, err = j.base.Tokenizer(); err != nil && !errors.Is(err, model.ErrNoTokenizer) {
		return nil, err
	}
	if err = checkExports(j.base, r.Export); err != nil {
		return nil, err
	}
	if err = j.openData(); err != nil {
		return nil, err
	}
	return j, nil
}

// load makes the model and what of it is trained.
func (j *job) load() error {
	r := j.recipe
	m, err := model.New(j.base, model.Options{Exact: r.Precision == "f32"})
	if err != nil {
		return err
	}
	pool := kernels.NewPool(0)
	j.closers = append(j.closers, pool.Close)
	start := time.Now()
	wall := float64(start.UnixNano()) / 1e9
	j.Job = train.Job{Model: m, Config: r.Train, Eval: r.Eval.EvalConfig, Seed: r.Seed, Seq: r.Data.Seq, Pool: pool, Memory: int64(r.Memory), Dir: r.Output,
		Train: j.streams["train"], Now: func() float64 { return wall + time.Since(start).Seconds() }}
	if s := j.streams["valid"]; s != nil {
		j.Held = s
	}
	if s := j.streams["test"]; s != nil {
		j.Test = s
	}
	if j.full {
		j.Trainable = model.NewFull(m, r.Seed)
		return nil
	}
	a, err := lora.Attach(m, r.LoRA, r.Seed)
	if err != nil {
		return err
	}
	j.Trainable = a
	return nil
}

// openBase opens a model by path or name. From scratch, its weights are not looked at and need not be there.
func openBase(name string, scratch bool) (*model.Checkpoint, error) {
	if strings.HasPrefix(name, hub.Scheme) {
		var err error
		if name, err = fetchBase(name); err != nil {
			return nil, err
		}
	}
	var dir fs.FS
	if strings.HasPrefix(name, "builtin:") {
		var err error
		if dir, err = recipes.OpenBuiltin(name); err != nil {
			return nil, err
		}
		if !scratch {
			return model.OpenFS(dir, name)
		}
	}
	if !scratch {
		return model.Open(name)
	}
	if dir == nil {
		dir = os.DirFS(name)
	}
	config, err := fs.ReadFile(dir, "config.json")
	if err != nil {
		return nil, hint.Errorf("a model to train from scratch is a folder with config.json and tokenizer.json", "%s: %w", name, err)
	}
	return model.Fresh(config, name, dir)
}

// fetchBase brings a model of the hub into its cache and returns the folder or file.
func fetchBase(address string) (string, error) {
	a, err := hub.Parse(address)
	if err != nil {
		return "", err
	}
	if a.Kind != "models" {
		return "", hint.Errorf("hf://org/name is a model", "base: expected the address of a model, found %s", address)
	}
	c, err := hub.FromEnv()
	if err != nil {
		return "", err
	}
	return c.Model(context.Background(), a)
}

// openData opens a stream for each split the recipe names.
func (j *job) openData() error {
	d := j.recipe.Data
	template, err := j.base.Template()
	if err != nil {
		return err
	}
	if p := j.base.Spec.Positions; p > 0 && d.Seq > p {
		return hint.Errorf(fmt.Sprintf("data.seq=%d", p), "data.seq: expected at most the model's context of %d tokens, found %d", p, d.Seq)
	}
	for _, split := range slices.Compact(append([]string{"train"}, d.Splits()...)) { // without train, Open says so
		s, err := data.Open(d, data.Options{Split: split, Seed: j.recipe.Seed, Tokenizer: j.tokenizer, Vocab: j.base.Spec.V, Template: template,
			Cache: cacheDir(), Report: j.say})
		if err != nil {
			return err
		}
		j.closers = append(j.closers, func() { s.Close() })
		j.streams[split], j.begin[split] = s, s.State()
	}
	return nil
}

// describe says what was found at each source of the training data.
func (j *job) describe(say func(string)) {
	for _, o := range j.streams["train"].Sources() {
		text := fmt.Sprintf("data: %s: %s", o.Path, strings.Join(o.Format, "; "))
		if o.Rows >= 0 {
			text += fmt.Sprintf("; %d rows", o.Rows)
		}
		if o.Files > 1 {
			text += fmt.Sprintf(" in %d files", o.Files)
		}
		if o.Pruned > 0 {
			text += fmt.Sprintf(", %d row groups left unread", o.Pruned)
		}
		say(text)
	}
}

// identify hashes base and data, so that a run is continued only with its own.
func (j *job) identify() error {
	var err error
	if j.hash, err = j.base.Hash(); err != nil {
		return err
	}
	j.Identity = fmt.Sprintf("base %s full %v lora %+v precision %s", j.hash, j.full, j.recipe.LoRA, j.recipe.Precision)
	for _, split := range []string{"train", "valid", "test"} {
		if s := j.streams[split]; s != nil {
			print, err := s.Fingerprint()
			if err != nil {
				return err
			}
			j.Identity += " " + split + " " + print
		}
	}
	return nil
}

// results are the names this program writes into an output folder.
var results = []string{"adapter", "merged", "checkpoints", "model*.gguf", "metrics.jsonl", "events.out.tfevents.*", "report.html", "recipe.yaml", "run.json", benchmarkDir}

// prepareOutput refuses a folder that holds anything, unless the run there is continued or to be replaced. Replacing
// removes what this program writes and nothing else.
func prepareOutput(dir string, resume, overwrite bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("output: %w", err)
	}
	if len(entries) > 0 && !resume && !overwrite {
		return hint.Errorf("--resume continues the run there, --overwrite replaces it, --output takes another folder",
			"output: %s exists and is not empty", dir)
	}
	if overwrite && !resume {
		if err := removeResults(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// removeResults removes what this program writes into an output folder.
func removeResults(dir string) error {
	for _, pattern := range results {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		for _, f := range found {
			if err := os.RemoveAll(f); err != nil {
				return fmt.Errorf("output: %w", err)
			}
		}
	}
	return nil
}

// removeFailed removes what a run left that never came to its first checkpoint: there is nothing to continue.
func removeFailed(dir string) {
	if saved, _ := filepath.Glob(filepath.Join(dir, "checkpoints", "step-*[0-9]")); len(saved) > 0 {
		return
	}
	if removeResults(dir) == nil {
		os.Remove(dir) // only when it is empty
	}
}
