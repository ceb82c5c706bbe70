package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/bench"
	"tune/internal/qtype"
	"tune/kernels"
	"tune/recipes"
)

func benchCommand(e *env) *cli.Command {
	parts := strings.Join(bench.Parts, "|")
	return &cli.Command{
		Name:      "bench",
		Usage:     "measure the speed of this machine and what the program reaches of it",
		UsageText: "tune bench [" + parts + "|all] [--model MODEL] [--json] [--compare FILE]",
		Description: `First the peaks: multiply-adds on registers, bytes read from memory. Then each row: the median of several repeats, the
distance of their quartiles, and what share of the peak the best repeat reaches. Without --model, the models are
` + recipes.Builtin + ` and random weights of the shape of SmolLM2-135M, in bf16, Q8_0 and Q4_1. Nothing else should run meanwhile.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "`MODEL` to measure instead: a Hugging Face folder, a GGUF file or " + recipes.Builtin},
			&cli.StringFlag{Name: "types", Usage: "`TYPES` that the part quantize measures, such as Q4_K,Q6_K (default: all)"},
			&cli.StringFlag{Name: "llama-quantize", Usage: "llama.cpp's `PROGRAM` to time whole files beside (default: the one in the path, if there is one)"},
			&cli.BoolFlag{Name: "files", Usage: "time whole files as well, in processor time; with llama-quantize they always are"},
			&cli.StringFlag{Name: "compare", Usage: "`FILE` of an earlier run's --json, whose values are shown beside"},
			jsonFlag()},
		Action: func(c *cli.Context) error {
			o := bench.Options{Parts: bench.Parts}
			switch what := c.Args().First(); {
			case c.NArg() > 1:
				return usagef(c, "expected one part, found %q", c.Args().Slice())
			case what == "" || what == "all":
			case slices.Contains(bench.Parts, what):
				o.Parts = []string{what}
			default:
				return usagef(c, "expected %s|all, found %q", parts, what)
			}
			if err := quantizeBench(c, &o); err != nil {
				return err
			}
			var before *bench.Report
			if name := c.String("compare"); name != "" {
				var err error
				if before, err = readBench(name); err != nil {
					return err
				}
			}
			return runBench(c, e, o, before)
		},
	}
}

// quantizeBench reads the flags of the part quantize.
func quantizeBench(c *cli.Context, o *bench.Options) (err error) {
	if c.IsSet("types") {
		for name := range strings.SplitSeq(c.String("types"), ",") {
			t, err := qtype.ParseType(strings.TrimSpace(name))
			if err != nil {
				return usagef(c, "types: %v", err)
			}
			o.Types = append(o.Types, t)
		}
	}
	o.LlamaQuantize = c.String("llama-quantize")
	if o.LlamaQuantize == "" {
		o.LlamaQuantize, _ = exec.LookPath("llama-quantize") // none is no error
	}
	if o.LlamaQuantize != "" || c.Bool("files") {
		o.Tune, err = os.Executable()
	}
	return err
}

func runBench(c *cli.Context, e *env, o bench.Options, before *bench.Report) error {
	if slices.ContainsFunc(o.Parts, func(part string) bool { return part != "kernels" && part != "quantize" && part != "data" }) {
		models, err := benchModels(c.String("model"))
		if err != nil {
			return err
		}
		o.Models = models
		defer func() {
			for _, m := range models {
				m.Base.Close()
			}
		}()
	}
	if slices.Contains(o.Parts, "data") {
		base, err := openBase(cmp.Or(c.String("model"), recipes.Builtin), false)
		if err != nil {
			return err
		}
		defer base.Close()
		o.Text = base
	}
	o.Pool = kernels.NewPool(0)
	defer o.Pool.Close()
	o.Progress = func(r bench.Row) { fmt.Fprintf(e.stderr, "%s: %.4g %s\n", r.Name, r.Value, r.Unit) }
	r, err := bench.Run(c.Context, o)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(e.stdout, r)
	}
	return printBench(e.stdout, r, before)
}

// benchModels opens the model that was named, or the built-in one and three of random weights.
func benchModels(name string) ([]bench.Model, error) {
	if name != "" {
		base, err := openBase(name, false)
		return []bench.Model{{Base: base}}, err
	}
	var models []bench.Model
	for _, t := range []qtype.Type{qtype.BF16, qtype.Q8_0, qtype.Q4_1} {
		base, err := bench.Synthetic(t)
		if err != nil {
			return nil, err
		}
		models = append(models, bench.Model{Base: base, Suffix: "/" + strings.ToLower(t.String())})
	}
	models[0].Suffix, models[0].Full = "", true
	small, err := openBase(recipes.Builtin, false)
	if err != nil {
		return nil, err
	}
	return append(models, bench.Model{Suffix: "/lex-5m", Base: small, Full: true}), nil
}

func readBench(name string) (*bench.Report, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := &bench.Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: expected the output of bench --json: %w", name, err)
	}
	return r, nil
}

// printBench writes the table; before may be nil.
func printBench(out io.Writer, r, before *bench.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	peak := func(rate float64, unit string) string {
		if rate == 0 {
			return "none"
		}
		return fmt.Sprintf("%.0f %s", rate/1e9, unit)
	}
	fmt.Fprintf(out, "%d threads, kernels %s; peaks: bf16 %s, f32 %s, int8 %s, reading %.1f GB/s\n\n", runtime.GOMAXPROCS(0), kernels.Level(),
		peak(r.Peak.BF16, "GFLOP/s"), peak(r.Peak.F32, "GFLOP/s"), peak(r.Peak.Int8, "GOP/s"), r.Peak.Bytes/1e9)
	head := "name\tmedian\tunit\tspread\tbest\tof peak\tmemory\t"
	if before != nil {
		head += "before\tratio\t"
	}
	fmt.Fprintln(w, head)
	for _, x := range r.Rows {
		memory := "-"
		if x.Bytes > 0 {
			memory = bytesText(x.Bytes)
		}
		fmt.Fprintf(w, "%s\t%.4g\t%s\t%.0f %%\t%.4g\t%.0f %%\t%s\t", x.Name, x.Value, x.Unit, 100*x.Spread, x.Best, 100*x.Share, memory)
		if before != nil {
			fmt.Fprint(w, compared(x, before))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// compared is the two columns of a row's former value.
func compared(x bench.Row, before *bench.Report) string {
	i := slices.IndexFunc(before.Rows, func(r bench.Row) bool { return r.Name == x.Name && r.Unit == x.Unit })
	if i < 0 || before.Rows[i].Value <= 0 {
		return "-\t-\t"
	}
	old := before.Rows[i].Value
	return fmt.Sprintf("%.4g\t%.2f\t", old, x.Value/old)
}
