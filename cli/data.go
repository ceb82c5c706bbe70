package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v4"
	"golang.org/x/term"

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
				UsageText: "tune data show " + source + " [--split SPLIT] [--limit N] [--packs] [key=value ...]",
				Description: "On a terminal, supervised text is green and special tokens are dim; elsewhere supervised text stands in [[ ]].\n" +
					"A key=value argument sets any key of the recipe: data.loss=all data.seq=1024.",
				Flags: append(dataFlags(),
					&cli.IntFlag{Name: "limit", Value: 5, Usage: "rows or packs to print"},
					&cli.BoolFlag{Name: "packs", Usage: "print whole packs in the order of training instead of rows in the order of the files"}),
				Action: func(c *cli.Context) error { return e.dataShow(c) },
			},
			{
				Name:      "stats",
				Usage:     "count rows, tokens, lengths, supervised tokens, duplicates and packs",
				UsageText: "tune data stats " + source + " [--split SPLIT] [--json] [key=value ...]",
				Flags:     append(dataFlags(), jsonFlag()),
				Action:    func(c *cli.Context) error { return e.dataStats(c) },
			},
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
	config data.Config
	base   *model.Checkpoint
	tok    *tokenizer.Tokenizer
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
	var template *chat.Template
	if text := base.ChatTemplate(); text != "" {
		if template, err = chat.Parse(text); err != nil {
			return nil, fmt.Errorf("%s: chat template: %w", r.Base, err)
		}
	}
	s, err := data.Open(r.Data, data.Options{Split: c.String("split"), Seed: r.Seed, Tokenizer: tok, Template: template, Cache: cacheDir()})
	if err != nil {
		return nil, err
	}
	return &dataView{s, r.Data, base, tok}, nil
}

// viewRecipe is the recipe of the flags, or one made of --data alone.
func viewRecipe(c *cli.Context) (*recipes.Recipe, error) {
	paths := c.StringSlice("data")
	if (c.String("recipe") == "") == (len(paths) == 0) {
		return nil, usagef(c, "expected one of --recipe and --data")
	}
	if split := c.String("split"); split != "train" && split != "valid" && split != "test" {
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

func (e *env) dataShow(c *cli.Context) error {
	if c.Int("limit") < 1 {
		return usagef(c, "--limit: expected a positive number, found %d", c.Int("limit"))
	}
	v, err := e.openView(c)
	if err != nil {
		return err
	}
	defer v.close()
	p := &tokenPrinter{w: e.stdout, tok: v.tok}
	if f, ok := e.stdout.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		p.color = term.IsTerminal(int(f.Fd()))
	}
	left := c.Int("limit")
	if c.Bool("packs") {
		for ; left > 0; left-- {
			pack, err := v.Next(e.ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			p.pack(pack)
		}
		return nil
	}
	var bad error
	err = v.Scan(e.ctx, func(x data.Scanned) bool {
		if x.Err != nil {
			bad = x.Err
			return false
		}
		if len(x.Example.IDs) > 0 {
			p.example(&x.Example)
			left--
		}
		return left > 0
	})
	if err == nil {
		err = bad
	}
	return err
}

// tokenPrinter prints tokens with what is supervised set apart.
type tokenPrinter struct {
	w     io.Writer
	tok   *tokenizer.Tokenizer
	color bool
}

const (
	green = "\x1b[32m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

func (p *tokenPrinter) header(key string, tokens, supervised int) {
	line := fmt.Sprintf("--- %s: %d tokens, %d supervised", key, tokens, supervised)
	if p.color {
		line = dim + line + plain
	}
	fmt.Fprintln(p.w, line)
}

func (p *tokenPrinter) example(ex *data.Example) {
	p.header(ex.Key, len(ex.IDs), ex.Supervised())
	// the first token cannot be predicted by anything, whatever its label
	p.tokens(ex.IDs, func(i int) bool { return i > 0 && ex.Labels[i] >= 0 })
}

func (p *tokenPrinter) pack(x *data.Pack) {
	fmt.Fprintf(p.w, "=== pack of %d documents, %d tokens, %d supervised\n", x.Docs, len(x.IDs), x.Supervised)
	for from := 0; from < len(x.IDs); {
		to := from + 1
		supervised := 0
		for to < len(x.IDs) && x.Doc[to] == x.Doc[from] {
			to++
		}
		for _, l := range x.Labels[from:to] {
			if l >= 0 {
				supervised++
			}
		}
		p.header(x.Keys[x.Doc[from]], to-from, supervised)
		p.tokens(x.IDs[from:to], func(i int) bool { return i > 0 && x.Labels[from+i-1] >= 0 })
		from = to
	}
}

// tokens prints runs of tokens of one kind together, because a character may take several tokens.
func (p *tokenPrinter) tokens(ids []int32, supervised func(i int) bool) {
	type kind struct{ supervised, special bool }
	of := func(i int) kind { return kind{supervised(i), p.color && p.tok.IsSpecial(ids[i])} }
	var b strings.Builder
	inside := false
	for from := 0; from < len(ids); {
		k := of(from)
		to := from + 1
		for to < len(ids) && of(to) == k {
			to++
		}
		text := printable(p.tok.Decode(ids[from:to], false))
		if !p.color && k.supervised != inside {
			b.WriteString(map[bool]string{true: "[[", false: "]]"}[k.supervised])
			inside = k.supervised
		}
		if p.color {
			style := ""
			if k.supervised {
				style += green
			}
			if k.special {
				style += dim
			}
			if style != "" {
				text = style + text + plain
			}
		}
		b.WriteString(text)
		from = to
	}
	if inside {
		b.WriteString("]]")
	}
	fmt.Fprintln(p.w, b.String())
}

// printable keeps a terminal from obeying what stands in a data set.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

// dataReport is what `tune data stats --json` prints.
type dataReport struct {
	About string `json:"about,omitempty"` // how a built-in set was made
	Split string `json:"split"`
	*data.Summary
	Packs *data.Stats `json:"packs,omitempty"` // nil when the rows cannot be packed
	Fill  float64     `json:"fill"`            // share of the packs' room that holds tokens
	Error string      `json:"error,omitempty"` // why they cannot
}

func (e *env) dataStats(c *cli.Context) error {
	v, err := e.openView(c)
	if err != nil {
		return err
	}
	defer v.close()
	r := dataReport{Split: c.String("split")}
	if r.Summary, err = v.Summarize(e.ctx); err != nil {
		return err
	}
	if r.About, err = v.config.About(cacheDir()); err != nil {
		return err
	}
	for {
		_, err := v.Next(e.ctx)
		if err == io.EOF {
			st := v.Stats()
			r.Packs, r.Fill = &st, st.Fill()
			break
		}
		if err != nil {
			r.Error = err.Error()
			break
		}
	}
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(e.stdout, r)
	}
	return r.print(e.stdout, v.config.Seq)
}

func (r *dataReport) print(w io.Writer, seq int) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	if r.About != "" {
		line("built in", "%s", r.About)
	}
	line(r.Split, "%d rows", r.Rows)
	line("tokens", "%d; per row %.1f on average, median %d, 90 %% up to %d, 99 %% up to %d, longest %d", r.Tokens, r.Mean, r.Median, r.P90, r.P99, r.Longest)
	line("supervised", "%d (%.1f %%)", r.Supervised, 100*float64(r.Supervised)/max(1, float64(r.Tokens)))
	line("longer than seq", "%d rows of more than %d tokens", r.Overlength, seq)
	line("duplicates", "%d rows", r.Duplicates)
	line("empty", "%d rows", r.Empty)
	line("bad", "%d rows", r.Bad)
	if p := r.Packs; p != nil {
		line("packs", "%d of up to %d tokens, %.1f %% full, %d documents", p.Packs, seq, 100*r.Fill, p.Examples)
		line("cut", "%d rows truncated, %d split, %d dropped; %d tokens lost", p.Truncated, p.Split, p.Dropped, p.Lost)
	} else {
		line("packs", "none: %s", r.Error)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, "bad:", p)
	}
	return printHistogram(w, r.Lengths)
}

// printHistogram draws the lengths of rows.
func printHistogram(w io.Writer, buckets []data.Bucket) error {
	const width = 50
	most := 1
	for _, b := range buckets {
		most = max(most, b.Rows)
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, b := range buckets {
		fmt.Fprintf(tw, "%d to %d tokens\t%d rows\t  %s\n", b.From, b.To, b.Rows, strings.Repeat("#", (b.Rows*width+most-1)/most))
	}
	return tw.Flush()
}
