package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"tune/internal/atomicfile"
	"tune/internal/infer"
	"tune/internal/tokenizer"
)

func scoreCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "score",
		Usage:     "log-probability of every token of given texts",
		UsageText: "tune score --base MODEL [--adapter DIR] --input IN.jsonl --output OUT.jsonl [precision=f32]",
		Description: `Each line of the input is {"ids": [...]} or {"text": "..."}. Each line of the output is
{"logprobs": [null, ...], "nll": mean, "tokens": n}: the natural logarithm of the probability of every token given those
before it (the first has none), minus their mean, and the number of tokens. Text is tokenized with special tokens added.`,
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "input", Required: true, Usage: "`FILE` of JSON lines, - for standard input"},
			&cli.StringFlag{Name: "output", Value: "-", Usage: "`FILE` to write, - for standard output"}),
		Action: func(c *cli.Context) error {
			r, err := load(c)
			if err != nil {
				return err
			}
			defer r.close()
			s := &scorer{running: r}
			if s.batch, err = infer.NewBatch(r.model, r.trained, r.pool); err != nil {
				return err
			}
			defer s.batch.Close()
			in := e.stdin
			if name := c.String("input"); name != "-" {
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if c.String("output") == "-" {
				return scoreLines(c, s, in, c.String("input"), e.stdout)
			}
			out, err := atomicfile.Create(c.String("output"))
			if err != nil {
				return err
			}
			if err := scoreLines(c, s, in, c.String("input"), out); err != nil {
				out.Abort()
				return err
			}
			return out.Commit()
		},
	}
}

// scorer is a model that scores texts.
type scorer struct {
	*running
	batch *infer.Batch
}

// scored is one line of the output.
type scored struct {
	LogProbs []*float32 `json:"logprobs"`
	NLL      *float64   `json:"nll"` // null for a single token
	Tokens   int        `json:"tokens"`
}

// maxLine bounds a line of the input in bytes.
const maxLine = 1 << 26

func scoreLines(c *cli.Context, r *scorer, in io.Reader, name string, out io.Writer) error {
	w := bufio.NewWriter(out)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if err := c.Context.Err(); err != nil {
			return err
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		s, err := r.line(c.Context, lines.Bytes())
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return w.Flush()
}

func (r *scorer) line(ctx context.Context, line []byte) (*scored, error) {
	var row struct {
		IDs  []int32
		Text *string
	}
	if err := json.Unmarshal(line, &row); err != nil {
		return nil, err
	}
	if (row.IDs == nil) == (row.Text == nil) {
		return nil, errors.New(`expected "ids" or "text", found neither or both`)
	}
	if row.Text != nil {
		tok, err := r.base.Tokenizer()
		if err != nil {
			return nil, err
		}
		enc, err := tok.Encode(*row.Text, tokenizer.Options{AddSpecial: true})
		if err != nil {
			return nil, err
		}
		row.IDs = enc.IDs
	}
	s := &scored{LogProbs: make([]*float32, len(row.IDs)), Tokens: len(row.IDs)}
	if len(row.IDs) < 2 { // nothing has anything before it
		return s, nil
	}
	err := r.batch.Score(ctx, []infer.Text{{IDs: row.IDs, From: 1}}, func(_ int, x infer.Score) error {
		var sum float64
		for i := range x.LogProbs {
			s.LogProbs[i+1] = &x.LogProbs[i]
			sum -= float64(x.LogProbs[i])
		}
		mean := sum / float64(len(x.LogProbs))
		s.NLL = &mean
		return nil
	})
	return s, err
}
