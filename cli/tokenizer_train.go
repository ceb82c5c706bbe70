package cli

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/data"
	"tune/internal/atomicfile"
	"tune/internal/chat"
	"tune/internal/hint"
	"tune/internal/tokenizer"
	"tune/recipes"
)

func tokenizerTrainCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "train",
		Usage:     "learn a byte-level BPE vocabulary",
		UsageText: "tune tokenizer train --input FILE... --vocab N --special TOKEN... --output DIR",
		Description: `Writes DIR/tokenizer.json and DIR/tokenizer_config.json. Special tokens get the first ids, in the order given, then come
all 256 bytes, then the merges. Inputs are what a recipe's data section reads: text, JSONL, Parquet, Arrow. The result
depends on the texts and the flags alone.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "input", Aliases: []string{"i"}, Usage: "`FILE`, folder or glob; may be repeated"},
			&cli.StringFlag{Name: "recipe", Aliases: []string{"r"}, Usage: "learn from the train data of a recipe (`FILE` or name)"},
			&cli.StringFlag{Name: "column", Value: "text", Usage: "`NAME` of the column with the text"},
			&cli.StringFlag{Name: "where", Usage: "rows to keep, such as split=train"},
			&cli.IntFlag{Name: "vocab", Required: true, Usage: "`NUMBER` of tokens in all"},
			&cli.StringSliceFlag{Name: "special", Usage: "special `TOKEN`; may be repeated"},
			&cli.StringFlag{Name: "bos", Usage: "the special `TOKEN` that begins a text"},
			&cli.StringFlag{Name: "eos", Usage: "the special `TOKEN` that ends a text or turn"},
			&cli.StringFlag{Name: "pad", Usage: "the special `TOKEN` for padding"},
			&cli.StringFlag{Name: "pattern", Value: "llama3", Usage: "how words are cut: " + strings.Join(tokenizer.Patterns(), ", ")},
			&cli.IntFlag{Name: "min-count", Value: 2, Usage: "pairs seen less often are not merged"},
			&cli.StringFlag{Name: "chat-template", Usage: "Jinja `FILE` to write into the configuration"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Required: true, Usage: "`DIR` to write"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace a tokenizer that is there"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef(c, "expected no argument, found %q", c.Args().First())
			}
			report, err := trainTokenizer(c, e)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return writeJSON(e.stdout, report)
			}
			fmt.Fprintf(e.stdout, "learned %d tokens from %d texts, %d bytes: %s\n", report.Tokens, report.Texts, report.Bytes, report.Output)
			if report.Tokens < c.Int("vocab") {
				fmt.Fprintf(e.stderr, "tune: note: the texts give no more than %d tokens\n", report.Tokens)
			}
			return nil
		},
	}
}

// tokenizerReport is what `tune tokenizer train --json` prints.
type tokenizerReport struct {
	Output string `json:"output"`
	Tokens int    `json:"tokens"`
	Texts  int64  `json:"texts"`
	Bytes  int64  `json:"bytes"`
}

func trainTokenizer(c *cli.Context, e *env) (*tokenizerReport, error) {
	config, err := trainTexts(c)
	if err != nil {
		return nil, err
	}
	o := tokenizer.TrainOptions{Vocab: c.Int("vocab"), Special: c.StringSlice("special"), Pattern: c.String("pattern"),
		MinCount: c.Int("min-count"), BOS: c.String("bos"), EOS: c.String("eos"), Pad: c.String("pad")}
	var template *chat.Template
	if name := c.String("chat-template"); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if template, err = chat.Parse(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		o.ChatTemplate = string(text)
	}
	dir := c.String("output")
	file := filepath.Join(dir, "tokenizer.json")
	if _, err := os.Stat(file); err == nil && !c.Bool("overwrite") {
		return nil, hint.Errorf("--overwrite replaces it, --output takes another folder", "output: %s exists already", file)
	}
	r := &tokenizerReport{Output: dir}
	texts := &textSource{ctx: c.Context, config: config, template: template, special: o.Special}
	t, err := tokenizer.Train(texts.all(), o, func(p tokenizer.TrainProgress) { r.Texts, r.Bytes = p.Texts, p.Bytes })
	if texts.err != nil {
		err = texts.err
	}
	if err != nil {
		return nil, err
	}
	r.Tokens = t.VocabSize()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	if err := atomicfile.Write(file, t.JSON()); err != nil {
		return nil, err
	}
	return r, atomicfile.Write(filepath.Join(dir, "tokenizer_config.json"), t.ConfigJSON())
}

// trainTexts returns the data configuration that the flags ask for.
func trainTexts(c *cli.Context) (data.Config, error) {
	config := data.Default()
	switch {
	case c.IsSet("recipe") == c.IsSet("input"):
		return config, usagef(c, "expected either --input or --recipe")
	case c.IsSet("recipe"):
		if c.IsSet("where") || c.IsSet("column") {
			return config, usagef(c, "--where and --column go with --input; a recipe says them itself")
		}
		r, err := recipes.Load(c.String("recipe"), nil)
		if err != nil {
			return config, err
		}
		config = r.Data
	default:
		for _, path := range c.StringSlice("input") {
			config.Train = append(config.Train, data.Source{Path: path, Where: c.String("where")})
		}
		if c.IsSet("column") {
			config.Columns, config.Format = map[string]string{"text": c.String("column")}, "text"
		}
	}
	config.Order, config.Packing, config.Overlength, config.Loss = "file", false, "split", "all"
	config.Seq = 1 << 30 // one row, one document
	return config, nil
}

// textSource reads the texts of a data configuration. The data package hands out tokens; with a vocabulary of bytes they are
// the text again, cut at special tokens.
type textSource struct {
	ctx      context.Context
	config   data.Config
	template *chat.Template
	special  []string
	err      error // after all has ended
}

func (s *textSource) all() iter.Seq[string] {
	return func(yield func(string) bool) { s.err = s.each(yield) }
}

func (s *textSource) each(yield func(string) bool) error {
	bytes, err := tokenizer.Train(slices.Values([]string{}), tokenizer.TrainOptions{Vocab: 256 + len(s.special), Special: s.special, Pattern: "gpt2"}, nil)
	if err != nil {
		return err
	}
	byteOf := map[int32]byte{}
	for b := range 256 {
		enc, err := bytes.Encode(string([]byte{byte(b)}), tokenizer.Options{Plain: true})
		if err != nil {
			return err
		}
		byteOf[enc.IDs[0]] = byte(b)
	}
	stream, err := data.Open(s.config, data.Options{Split: "train", Tokenizer: bytes, Template: s.template, Cache: cacheDir()})
	if err != nil {
		return err
	}
	defer stream.Close()
	var text []byte
	for {
		pack, err := stream.Next(s.ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		text = text[:0]
		for i := 0; i <= len(pack.IDs); i++ {
			if i < len(pack.IDs) {
				if b, ok := byteOf[pack.IDs[i]]; ok {
					text = append(text, b)
					continue
				}
			}
			if len(text) > 0 && !yield(string(text)) {
				return nil
			}
			text = text[:0]
		}
	}
}
