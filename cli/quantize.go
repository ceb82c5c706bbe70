package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/quantize"
	"tune/recipes"
)

func quantizeCommand(e *env) *cli.Command {
	var names, own []string
	for _, m := range quantize.Mixes() {
		names = append(names, m.Name)
	}
	for _, m := range quantize.Presets() {
		own = append(own, m.Name)
	}
	return &cli.Command{
		Name:  "quantize",
		Usage: "write a model in a quantized format: a GGUF file, or a folder for GPU servers",
		UsageText: "tune quantize --mix Q4_K_M [--imatrix FILE] [--adapter DIR] SOURCE OUT.gguf\n   tune quantize --target-size 95MB [--imatrix FILE] [--adapter DIR] SOURCE OUT.gguf" +
			"\n   tune quantize --format gptq|awq|nf4|compressed-tensors [--scheme W4A16] [--adapter DIR] SOURCE OUT_DIR",
		Description: `SOURCE is a Hugging Face folder, a GGUF file or a built-in model; --adapter is merged on the way. The file holds the bytes that
llama-quantize writes. It grows under OUT.gguf.partial; an interrupted run is continued by the same command. --dry-run needs no
OUT.gguf.

With --target-size or --target-bpw in the place of a mix, each matrix gets the type with which the file serves the model best in
that size: how much a type costs a matrix is measured once on a text and kept in a file. --verify compares with the nearest mix.

Mixes of llama.cpp, from the best to the smallest:

` + wrap(append(names, "COPY"), 120) + `

Mixes of our own for mixtures of experts and latent attention (attention, shared experts and first layers finer than routed experts):

` + wrap(own, 120) + packedHelp,
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "mix", Usage: "`MIX` of types, such as Q4_K_M"},
			&cli.StringFlag{Name: "adapter", Usage: "`DIR` of a PEFT adapter to merge"},
			&cli.StringFlag{Name: "imatrix", Usage: "`FILE` with the importance of columns, from tune imatrix or llama-imatrix"},
			&cli.BoolFlag{Name: "pure", Usage: "give every matrix the mix's own type"},
			&cli.StringFlag{Name: "output-tensor-type", Usage: "`TYPE` of output.weight (of token_embd.weight when it is the head)"},
			&cli.StringFlag{Name: "token-embedding-type", Usage: "`TYPE` of token_embd.weight"},
			&cli.StringSliceFlag{Name: "tensor-type", Usage: "`REGEX=TYPE` of matching tensors; the first that matches decides (repeatable)"},
			&cli.StringFlag{Name: "memory", Usage: "most memory to use beside mapped files, such as 512MiB"},
			&cli.IntFlag{Name: "threads", Usage: "`N` parts at a time (0: one for each processor)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be written"},
			&cli.BoolFlag{Name: "strict", Usage: "fail when a tensor's width does not suit its type"},
			&cli.BoolFlag{Name: "zero-nonfinite", Usage: "store 0 where a weight is NaN or infinite, which is an error otherwise"},
			&cli.BoolFlag{Name: "resume", Value: true, Usage: "continue an interrupted run"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace an output that exists"},
			&cli.BoolFlag{Name: "verify", Usage: "compare the written file with the source, as tune verify does; gates imply it"},
			jsonFlag(),
		}, packedFlags(), methodFlags(), shardFlags(), targetFlags(), gateFlags()),
		Action: func(c *cli.Context) error { return runQuantize(e, c) },
	}
}

// wrap sets words in lines.
func wrap(words []string, width int) string {
	var b strings.Builder
	n := 0
	for _, w := range words {
		if n > 0 && n+1+len(w) > width {
			b.WriteByte('\n')
			n = 0
		} else if n > 0 {
			b.WriteByte(' ')
			n++
		}
		b.WriteString(w)
		n += len(w)
	}
	return b.String()
}

// quantizeReport is what `tune quantize --json` prints, also with --dry-run.
type quantizeReport struct {
	Tensors  []quantizedTensor         `json:"tensors"`
	Bytes    int64                     `json:"file_bytes"`
	Files    []shardFile               `json:"files,omitempty"`    // when they are several
	Verify   *verifyReport             `json:"verify,omitempty"`   // with --verify
	Target   *targetReport             `json:"target,omitempty"`   // with a wanted size
	Feedback []quantize.FeedbackReport `json:"feedback,omitempty"` // with --method gptq
}

type quantizedTensor struct {
	Name     string `json:"name"`
	Shape    []int  `json:"shape"` // as in the file: the width of a row first
	From     string `json:"from"`
	To       string `json:"to"`
	Bytes    int64  `json:"bytes"`
	Fallback bool   `json:"fallback"` // the width did not suit the type of the mix
}

func runQuantize(e *env, c *cli.Context) error {
	if c.String("format") != "gguf" {
		return runPacked(e, c)
	}
	if name := setFlag(c, packedFlags()[1:]); name != "" {
		return usagef(c, "%s: expected --format gptq, awq, nf4 or compressed-tensors with it", name)
	}
	dry := c.Bool("dry-run")
	switch n := c.NArg(); {
	case n == 0, n == 1 && !dry, n > 2:
		return usagef(c, "expected SOURCE and OUT.gguf, found %d arguments", n)
	}
	wanted := c.Bool("verify") || setFlag(c, gateFlags()) != ""
	if dry && wanted {
		return usagef(c, "dry-run: there is no file to verify")
	}
	mix, o, err := quantizeOptions(c)
	if err != nil {
		return err
	}
	memory, err := memoryFlag(c)
	if err != nil {
		return err
	}
	source, out := c.Args().Get(0), c.Args().Get(1)
	src, closeSource, err := openSource(source, c.String("adapter"))
	if err != nil {
		return err
	}
	defer closeSource()
	if !dry && !sharded(c) { // before anything is measured
		if err := checkDistinct(source, out); err != nil {
			return err
		}
		if err := clearOutput(out, c.Bool("overwrite")); err != nil {
			return err
		}
	}
	pool := kernels.NewPool(c.Int("threads"))
	defer pool.Close()
	done, err := feedbackOptions(e, c, &o, pool)
	if err != nil {
		return err
	}
	defer done()
	p, size, err := planOf(e, c, src, mix, &o)
	if err != nil {
		return err
	}
	if err := checkPlan(e, c, p); err != nil {
		return err
	}
	if !dry {
		if err := writePlan(e, c, p, memory); err != nil {
			return err
		}
	}
	r := quantizeJSON(p, out)
	if o.Feedback != nil {
		r.Feedback = o.Feedback.Reports
	}
	if size != nil {
		r.Target = &targetReport{Wanted: size.Wanted, Expected: size.Loss, Nearest: size.Nearest.Mix.Name, NearestBytes: size.Nearest.Size(), NearestExpected: max(size.Expected, 0)}
	}
	if wanted {
		x := comparison{models: [2]string{source, p.Paths(out)[0]}, adapters: [2]string{c.String("adapter")}, data: c.String("data"), tokens: verifyTokens, chunk: verifyChunk}
		if r.Verify, err = compareModels(e, x); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		r.Verify.judge(c)
		if size != nil {
			if r.Target.NearestVerify, err = compareNearest(e, c, size, x); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
		}
	}
	return printQuantized(e, c, p, &r)
}

// checkPlan says what a plan loses, or refuses it.
func checkPlan(e *env, c *cli.Context, p *quantize.Plan) error {
	if n := p.Fallbacks(); n > 0 && c.Bool("strict") {
		i := slices.IndexFunc(p.Choices, func(c quantize.Choice) bool { return c.Fallback })
		return hint.Errorf("leave out --strict, or choose types with --tensor-type", "%d tensors have a width that does not suit their type, the first is %s: %s instead of %s",
			n, p.Choices[i].Name, p.Choices[i].To, p.Choices[i].Wanted)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(e.stderr, "tune: note: %s\n", n)
	}
	return nil
}

// writePlan writes the file, or the files.
func writePlan(e *env, c *cli.Context, p *quantize.Plan, memory int64) error {
	out := c.Args().Get(1)
	if sharded(c) {
		if err := clearShards(p, c.Args().First(), out, c.Bool("overwrite")); err != nil {
			return err
		}
	}
	show := newProgress(e.stderr)
	defer show.end()
	bar := &byteProgress{show: show, begun: time.Now()}
	return p.Write(e.ctx, out, quantize.WriteOptions{Threads: c.Int("threads"), Memory: memory, Fresh: !c.Bool("resume"), Progress: bar.update,
		Note: func(text string) { show.line("tune: note: " + text) }})
}

// planOf chooses types by the mix or for the wanted size; targeted is nil with a mix.
func planOf(e *env, c *cli.Context, src *quantize.Source, mix quantize.Mix, o *quantize.PlanOptions) (*quantize.Plan, *quantize.Targeted, error) {
	if !targeted(c) {
		p, err := quantize.NewPlan(src, mix, *o)
		return p, nil, err
	}
	t, err := planTarget(e, c, src, o)
	if err != nil {
		return nil, nil, err
	}
	t.Mix.Name = c.String("target-size")
	if c.IsSet("target-bpw") {
		t.Mix.Name = fmt.Sprintf("%g bits per value", c.Float64("target-bpw"))
	}
	return t.Plan, t, nil
}

// printQuantized prints what was written and, when there is one, the comparison; a missed gate is an error.
func printQuantized(e *env, c *cli.Context, p *quantize.Plan, r *quantizeReport) error {
	if c.Bool("json") {
		if err := writeJSON(e.stdout, r); err != nil {
			return err
		}
	} else {
		if err := quantizeText(e.stdout, p, c.Args().Get(1), c.Bool("dry-run")); err != nil {
			return err
		}
		if r.Verify != nil {
			fmt.Fprintln(e.stdout)
			if err := r.Verify.text(e.stdout); err != nil {
				return err
			}
		}
		if r.Target != nil {
			if err := r.Target.text(e.stdout, p.Layout.Size, r.Verify); err != nil {
				return err
			}
		}
	}
	if r.Verify == nil {
		return nil
	}
	return r.Verify.gate()
}

// quantizeOptions reads the flags that choose types.
func quantizeOptions(c *cli.Context) (mix quantize.Mix, o quantize.PlanOptions, err error) {
	switch {
	case targeted(c):
		if _, err := targetFlag(c); err != nil {
			return mix, o, err
		}
	case !c.IsSet("mix"):
		return mix, o, usagef(c, "expected --mix, --target-size or --target-bpw")
	default:
		if mix, err = quantize.ParseMix(c.String("mix")); err != nil {
			return mix, o, err
		}
	}
	o.Pure, o.ZeroNonfinite = c.Bool("pure"), c.Bool("zero-nonfinite")
	if o.ZeroNonfinite && c.Bool("strict") {
		return mix, o, usagef(c, "zero-nonfinite: strict accepts no loss")
	}
	for name, to := range map[string]**qtype.Type{"output-tensor-type": &o.Output, "token-embedding-type": &o.Embedding} {
		if c.IsSet(name) {
			t, err := qtype.ParseType(c.String(name))
			if err != nil {
				return mix, o, usagef(c, "%s: %v", name, err)
			}
			*to = &t
		}
	}
	for _, text := range c.StringSlice("tensor-type") {
		x, err := quantize.ParseOverride(text)
		if err != nil {
			return mix, o, usagef(c, "%v", err)
		}
		o.Overrides = append(o.Overrides, x)
	}
	if err := shardOptions(c, &o); err != nil {
		return mix, o, err
	}
	if o.File = c.String("imatrix"); o.File != "" {
		o.Importance, err = quantize.ReadImportance(o.File)
	}
	return mix, o, err
}

// memoryFlag reads --memory, 0 when it is not given.
func memoryFlag(c *cli.Context) (int64, error) {
	text := c.String("memory")
	if text == "" {
		return 0, nil
	}
	var n recipes.Size
	if err := n.UnmarshalText([]byte(text)); err != nil {
		return 0, usagef(c, "memory: %v", err)
	}
	return int64(n), nil
}

// openSource opens what is to be quantized. A GGUF file without an adapter is taken as it is, whatever its architecture.
func openSource(path, adapter string) (*quantize.Source, func() error, error) {
	if st, err := os.Stat(path); err == nil && !st.IsDir() && adapter == "" {
		src, err := quantize.OpenGGUF(path)
		if err != nil {
			return nil, nil, err
		}
		return src, src.Close, nil
	}
	base, err := openMerged(path, adapter)
	if errors.Is(err, model.ErrUnknownArch) && adapter == "" {
		src, err := quantize.OpenFolder(path)
		if err != nil {
			return nil, nil, err
		}
		return src, src.Close, nil
	}
	if err != nil {
		return nil, nil, err
	}
	src, err := checkpointSource(base, path, adapter)
	if err != nil {
		base.Close()
		return nil, nil, err
	}
	return src, base.Close, nil
}

// checkpointSource takes a checkpoint that openMerged opened.
func checkpointSource(base *model.Checkpoint, path, adapter string) (*quantize.Source, error) {
	var merged tensor.Source
	if adapter != "" {
		merged = base.Weights
	}
	src, err := quantize.FromCheckpoint(base, merged)
	if err != nil {
		return nil, err
	}
	src.Stamp, err = stampOf(path, adapter)
	return src, err
}

func quantizeJSON(p *quantize.Plan, out string) quantizeReport {
	r := quantizeReport{Bytes: p.Size(), Files: shardFiles(p, out)}
	for i := range p.Choices {
		c := &p.Choices[i]
		shape := slices.Clone(c.Dims)
		slices.Reverse(shape)
		r.Tensors = append(r.Tensors, quantizedTensor{c.Name, shape, c.Type.String(), c.To.String(), c.Bytes(), c.Fallback})
	}
	return r
}

// quantizeText prints the tensors of a dry run, and what each type takes.
func quantizeText(out io.Writer, p *quantize.Plan, path string, dry bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if dry {
		fmt.Fprint(w, "TENSOR\tSHAPE\tFROM\tTO\tBYTES\t\n")
		for i := range p.Choices {
			c := &p.Choices[i]
			shape := slices.Clone(c.Dims)
			slices.Reverse(shape)
			fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%d\t", c.Name, shape, c.Type, c.To, c.Bytes())
			if c.Fallback {
				fmt.Fprintf(w, "the width does not suit %s", c.Wanted)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "TYPE\tTENSORS\tVALUES\tBYTES\n")
	values, bytes := int64(0), int64(0)
	for _, t := range p.Totals() {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", t.Type, t.Tensors, t.Values, t.Bytes)
		values, bytes = values+t.Values, bytes+t.Bytes
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if n := p.Fallbacks(); n > 0 {
		fmt.Fprintf(out, "%d of %d tensors have a width that does not suit the type of the mix and got another one\n", n, len(p.Choices))
	}
	verb := "wrote"
	if n := len(p.Parts); n > 1 && !dry {
		path = fmt.Sprintf("%s and %d more", p.Paths(path)[0], n-1)
	}
	if dry {
		verb, path = "would write", p.Mix.Name
		if n := len(p.Parts); n > 1 {
			path = fmt.Sprintf("%s in %d files", path, n)
		}
	}
	_, err := fmt.Fprintf(out, "%s %s: %s, %.2f bits per value\n", verb, path, bytesText(p.Size()), 8*float64(bytes)/float64(max(values, 1)))
	return err
}

// byteProgress shows how much is written, how fast, and for how long yet.
type byteProgress struct {
	show        *progress
	begun, last time.Time
}

func (b *byteProgress) update(done, total int64) {
	now := time.Now()
	if !b.show.terminal || now.Sub(b.last) < time.Second/5 && done < total {
		return
	}
	b.last = now
	speed := float64(done) / max(now.Sub(b.begun).Seconds(), 1e-3)
	left := time.Duration(float64(total-done) / max(speed, 1) * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(b.show.w, "\r\x1b[K%s of %s  %s/s  %s left", bytesText(done), bytesText(total), bytesText(int64(speed)), left)
	b.show.open = true
}
