package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/data/licenses"
	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/kernels"
	"tune/quantize"
)

// builtinText names the running text of the built-in data set.
const builtinText = "builtin:licenses"

func imatrixCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "imatrix",
		Usage:     "measure which columns of a model's matrices matter, for tune quantize",
		UsageText: "tune imatrix --base MODEL --data FILE --output OUT.gguf [--chunks N]",
		Description: `The text is cut into chunks and run through the model; for every linear of its layers the squares of its inputs are summed, as
llama-imatrix does. OUT.gguf has the form of llama-imatrix; a name that ends in .dat gets its older form.`,
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Value: builtinText, Usage: "`FILE` of text, or " + builtinText},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Required: true, Usage: "`FILE` to write"},
			&cli.IntFlag{Name: "chunk-size", Value: 512, Usage: "`TOKENS` of a chunk"},
			&cli.IntFlag{Name: "chunks", Usage: "most chunks to use, 0: all"},
			&cli.BoolFlag{Name: "llama-rounding", Usage: "round inputs, keys and values as llama.cpp does on a CPU: the values are then those of llama-imatrix"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace an output that exists"},
			jsonFlag()),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef(c, "expected no argument, found %q", c.Args().First())
			}
			return runImatrix(e, c)
		},
	}
}

// imatrixReport is what `tune imatrix --json` prints.
type imatrixReport struct {
	Output  string `json:"output"`
	Entries int    `json:"entries"`
	Chunks  int    `json:"chunks"`
	Tokens  int    `json:"tokens"`
	Columns int    `json:"columns"`
	Unseen  int    `json:"unseen_columns"` // whose inputs were always zero
	// Coverage by tensor, and by expert where there are several.
	Coverage []quantize.Coverage `json:"coverage"`
}

func runImatrix(e *env, c *cli.Context) error {
	exact, err := exactFlag(c)
	if err != nil {
		return err
	}
	if c.Int("chunk-size") < 1 || c.Int("chunks") < 0 {
		return usagef(c, "chunk-size and chunks: expected positive numbers, found %d and %d", c.Int("chunk-size"), c.Int("chunks"))
	}
	s, err := openSide(c.String("base"), c.String("adapter"), model.Options{Exact: exact, Rounded: c.Bool("llama-rounding")})
	if err != nil {
		return err
	}
	defer s.base.Close()
	if err := clearOutput(c.String("output"), c.Bool("overwrite")); err != nil {
		return err
	}
	ids, tok, err := textIDs(s.base, c.String("data"), 0)
	if err != nil {
		return err
	}
	pool := kernels.NewPool(0)
	defer pool.Close()
	show := newProgress(e.stderr)
	o := quantize.CollectOptions{ChunkSize: c.Int("chunk-size"), Chunks: c.Int("chunks"), Dataset: filepath.Base(c.String("data")), Progress: show.chunks}
	o.BOS, o.HasBOS = startOf(tok)
	m, err := quantize.Collect(e.ctx, s.Model, s.Trained, ids, pool, o)
	show.end()
	if err != nil {
		return err
	}
	if err := m.Write(c.String("output")); err != nil {
		return err
	}
	r := imatrixReport{Output: c.String("output"), Entries: len(m.Names()), Chunks: m.Chunks, Tokens: m.Chunks * m.ChunkSize, Coverage: m.Coverage()}
	for _, n := range m.Names() {
		for _, v := range m.Entry(n).Squares {
			r.Columns++
			if v == 0 {
				r.Unseen++
			}
		}
	}
	if c.Bool("json") {
		return writeJSON(e.stdout, r)
	}
	fmt.Fprintf(e.stdout, "wrote %s: %d tensors, %d chunks of %d tokens; %d of %d columns were never used\n", r.Output, r.Entries, r.Chunks, m.ChunkSize, r.Unseen, r.Columns)
	return coverageText(e.stdout, r.Coverage)
}

// coverageText lists the experts of each tensor that has some, and tensors with columns that were never used.
func coverageText(out io.Writer, list []quantize.Coverage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	heading := true
	for _, c := range list {
		if len(c.Counts) == 1 && c.Dead == 0 {
			continue
		}
		if heading {
			fmt.Fprintf(w, "\nTENSOR\tEXPERTS\t%s\tUNUSED COLUMNS\n", seenHeading)
			heading = false
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\n", c.Name, len(c.Counts), seen(c.Counts), c.Dead)
	}
	return w.Flush()
}

// seenHeading is above what seen writes: how many experts no token reached, and the tokens of others.
const seenHeading = "UNSEEN\tFEWEST TOKENS\tMEDIAN\tMOST"

func seen[T int | float32](tokens []T) string {
	counts := slices.Sorted(slices.Values(tokens))
	n, unseen := len(counts), 0
	for unseen < n && counts[unseen] == 0 {
		unseen++
	}
	return fmt.Sprintf("%d\t%v\t%v\t%v", unseen, counts[0], counts[n/2], counts[n-1])
}

// side is an opened model with its adapter, for commands that look at weights as well as at what they compute.
type side struct {
	quantize.Side
	base *model.Checkpoint
}

func openSide(path, adapter string, o model.Options) (*side, error) {
	base, err := openBase(path, false)
	if err != nil {
		return nil, err
	}
	s := &side{base: base, Side: quantize.Side{Weights: base.Weights}}
	if err := s.open(adapter, o); err != nil {
		base.Close()
		return nil, err
	}
	return s, nil
}

func (s *side) open(adapter string, o model.Options) (err error) {
	if s.Model, err = model.New(s.base, o); err != nil || adapter == "" {
		return err
	}
	a, m, err := mergeAdapter(s.base, s.Model, adapter)
	if err != nil {
		return err
	}
	s.Trained, s.Weights = a, m
	return nil
}

// textIDs tokenizes a file of text, or the built-in text; special tokens in it are text. At most limit tokens, 0: all.
func textIDs(base *model.Checkpoint, name string, limit int) ([]int32, *tokenizer.Tokenizer, error) {
	text, err := readText(name)
	if err != nil {
		return nil, nil, err
	}
	tok, err := base.Tokenizer()
	if err != nil {
		return nil, nil, err
	}
	const most = 16 // no tokenizer in use makes longer tokens on average
	if limit > 0 && len(text) > most*limit {
		text = strings.ToValidUTF8(text[:most*limit], "")
	}
	enc, err := tok.Encode(text, tokenizer.Options{AddSpecial: true, Plain: true})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	ids := enc.IDs
	if limit > 0 && len(ids) > limit {
		ids = ids[:limit]
	}
	return ids, tok, nil
}

func readText(name string) (string, error) {
	if name != builtinText {
		b, err := os.ReadFile(name)
		return string(b), err
	}
	set, err := licenses.Build()
	if err != nil {
		return "", err
	}
	return strings.Join(set.Text, "\n\n"), nil
}

// startOf is the token that begins every text, when the tokenizer adds one.
func startOf(tok *tokenizer.Tokenizer) (int32, bool) {
	bos, ok := tok.BOS()
	enc, err := tok.Encode("a", tokenizer.Options{AddSpecial: true})
	return bos, ok && err == nil && slices.Index(enc.IDs, bos) == 0
}

// modelName is for people.
func modelName(path, adapter string) string {
	if adapter != "" {
		return path + " with " + adapter
	}
	return path
}
