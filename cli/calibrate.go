package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/model"
	"tune/kernels"
	"tune/quantize"
)

func calibrateCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "calibrate",
		Usage:     "run a text through a model once, for imatrix, GPTQ and AWQ",
		UsageText: "tune calibrate --base MODEL --data FILE --output OUT.calib [--sequences N] [--length TOKENS]",
		Description: `The text is cut into sequences, each a document, and runs through the model layer by layer. OUT.calib holds, of every input of
linears, the products of its columns and their mean magnitudes; it names the model and the text by hashes, serves every method and
bit width, and can be used again. Where --memory is short, hidden states go to disk as bf16 and a layer runs once for each part of its
products that fits. Of a mixture of experts each expert has products of its own; a table tells how many tokens it has seen.`,
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Value: builtinText, Usage: "`FILE` of text, or " + builtinText},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Required: true, Usage: "`FILE` to write"},
			&cli.IntFlag{Name: "sequences", Value: 64, Usage: "most sequences to use, 0: all"},
			&cli.IntFlag{Name: "length", Value: 512, Usage: "`TOKENS` of a sequence"},
			&cli.StringFlag{Name: "memory", Usage: "most memory to use beside mapped files, such as 512MiB"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace an output that exists"},
			jsonFlag()),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef(c, "expected no argument, found %q", c.Args().First())
			}
			return runCalibrate(e, c)
		},
	}
}

// calibrateReport is what `tune calibrate --json` prints.
type calibrateReport struct {
	Output    string `json:"output"`
	Inputs    int    `json:"inputs"`
	Sequences int    `json:"sequences"`
	Tokens    int    `json:"tokens"`
	Bytes     int64  `json:"bytes"`
	Model     string `json:"model_sha256"`
	Data      string `json:"data_sha256"`
	Memory    int64  `json:"memory_bytes"` // that was needed beside mapped files
	// Phases are seconds of wall time.
	Phases quantize.CalibrationPhases `json:"phases"`
	// Experts is how many tokens each expert has seen.
	Experts []quantize.ExpertCoverage `json:"experts,omitempty"`
}

func runCalibrate(e *env, c *cli.Context) error {
	exact, err := exactFlag(c)
	if err != nil {
		return err
	}
	if c.Int("sequences") < 0 || c.Int("length") < 1 {
		return usagef(c, "sequences and length: expected positive numbers, found %d and %d", c.Int("sequences"), c.Int("length"))
	}
	memory, err := memoryFlag(c)
	if err != nil {
		return err
	}
	base, err := openMerged(c.String("base"), c.String("adapter"))
	if err != nil {
		return err
	}
	defer base.Close()
	out := c.String("output")
	if err := clearOutput(out, c.Bool("overwrite")); err != nil {
		return err
	}
	m, err := model.New(base, model.Options{Exact: exact, Lazy: true})
	if err != nil {
		return err
	}
	ids, _, err := textIDs(base, c.String("data"), c.Int("sequences")*c.Int("length"))
	if err != nil {
		return err
	}
	pool := kernels.NewPool(0)
	defer pool.Close()
	show := calibrating{progress: newProgress(e.stderr), began: time.Now()}
	text := quantize.Text{IDs: ids, Length: c.Int("length")}
	used, err := quantize.Calibrate(e.ctx, out, m, base.Weights, quantize.CalibrateOptions{Text: text, Memory: memory, Copied: copies(base), Pool: pool, Progress: show.update})
	show.end()
	if err != nil {
		return err
	}
	made, err := quantize.OpenCalibration(out)
	if err != nil {
		return err
	}
	defer made.Close()
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	r := calibrateReport{Output: out, Inputs: made.Inputs(), Sequences: text.Pieces(), Tokens: made.Tokens, Bytes: info.Size(), Model: made.Model, Data: made.Data,
		Memory: used.Memory, Phases: used.Phases}
	if r.Experts, err = made.Coverage(); err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(e.stdout, r)
	}
	if err := expertsText(e.stdout, r.Experts); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "wrote %s: %d inputs, %d sequences, %d tokens; %s of memory at most\n", r.Output, r.Inputs, r.Sequences, r.Tokens, bytesText(r.Memory))
	fmt.Fprintln(e.stdout, calibrationCost(r.Phases))
	return nil
}

// calibrationCost is one line of seconds by phase.
func calibrationCost(p quantize.CalibrationPhases) string {
	return fmt.Sprintf("calibration took %.1f s: %.1f s forward, %.1f s products, %.1f s magnitudes, %.1f s hidden states, %.1f s file", p.Total(), p.Forward, p.Products, p.Magnitudes, p.States, p.File)
}

// calibrating shows how far a calibration has come, how fast, and for how long yet: on a terminal after each batch, elsewhere each quarter.
type calibrating struct {
	*progress
	began time.Time
}

func (c *calibrating) update(p quantize.CalibrationProgress) {
	seconds := max(time.Since(c.began).Seconds(), 1e-3)
	left := time.Duration(seconds * float64(p.Total-p.Done) / float64(p.Done) * float64(time.Second)).Round(time.Second)
	c.quarters(fmt.Sprintf("calibrating: layer %d of %d, %.0f tokens/s, %s left", p.Layer, p.Layers, float64(p.Done)/float64(p.Layers)/seconds, left), p.Done, p.Total)
}
