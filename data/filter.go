package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	exprfile "github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// filter is an expression over the columns of a row that says whether to keep it: `chars(text) > 200 && lang == "en"`. The
// language is that of github.com/expr-lang/expr, with three functions that take a column of any shape.
type filter struct {
	text    string
	program *vm.Program
	columns []string
	equal   []condition // that must hold for the whole to hold: column == constant, joined by &&
}

// filterFunctions look at all the text in a value: the value itself, or every text in a list or object but roles and ids.
var filterFunctions = []expr.Option{
	expr.Function("chars", func(p ...any) (any, error) { return utf8.RuneCountInString(textIn(p[0])), nil }, new(func(any) int)),
	expr.Function("words", func(p ...any) (any, error) { return len(strings.Fields(textIn(p[0]))), nil }, new(func(any) int)),
	expr.Function("script", func(p ...any) (any, error) { return scriptOf(textIn(p[0])), nil }, new(func(any) string)),
}

// parseFilter compiles an expression.
func parseFilter(text string) (*filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	f := &filter{text: text}
	tree, err := parser.Parse(text)
	var program *vm.Program
	if err == nil {
		columns := types.Map{} // a column hides a function of its name
		for _, name := range columnsIn(tree.Node) {
			columns[name] = types.Any
			f.columns = append(f.columns, name)
		}
		program, err = expr.Compile(text, append([]expr.Option{expr.Env(columns), expr.AsBool()}, filterFunctions...)...)
	}
	if err != nil {
		var at *exprfile.Error
		if errors.As(err, &at) {
			return nil, fmt.Errorf("expected an expression, found %q: column %d: %s", text, at.Column+1, at.Message)
		}
		return nil, fmt.Errorf("expected an expression, found %q: %w", text, err)
	}
	f.program = program
	f.conjuncts(program.Node())
	return f, nil
}

// columnsIn are the names in an expression that are not called as functions.
func columnsIn(tree ast.Node) []string {
	var v nameVisitor
	ast.Walk(&tree, &v)
	var names []string
	for _, id := range v.names {
		if !slices.Contains(v.called, id) && !slices.Contains(names, id.Value) {
			names = append(names, id.Value)
		}
	}
	return names
}

type nameVisitor struct{ names, called []*ast.IdentifierNode }

func (v *nameVisitor) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.IdentifierNode:
		v.names = append(v.names, n)
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			v.called = append(v.called, id)
		}
	}
}

// conjuncts collects the comparisons that a row must pass, for files that can tell from their statistics.
func (f *filter) conjuncts(n ast.Node) {
	b, ok := n.(*ast.BinaryNode)
	switch {
	case ok && (b.Operator == "&&" || b.Operator == "and"):
		f.conjuncts(b.Left)
		f.conjuncts(b.Right)
	case ok && b.Operator == "==":
		id, isName := b.Left.(*ast.IdentifierNode)
		switch v := b.Right.(type) {
		case *ast.StringNode:
			if isName {
				f.equal = append(f.equal, condition{column: id.Value, value: v.Value})
			}
		case *ast.IntegerNode:
			if isName {
				f.equal = append(f.equal, condition{column: id.Value, value: fmt.Sprint(v.Value)})
			}
		}
	}
}

// accepts evaluates the expression for a row. A column that the row lacks is nil.
func (f *filter) accepts(r row) (bool, error) {
	env := make(map[string]any, len(f.columns))
	for _, name := range f.columns {
		v, err := r.any(name)
		if err != nil {
			return false, err
		}
		env[name] = v
	}
	out, err := expr.Run(f.program, env)
	if err != nil {
		var at *exprfile.Error
		if errors.As(err, &at) {
			return false, fmt.Errorf("filter %q: column %d: %s", f.text, at.Column+1, at.Message)
		}
		return false, fmt.Errorf("filter %q: %w", f.text, err)
	}
	keep, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("filter %q: expected true or false, found %v", f.text, out)
	}
	return keep, nil
}

// any is a column as plain Go values: int and float64 for numbers.
func (r row) any(name string) (_ any, err error) {
	defer guard("column "+name, &err)
	a, isJSON, ok := r.column(name)
	if s, isText := "", false; ok && !isJSON {
		if s, isText = stringAt(a, r.i); isText && !utf8.ValidString(s) {
			return nil, fmt.Errorf("column %s: %w", name, errNotUTF8)
		}
		if isText {
			return s, nil
		}
	}
	raw, ok, err := r.json(name)
	if err != nil || !ok {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("column %s: %w", name, err)
	}
	return plainNumbers(v)
}

func plainNumbers(v any) (_ any, err error) {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.Atoi(v.String()); err == nil {
			return n, nil
		}
		return v.Float64()
	case []any:
		for i := range v {
			if v[i], err = plainNumbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = plainNumbers(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// textIn joins the texts of a value.
func textIn(v any) string {
	var parts []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			parts = append(parts, v)
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			keys := make([]string, 0, len(v))
			for k := range v {
				if k != "role" && k != "from" && k != "type" && k != "id" {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			for _, k := range keys {
				walk(v[k])
			}
		}
	}
	walk(v)
	return strings.Join(parts, "\n")
}

// scriptOf names the Unicode script that most letters of a text are written in, "" when it has no letter.
func scriptOf(text string) string {
	counts := map[string]int{}
	countLetters(counts, text)
	return mostFrequent(counts)
}
