package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
)

func convertCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "convert",
		Usage:     "write a model in another file format or storage type",
		UsageText: "tune convert [--format hf|gguf] [--type keep|bf16|f16|f32|q8_0] SRC DST\n   tune convert --base MODEL [--fold] ADAPTER DST",
		Description: `SRC is a Hugging Face folder, a GGUF file or a built-in model. The format follows from DST when it is not given: a name
that ends in .gguf is a GGUF file, any other a folder. With --type keep tensors stay as they are stored; in a folder quantized
ones become bf16. In GGUF files vectors are always f32, and rows that a block of q8_0 does not divide are f16.

An adapter, a PEFT folder or a GGUF file, needs the --base it was made for; with --type keep it is written as f32. GGUF has one
alpha for all modules of an adapter: where that cannot state their scales, as with alpha_pattern, they become part of the
factors; --fold does so always, for readers that pass over alpha.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`FORMAT` of DST: hf or gguf"},
			&cli.StringFlag{Name: "type", Value: "keep", Usage: "storage `TYPE` of matrices: keep, bf16, f16, f32, and q8_0 for GGUF"},
			&cli.StringFlag{Name: "name", Usage: "general.name in a GGUF file"},
			&cli.StringFlag{Name: "pre", Usage: "tokenizer.ggml.pre in a GGUF file, where tokenizer.json does not tell"},
			&cli.StringFlag{Name: "base", Usage: "`MODEL` that an adapter was made for"},
			&cli.BoolFlag{Name: "fold", Usage: "make the scales of a GGUF adapter part of its factors"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace a DST that exists"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef(c, "expected SRC and DST, found %d arguments", c.NArg())
			}
			r, err := convert(c)
			if err != nil {
				return err
			}
			for _, n := range r.Notes {
				fmt.Fprintf(e.stderr, "tune: note: %s\n", n)
			}
			if c.Bool("json") {
				return writeJSON(e.stdout, r)
			}
			fmt.Fprintf(e.stdout, "wrote %s: %s, %d tensors, %s\n", r.Output, r.Format, r.Tensors, bytesText(r.Bytes))
			return nil
		},
	}
}

// plainTypes are the types that convert writes; all others need the rules of a mix.
var plainTypes = []qtype.Type{qtype.F32, qtype.F16, qtype.BF16, qtype.Q8_0}

// convertReport is what `tune convert --json` prints.
type convertReport struct {
	Output  string   `json:"output"`
	Format  string   `json:"format"`
	Tensors int      `json:"tensors"`
	Bytes   int64    `json:"bytes"` // of the tensors, as written
	Notes   []string `json:"notes,omitempty"`
}

func convert(c *cli.Context) (*convertReport, error) {
	src, dst := c.Args().Get(0), c.Args().Get(1)
	format, err := targetFormat(c, dst)
	if err != nil {
		return nil, err
	}
	keep, as := c.String("type") == "keep", qtype.F32
	if !keep {
		if as, err = qtype.ParseType(c.String("type")); err != nil || !slices.Contains(plainTypes, as) {
			return nil, usagef(c, "type: expected keep, bf16, f16, f32 or q8_0, found %q", c.String("type"))
		}
	}
	if format == "hf" && as == qtype.Q8_0 {
		return nil, usagef(c, "type: q8_0 is stored in GGUF files only")
	}
	if isAdapter(src) {
		return convertAdapter(c, src, dst, format, as)
	}
	if c.IsSet("base") || c.Bool("fold") {
		return nil, usagef(c, "--base and --fold are for adapters, %s is none", src)
	}
	base, err := openBase(src, false)
	if err != nil {
		return nil, err
	}
	defer base.Close() // read only
	if err := checkDistinct(src, dst); err != nil {
		return nil, err
	}
	r := &convertReport{Output: dst, Format: format}
	count := func(_, total int64) { r.Bytes = total }
	if format == "gguf" {
		x, err := base.GGUF(nil, model.GGUFOptions{Type: as, Keep: keep, Name: c.String("name"), Pre: c.String("pre")})
		if err != nil {
			return nil, err
		}
		r.Notes, r.Tensors = x.Notes, len(x.Src.Names())
		if err := clearOutput(dst, c.Bool("overwrite")); err != nil {
			return nil, err
		}
		return r, gguf.Write(dst, x.Meta, x.Src, gguf.WriteOptions{Progress: count})
	}
	r.Tensors = len(base.Weights.Names())
	if err := clearOutput(dst, c.Bool("overwrite")); err != nil {
		return nil, err
	}
	return r, base.WriteHF(dst, nil, model.HFOptions{Type: as, Keep: keep, Progress: count})
}

// targetFormat is --format, or what the name of dst says.
func targetFormat(c *cli.Context, dst string) (string, error) {
	isFile := strings.HasSuffix(dst, ".gguf")
	switch format := c.String("format"); format {
	case "hf", "gguf":
		return format, nil
	case "":
		if isFile {
			return "gguf", nil
		}
		return "hf", nil
	default:
		return "", usagef(c, "format: expected hf or gguf, found %q", format)
	}
}

// checkDistinct refuses to write into what is being read, or to replace a folder that holds it.
func checkDistinct(src, dst string) error {
	out, err := os.Stat(dst)
	if err != nil { // nothing there to lose
		return nil
	}
	path, err := filepath.Abs(src)
	if err != nil {
		return err
	}
	for {
		if st, err := os.Stat(path); err == nil && os.SameFile(st, out) {
			return hint.Errorf("choose another DST", "convert: %s would replace %s", dst, src)
		}
		if path == filepath.Dir(path) {
			return nil
		}
		path = filepath.Dir(path)
	}
}
