package cli

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tune/data"
	"tune/internal/model"
	"tune/kernels"
)

// dataReport is what `tune data stats --json` prints.
type dataReport struct {
	About string `json:"about,omitempty"` // how a built-in set was made
	Split string `json:"split"`
	*data.Summary
	Packs *data.Stats `json:"packs,omitempty"` // nil when the rows cannot be packed
	Fill  float64     `json:"fill"`            // share of the packs' room that holds tokens
	Error string      `json:"error,omitempty"` // why they cannot
	Cost  *dataCost   `json:"cost,omitempty"`  // of training on it as the recipe says; only of train
}

// dataCost is what training would take.
type dataCost struct {
	Epochs  float64 `json:"epochs"`
	Steps   int     `json:"steps"`
	Tokens  int     `json:"tokens"`  // seen in all steps
	Seconds float64 `json:"seconds"` // at this machine's speed of matrix products, as tune plan reckons
}

// cost reckons two operations for each parameter of a matrix and token forwards, and the same for the gradient of the activations.
func (v *dataView) cost(st *data.Stats) *dataCost {
	t := v.recipe.Train
	if st.Packs == 0 || t.Batch == 0 {
		return nil
	}
	perEpoch := (st.Packs + t.Batch - 1) / t.Batch
	c := &dataCost{Epochs: t.Epochs, Steps: t.Steps}
	if c.Steps == 0 {
		c.Steps = int(math.Ceil(t.Epochs * float64(perEpoch)))
	} else {
		c.Epochs = float64(t.Steps) / float64(perEpoch)
	}
	c.Tokens = int(c.Epochs * float64(st.Tokens))
	pool := kernels.NewPool(0)
	defer pool.Close()
	c.Seconds = 4 * float64(matrixParams(&v.base.Spec)) * float64(c.Tokens) / flopsPerSecond(pool, false)
	return c
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
	if r.Packs != nil && r.Split == "train" && c.String("recipe") != "" {
		r.Cost = v.cost(r.Packs)
	}
	if c.Bool("json") {
		return writeJSON(e.stdout, r)
	}
	return r.print(e.stdout, v.config.Seq)
}

// matrixParams counts the parameters of the matrices that each token is multiplied with, the head included.
func matrixParams(s *model.Spec) int {
	return s.L*s.C*(2*s.H*s.D+2*s.K*s.D+3*s.F) + s.V*s.C
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
	if r.Unwanted > 0 {
		line("bad answers", "%d rows, which only an objective with pairs learns from", r.Unwanted)
	}
	line("bad", "%d rows", r.Bad)
	if p := r.Packs; p != nil {
		line("packs", "%d of up to %d tokens, %.1f %% full, %d documents", p.Packs, seq, 100*r.Fill, p.Examples)
		line("cut", "%d rows truncated, %d split, %d dropped; %d tokens lost", p.Truncated, p.Split, p.Dropped+p.Untaught, p.Lost)
		line("in a run", "%s", p.Line())
	} else {
		line("packs", "none: %s", r.Error)
	}
	if k := r.Cost; k != nil {
		line("cost", "%d steps (%.2g epochs), %d tokens; as LoRA about %s on this machine", k.Steps, k.Epochs, k.Tokens,
			time.Duration(k.Seconds*float64(time.Second)).Round(time.Second))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, "bad:", p)
	}
	if err := r.printShares(w); err != nil {
		return err
	}
	return printHistogram(w, r.Lengths)
}

// printShares prints tokens by role and by file, the writing systems and the longest rows.
func (r *dataReport) printShares(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	percent := func(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }
	for _, t := range []struct {
		head string
		list []data.Share
	}{{"role", r.Roles}, {"source", r.Sources}} {
		fmt.Fprintf(tw, "\n%s\trows\ttokens\t\tsupervised\n", t.head)
		for _, s := range t.list {
			fmt.Fprintf(tw, "%s\t%d\t%d\t%.1f %%\t%d (%.1f %%)\n", s.Name, s.Rows, s.Tokens, percent(s.Tokens, r.Tokens), s.Supervised, percent(s.Supervised, s.Tokens))
		}
	}
	letters := 0
	for _, s := range r.Scripts {
		letters += s.Letters
	}
	if letters > 0 {
		fmt.Fprintf(tw, "\nscript\trows\tletters\t\n")
	}
	for i, s := range r.Scripts {
		if i == maxScripts {
			fmt.Fprintf(tw, "and %d more\n", len(r.Scripts)-i)
			break
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%.1f %%\n", s.Name, s.Rows, s.Letters, percent(s.Letters, letters))
	}
	if len(r.LongRows) > 0 {
		fmt.Fprintf(tw, "\nlongest rows\ttokens\n")
	}
	for _, l := range r.LongRows {
		fmt.Fprintf(tw, "%s\t%d\n", l.Key, l.Tokens)
	}
	return tw.Flush()
}

// maxScripts bounds what is printed; --json has all.
const maxScripts = 8

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
