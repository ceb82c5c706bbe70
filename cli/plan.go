package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tune/kernels"
	"tune/train"
)

func planCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "show the memory and work of a run before it starts",
		UsageText: "tune plan --recipe RECIPE [--full] [--base MODEL] [--memory SIZE] [--json] [key=value ...]",
		Flags: append(recipeFlags(),
			&cli.BoolFlag{Name: "full", Usage: "plan `tune full` instead of `tune lora`"},
			jsonFlag()),
		Action: func(c *cli.Context) error {
			r, name, err := readRecipe(c)
			if err != nil {
				return err
			}
			j, err := openJob(r, name, c.Bool("full"), newProgress(e.stderr).line)
			if err != nil {
				return err
			}
			defer j.close()
			p, err := j.Plan()
			if err != nil {
				return err
			}
			seconds := float64(p.FLOPs+p.Again) / flopsPerSecond(j.Pool, j.Model.Exact)
			if c.Bool("json") {
				return writeJSON(e.stdout, struct {
					*train.Plan
					Seconds float64 `json:"seconds_per_step"`
				}{p, seconds})
			}
			w := tabwriter.NewWriter(e.stdout, 0, 0, 3, ' ', 0)
			for _, f := range p.Facts() {
				fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Value)
			}
			fmt.Fprintf(w, "expected time\t%.2g s per step, %.0f tokens/s\n", seconds, float64(p.TokensPerStep)/seconds)
			return w.Flush()
		},
	}
}

// flopsPerSecond measures a matrix product of training's kind for a moment. What is not a product takes its time too: a
// step of a small model reaches about two thirds of this speed.
func flopsPerSecond(pool *kernels.Pool, exact bool) float64 {
	const m, n, k, share = 512, 1024, 576, 0.65
	const enough = 100 * time.Millisecond
	a, b, c := make([]float32, m*k), make([]float32, n*k), make([]float32, m*n)
	for i := range b {
		b[i] = float32(i%13) / 13
	}
	x := &kernels.Product{M: m, K: k, A: a, Exact: exact, Outs: []kernels.Out{{N: n, C: c, B: kernels.Floats(b, n, k)}}}
	scratch := make([]float32, x.Scratch())
	pool.MatMul(x, scratch)
	start, runs := time.Now(), 0
	for time.Since(start) < enough {
		pool.MatMul(x, scratch)
		runs++
	}
	return share * float64(runs) * 2 * m * n * k / time.Since(start).Seconds()
}
