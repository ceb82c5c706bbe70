package chat

import (
	"errors"
	"fmt"

	"tune/internal/pyre"
)

// Text is a template of text that is no conversation: a prompt made of the columns of a row. The measure is Jinja as
// lm-evaluation-harness sets it up: white space stays as it is written, an undefined value that is looked at is an
// error, and there is a filter regex_replace.
type Text struct{ t *Template }

// ParseText reads a template of text.
func ParseText(template string) (*Text, error) {
	t, err := parse(template, true)
	if err != nil {
		return nil, err
	}
	return &Text{t}, nil
}

// Render renders the template with the entries of vars as variables.
func (t *Text) Render(vars *Dict) (string, error) {
	globals := &scope{}
	for _, k := range vars.Keys() {
		x, _ := vars.Get(k)
		v, err := fromGo(x, -1, 0)
		if err != nil {
			return "", fmt.Errorf("%s: %w", k, err)
		}
		globals.set(k, v)
	}
	e := &evaluator{scope: &scope{parent: globals}, out: &rope{}, strict: true}
	if err := e.run(t.t.body); err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	return string(e.out.b), nil
}

// filterRegexReplace is re.sub(pattern, repl, value, count).
func filterRegexReplace(e *evaluator, v any, a arguments) (any, error) {
	s, ok := v.(str)
	if !ok {
		return nil, fmt.Errorf("expected a string, found '%s'", typeName(v))
	}
	pattern, err := wantStr(a, 0, "pattern")
	if err != nil {
		return nil, err
	}
	repl, err := wantStr(a, 1, "repl")
	if err != nil {
		return nil, err
	}
	count := int64(0)
	if x, ok := a.arg(2, "count"); ok {
		if count, ok = asInt(x); !ok || count < 0 {
			return nil, errors.New("count: expected a number of replacements")
		}
	}
	re, err := pyre.Compile(pattern)
	if err != nil {
		return nil, err
	}
	out, err := re.Sub(repl, s.s, int(count))
	if err != nil {
		return nil, err
	}
	return text(out), e.made(len(out))
}
