package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/atomicfile"
	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/tokenizer"
)

func tokenizerCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "tokenizer",
		Usage: "text to tokens and back; train a tokenizer",
		Subcommands: []*cli.Command{
			tokenizerLines(e, "encode", `Each line of the input is {"text": "..."}, each line of the output {"ids": [...], "offsets": [[start, end], ...]}: the tokens
and the bytes of the text that each stands for.`, encodeLine,
				&cli.BoolFlag{Name: "add-special", Usage: "add the tokens that the tokenizer puts around a text"},
				&cli.BoolFlag{Name: "plain", Usage: "special tokens that occur in the text are ordinary text"}),
			tokenizerLines(e, "decode", `Each line of the input is {"ids": [...]}, each line of the output {"text": "..."}.`, decodeLine,
				&cli.BoolFlag{Name: "skip-special", Usage: "leave special tokens out of the text"}),
			tokenizerTrainCommand(e),
		},
	}
}

// tokenizerLines is a command that turns lines of JSON into others.
func tokenizerLines(e *env, name, description string, line func(*cli.Context, *tokenizer.Tokenizer, []byte) (any, error), flags ...cli.Flag) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       map[string]string{"encode": "texts to token ids", "decode": "token ids to texts"}[name],
		UsageText:   "tune tokenizer " + name + " --tokenizer FILE_OR_MODEL --input IN.jsonl --output OUT.jsonl",
		Description: description,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "tokenizer", Aliases: []string{"t"}, Required: true, Usage: "tokenizer.json, tokenizer.model, .tiktoken, their folder, a .gguf file or builtin:lex-5m (`FILE_OR_MODEL`)"},
			&cli.StringFlag{Name: "input", Value: "-", Usage: "`FILE` of JSON lines, - for standard input"},
			&cli.StringFlag{Name: "output", Value: "-", Usage: "`FILE` to write, - for standard output"}}, flags...),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef(c, "expected no argument, found %q", c.Args().First())
			}
			t, err := loadTokenizer(c.String("tokenizer"))
			if err != nil {
				return err
			}
			return mapLines(c, e, func(b []byte) (any, error) { return line(c, t, b) })
		},
	}
}

// mapLines writes f of every line of --input to --output; the output is whole or absent.
func mapLines(c *cli.Context, e *env, f func(line []byte) (any, error)) error {
	in, name := e.stdin, c.String("input")
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	if c.String("output") == "-" {
		return writeLines(c, in, name, e.stdout, f)
	}
	out, err := atomicfile.Create(c.String("output"))
	if err != nil {
		return err
	}
	if err := writeLines(c, in, name, out, f); err != nil {
		out.Abort()
		return err
	}
	return out.Commit()
}

func writeLines(c *cli.Context, in io.Reader, name string, out io.Writer, f func(line []byte) (any, error)) error {
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if err := c.Context.Err(); err != nil {
			return err
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		v, err := f(lines.Bytes())
		if err == nil {
			err = enc.Encode(v)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return w.Flush()
}

func encodeLine(c *cli.Context, t *tokenizer.Tokenizer, line []byte) (any, error) {
	var row struct{ Text *string }
	if err := json.Unmarshal(line, &row); err != nil {
		return nil, err
	}
	if row.Text == nil {
		return nil, errors.New(`expected {"text": "..."}, found no text`)
	}
	enc, err := t.Encode(*row.Text, tokenizer.Options{AddSpecial: c.Bool("add-special"), Plain: c.Bool("plain")})
	if err != nil {
		return nil, err
	}
	out := struct {
		IDs     []int32    `json:"ids"`
		Offsets [][2]int32 `json:"offsets"`
	}{enc.IDs, enc.Offsets}
	if out.IDs == nil { // empty lists, not null
		out.IDs, out.Offsets = []int32{}, [][2]int32{}
	}
	return out, nil
}

func decodeLine(c *cli.Context, t *tokenizer.Tokenizer, line []byte) (any, error) {
	var row struct{ IDs []int32 }
	if err := json.Unmarshal(line, &row); err != nil {
		return nil, err
	}
	if row.IDs == nil {
		return nil, errors.New(`expected {"ids": [...]}, found no ids`)
	}
	for i, id := range row.IDs {
		if id < 0 || int(id) >= t.VocabSize() {
			return nil, fmt.Errorf("ids[%d]: expected an id below %d, found %d", i, t.VocabSize(), id)
		}
	}
	return struct {
		Text string `json:"text"`
	}{t.Decode(row.IDs, c.Bool("skip-special"))}, nil
}

// loadTokenizer reads a tokenizer from its file, the folder of it, a GGUF file or a built-in model.
func loadTokenizer(name string) (*tokenizer.Tokenizer, error) {
	if strings.HasPrefix(name, "builtin:") {
		base, err := openBase(name, false)
		if err != nil {
			return nil, err
		}
		defer base.Close()
		return base.Tokenizer()
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		i := slices.IndexFunc(tokenizer.Files, func(file string) bool {
			_, err := os.Stat(filepath.Join(name, file))
			return err == nil
		})
		if i < 0 {
			return nil, hint.Errorf("a tokenizer is one of "+strings.Join(tokenizer.Files, ", ")+", its folder or a .gguf file",
				"%s: no tokenizer.json in this folder", name)
		}
		name = filepath.Join(name, tokenizer.Files[i])
	}
	if strings.HasSuffix(strings.ToLower(name), ".gguf") {
		f, err := gguf.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		t, err := tokenizer.FromGGUF(f.Meta().Get)
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return t, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	config, err := os.ReadFile(filepath.Join(filepath.Dir(name), "tokenizer_config.json"))
	if errors.Is(err, os.ErrNotExist) || !slices.Contains(tokenizer.Files, filepath.Base(name)) {
		config, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.FromFile(filepath.Base(name), data, config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}
