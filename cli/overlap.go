package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/data"
	"tune/eval/overlap"
	"tune/eval/report"
	"tune/eval/task"
	"tune/internal/chat"
	"tune/internal/hint"
)

func overlapCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "overlap",
		Usage:     "find the documents of evaluations in training data",
		UsageText: "tune data overlap (--train DATA | --recipe RECIPE) [--eval TASK|FILE ...] [--eval-data DIR ...] [--max SHARE]",
		Description: fmt.Sprintf(`Texts are compared without case, punctuation and spacing. A document shares a run when %d of its words in a row occur in the training
data (all of them, of documents from %d words; runs in more than %d training rows are boilerplate and counted apart). It is a near copy when
one training row holds %.0f %% of its %d-word pieces. With a recipe and no --eval, its own valid and test data are looked for.`,
			overlap.Words, overlap.Fewest, overlap.Common, 100*overlap.Near, overlap.Piece),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "recipe", Aliases: []string{"r"}, Usage: "a recipe `FILE`, or the name of a built-in one"},
			&cli.StringSliceFlag{Name: "train", Aliases: []string{"data"}, Usage: "training data: a file, folder or glob, or builtin:licenses; may be repeated"},
			&cli.StringFlag{Name: "base", Aliases: []string{"b"}, Usage: "`MODEL` whose tokenizer and chat template are used"},
			&cli.StringFlag{Name: "split", Value: "train", Hidden: true},
			&cli.GenericFlag{Name: "eval", Value: &repeated{}, Usage: "`TASK`, group or tag of `tune eval`, or a file of rows; may be repeated"},
			&cli.StringSliceFlag{Name: "eval-data", Usage: "`DIR` where the tasks' data sets are; may be repeated"},
			&cli.StringSliceFlag{Name: "include-path", Usage: "`DIR` with task files of your own"},
			&cli.IntFlag{Name: "words", Value: overlap.Words, Usage: "in a run"},
			&cli.IntFlag{Name: "examples", Value: 5, Usage: "matches to print of each evaluation"},
			&cli.Float64Flag{Name: "max", Value: 1, Usage: "gate: largest `SHARE` of documents that share a run or are near copies, 0 to 1"},
			jsonFlag(),
		},
		Action: e.dataOverlap,
	}
}

// sought is an evaluation that is looked for in training data.
type sought struct {
	name  string
	index *overlap.Index
}

// overlapFound is an evaluation with what was found of it.
type overlapFound struct {
	Eval string `json:"eval"`
	overlap.Result
}

func (e *env) dataOverlap(c *cli.Context) error {
	words, most := c.Int("words"), c.Float64("max")
	if words < overlap.Piece || !(most >= 0 && most <= 1) {
		return usagef(c, "words and max: expected at least %d, and a share from 0 to 1, found %d and %v", overlap.Piece, words, most)
	}
	v, err := e.openView(c)
	if err != nil {
		return err
	}
	defer v.close()
	var all []sought
	if names := *c.Generic("eval").(*repeated); len(names) > 0 {
		all, err = e.soughtNames(c, names, words)
	} else if c.String("recipe") != "" {
		all, err = e.soughtSplits(c, v, words)
	} else {
		return usagef(c, "expected --eval, an evaluation to look for")
	}
	if err != nil {
		return err
	}
	if err := lookFor(e.ctx, v.Stream, all, func(ids []int32) string { return v.tok.Decode(ids, true) }); err != nil {
		return err
	}
	var found []overlapFound
	for _, s := range all {
		found = append(found, overlapFound{s.name, s.index.Result()})
	}
	if c.Bool("json") {
		err = writeJSON(e.stdout, found)
	} else {
		err = printOverlap(e.stdout, found, c.Int("examples"))
	}
	if err != nil {
		return err
	}
	for _, f := range found {
		if share := float64(f.Either) / float64(max(1, f.Documents)); share > most {
			return gateError{fmt.Errorf("%s: expected at most %.2f %% of the documents in the training data, found %.2f %%", f.Eval, 100*most, 100*share)}
		}
	}
	return nil
}

// lookFor goes through a training stream.
func lookFor(ctx context.Context, s *data.Stream, all []sought, decode func([]int32) string) error {
	return s.Scan(ctx, func(x data.Scanned) bool {
		if x.Err != nil {
			return true
		}
		for ex := &x.Example; ex != nil; ex = ex.Rejected {
			text := decode(ex.IDs)
			for _, s := range all {
				s.index.Add(ex.Key, text)
			}
		}
		return true
	})
}

// soughtNames are tasks, groups, tags and files.
func (e *env) soughtNames(c *cli.Context, names []string, words int) (all []sought, err error) {
	fetch, err := e.hubFetch(false)
	if err != nil {
		return nil, err
	}
	l, err := task.NewLibrary(c.StringSlice("include-path")...)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && !info.IsDir() && !strings.HasSuffix(name, ".yaml") {
			docs, err := rowsOf(name)
			if err != nil {
				return nil, err
			}
			all = append(all, sought{name, overlap.New(docs, words)})
			continue
		}
		s, err := l.Select([]string{name})
		if err != nil {
			return nil, err
		}
		for _, t := range s.Tasks {
			docs, err := queries(t, task.Sources{Folders: c.StringSlice("eval-data"), Fetch: fetch})
			if err != nil {
				return nil, err
			}
			all = append(all, sought{t.Name, overlap.New(docs, words)})
		}
	}
	return all, nil
}

// queries are the documents of a task as text.
func queries(c *task.Config, s task.Sources) ([]overlap.Document, error) {
	t, err := task.Load(c, s)
	if err != nil {
		return nil, err
	}
	var docs []overlap.Document
	for i, d := range t.Docs {
		text, err := t.Query(d)
		if err != nil {
			return nil, err
		}
		docs = append(docs, overlap.Document{Name: fmt.Sprint(i), Text: text})
	}
	return docs, nil
}

// rowsOf are the rows of a file: what is asked in a conversation, else all texts of the row.
func rowsOf(path string) (docs []overlap.Document, err error) {
	err = data.Records(path, func(row *chat.Dict, key string) error {
		docs = append(docs, overlap.Document{Name: key, Text: strings.Join(asked(row), "\n")})
		return nil
	})
	if err == nil && len(docs) == 0 {
		err = hint.Errorf("give a task or a file of rows", "%s: no rows", path)
	}
	return docs, err
}

// asked are the texts of a conversation that the model does not write, or all texts of a row that holds none.
func asked(row *chat.Dict) (all []string) {
	messages, _ := row.Get("messages")
	list, _ := messages.([]any)
	for _, m := range list {
		d, ok := m.(*chat.Dict)
		if !ok {
			continue
		}
		if role, _ := d.Get("role"); role != "assistant" {
			content, _ := d.Get("content")
			all = append(all, texts(content)...)
		}
	}
	if all == nil {
		return texts(row)
	}
	return all
}

// texts are all texts in a value, in order.
func texts(v any) (all []string) {
	switch x := v.(type) {
	case string:
		return []string{x}
	case []any:
		for _, y := range x {
			all = append(all, texts(y)...)
		}
	case *chat.Dict:
		for _, k := range x.Keys() {
			y, _ := x.Get(k)
			all = append(all, texts(y)...)
		}
	}
	return all
}

// soughtSplits are the held-out data of a recipe.
func (e *env) soughtSplits(c *cli.Context, v *dataView, words int) (all []sought, err error) {
	for _, split := range []string{"valid", "test"} {
		sources := v.config.Valid
		if split == "test" {
			sources = v.config.Test
		}
		if len(sources) == 0 {
			continue
		}
		s, err := data.Open(v.config, data.Options{Split: split, Tokenizer: v.tok, Template: v.template, Cache: cacheDir()})
		if err != nil {
			return nil, err
		}
		docs, err := heldOut(e.ctx, s, func(ids []int32) string { return v.tok.Decode(ids, true) })
		s.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, sought{split, overlap.New(docs, words)})
	}
	if len(all) == 0 {
		return nil, usagef(c, "the recipe has no valid and no test data: expected --eval")
	}
	return all, nil
}

// heldOut are the examples of a split as text, without what is common to all of them at the beginning.
func heldOut(ctx context.Context, s *data.Stream, decode func([]int32) string) (docs []overlap.Document, err error) {
	err = s.Scan(ctx, func(x data.Scanned) bool {
		if x.Err == nil {
			docs = append(docs, overlap.Document{Name: x.Example.Key, Text: decode(x.Example.IDs)})
		}
		return true
	})
	return docs, err
}

// overlapOf are the lines of a report about what a model was trained on.
func overlapOf(train string, found []sought) (all []report.Overlap) {
	for _, s := range found {
		r := s.index.Result()
		all = append(all, report.Overlap{Train: train, Task: s.name, Documents: r.Documents, Dirty: r.Dirty, Near: r.Near})
	}
	return all
}

func printOverlap(w io.Writer, found []overlapFound, examples int) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "EVALUATION\tDOCUMENTS\tSHARED RUN\tNEAR COPY\tEITHER\t\tBOILERPLATE ONLY\tTOO SHORT")
	for _, f := range found {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%.2f %%\t%d\t%d\n", f.Eval, f.Documents, f.Dirty, f.Near, f.Either, 100*float64(f.Either)/float64(max(1, f.Documents)), f.Boilerplate, f.Short)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(found) > 0 {
		fmt.Fprintf(w, "\n%d training rows\n", found[0].Rows)
	}
	for _, f := range found {
		for _, m := range f.Matches[:min(examples, len(f.Matches))] {
			fmt.Fprintf(w, "\n%s: document %s, training row %s: %.0f %% of its pieces\n", f.Eval, m.Document, m.Row, 100*m.Share)
			if m.Run != "" {
				fmt.Fprintf(w, "  %s\n", m.Run)
			}
		}
		if n := len(f.Matches) - examples; n > 0 && examples > 0 {
			fmt.Fprintf(w, "\n%s: %d more\n", f.Eval, n)
		}
	}
	return nil
}
