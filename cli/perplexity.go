package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/eval/local"
	"tune/internal/model"
	"tune/kernels"
	"tune/quantize"
)

func perplexityCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "perplexity",
		Usage:     "how well a model predicts a text",
		UsageText: "tune perplexity --base MODEL [--adapter DIR] --data FILE [--ctx 512] [--stride S | --rolling] [--kl-against OTHER]",
		Description: `The text is cut into pieces of --ctx tokens of which the second halves are scored, as llama-perplexity does. With --stride pieces
begin S tokens apart and each token is scored once. With --rolling the text is one document of lm-evaluation-harness: every token
is scored, and words and bytes are counted too. --kl-against runs OTHER beside the model and measures how far the model's
predictions of the same pieces are from OTHER's; no file of logits is written.`,
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Value: builtinText, Usage: "`FILE` of text, or " + builtinText},
			&cli.IntFlag{Name: "ctx", Value: 512, Usage: "`TOKENS` of a piece; with --rolling the model's context unless given"},
			&cli.IntFlag{Name: "stride", Usage: "`TOKENS` from piece to piece, 0: pieces follow each other and their second halves are scored"},
			&cli.BoolFlag{Name: "rolling", Usage: "score every token in windows, as lm-evaluation-harness does"},
			&cli.IntFlag{Name: "chunks", Usage: "most pieces to read, 0: all"},
			&cli.StringFlag{Name: "kl-against", Usage: "`MODEL` whose predictions are the measure"},
			jsonFlag()),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef(c, "expected no argument, found %q", c.Args().First())
			}
			if c.Bool("rolling") && c.IsSet("stride") {
				return usagef(c, "expected --stride or --rolling, found both")
			}
			if c.IsSet("kl-against") && (c.Bool("rolling") || c.IsSet("stride")) {
				return usagef(c, "--kl-against compares second halves of pieces: expected neither --stride nor --rolling")
			}
			if n := c.Int("chunks"); n < 0 {
				return usagef(c, "chunks: expected a number not below 0, found %d", n)
			}
			r, err := runPerplexity(e, c)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return writeJSON(e.stdout, r)
			}
			return r.text(e.stdout)
		},
	}
}

// perplexityReport is what `tune perplexity --json` prints.
type perplexityReport struct {
	Model   string               `json:"model"`
	Data    string               `json:"data"`
	Reading string               `json:"reading"`
	Result  *local.Perplexity    `json:"result"`
	Against string               `json:"against,omitempty"`
	KL      *quantize.Divergence `json:"kl,omitempty"`
}

func runPerplexity(e *env, c *cli.Context) (*perplexityReport, error) {
	o, err := computing(c, c.String("precision"))
	if err != nil {
		return nil, err
	}
	s, err := openSide(c.String("base"), c.String("adapter"), o)
	if err != nil {
		return nil, err
	}
	defer s.base.Close()
	var other *side
	if c.IsSet("kl-against") {
		if other, err = openSide(c.String("kl-against"), "", model.Options{Exact: o.Exact}); err != nil { // it does not multiply integers
			return nil, err
		}
		defer other.base.Close()
		if err := s.SameVocabulary(other.Side); err != nil {
			return nil, fmt.Errorf("kl-against: %w", err)
		}
	}
	text, err := readText(c.String("data"))
	if err != nil {
		return nil, err
	}
	pool := kernels.NewPool(0)
	defer pool.Close()
	x, err := local.New(s.base, s.Trained, pool, local.Options{Exact: o.Exact, Int8: o.Int8})
	if err != nil {
		return nil, err
	}
	defer x.Close()
	how := local.Reading{Context: c.Int("ctx"), Stride: c.Int("stride"), Rolling: c.Bool("rolling"), Pieces: c.Int("chunks")}
	if how.Rolling && !c.IsSet("ctx") {
		how.Context = x.Context()
	}
	r := &perplexityReport{Model: modelName(c.String("base"), c.String("adapter")), Data: c.String("data"), Reading: how.String()}
	show := newProgress(e.stderr)
	r.Result, err = x.Perplexity(e.ctx, text, how, show.chunks)
	show.end()
	if err != nil || other == nil {
		return r, err
	}
	r.Against = c.String("kl-against")
	r.KL, err = divergence(e, s, other, c, pool)
	return r, err
}

// divergence compares a model's predictions with another's, on the pieces that were read.
func divergence(e *env, s, other *side, c *cli.Context, pool *kernels.Pool) (*quantize.Divergence, error) {
	ids, tok, err := textIDs(s.base, c.String("data"), c.Int("chunks")*c.Int("ctx"))
	if err != nil {
		return nil, err
	}
	show := newProgress(e.stderr)
	defer show.end()
	o := quantize.DivergeOptions{ChunkSize: c.Int("ctx"), Progress: show.chunks}
	o.BOS, o.HasBOS = startOf(tok)
	return quantize.Diverge(e.ctx, other.Side, s.Side, ids, pool, o)
}

func (r *perplexityReport) text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := r.Result
	fmt.Fprintf(w, "model\t%s\ntext\t%s\npieces\t%d: %s\ntokens scored\t%d\n", r.Model, r.Data, p.Pieces, r.Reading, p.Tokens)
	fmt.Fprintf(w, "perplexity\t%.4f ± %.4f\nnats per token\t%.6f\n", p.Perplexity, p.Error, p.NLL)
	if p.Word != nil {
		fmt.Fprintf(w, "word perplexity\t%.4f\nbyte perplexity\t%.4f\nbits per byte\t%.4f\n", *p.Word, *p.Byte, *p.Bits)
	}
	if k := r.KL; k != nil {
		fmt.Fprintf(w, "\nagainst\t%s\nKL mean\t%.6f ± %.6f\nKL median\t%.6f\nKL 99.9 %%\t%.6f\nKL max\t%.6f\n", r.Against, k.Mean, k.MeanError, k.Median, k.P999, k.Max)
		fmt.Fprintf(w, "top-1 agreement\t%.3f %%\nperplexity\t%.4f, here %.4f\nratio\t%.5f (%.5f to %.5f)\n", 100*k.Top1, k.Reference, k.Candidate, k.Ratio, k.RatioLow, k.RatioHigh)
	}
	return w.Flush()
}
