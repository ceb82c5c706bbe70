package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/internal/model"
	"tune/kernels"
	"tune/quantize"
)

func verifyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "compare two forms of a model: weights, predictions, tokenizer",
		UsageText: "tune verify [--data FILE] [--max-kl X] [--min-top1 X] REFERENCE CANDIDATE",
		Description: `REFERENCE and CANDIDATE are Hugging Face folders, GGUF files or built-in models, each with its adapter if it has one. Both are
read anew from their files; every tensor is compared, then a text is run through both, in pieces whose second halves are compared
as llama-perplexity --kl-divergence does. A gate that is missed ends the command with exit code 3.`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "llama-rounding", Usage: "round inputs, keys and values as llama.cpp does on a CPU: the figures are then those of llama-perplexity"},
			&cli.StringFlag{Name: "reference-adapter", Usage: "`DIR` of a PEFT adapter of the reference"},
			&cli.StringFlag{Name: "candidate-adapter", Usage: "`DIR` of a PEFT adapter of the candidate"},
			&cli.StringFlag{Name: "precision", Value: "auto", Usage: "of matrix products: auto, bf16 or f32"},
			&cli.StringFlag{Name: "data", Value: builtinText, Usage: "`FILE` of text, or " + builtinText},
			&cli.IntFlag{Name: "tokens", Value: verifyTokens, Usage: "most tokens of the text to use, 0: all"},
			&cli.IntFlag{Name: "chunk-size", Value: verifyChunk, Usage: "`TOKENS` of a piece of text"},
			jsonFlag(),
		}, gateFlags()...),
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef(c, "expected REFERENCE and CANDIDATE, found %d arguments", c.NArg())
			}
			r, err := verify(e, c)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = writeJSON(e.stdout, r)
			} else {
				err = r.text(e.stdout)
			}
			if err != nil {
				return err
			}
			return r.gate()
		},
	}
}

// gateFlags turn a comparison into a condition.
func gateFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Float64Flag{Name: "max-kl", Usage: "gate: largest mean KL divergence, in nats"},
		&cli.Float64Flag{Name: "min-top1", Usage: "gate: smallest share of tokens with the same likeliest next token, 0 to 1"},
		&cli.Float64Flag{Name: "max-ppl-ratio", Usage: "gate: largest ratio of perplexities"},
	}
}

// verifyReport is what `tune verify --json` prints.
type verifyReport struct {
	Reference   string                 `json:"reference"`
	Candidate   string                 `json:"candidate"`
	Tensors     []quantize.TensorError `json:"tensors"`
	Predictions *quantize.Divergence   `json:"predictions"`
	SameTokens  bool                   `json:"same_tokens"`   // of the text
	Template    string                 `json:"chat_template"` // same text, same rendering, different or none
	Missed      []string               `json:"missed_gates"`
}

// exitGate is the exit code of a missed gate.
const exitGate = 3

// gateError ends a command that did its work but whose result is not good enough.
type gateError struct{ error }

// ExitCode is that of a missed gate.
func (gateError) ExitCode() int { return exitGate }

// comparison is what verify is asked for.
type comparison struct {
	models, adapters [2]string // reference, candidate
	options          model.Options
	data             string
	tokens, chunk    int
}

// The text that is used when nothing is said of it.
const (
	verifyTokens = 4096
	verifyChunk  = 512
)

func verify(e *env, c *cli.Context) (*verifyReport, error) {
	exact, err := exactFlag(c)
	if err != nil {
		return nil, err
	}
	x := comparison{[2]string{c.Args().Get(0), c.Args().Get(1)}, [2]string{c.String("reference-adapter"), c.String("candidate-adapter")},
		model.Options{Exact: exact, Rounded: c.Bool("llama-rounding")},
		c.String("data"), c.Int("tokens"), c.Int("chunk-size")}
	if x.tokens < 0 || x.chunk < 4 {
		return nil, usagef(c, "tokens and chunk-size: expected at least 0 and 4, found %d and %d", x.tokens, x.chunk)
	}
	r, err := compareModels(e, x)
	if err != nil {
		return nil, err
	}
	r.judge(c)
	return r, nil
}

// compareModels opens both models and compares all that there is to compare.
func compareModels(e *env, x comparison) (*verifyReport, error) {
	var sides [2]*side
	for i := range sides {
		s, err := openSide(x.models[i], x.adapters[i], x.options)
		if err != nil {
			return nil, err
		}
		defer s.base.Close()
		sides[i] = s
	}
	ref, cand := sides[0], sides[1]
	r := &verifyReport{Reference: modelName(x.models[0], x.adapters[0]), Candidate: modelName(x.models[1], x.adapters[1]), Missed: []string{},
		Template: compareTemplates(templateOf(ref.base), templateOf(cand.base))}
	pool := kernels.NewPool(0)
	defer pool.Close()
	var err error
	if r.Tensors, err = quantize.CompareTensors(e.ctx, ref.Side, cand.Side, pool); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Candidate, err)
	}
	ids, tok, err := textIDs(ref.base, x.data, x.tokens)
	if err != nil {
		return nil, err
	}
	other, _, err := textIDs(cand.base, x.data, x.tokens)
	if err != nil {
		return nil, err
	}
	r.SameTokens = slices.Equal(ids, other)
	show := newProgress(e.stderr)
	o := quantize.DivergeOptions{ChunkSize: min(x.chunk, ref.Model.Positions, cand.Model.Positions, len(ids)), Progress: show.chunks}
	o.BOS, o.HasBOS = startOf(tok)
	r.Predictions, err = quantize.Diverge(e.ctx, ref.Side, cand.Side, ids, pool, o)
	show.end()
	return r, err
}

// judge notes the gates that were asked for and missed. Other tokens or another template are misses of any gate: figures
// of models that read a text differently mean little.
func (r *verifyReport) judge(c *cli.Context) {
	p, asked := r.Predictions, false
	for _, g := range []struct {
		flag, what string
		missed     bool
		found      float64
	}{
		{"max-kl", "mean KL at most", p.Mean > c.Float64("max-kl"), p.Mean},
		{"min-top1", "top-1 agreement at least", p.Top1 < c.Float64("min-top1"), p.Top1},
		{"max-ppl-ratio", "perplexity ratio at most", p.Ratio > c.Float64("max-ppl-ratio"), p.Ratio},
	} {
		if !c.IsSet(g.flag) {
			continue
		}
		if asked = true; g.missed {
			r.Missed = append(r.Missed, fmt.Sprintf("expected a %s %g, found %.6g", g.what, c.Float64(g.flag), g.found))
		}
	}
	if asked && !r.SameTokens {
		r.Missed = append(r.Missed, "expected the same tokens of the text, found others")
	}
	if asked && r.Template == templateOther {
		r.Missed = append(r.Missed, "expected a chat template that renders the same, found another")
	}
}

func (r *verifyReport) gate() error {
	if len(r.Missed) == 0 {
		return nil
	}
	return gateError{errors.New(strings.Join(r.Missed, "; "))}
}

// worstShown is the number of tensors in the table: those with the largest errors.
const worstShown = 10

func (r *verifyReport) text(out io.Writer) error {
	worst := slices.Clone(r.Tensors)
	slices.SortStableFunc(worst, func(a, b quantize.TensorError) int {
		switch {
		case a.RMSE > b.RMSE:
			return -1
		case a.RMSE < b.RMSE:
			return 1
		}
		return 0
	})
	equal := 0
	for _, t := range r.Tensors {
		if t.RMSE == 0 {
			equal++
		}
	}
	fmt.Fprintf(out, "reference  %s\ncandidate  %s\n\n%d tensors, %d of them equal\n", r.Reference, r.Candidate, len(r.Tensors), equal)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, t := range worst[:min(worstShown, len(worst))] {
		if t.RMSE == 0 {
			break
		}
		if i == 0 {
			fmt.Fprint(w, "\nLARGEST ERRORS\tFROM\tTO\tRELATIVE RMSE\tMAX ERROR\tSNR dB\n")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.3g\t%.3g\t%.2f\n", t.Name, t.From, t.To, t.RMSE, t.MaxError, float64(*t.SNR))
	}
	p := r.Predictions
	fmt.Fprintf(w, "\nPREDICTIONS\t%d\nKL mean\t%.6f ± %.6f\nKL median\t%.6f\nKL 99.9 %%\t%.6f\nKL max\t%.6f\ntop-1 agreement\t%.3f %%\n", p.Tokens, p.Mean, p.MeanError, p.Median, p.P999, p.Max, 100*p.Top1)
	fmt.Fprintf(w, "perplexity\t%.4f -> %.4f\nratio\t%.5f (%.5f to %.5f)\n", p.Reference, p.Candidate, p.Ratio, p.RatioLow, p.RatioHigh)
	tokens, template := "same", r.Template
	if !r.SameTokens {
		tokens = "DIFFERENT"
	}
	if template == templateOther {
		template = "DIFFERENT"
	}
	fmt.Fprintf(w, "tokens\t%s\nchat template\t%s\n", tokens, template)
	return w.Flush()
}
