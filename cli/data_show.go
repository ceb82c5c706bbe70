package cli

import (
	"bufio"
	"fmt"
	page "html/template"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"tune/data"
	"tune/internal/atomicfile"
	"tune/internal/tokenizer"
)

func (e *env) dataShow(c *cli.Context) error {
	if c.Int("limit") < 1 {
		return usagef(c, "--limit: expected a positive number, found %d", c.Int("limit"))
	}
	v, err := e.openView(c)
	if err != nil {
		return err
	}
	defer v.close()
	if c.String("html") != "" {
		return e.dataHTML(c, v)
	}
	p := &tokenPrinter{w: e.stdout, tok: v.tok}
	if f, ok := e.stdout.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		p.color = term.IsTerminal(int(f.Fd()))
	}
	return e.eachShown(c, v, p.pack, p.document)
}

// document is a row, or a document of a pack, that is shown.
type document struct {
	key    string
	ids    []int32
	labels func(i int) int32 // what is to be predicted at token i; below 0: nothing
	wrong  []data.Finding    // what is, of a row
}

// supervised says whether the loss is taken of token i. Nothing can predict the first one, whatever its label.
func (d document) supervised(i int) bool { return i > 0 && d.labels(i) >= 0 }

func (d document) numSupervised() (n int) {
	for i := range d.ids {
		if d.supervised(i) {
			n++
		}
	}
	return n
}

// eachShown calls show with the documents that the flags ask for, and pack with each pack before its documents.
func (e *env) eachShown(c *cli.Context, v *dataView, pack func(*data.Pack), show func(document)) error {
	left := c.Int("limit")
	if c.Bool("packs") {
		for ; left > 0; left-- {
			p, err := v.Next(e.ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			pack(p)
			for from := 0; from < len(p.IDs); {
				to := from + 1
				for to < len(p.IDs) && p.Doc[to] == p.Doc[from] {
					to++
				}
				show(document{key: p.Keys[p.Doc[from]], ids: p.IDs[from:to], labels: func(i int) int32 { return p.Labels[from+i-1] }})
				from = to
			}
		}
		return nil
	}
	return v.Inspect(e.ctx, data.CheckOptions{Stops: v.base.Stops()}, func(x data.Scanned, wrong []data.Finding) bool {
		ex := x.Example
		show(document{ex.Key, ex.IDs, func(i int) int32 { return ex.Labels[i] }, wrong})
		left--
		return left > 0
	})
}

// tokenPrinter prints tokens with what is supervised set apart.
type tokenPrinter struct {
	w     io.Writer
	tok   *tokenizer.Tokenizer
	color bool
}

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

func (p *tokenPrinter) document(d document) {
	line := fmt.Sprintf("--- %s: %d tokens, %d supervised", d.key, len(d.ids), d.numSupervised())
	if p.color {
		line = dim + line + plain
	}
	fmt.Fprintln(p.w, line)
	for _, f := range d.wrong {
		line := "!!! " + remark(f)
		if p.color && f.Error {
			line = red + line + plain
		}
		fmt.Fprintln(p.w, line)
	}
	if len(d.ids) > 0 {
		p.tokens(d)
	}
}

// remark says what is wrong with a row.
func remark(f data.Finding) string {
	kind := "warning"
	if f.Error {
		kind = "error"
	}
	return fmt.Sprintf("%s: %s: %s", kind, f.Name, printable(f.Message))
}

func (p *tokenPrinter) pack(x *data.Pack) {
	fmt.Fprintf(p.w, "=== pack of %d documents, %d tokens, %d supervised\n", x.Docs, len(x.IDs), x.Supervised)
}

// tokens prints runs of tokens of one kind together, because a character may take several tokens.
func (p *tokenPrinter) tokens(d document) {
	type kind struct{ supervised, special bool }
	ids := d.ids
	of := func(i int) kind { return kind{d.supervised(i), p.color && p.tok.IsSpecial(ids[i])} }
	var b strings.Builder
	inside := false
	for from := 0; from < len(ids); {
		k := of(from)
		to := from + 1
		for to < len(ids) && of(to) == k {
			to++
		}
		text := printable(p.tok.Decode(ids[from:to], false))
		if !p.color && k.supervised != inside {
			b.WriteString(map[bool]string{true: "[[", false: "]]"}[k.supervised])
			inside = k.supervised
		}
		if p.color {
			style := ""
			if k.supervised {
				style += green
			}
			if k.special {
				style += dim
			}
			if style != "" {
				text = style + text + plain
			}
		}
		b.WriteString(text)
		from = to
	}
	if inside {
		b.WriteString("]]")
	}
	fmt.Fprintln(p.w, b.String())
}

// printable keeps a terminal from obeying what stands in a data set.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

// A shownRow is a row or a document of a pack for the page.
type shownRow struct {
	Key                string
	Tokens, Supervised int
	Wrong              []string
	Pieces             []shownPiece
}

// A shownPiece is one token, or several that share a character.
type shownPiece struct {
	Text, Class, IDs string
}

// dataHTML writes the page of --html.
func (e *env) dataHTML(c *cli.Context, v *dataView) error {
	var rows []shownRow
	err := e.eachShown(c, v, func(*data.Pack) {}, func(d document) { rows = append(rows, showRow(v.tok, d)) })
	if err != nil {
		return err
	}
	write := func(w io.Writer) error {
		b := bufio.NewWriter(w)
		if err := dataPage.Execute(b, rows); err != nil {
			return err
		}
		return b.Flush()
	}
	name := c.String("html")
	if name == "-" {
		return write(e.stdout)
	}
	f, err := atomicfile.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Abort()
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: %d rows\n", name, len(rows))
	return nil
}

func showRow(tok *tokenizer.Tokenizer, d document) shownRow {
	ids, supervised := d.ids, d.supervised
	r := shownRow{Key: d.key, Tokens: len(ids), Supervised: d.numSupervised()}
	for _, f := range d.wrong {
		r.Wrong = append(r.Wrong, remark(f))
	}
	for from := 0; from < len(ids); {
		to := from + 1
		text := tok.Decode(ids[from:to], false)
		for strings.HasSuffix(text, "\ufffd") && to < len(ids) && to-from < 4 && supervised(to) == supervised(from) { // a part of a character
			to++
			text = tok.Decode(ids[from:to], false)
		}
		p := shownPiece{Text: strings.ReplaceAll(printable(text), "\n", "\u21b5\n"), IDs: strings.Trim(fmt.Sprint(ids[from:to]), "[]")}
		if supervised(from) {
			p.Class = "loss"
		}
		if tok.IsSpecial(ids[from]) {
			p.Class += " special"
		}
		r.Pieces = append(r.Pieces, p)
		from = to
	}
	return r
}

// dataPage shows rows: what the loss is taken of is green, special tokens are framed, each token has an edge and its id as title.
var dataPage = page.Must(page.New("rows").Parse(`<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>rows as the model sees them</title><style>
body { font: 14px/1.6 sans-serif; margin: 2em; max-width: 75em; color: #222; background: #fff }
h2 { font-size: 1em; font-weight: 600; margin: 2em 0 .3em } h2 small { font-weight: 400; color: #666 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f4; padding: .8em; margin: 0; color: #666 }
span { border-left: 1px solid #ddd } .loss { color: #000; background: #cdeccd } .special { outline: 1px solid #b58; color: #927 } .wrong { color: #b00; margin: .3em 0 }
@media (prefers-color-scheme: dark) {
body { background: #1b1b1b; color: #ddd } pre { background: #242424; color: #999 } span { border-color: #3a3a3a }
.loss { color: #fff; background: #1f4d2b } .special { color: #e9c } h2 small { color: #999 } .wrong { color: #f88 } }
</style></head><body>
<p>Green: the loss is taken of it. Framed: special tokens. A thin line begins each token; its id shows under the pointer.</p>
{{range .}}<h2>{{.Key}} <small>{{.Tokens}} tokens, {{.Supervised}} supervised</small></h2>
{{range .Wrong}}<p class="wrong">{{.}}</p>
{{end}}{{if .Pieces}}<pre>{{range .Pieces}}<span{{with .Class}} class="{{.}}"{{end}} title="{{.IDs}}">{{.Text}}</span>{{end}}</pre>
{{end}}{{end}}</body></html>
`))
