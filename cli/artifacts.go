package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/model"
	"tune/kernels"
	"tune/quantize"
)

// artifactFlags are those of tune compare --artifacts.
func artifactFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "artifacts", Usage: "compare forms of one model: size, bits per weight, and predictions against those of the first"},
		&cli.StringFlag{Name: "text", Value: builtinText, Usage: "with --artifacts: `FILE` of text, or " + builtinText},
		&cli.IntFlag{Name: "chunks", Value: 8, Usage: "with --artifacts: most pieces of the text to use, 0: all"},
		&cli.IntFlag{Name: "chunk-size", Value: verifyChunk, Usage: "with --artifacts: `TOKENS` of a piece, all of which are predicted"},
		&cli.StringFlag{Name: "precision", Value: "auto", Usage: "with --artifacts: of matrix products: auto, bf16 or f32"},
	}
}

// artifactRow is one line of what `tune compare --artifacts --json` prints. The reference's predictions are null.
type artifactRow struct {
	Path        string               `json:"path"`
	Format      string               `json:"format"`
	Bytes       int64                `json:"bytes"`
	Bits        float64              `json:"bits_per_weight"`       // of all tensors
	LayerBits   float64              `json:"bits_per_layer_weight"` // of those in layers: embedding, last norm and head left out
	Perplexity  float64              `json:"perplexity"`
	Predictions *quantize.Divergence `json:"predictions"`
}

// compareArtifacts compares forms of a model with the first one, in one pass over a text.
func (e *env) compareArtifacts(c *cli.Context) error {
	if c.NArg() < 2 {
		return usagef(c, "artifacts: expected a reference and what to compare with it, found %d arguments", c.NArg())
	}
	if c.Int("chunks") < 0 || c.Int("chunk-size") < 4 {
		return usagef(c, "chunks and chunk-size: expected at least 0 and 4, found %d and %d", c.Int("chunks"), c.Int("chunk-size"))
	}
	exact, err := exactFlag(c)
	if err != nil {
		return err
	}
	var sides []quantize.Side
	var rows []artifactRow
	var ref *side
	for _, path := range c.Args().Slice() {
		s, err := openSide(path, "", model.Options{Exact: exact})
		if err != nil {
			return err
		}
		defer s.base.Close()
		row, err := artifactOf(path, s.base)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if rows = append(rows, row); ref == nil {
			ref = s
		}
		sides = append(sides, s.Side)
	}
	ids, tok, err := textIDs(ref.base, c.String("text"), c.Int("chunks")*c.Int("chunk-size"))
	if err != nil {
		return err
	}
	pool := kernels.NewPool(0)
	defer pool.Close()
	show := newProgress(e.stderr)
	o := quantize.DivergeOptions{ChunkSize: min(c.Int("chunk-size"), ref.Model.Positions, len(ids)), Whole: true, Progress: show.chunks}
	o.BOS, o.HasBOS = startOf(tok)
	found, err := quantize.DivergeAll(e.ctx, sides[0], sides[1:], ids, pool, o)
	show.end()
	if err != nil {
		return err
	}
	for i, d := range found {
		rows[0].Perplexity, rows[i+1].Perplexity, rows[i+1].Predictions = d.Reference, d.Candidate, d
	}
	if c.Bool("json") {
		return writeJSON(e.stdout, rows)
	}
	return printTable(e.stdout, artifactTable(rows))
}

// artifactOf tells what a model takes on disk.
func artifactOf(path string, base *model.Checkpoint) (r artifactRow, err error) {
	r = artifactRow{Path: path, Format: base.Format}
	if !strings.HasPrefix(path, "builtin:") {
		if r.Bytes, err = sizeOf(path); err != nil {
			return r, err
		}
	}
	var values, inLayers, bytes, outside int64
	for _, name := range base.Weights.Names() {
		i, err := base.Weights.Info(name)
		if err != nil {
			return r, err
		}
		values, bytes = values+int64(i.Elems()), bytes+i.Bytes()
		if quantize.LayerOf(name) >= 0 {
			inLayers += int64(i.Elems())
		} else {
			outside += i.Bytes()
		}
	}
	if base.Quantized != nil { // in memory weights have types of their own: files tell
		r.Format, bytes = base.Quantized.Config.Method, r.Bytes
	}
	if r.Bytes == 0 { // built in
		r.Bytes = bytes
	}
	r.Bits, r.LayerBits = 8*float64(bytes)/float64(max(values, 1)), 8*float64(bytes-outside)/float64(max(inLayers, 1))
	return r, nil
}

func artifactTable(rows []artifactRow) [][]string {
	table := [][]string{{"artifact", "format", "size", "bits per weight", "in layers", "perplexity", "mean KL", "median KL", "same top token"}}
	for i, r := range rows {
		line := []string{filepath.Base(r.Path), r.Format, bytesText(r.Bytes), fmt.Sprintf("%.2f", r.Bits), fmt.Sprintf("%.2f", r.LayerBits), fmt.Sprintf("%.3f", r.Perplexity)}
		if i == 0 {
			line = append(line, "reference")
		} else {
			d := r.Predictions
			line = append(line, fmt.Sprintf("%.4f ± %.4f", d.Mean, d.MeanError), fmt.Sprintf("%.4f", d.Median), fmt.Sprintf("%.2f %%", 100*d.Top1))
		}
		table = append(table, line)
	}
	return table
}
