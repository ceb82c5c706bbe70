package cli

import (
	"math"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v4"

	"tune/data"
	"tune/internal/chat"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/recipes"
)

func dataCommand(e *env) *cli.Command {
	source := "(--recipe RECIPE | --data PATH [--base MODEL])"
	return &cli.Command{
		Name:  "data",
		Usage: "look at training data as the model will see it",
		Subcommands: []*cli.Command{
			{
				Name:      "show",
				Usage:     "print rows as tokens, with what the loss is taken of in colour or brackets",
				UsageText: "tune data show " + source + " [--split SPLIT] [--limit N] [--packs] [--html FILE] [key=value ...]",
				Description: "On a terminal, supervised text is green and special tokens are dim; elsewhere supervised text stands in [[ ]].\n" +
					"With --html a page is written that also shows where each token ends.\n" +
					"A key=value argument sets any key of the recipe: data.loss=all data.seq=1024.",
				Flags: append(dataFlags(),
					&cli.IntFlag{Name: "limit", Value: 5, Usage: "rows or packs to print"},
					&cli.StringFlag{Name: "html", Usage: "write a page to `FILE` instead, - for standard output"},
					&cli.BoolFlag{Name: "packs", Usage: "print whole packs in the order of training instead of rows in the order of the files"}),
				Action: func(c *cli.Context) error { return e.dataShow(c) },
			},
			{
				Name:      "stats",
				Usage:     "count rows, tokens by source and role, lengths, supervised tokens, duplicates, scripts, packs, steps and time",
				UsageText: "tune data stats " + source + " [--split SPLIT] [--json] [key=value ...]",
				Flags:     append(dataFlags(), jsonFlag()),
				Action:    func(c *cli.Context) error { return e.dataStats(c) },
			},
			dataCheckCommand(e),
			dataConvertCommand(e),
			overlapCommand(e),
		},
	}
}

// dataFlags are the flags of every command that looks at data.
func dataFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "recipe", Aliases: []string{"r"}, Usage: "a recipe `FILE`, or the name of a built-in one"},
		&cli.StringSliceFlag{Name: "data", Usage: "a file, folder or glob, or builtin:licenses, without a recipe; may be given several times"},
		&cli.StringFlag{Name: "base", Aliases: []string{"b"}, Usage: "`MODEL` whose tokenizer and chat template are used"},
		&cli.StringFlag{Name: "split", Value: "train", Usage: "train, valid or test"},
	}
}

// dataView is an opened split with the tokenizer it is read with.
type dataView struct {
	*data.Stream
	recipe *recipes.Recipe
	config data.Config
	base   *model.Checkpoint
	tok    *tokenizer.Tokenizer
	// template is the model's chat template, nil without one.
	template *chat.Template
}

func (v *dataView) close() {
	v.Stream.Close()
	v.base.Close()
}

// openView opens the split that the flags name.
func (e *env) openView(c *cli.Context) (_ *dataView, err error) {
	r, err := viewRecipe(c)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(r.Base)
	isFile := err == nil && !info.IsDir()
	base, err := openBase(r.Base, !isFile) // weights are not looked at, where they are files of their own
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			base.Close()
		}
	}()
	tok, err := base.Tokenizer()
	if err != nil {
		return nil, err
	}
	template, err := base.Template()
	if err != nil {
		return nil, err
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // unless GOMEMLIMIT says otherwise
		debug.SetMemoryLimit(longRows)
	}
	r.Data.TokenCache = false // rows are looked at, not tokens
	if r.Data.Order == "shuffled" {
		r.Data.Order = "windows" // and nothing is written for that
	}
	s, err := data.Open(r.Data, data.Options{Split: c.String("split"), Seed: r.Seed, Tokenizer: tok, Template: template, Cache: cacheDir(),
		Columns: c.String("form") == "columns"})
	if err != nil {
		return nil, err
	}
	return &dataView{s, r, r.Data, base, tok, template}, nil
}

// longRows is the memory from which on garbage is collected more often: a row of 100 MB leaves several times as much.
const longRows = 512 << 20

// viewRecipe is the recipe of the flags, or one made of --data alone.
func viewRecipe(c *cli.Context) (*recipes.Recipe, error) {
	paths := c.StringSlice("data")
	if (c.String("recipe") == "") == (len(paths) == 0) {
		return nil, usagef(c, "expected one of --recipe and --data")
	}
	if split := c.String("split"); c.IsSet("split") && split != "train" && split != "valid" && split != "test" {
		return nil, usagef(c, "--split: expected train, valid or test, found %q", split)
	}
	if len(paths) == 0 {
		r, _, err := readRecipe(c)
		return r, err
	}
	pairs, others := overrides(c.Args().Slice())
	if len(others) > 0 {
		return nil, usagef(c, "unexpected argument %q", others[0])
	}
	var list []recipes.Override
	if base := c.String("base"); base != "" {
		list = append(list, recipes.Override{Key: "base", Value: base, Text: true, From: "--base=" + base})
	}
	for _, p := range pairs {
		o, err := recipes.ParseOverride(p)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	text, err := yaml.Marshal(map[string]any{"data": map[string]any{"train": paths, "valid": paths, "test": paths}})
	if err != nil {
		return nil, err
	}
	return recipes.Parse("--data", text, list)
}
