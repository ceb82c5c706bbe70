package chat

import "slices"

// expr is an expression of a template.
type expr interface {
	eval(e *evaluator) (any, error)
}

type (
	constExpr struct{ v any }
	nameExpr  struct{ name string }
	listExpr  struct {
		items []expr
		tuple bool
	}
	dictExpr struct{ keys, vals []expr }
	condExpr struct{ cond, then, els expr } // els may be nil
	notExpr  struct{ x expr }
	andExpr  struct{ a, b expr }
	orExpr   struct{ a, b expr }
	signExpr struct {
		x   expr
		neg bool
	}
	binaryExpr struct {
		op   string
		a, b expr
	}
	compareExpr struct {
		first expr
		ops   []string
		rest  []expr
	}
	concatExpr struct{ parts []expr }
	attrExpr   struct {
		x    expr
		name string
	}
	indexExpr struct{ x, i expr }
	sliceExpr struct{ x, from, to, step expr } // each may be nil but x
	callExpr  struct {
		f    expr
		args argExprs
	}
	filterExpr struct {
		x expr
		f filterCall
	}
	testExpr struct {
		x    expr
		name string
		f    testFunc
		args argExprs
		not  bool
	}
)

type argExprs struct {
	pos   []expr
	names []string
	kw    []expr
	list  expr // *list, or nil
	dict  expr // **dict, or nil
}

type filterCall struct {
	name string
	f    filterFunc
	args argExprs
	line int
}

// tuple reads an expression, or several with commas between; with cond conditional expressions too.
func (p *parser) tuple(cond bool) (expr, error) {
	read := p.or
	if cond {
		read = p.expression
	}
	first, err := read()
	if err != nil || !p.is(tokOp, ",") {
		return first, err
	}
	t := &listExpr{items: []expr{first}, tuple: true}
	for p.accept(tokOp, ",") {
		if k := p.tok().kind; k == tokBlockEnd || k == tokPrintEnd || p.is(tokOp, ")") || p.is(tokOp, "=") {
			break
		}
		x, err := read()
		if err != nil {
			return nil, err
		}
		t.items = append(t.items, x)
	}
	return t, nil
}

func (p *parser) expression() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.or()
	for err == nil && p.accept(tokName, "if") {
		c := &condExpr{then: x}
		if c.cond, err = p.or(); err != nil {
			return nil, err
		}
		if p.accept(tokName, "else") {
			if c.els, err = p.expression(); err != nil {
				return nil, err
			}
		}
		x = c
	}
	return x, err
}

func (p *parser) or() (expr, error) {
	a, err := p.and()
	for err == nil && p.accept(tokName, "or") {
		var b expr
		b, err = p.and()
		a = &orExpr{a, b}
	}
	return a, err
}

func (p *parser) and() (expr, error) {
	a, err := p.not()
	for err == nil && p.accept(tokName, "and") {
		var b expr
		b, err = p.not()
		a = &andExpr{a, b}
	}
	return a, err
}

func (p *parser) not() (expr, error) {
	if !p.accept(tokName, "not") {
		return p.compare()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.not()
	return &notExpr{x}, err
}

func (p *parser) compare() (expr, error) {
	first, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := &compareExpr{first: first}
	for {
		op := ""
		switch t := p.tok(); {
		case t.kind == tokOp && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.s), t.kind == tokName && t.s == "in":
			op = p.next().s
		case t.kind == tokName && t.s == "not" && p.tokens[p.i+1].kind == tokName && p.tokens[p.i+1].s == "in":
			p.next()
			p.next()
			op = "not in"
		}
		if op == "" {
			break
		}
		x, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, x)
	}
	if len(c.ops) == 0 {
		return first, nil
	}
	return c, nil
}

// binary reads a chain of left-associative operators.
func (p *parser) binary(read func() (expr, error), ops ...string) (expr, error) {
	a, err := read()
	for err == nil && p.tok().kind == tokOp && slices.Contains(ops, p.tok().s) {
		op := p.next().s
		var b expr
		b, err = read()
		a = &binaryExpr{op, a, b}
	}
	return a, err
}

func (p *parser) sum() (expr, error) { return p.binary(p.concat, "+", "-") }

func (p *parser) concat() (expr, error) {
	first, err := p.product()
	if err != nil || !p.is(tokOp, "~") {
		return first, err
	}
	c := &concatExpr{parts: []expr{first}}
	for p.accept(tokOp, "~") {
		x, err := p.product()
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, x)
	}
	return c, nil
}

func (p *parser) product() (expr, error) { return p.binary(p.power, "*", "/", "//", "%") }
func (p *parser) power() (expr, error) {
	return p.binary(func() (expr, error) { return p.unary(true) }, "**")
}

func (p *parser) unary(filters bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var x expr
	var err error
	if p.is(tokOp, "-") || p.is(tokOp, "+") {
		neg := p.next().s == "-"
		x, err = p.unary(false)
		x = &signExpr{x, neg}
	} else {
		x, err = p.primary()
	}
	if err == nil {
		x, err = p.postfix(x)
	}
	if err == nil && filters {
		x, err = p.filtered(x)
	}
	return x, err
}

func (p *parser) primary() (expr, error) {
	switch t := p.next(); t.kind {
	case tokName:
		switch t.s {
		case "true", "True":
			return &constExpr{true}, nil
		case "false", "False":
			return &constExpr{false}, nil
		case "none", "None":
			return &constExpr{nil}, nil
		}
		return &nameExpr{t.s}, nil
	case tokString:
		s := t.s
		for p.tok().kind == tokString {
			s += p.next().s
		}
		return &constExpr{text(s)}, nil
	case tokInt, tokFloat:
		return &constExpr{t.num}, nil
	case tokOp:
		switch t.s {
		case "(":
			if p.accept(tokOp, ")") {
				return &listExpr{tuple: true}, nil
			}
			x, err := p.tuple(true)
			if err != nil {
				return nil, err
			}
			return x, p.op(")")
		case "[":
			l := &listExpr{}
			err := p.sequence("]", func() error {
				x, err := p.expression()
				l.items = append(l.items, x)
				return err
			})
			return l, err
		case "{":
			d := &dictExpr{}
			err := p.sequence("}", func() error {
				k, err := p.expression()
				if err != nil {
					return err
				}
				if err := p.op(":"); err != nil {
					return err
				}
				v, err := p.expression()
				d.keys, d.vals = append(d.keys, k), append(d.vals, v)
				return err
			})
			return d, err
		}
	}
	p.i--
	return nil, p.errorf("expected an expression, found %s", p.tok())
}

// sequence reads elements with commas between, up to end.
func (p *parser) sequence(end string, element func() error) error {
	for first := true; !p.accept(tokOp, end); first = false {
		if !first {
			if err := p.op(","); err != nil {
				return err
			}
			if p.accept(tokOp, end) {
				return nil
			}
		}
		if err := element(); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) postfix(x expr) (expr, error) {
	for {
		switch {
		case p.accept(tokOp, "."):
			switch t := p.next(); t.kind {
			case tokName:
				x = &attrExpr{x, t.s}
			case tokInt:
				x = &indexExpr{x, &constExpr{t.num}}
			default:
				p.i--
				return nil, p.errorf("expected a name, found %s", p.tok())
			}
		case p.accept(tokOp, "["):
			var err error
			if x, err = p.subscript(x); err != nil {
				return nil, err
			}
		case p.is(tokOp, "("):
			args, err := p.arguments()
			if err != nil {
				return nil, err
			}
			x = &callExpr{x, args}
		default:
			return x, nil
		}
	}
}

func (p *parser) subscript(x expr) (expr, error) {
	var bounds [3]expr
	n := 0
	for !p.is(tokOp, "]") {
		if p.accept(tokOp, ":") {
			if n++; n > 2 {
				return nil, p.errorf("expected at most two colons in a subscript")
			}
			continue
		}
		v, err := p.tuple(true)
		if err != nil {
			return nil, err
		}
		bounds[n] = v
		if !p.is(tokOp, ":") && !p.is(tokOp, "]") {
			return nil, p.op("]")
		}
	}
	p.next()
	if n == 0 {
		if bounds[0] == nil {
			return nil, p.errorf("expected a subscript")
		}
		return &indexExpr{x, bounds[0]}, nil
	}
	return &sliceExpr{x, bounds[0], bounds[1], bounds[2]}, nil
}

func (p *parser) arguments() (a argExprs, err error) {
	if err = p.op("("); err != nil {
		return a, err
	}
	err = p.sequence(")", func() error {
		switch {
		case p.accept(tokOp, "**"):
			a.dict, err = p.expression()
			return err
		case p.accept(tokOp, "*"):
			a.list, err = p.expression()
			return err
		case p.tok().kind == tokName && p.tokens[p.i+1].kind == tokOp && p.tokens[p.i+1].s == "=":
			a.names = append(a.names, p.next().s)
			p.next()
			x, err := p.expression()
			a.kw = append(a.kw, x)
			return err
		}
		if len(a.names) > 0 {
			return p.errorf("expected a keyword argument, found %s", p.tok())
		}
		x, err := p.expression()
		a.pos = append(a.pos, x)
		return err
	})
	return a, err
}

// filtered reads filters, tests and calls behind an expression.
func (p *parser) filtered(x expr) (expr, error) {
	for {
		switch {
		case p.accept(tokOp, "|"):
			f, err := p.filterName()
			if err != nil {
				return nil, err
			}
			x = &filterExpr{x, f}
		case p.accept(tokName, "is"):
			var err error
			if x, err = p.test(x); err != nil {
				return nil, err
			}
		case p.is(tokOp, "("):
			args, err := p.arguments()
			if err != nil {
				return nil, err
			}
			x = &callExpr{x, args}
		default:
			return x, nil
		}
	}
}

func (p *parser) filters(list []filterCall) ([]filterCall, error) {
	for p.accept(tokOp, "|") {
		f, err := p.filterName()
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

func (p *parser) filterName() (filterCall, error) {
	line := p.tok().line
	name, err := p.name()
	if err != nil {
		return filterCall{}, err
	}
	f := filterNamed(name)
	if p.text && name == "regex_replace" {
		f = filterRegexReplace
	}
	if f == nil {
		return filterCall{}, p.errorf("unknown filter %q", name)
	}
	c := filterCall{name: name, f: f, line: line}
	if p.is(tokOp, "(") {
		c.args, err = p.arguments()
	}
	return c, err
}

func (p *parser) test(x expr) (expr, error) {
	t := &testExpr{x: x}
	t.not = p.accept(tokName, "not")
	var err error
	if t.name, err = p.name(); err != nil {
		return nil, err
	}
	if t.f = testNamed(t.name); t.f == nil {
		return nil, p.errorf("unknown test %q", t.name)
	}
	next := p.tok()
	switch {
	case p.is(tokOp, "("):
		t.args, err = p.arguments()
	case next.kind == tokString || next.kind == tokInt || next.kind == tokFloat || p.is(tokOp, "[") || p.is(tokOp, "{"),
		next.kind == tokName && !slices.Contains([]string{"else", "or", "and", "is", "in", "not", "if", "recursive"}, next.s):
		var arg expr
		if arg, err = p.primary(); err == nil {
			arg, err = p.postfix(arg)
		}
		t.args.pos = []expr{arg}
	}
	return t, err
}
