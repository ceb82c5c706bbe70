package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/kernels"
	"tune/quantize"
	"tune/recipes"
)

// Tokens that sensitivity is measured on. The first tokens of a text are left to the comparison, where it is long enough.
const (
	importanceTokens = 8192
	sensitivityChunk = 256
)

func targetFlags() []cli.Flag {
	var names []string
	for _, t := range quantize.Candidates() {
		names = append(names, t.String())
	}
	return []cli.Flag{
		&cli.StringFlag{Name: "target-size", Usage: "instead of --mix: largest `SIZE` of the file, such as 95MB; each tensor gets the type that serves the model best"},
		&cli.Float64Flag{Name: "target-bpw", Usage: "instead of --mix: most `BITS` per value"},
		&cli.StringFlag{Name: "candidates", Value: strings.Join(names, ","), Usage: "`TYPES` to choose from for a wanted size"},
		&cli.StringFlag{Name: "sensitivity", Usage: "`FILE` of measured sensitivity to use, or to write where there is none (default: OUT.gguf.sensitivity.json)"},
		&cli.IntFlag{Name: "sensitivity-tokens", Value: 512, Usage: "`TOKENS` that are run with each tensor quantized"},
		&cli.StringFlag{Name: "data", Value: builtinText, Usage: "`FILE` of text to measure on, or " + builtinText},
	}
}

// targeted says that a size is asked for in the place of a mix.
func targeted(c *cli.Context) bool { return c.IsSet("target-size") || c.IsSet("target-bpw") }

// targetFlag reads what size is wanted.
func targetFlag(c *cli.Context) (t quantize.Target, err error) {
	if c.IsSet("target-size") == c.IsSet("target-bpw") || c.IsSet("mix") {
		return t, usagef(c, "expected one of --mix, --target-size and --target-bpw")
	}
	if c.IsSet("target-bpw") {
		if t.Bits = c.Float64("target-bpw"); !(t.Bits > 0 && t.Bits <= 32) {
			return t, usagef(c, "target-bpw: expected more than 0 and at most 32, found %g", t.Bits)
		}
		return t, nil
	}
	var n recipes.Size
	if err := n.UnmarshalText([]byte(c.String("target-size"))); err != nil || n <= 0 {
		return t, usagef(c, "target-size: expected a size such as 95MB, found %q", c.String("target-size"))
	}
	t.Bytes = int64(n)
	return t, nil
}

// planTarget measures, or reads, the sensitivity of the source and chooses types by it. The options get the importance that
// was measured when they have none.
func planTarget(e *env, c *cli.Context, src *quantize.Source, o *quantize.PlanOptions) (*quantize.Targeted, error) {
	want, err := targetFlag(c)
	if err != nil {
		return nil, err
	}
	m := quantize.SensitivityOptions{ChunkSize: sensitivityChunk}
	for name := range strings.SplitSeq(c.String("candidates"), ",") {
		t, err := qtype.ParseType(strings.TrimSpace(name))
		if err != nil {
			return nil, usagef(c, "candidates: %v", err)
		}
		m.Types = append(m.Types, t)
	}
	if c.Int("sensitivity-tokens") < sensitivityChunk {
		return nil, usagef(c, "sensitivity-tokens: expected at least %d, found %d", sensitivityChunk, c.Int("sensitivity-tokens"))
	}
	base, err := openMerged(c.Args().Get(0), c.String("adapter"))
	if err != nil {
		return nil, err
	}
	defer base.Close()
	ids, tok, err := textIDs(base, c.String("data"), verifyTokens+importanceTokens)
	if err != nil {
		return nil, err
	}
	if len(ids) >= 2*verifyTokens {
		ids = ids[verifyTokens:]
	}
	m.ChunkSize = min(m.ChunkSize, base.Spec.Positions, len(ids))
	m.BOS, m.HasBOS = startOf(tok)
	m.IDs = ids[:min(len(ids), c.Int("sensitivity-tokens"))]
	m.Pool = kernels.NewPool(c.Int("threads"))
	defer m.Pool.Close()
	show := newProgress(e.stderr)
	defer show.end()
	if o.Importance == nil {
		if err := measureImportance(e, c, base, ids, &m, o); err != nil {
			return nil, err
		}
	}
	m.Importance = o.Importance
	m.Progress = func(done, total int) {
		if show.terminal {
			fmt.Fprintf(show.w, "\r\x1b[Ktensor %d of %d", done, total)
			show.open = true
		}
	}
	s, err := sensitivityOf(e, c, src, base, m)
	if err != nil {
		return nil, err
	}
	return quantize.PlanTarget(src, s, want, *o)
}

// measureImportance collects the importance of columns on the text.
func measureImportance(e *env, c *cli.Context, base *model.Checkpoint, ids []int32, m *quantize.SensitivityOptions, o *quantize.PlanOptions) error {
	const chunk = 512
	x, err := model.New(base, model.Options{})
	if err != nil {
		return err
	}
	data := filepath.Base(c.String("data"))
	o.File = "measured on " + data
	o.Importance, err = quantize.Collect(e.ctx, x, nil, ids, m.Pool,
		quantize.CollectOptions{ChunkSize: min(chunk, base.Spec.Positions, len(ids)), BOS: m.BOS, HasBOS: m.HasBOS, Dataset: data})
	return err
}

// sensitivityOf reads the file that is named, or that an earlier run left beside the output, and measures otherwise.
func sensitivityOf(e *env, c *cli.Context, src *quantize.Source, base *model.Checkpoint, o quantize.SensitivityOptions) (*quantize.Sensitivity, error) {
	path := c.String("sensitivity")
	if path == "" && c.NArg() == 2 {
		path = c.Args().Get(1) + ".sensitivity.json"
	}
	if path != "" {
		s, err := quantize.ReadSensitivity(path, src, o)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && (c.IsSet("sensitivity") || !errors.Is(err, quantize.ErrSensitivity)) {
			return nil, err // a file of one's own is not replaced
		}
	}
	s, err := quantize.MeasureSensitivity(e.ctx, src, base, o)
	if err != nil || path == "" {
		return s, err
	}
	return s, s.Write(path)
}

// targetReport is what `tune quantize --json` says of a wanted size.
type targetReport struct {
	Wanted          int64         `json:"wanted_bytes"`
	Expected        float64       `json:"expected_kl"` // by the sensitivity, mean for a token
	Nearest         string        `json:"nearest_mix"`
	NearestBytes    int64         `json:"nearest_bytes"`
	NearestExpected float64       `json:"nearest_expected_kl,omitempty"` // absent when it uses types that were not measured
	NearestVerify   *verifyReport `json:"nearest_verify,omitempty"`
}

// compareNearest writes the nearest standard mix beside the output, compares it as the output is compared, and removes it.
func compareNearest(e *env, c *cli.Context, t *quantize.Targeted, x comparison) (*verifyReport, error) {
	path := c.Args().Get(1) + "." + t.Nearest.Mix.Name + ".gguf"
	paths := t.Nearest.Paths(path)
	for _, path := range paths {
		if err := clearOutput(path, false); err != nil {
			return nil, err
		}
		defer os.Remove(path)
	}
	memory, err := memoryFlag(c)
	if err != nil {
		return nil, err
	}
	if err := t.Nearest.Write(e.ctx, path, quantize.WriteOptions{Threads: c.Int("threads"), Memory: memory, Fresh: true}); err != nil {
		return nil, err
	}
	x.models[1] = paths[0]
	return compareModels(e, x)
}

// text prints the target beside the nearest mix; proof is the comparison of the written file, or nil.
func (r *targetReport) text(w io.Writer, bytes int64, proof *verifyReport) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\n\tBYTES\tEXPECTED KL\tKL MEAN\tTOP-1\tPERPLEXITY RATIO\n")
	for _, row := range []struct {
		name     string
		bytes    int64
		expected float64
		proof    *verifyReport
	}{{"this file", bytes, r.Expected, proof}, {"nearest mix, " + r.Nearest, r.NearestBytes, r.NearestExpected, r.NearestVerify}} {
		expected := "unknown"
		if row.expected > 0 {
			expected = fmt.Sprintf("%.6f", row.expected)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t", row.name, row.bytes, expected)
		if row.proof != nil {
			p := row.proof.Predictions
			fmt.Fprintf(t, "%.6f ± %.6f\t%.2f %%\t%.5f\n", p.Mean, p.MeanError, 100*p.Top1, p.Ratio)
		} else {
			fmt.Fprint(t, "not run\t\t\n")
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "wanted at most %d bytes; %.2f %% are left\n", r.Wanted, 100*float64(r.Wanted-bytes)/float64(r.Wanted))
	return err
}
