package chat

import (
	"fmt"
	"slices"
	"strings"
)

// stmt is a statement of a template.
type stmt interface {
	exec(e *evaluator) error
}

type (
	dataStmt  struct{ s str }
	printStmt struct {
		x    expr
		line int
	}
	ifStmt struct {
		cond expr
		then []stmt
		els  []stmt
		line int
	}
	forStmt struct {
		targets []string
		in      expr
		cond    expr // nil: all
		body    []stmt
		els     []stmt
		line    int
	}
	setStmt struct {
		targets []string // names, or namespace and attribute
		attr    bool
		value   expr
		line    int
	}
	setBlockStmt struct {
		target  string
		filters []filterCall
		body    []stmt
		line    int
	}
	filterStmt struct {
		filters []filterCall
		body    []stmt
		line    int
	}
	withStmt struct {
		names  []string
		values []expr
		body   []stmt
		line   int
	}
	macroStmt struct {
		name     string
		params   []string
		defaults []expr // of the last params
		body     []stmt
	}
	callStmt struct {
		macro macroStmt // the block, as the function caller
		call  expr
		line  int
	}
	generationStmt struct{ body []stmt }
	loopControl    struct{ err error } // break or continue
)

// A parser reads the tokens of a template.
type parser struct {
	tokens     []token
	i          int
	depth      int
	loops      int
	generation bool // a {% generation %} was seen
	text       bool // a template of text: has the filter regex_replace
}

func (p *parser) tok() *token { return &p.tokens[p.i] }

func (p *parser) next() token {
	t := p.tokens[p.i]
	if p.i < len(p.tokens)-1 {
		p.i++
	}
	return t
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("template: line %d: %w", p.tok().line, fmt.Errorf(format, args...))
}

func (t *token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokData:
		return "text"
	case tokBlockBegin:
		return "{%"
	case tokBlockEnd:
		return "%}"
	case tokPrintBegin:
		return "{{"
	case tokPrintEnd:
		return "}}"
	case tokInt, tokFloat:
		return fmt.Sprint(t.num)
	}
	return fmt.Sprintf("%q", t.s)
}

// is says whether the next token is this operator or name.
func (p *parser) is(kind tokenKind, s string) bool { return p.tok().kind == kind && p.tok().s == s }

func (p *parser) accept(kind tokenKind, s string) bool {
	if p.is(kind, s) {
		p.next()
		return true
	}
	return false
}

func (p *parser) op(s string) error {
	if !p.accept(tokOp, s) {
		return p.errorf("expected %q, found %s", s, p.tok())
	}
	return nil
}

func (p *parser) name() (string, error) {
	if p.tok().kind != tokName {
		return "", p.errorf("expected a name, found %s", p.tok())
	}
	return p.next().s, nil
}

func (p *parser) end(kind tokenKind) error {
	if p.tok().kind != kind {
		return p.errorf("expected the end of the tag, found %s", p.tok())
	}
	p.next()
	return nil
}

// enter bounds the nesting of a template.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.errorf("nested deeper than %d", maxDepth)
	}
	return nil
}

// body reads statements up to a tag with one of the names, which it takes: the name too, not what follows it.
func (p *parser) body(ends ...string) (list []stmt, end string, err error) {
	if err := p.enter(); err != nil {
		return nil, "", err
	}
	defer func() { p.depth-- }()
	for {
		switch t := p.next(); t.kind {
		case tokEnd:
			if len(ends) == 0 {
				return list, "", nil
			}
			return nil, "", p.errorf("expected %s, found the end of the template", strings.Join(ends, " or "))
		case tokData:
			list = append(list, &dataStmt{text(t.s)})
		case tokPrintBegin:
			x, err := p.tuple(true)
			if err != nil {
				return nil, "", err
			}
			list = append(list, &printStmt{x, t.line})
			if err := p.end(tokPrintEnd); err != nil {
				return nil, "", err
			}
		case tokBlockBegin:
			line := p.tok().line
			name, err := p.name()
			if err != nil {
				return nil, "", err
			}
			if slices.Contains(ends, name) {
				return list, name, nil
			}
			s, err := p.statement(name, line)
			if err != nil {
				return nil, "", err
			}
			list = append(list, s)
		default:
			return nil, "", p.errorf("unexpected %s", &t)
		}
	}
}

func (p *parser) statement(name string, line int) (stmt, error) {
	switch name {
	case "if":
		return p.ifStatement(line)
	case "for":
		return p.forStatement(line)
	case "set":
		return p.setStatement(line)
	case "with":
		return p.withStatement(line)
	case "macro":
		return p.macroStatement()
	case "call":
		return p.callStatement(line)
	case "filter":
		s := &filterStmt{line: line}
		first, err := p.filterName()
		if err == nil {
			s.filters = append(s.filters, first)
			s.filters, err = p.filters(s.filters)
		}
		if err == nil {
			s.body, err = p.block("endfilter")
		}
		return s, err
	case "generation":
		p.generation = true
		s := &generationStmt{}
		var err error
		s.body, err = p.block("endgeneration")
		return s, err
	case "break", "continue":
		if p.loops == 0 {
			return nil, p.errorf("%s outside of a loop", name)
		}
		s := &loopControl{errBreak}
		if name == "continue" {
			s.err = errContinue
		}
		return s, p.end(tokBlockEnd)
	}
	return nil, p.errorf("unknown tag %q", name)
}

// block reads "%} body {% end %}".
func (p *parser) block(end string) ([]stmt, error) {
	if err := p.end(tokBlockEnd); err != nil {
		return nil, err
	}
	body, _, err := p.body(end)
	if err != nil {
		return nil, err
	}
	return body, p.end(tokBlockEnd)
}

func (p *parser) ifStatement(line int) (stmt, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	s := &ifStmt{line: line}
	var err error
	if s.cond, err = p.tuple(true); err != nil {
		return nil, err
	}
	if err = p.end(tokBlockEnd); err != nil {
		return nil, err
	}
	var end string
	if s.then, end, err = p.body("elif", "else", "endif"); err != nil {
		return nil, err
	}
	switch end {
	case "elif":
		next, err := p.ifStatement(p.tok().line)
		s.els = []stmt{next}
		return s, err
	case "else":
		s.els, err = p.block("endif")
		return s, err
	}
	return s, p.end(tokBlockEnd)
}

func (p *parser) targets() ([]string, error) {
	var names []string
	paren := p.accept(tokOp, "(")
	for {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		names = append(names, name)
		if !p.accept(tokOp, ",") || p.tok().kind != tokName {
			break
		}
	}
	if paren {
		return names, p.op(")")
	}
	return names, nil
}

func (p *parser) forStatement(line int) (stmt, error) {
	s := &forStmt{line: line}
	var err error
	if s.targets, err = p.targets(); err != nil {
		return nil, err
	}
	if !p.accept(tokName, "in") {
		return nil, p.errorf("expected in, found %s", p.tok())
	}
	if s.in, err = p.tuple(false); err != nil {
		return nil, err
	}
	if p.accept(tokName, "if") {
		if s.cond, err = p.expression(); err != nil {
			return nil, err
		}
	}
	if p.is(tokName, "recursive") {
		return nil, p.errorf("recursive loops are not carried out")
	}
	if err = p.end(tokBlockEnd); err != nil {
		return nil, err
	}
	p.loops++
	var end string
	s.body, end, err = p.body("else", "endfor")
	p.loops--
	if err != nil {
		return nil, err
	}
	if end == "else" {
		s.els, err = p.block("endfor")
		return s, err
	}
	return s, p.end(tokBlockEnd)
}

func (p *parser) setStatement(line int) (stmt, error) {
	targets, err := p.targets()
	if err != nil {
		return nil, err
	}
	attr := false
	if len(targets) == 1 && p.accept(tokOp, ".") {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		targets, attr = append(targets, name), true
	}
	if p.accept(tokOp, "=") {
		s := &setStmt{targets: targets, attr: attr, line: line}
		if s.value, err = p.tuple(true); err != nil {
			return nil, err
		}
		return s, p.end(tokBlockEnd)
	}
	if attr || len(targets) != 1 {
		return nil, p.errorf("expected \"=\", found %s", p.tok())
	}
	s := &setBlockStmt{target: targets[0], line: line}
	if s.filters, err = p.filters(nil); err != nil {
		return nil, err
	}
	s.body, err = p.block("endset")
	return s, err
}

func (p *parser) withStatement(line int) (stmt, error) {
	s := &withStmt{line: line}
	for p.tok().kind == tokName {
		name, err := p.name()
		if err == nil {
			err = p.op("=")
		}
		if err != nil {
			return nil, err
		}
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		s.names, s.values = append(s.names, name), append(s.values, x)
		if !p.accept(tokOp, ",") {
			break
		}
	}
	var err error
	s.body, err = p.block("endwith")
	return s, err
}

// signature reads "(a, b=1)".
func (p *parser) signature(m *macroStmt) error {
	if err := p.op("("); err != nil {
		return err
	}
	for !p.accept(tokOp, ")") {
		if len(m.params) > 0 {
			if err := p.op(","); err != nil {
				return err
			}
		}
		name, err := p.name()
		if err != nil {
			return err
		}
		m.params = append(m.params, name)
		if p.accept(tokOp, "=") {
			x, err := p.expression()
			if err != nil {
				return err
			}
			m.defaults = append(m.defaults, x)
		} else if len(m.defaults) > 0 {
			return p.errorf("expected a default for %s", name)
		}
	}
	return nil
}

func (p *parser) macroStatement() (stmt, error) {
	m := &macroStmt{}
	var err error
	if m.name, err = p.name(); err != nil {
		return nil, err
	}
	if err := p.signature(m); err != nil {
		return nil, err
	}
	loops := p.loops
	p.loops = 0
	m.body, err = p.block("endmacro")
	p.loops = loops
	return m, err
}

func (p *parser) callStatement(line int) (stmt, error) {
	s := &callStmt{line: line, macro: macroStmt{name: "caller"}}
	var err error
	if p.is(tokOp, "(") {
		if err := p.signature(&s.macro); err != nil {
			return nil, err
		}
	}
	if s.call, err = p.expression(); err != nil {
		return nil, err
	}
	if _, ok := s.call.(*callExpr); !ok {
		return nil, p.errorf("expected a call")
	}
	loops := p.loops
	p.loops = 0
	s.macro.body, err = p.block("endcall")
	p.loops = loops
	return s, err
}
