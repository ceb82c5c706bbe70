package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/packed"
	"tune/internal/tensor"
	"tune/quantize"
	"tune/recipes"
)

var packedHelp = `

With --format gptq, awq, nf4 or compressed-tensors the result is a Hugging Face folder that vLLM and transformers load. Linear modules
of the layers are quantized; embedding, norms and head are copied through. What the loader would not take is refused before work starts.
Schemes of compressed-tensors: ` + strings.Join(packed.SchemeNames(), ", ") + `.`

// packedFlags belong to folders for GPU servers; the first one chooses between them and GGUF files.
func packedFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "format", Value: "gguf", Usage: "gguf, " + strings.Join(packed.Formats(), ", ")},
		&cli.StringFlag{Name: "scheme", Usage: "`NAME` of a scheme of compressed-tensors, such as W4A16"},
		&cli.IntFlag{Name: "bits", Usage: "bits of a weight"},
		&cli.IntFlag{Name: "group-size", Usage: "inputs that share a scale, -1: all of a row"},
		&cli.BoolFlag{Name: "sym", Usage: "integers around zero (default of gptq)"},
		&cli.BoolFlag{Name: "asym", Usage: "integers with a zero for each group (default of awq)"},
		&cli.BoolFlag{Name: "desc-act", Usage: "GPTQ: columns in the order of their importance, with g_idx in the file"},
		&cli.StringFlag{Name: "loader", Value: "vllm", Usage: "whose rules the result must meet: " + strings.Join(packed.Loaders(), ", ")},
		&cli.StringSliceFlag{Name: "ignore", Usage: "`REGEX` of modules to leave as they are (repeatable)"},
	}
}

// setFlag is the name of a flag of a list that was given, "" without one.
func setFlag(c *cli.Context, flags []cli.Flag) string {
	for _, f := range flags {
		if name := f.Names()[0]; c.IsSet(name) {
			return name
		}
	}
	return ""
}

// packedReport is what `tune quantize --format gptq --json` prints, also with --dry-run.
type packedReport struct {
	Format  string         `json:"format"`
	Scheme  string         `json:"scheme,omitempty"`
	Bits    int            `json:"bits"`
	Group   int            `json:"group_size"` // 0: a row
	Sym     bool           `json:"symmetric"`
	Modules []packedModule `json:"modules"`
	Kept    []packedKept   `json:"kept_tensors"`
	Files   []packedFile   `json:"files"`
	Bytes   int64          `json:"bytes"`
	Method  string         `json:"method"`
	Memory  int64          `json:"memory_bytes"` // beside mapped files, with the threads there are
	// Calibration is what running --calibration-text takes before; also beside mapped files.
	Calibration int64         `json:"calibration_memory_bytes,omitempty"`
	Seconds     *float64      `json:"seconds,omitempty"`
	Solved      *methodReport `json:"solved,omitempty"` // unless the method is rtn
	Verify      *verifyReport `json:"verify,omitempty"`
}

type packedModule struct {
	Name  string `json:"name"`
	Shape [2]int `json:"shape"` // outputs, inputs
	Bytes int64  `json:"bytes"`
}

type packedKept struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	From  string `json:"from"`
	To    string `json:"to"`
	Bytes int64  `json:"bytes"`
}

type packedFile struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

func runPacked(e *env, c *cli.Context) error {
	dry := c.Bool("dry-run")
	switch n := c.NArg(); {
	case n == 0, n == 1 && !dry, n > 2:
		return usagef(c, "expected SOURCE and OUT_DIR, found %d arguments", n)
	}
	for _, name := range []string{"mix", "imatrix", "pure", "output-tensor-type", "token-embedding-type", "tensor-type", "keep-split",
		"target-size", "target-bpw", "candidates", "sensitivity", "sensitivity-tokens"} {
		if c.IsSet(name) {
			return usagef(c, "%s: expected --format gguf with it", name)
		}
	}
	wanted := c.Bool("verify") || setFlag(c, gateFlags()) != ""
	if dry && wanted {
		return usagef(c, "dry-run: there is no folder to verify")
	}
	bound, err := memoryFlag(c)
	if err != nil {
		return err
	}
	o, err := packedOptions(c)
	if err != nil {
		return err
	}
	source, out := c.Args().Get(0), c.Args().Get(1)
	base, err := openMerged(source, c.String("adapter"))
	if err != nil {
		return err
	}
	defer base.Close()
	p, err := planPacked(c, base, base.Weights, c.String("adapter") != "", o)
	if err != nil {
		return err
	}
	if p.Again > 0 && c.Bool("strict") {
		return hint.Errorf("leave out --strict, or start from the original", "%s: %d weights are quantized already", source, p.Again)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(e.stderr, "tune: note: %s\n", n)
	}
	r := packedJSON(p)
	var workers int
	running, err := propagationMemory(c, base, p, bound)
	if err != nil {
		return err
	}
	memory := max(bound-running, 0) // 0 when there is no bound; with one, running fits
	if r.Memory, workers, err = p.Memory(memory, threads(c)); err != nil {
		return err
	}
	r.Memory += running
	if dry {
		if r.Calibration, err = calibrationMemory(c, base, p, bound); err != nil {
			return err
		}
	} else {
		if err := writePacked(e, c, base, p, o, quantize.WriteOptions{Threads: workers, Memory: memory, Fresh: !c.Bool("resume")}, &r); err != nil {
			return err
		}
	}
	if wanted {
		x := comparison{models: [2]string{source, out}, adapters: [2]string{c.String("adapter")}, data: c.String("data"), tokens: verifyTokens, chunk: verifyChunk}
		if r.Verify, err = compareModels(e, x); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		r.Verify.judge(c)
	}
	if c.Bool("json") {
		err = writeJSON(e.stdout, r)
	} else {
		err = r.text(e.stdout, p, out, dry)
	}
	if err != nil || r.Verify == nil {
		return err
	}
	return r.Verify.gate()
}

// writePacked makes way for the folder and writes it.
func writePacked(e *env, c *cli.Context, base *model.Checkpoint, p *quantize.PackedPlan, po quantize.PackedOptions, o quantize.WriteOptions, r *packedReport) error {
	out := c.Args().Get(1)
	if err := checkDistinct(c.Args().Get(0), out); err != nil {
		return err
	}
	if err := clearOutput(out, c.Bool("overwrite")); err != nil {
		return err
	}
	begun := time.Now()
	method, err := startMethod(e, c, base, p, po)
	if err != nil {
		return err
	}
	var linears quantize.Linears
	if method != nil {
		defer method.close()
		p, linears = method.plan, method.Linear
	}
	show := newProgress(e.stderr)
	bar := &byteProgress{show: show, begun: begun}
	o.Progress, o.Note = bar.update, func(text string) { show.line("tune: note: " + text) }
	err = p.Write(e.ctx, out, o, linears)
	show.end()
	if method != nil {
		r.Solved = method.report()
	}
	seconds := time.Since(begun).Seconds()
	r.Seconds = &seconds
	return err
}

// packedOptions reads the flags that choose a scheme.
func packedOptions(c *cli.Context) (o quantize.PackedOptions, err error) {
	o.Scheme = packed.Options{Format: c.String("format"), Scheme: c.String("scheme"), Bits: c.Int("bits"), DescAct: c.Bool("desc-act")}
	if c.IsSet("bits") && o.Scheme.Bits < 1 {
		return o, usagef(c, "bits: expected a positive number, found %d", o.Scheme.Bits)
	}
	if c.IsSet("group-size") {
		g := c.Int("group-size")
		if g < -1 || g == 0 {
			return o, usagef(c, "group-size: expected a positive number or -1, found %d", g)
		}
		o.Scheme.Group = &g
	}
	if c.Bool("sym") && c.Bool("asym") {
		return o, usagef(c, "expected either --sym or --asym, found both")
	}
	if sym := c.Bool("sym"); sym || c.Bool("asym") {
		o.Scheme.Sym = &sym
	}
	if text := c.String("shard-size"); text != "" {
		var n recipes.Size
		if err := n.UnmarshalText([]byte(text)); err != nil || n < 1 {
			return o, usagef(c, "shard-size: expected a size such as 2GB, found %q", text)
		}
		o.Shard = int64(n)
	}
	o.Loader = c.String("loader")
	for _, text := range c.StringSlice("ignore") {
		re, err := regexp.Compile(text)
		if err != nil {
			return o, usagef(c, "ignore: %v", err)
		}
		o.Ignore = append(o.Ignore, re)
	}
	o.Method = c.String("method")
	o.Version = "tune " + readBuildInfo().Version
	return o, nil
}

// planPacked plans for a checkpoint that openMerged opened, with weights in the place of its own; o.Stamp says what was done to
// them. copied: they are no views of mapped files.
func planPacked(c *cli.Context, base *model.Checkpoint, weights tensor.Source, copied bool, o quantize.PackedOptions) (p *quantize.PackedPlan, err error) {
	o.Untied = untied(base)
	if o.Resident, err = resident(base, weights, copied); err != nil {
		return nil, err
	}
	stamp, err := stampOf(c.Args().First(), c.String("adapter"))
	if err != nil {
		return nil, err
	}
	o.Stamp = stamp + o.Stamp
	return quantize.PlanPacked(base, weights, o)
}

// resident is what asking for one matrix of a layer takes beside mapped files: decoded, changed, and handed out when it is a
// copy; put together when the source is quantized itself.
func resident(base *model.Checkpoint, weights tensor.Source, copied bool) (most int64, err error) {
	for _, m := range base.Spec.Modules() {
		if m.Kind != model.Linear && m.Kind != model.Expert {
			continue
		}
		info, err := weights.Info(m.Name + ".weight")
		if err != nil {
			return 0, err
		}
		n := int64(0)
		if copied {
			n += 8*int64(info.Elems()) + info.Bytes()
		}
		if base.Quantized != nil {
			n += info.Bytes() + int64(info.Elems())
		}
		most = max(most, n)
	}
	return most, nil
}

func threads(c *cli.Context) int {
	if n := c.Int("threads"); n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

func packedJSON(p *quantize.PackedPlan) packedReport {
	s := p.Scheme
	r := packedReport{Format: s.Format, Method: p.Method, Scheme: s.Name, Bits: s.Bits, Group: s.Group, Sym: s.Sym, Modules: []packedModule{}, Kept: []packedKept{}, Bytes: p.Size()}
	for i, m := range p.Modules {
		if !m.Kept {
			r.Modules = append(r.Modules, packedModule{m.Name, [2]int{m.Out, m.In}, p.ModuleBytes(i)})
		}
	}
	for _, k := range p.Kept {
		r.Kept = append(r.Kept, packedKept{k.Name, k.Shape, k.Type.String(), k.To.String(), int64(k.Elems() * k.To.Row().Bytes)})
	}
	for _, part := range p.Parts {
		r.Files = append(r.Files, packedFile{part.Name, part.Size})
	}
	for name, data := range p.Files {
		r.Files = append(r.Files, packedFile{name, int64(len(data))})
	}
	slices.SortFunc(r.Files, func(a, b packedFile) int { return strings.Compare(a.Name, b.Name) })
	return r
}

func (r *packedReport) text(out io.Writer, p *quantize.PackedPlan, dir string, dry bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if dry {
		fmt.Fprint(w, "MODULE\tSHAPE\tBYTES\n")
		for _, m := range r.Modules {
			fmt.Fprintf(w, "%s\t%v\t%d\n", m.Name, m.Shape, m.Bytes)
		}
		fmt.Fprint(w, "\nFILE\tBYTES\n")
		for _, f := range r.Files {
			fmt.Fprintf(w, "%s\t%d\n", f.Name, f.Bytes)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "COPIED THROUGH\tSHAPE\tFROM\tTO\tBYTES\n")
	for _, k := range foldLayers(r.Kept) {
		fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%d\n", k.Name, k.Shape, k.From, k.To, k.Bytes)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var values, bytes int64
	for _, m := range r.Modules {
		values, bytes = values+int64(m.Shape[0])*int64(m.Shape[1]), bytes+m.Bytes
	}
	verb, name := "wrote", filepath.Clean(dir)
	if dry {
		verb, name = "would write", p.Scheme.String()
	}
	fmt.Fprintf(out, "%s %s: %s, %d modules with %.3f bits per value", verb, name, bytesText(r.Bytes), len(r.Modules), 8*float64(bytes)/float64(max(values, 1)))
	if dry {
		fmt.Fprintf(out, "; at most %s of memory beside mapped files", bytesText(max(r.Memory, r.Calibration)))
	} else if r.Seconds != nil {
		fmt.Fprintf(out, ", in %.1f s", *r.Seconds)
	}
	fmt.Fprintln(out)
	if r.Solved != nil {
		if err := r.Solved.text(out); err != nil {
			return err
		}
	}
	if r.Verify == nil {
		return nil
	}
	fmt.Fprintln(out)
	return r.Verify.text(out)
}

var layerNumber = regexp.MustCompile(`\.layers\.\d+\.`)

// foldLayers makes one line of tensors that differ in the number of the layer only.
func foldLayers(list []packedKept) (out []packedKept) {
	at := map[string]int{}
	count := map[string]int{}
	for _, k := range list {
		k.Name = layerNumber.ReplaceAllString(k.Name, ".layers.*.")
		key := fmt.Sprint(k.Name, k.Shape, k.From, k.To)
		count[key]++
		if i, ok := at[key]; ok {
			out[i].Bytes += k.Bytes
			continue
		}
		at[key] = len(out)
		out = append(out, k)
	}
	for key, i := range at {
		if count[key] > 1 {
			out[i].Name += fmt.Sprintf(" (%d)", count[key])
		}
	}
	return out
}
