package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/data"
	"tune/internal/chat"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/recipes"
)

func dataCheckCommand(e *env) *cli.Command {
	var list strings.Builder
	for _, k := range data.Checks() {
		fmt.Fprintf(&list, "\n  %-18s %s", k[0], k[1])
	}
	return &cli.Command{
		Name:      "check",
		Usage:     "list all that would fail or looks wrong, before weights are loaded",
		UsageText: "tune data check (--recipe RECIPE | --data PATH [--base MODEL]) [--json] [key=value ...]",
		Description: "Reads every split once. The exit code is 1 when training would fail or teach something wrong.\n" +
			"Looked for in rows:" + list.String(),
		Flags:  append(dataFlags()[:3], jsonFlag()),
		Action: func(c *cli.Context) error { return e.dataCheck(c) },
	}
}

func (e *env) dataCheck(c *cli.Context) error {
	r, err := viewRecipe(c)
	if err != nil {
		return err
	}
	r.Data.TokenCache = false // rows are looked at, not tokens
	k := &preflight{ctx: e.ctx, recipe: r}
	if c.String("recipe") == "" { // --data is one set, not three, and may be for any objective
		r.Data.Valid, r.Data.Test, k.pairs = nil, nil, true
	}
	if err := k.run(); err != nil {
		return err
	}
	if c.Bool("json") {
		if k.findings == nil {
			k.findings = []data.Finding{}
		}
		err = writeJSON(e.stdout, k.findings)
	} else {
		if err = k.print(e.stdout); err == nil {
			_, err = fmt.Fprintf(e.stdout, "%d rows checked: %s\n", k.rows, k.counts())
		}
	}
	if n := k.count(true); err == nil && n > 0 {
		err = hint.Errorf("the hints above say how; key=value changes the recipe", "%d things to mend before training", n)
	}
	return err
}

// preflight collects what is found.
type preflight struct {
	ctx      context.Context
	recipe   *recipes.Recipe
	pairs    bool // worse answers are looked at, too
	first    int  // rows of each source that are looked at; 0: all
	findings []data.Finding
	rows     int
}

func (k *preflight) add(name string, isError bool, hint, format string, args ...any) {
	k.findings = append(k.findings, data.Finding{Name: name, Error: isError, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (k *preflight) fail(name string, err error) {
	k.add(name, true, hint.Of(err), "%v", err)
}

func (k *preflight) count(isError bool) (n int) {
	for _, f := range k.findings {
		if f.Error == isError {
			n++
		}
	}
	return n
}

// run goes on after what it finds, as far as that is possible; its own error is an interruption.
func (k *preflight) run() error {
	info, err := os.Stat(k.recipe.Base)
	base, err := openBase(k.recipe.Base, err == nil && info.IsDir() || strings.HasPrefix(k.recipe.Base, "builtin:"))
	if err != nil {
		k.fail("base", err)
		return nil
	}
	defer base.Close()
	tok, err := base.Tokenizer()
	if err != nil && !errors.Is(err, model.ErrNoTokenizer) {
		k.fail("tokenizer", err)
	}
	template, err := base.Template()
	if err != nil {
		k.fail("template", err)
	}
	k.model(base, tok, template)
	return k.splits(base, tok, template)
}

// model compares recipe, tokenizer and template with the model.
func (k *preflight) model(base *model.Checkpoint, tok *tokenizer.Tokenizer, template *chat.Template) {
	spec, d := &base.Spec, &k.recipe.Data
	if p := spec.Positions; p > 0 && d.Seq > p {
		k.add("context", true, fmt.Sprintf("data.seq=%d", p), "seq is %d, the model's context %d tokens", d.Seq, p)
	}
	if tok == nil {
		return
	}
	if tok.VocabSize() > spec.V {
		k.add("vocabulary", true, "tokenizer and weights are not of the same model", "the tokenizer has %d tokens, the model %d", tok.VocabSize(), spec.V)
	}
	if len(base.Stops()) == 0 {
		k.add("stops", true, "set eos_token_id in config.json or generation_config.json", "no token ends generation: neither configuration nor tokenizer names one")
	}
	if template == nil {
		return
	}
	bos, ok := tok.BOS()
	plain, err := tok.Encode("a", tokenizer.Options{AddSpecial: true})
	if !ok || err != nil || len(plain.IDs) == 0 || plain.IDs[0] != bos {
		return
	}
	r, err := template.Render(chat.Conversation{Messages: []chat.Message{{Role: "user", Content: "a"}}},
		chat.Options{BOS: tok.Token(bos), AddGenerationPrompt: true})
	if err == nil && !strings.HasPrefix(strings.TrimLeft(r.Text, " \n"), tok.Token(bos)) {
		k.add("bos", false, "the template decides: conversations are trained and generated without it", "the tokenizer begins every text with %s, the chat template writes none", tok.Token(bos))
	}
}

// splits opens the splits of the recipe and checks them.
func (k *preflight) splits(base *model.Checkpoint, tok *tokenizer.Tokenizer, template *chat.Template) error {
	d := k.recipe.Data
	streams := map[string]*data.Stream{}
	for _, split := range d.Splits() {
		s, err := data.Open(d, data.Options{Split: split, Seed: k.recipe.Seed, Tokenizer: tok, Vocab: base.Spec.V, Pairs: k.pairs,
			Template: template, Cache: cacheDir()})
		if err != nil {
			k.findings = append(k.findings, data.FindingOf(split, err))
			continue
		}
		defer s.Close()
		streams[split] = s
	}
	return k.check(streams, base.Stops())
}

// check looks at the rows of streams. Train comes last, because it is compared with the others.
func (k *preflight) check(streams map[string]*data.Stream, stops []int32) error {
	o := data.CheckOptions{Stops: stops, Rows: k.first}
	if k.first == 0 && streams["train"] != nil && len(streams) > 1 {
		o.HeldOut = data.NewHeldOut(k.recipe.Data.Similarity)
	}
	found := map[string][]data.Finding{}
	for _, split := range []string{"valid", "test", "train"} {
		s := streams[split]
		if s == nil {
			continue
		}
		seen, err := s.Check(k.ctx, o)
		if err != nil {
			return err
		}
		found[split] = seen.Findings
		k.rows += seen.Rows
		if split == "train" && k.first == 0 {
			k.steps(seen)
		}
	}
	for _, split := range []string{"train", "valid", "test"} {
		k.findings = append(k.findings, found[split]...)
		if o.HeldOut != nil {
			k.findings = append(k.findings, o.HeldOut.Findings(split)...)
		}
	}
	return nil
}

// steps looks at how much there is to train on.
func (k *preflight) steps(seen *data.Checked) {
	t, d := k.recipe.Train, k.recipe.Data
	packs := seen.Rows
	if d.Packing {
		packs = (seen.Tokens + d.Seq - 1) / d.Seq
	}
	if t.Batch > 0 && packs < t.Batch && seen.Rows > 0 {
		k.add("few-rows", false, "a smaller train.batch or data.seq gives more steps",
			"an epoch is less than one step: %d rows of %d tokens fill %d of the %d sequences of a batch", seen.Rows, seen.Tokens, packs, t.Batch)
	}
}

func (k *preflight) counts() string {
	return fmt.Sprintf("%d errors, %d warnings", k.count(true), k.count(false))
}

func (k *preflight) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, isError := range []bool{true, false} {
		for _, f := range k.findings {
			if f.Error != isError {
				continue
			}
			place := f.Split
			if f.Of > 0 {
				place = fmt.Sprintf("%s: %d of %d rows", f.Split, f.Rows, f.Of)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", map[bool]string{true: "error", false: "warning"}[isError], f.Name, place)
			fmt.Fprintf(w, "\t\t%s\n", printable(f.Message))
			if f.Key != "" {
				fmt.Fprintf(w, "\t\tfirst: %s\n", f.Key)
			}
			if f.Hint != "" {
				fmt.Fprintf(w, "\t\t%s\n", f.Hint)
			}
		}
	}
	return w.Flush()
}

// firstRows is how many rows of each source are checked before a training: a fraction of a second, whatever the size.
const firstRows = 256

// check looks at the first rows before weights are loaded. It tells what looks wrong, and errors end the job.
func (j *job) check(ctx context.Context, show *progress) error {
	template, err := j.base.Template()
	if err != nil {
		return err
	}
	k := &preflight{ctx: ctx, recipe: j.recipe, first: firstRows}
	k.model(j.base, j.tokenizer, template)
	if err := k.check(j.streams, j.base.Stops()); err != nil {
		return err
	}
	if err := k.print(show.w); err != nil {
		return err
	}
	show.line(fmt.Sprintf("the first %d rows of each source checked, %d in all: %s", firstRows, k.rows, k.counts()))
	if n := k.count(true); n > 0 {
		return hint.Errorf("the hints above say how; `tune data check` looks at all rows; --skip-check trains as it is",
			"%d things to mend in the first %d rows of each source", n, firstRows)
	}
	return nil
}
