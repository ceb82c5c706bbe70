package chat

import (
	"errors"
	"fmt"
)

func (e *evaluator) run(list []stmt) error {
	for _, s := range list {
		if err := s.exec(e); err != nil {
			return err
		}
	}
	return nil
}

// positioned adds a line to an error that has none yet.
type positioned struct {
	line int
	err  error
}

func (p *positioned) Error() string { return fmt.Sprintf("line %d: %v", p.line, p.err) }
func (p *positioned) Unwrap() error { return p.err }

func at(line int, err error) error {
	var p *positioned
	if err == nil || err == errBreak || err == errContinue || errors.As(err, &p) {
		return err
	}
	return &positioned{line, err}
}

func (s *dataStmt) exec(e *evaluator) error { return e.write(s.s) }

func (e *evaluator) write(s str) error {
	if err := e.made(len(s.s)); err != nil {
		return err
	}
	e.out.write(s)
	return nil
}

func (s *printStmt) exec(e *evaluator) error {
	if err := e.step(); err != nil {
		return at(s.line, err)
	}
	v, err := e.known(s.x)
	if err != nil {
		return at(s.line, err)
	}
	return at(s.line, e.write(toStr(v)))
}

func (s *ifStmt) exec(e *evaluator) error {
	if err := e.step(); err != nil {
		return at(s.line, err)
	}
	v, err := e.known(s.cond)
	if err != nil {
		return at(s.line, err)
	}
	if truth(v) {
		return e.run(s.then)
	}
	return e.run(s.els)
}

// loop is the variable "loop" of a pass.
type loop struct {
	items   []any
	i       int
	changed any
}

func (l *loop) attr(name string) (any, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.i + 1), true
	case "index0":
		return int64(l.i), true
	case "revindex":
		return int64(n - l.i), true
	case "revindex0":
		return int64(n - l.i - 1), true
	case "first":
		return l.i == 0, true
	case "last":
		return l.i == n-1, true
	case "length":
		return int64(n), true
	case "depth": // counts recursion, which there is none of
		return int64(1), true
	case "depth0":
		return int64(0), true
	case "previtem":
		if l.i > 0 {
			return l.items[l.i-1], true
		}
	case "nextitem":
		if l.i+1 < n {
			return l.items[l.i+1], true
		}
	case "cycle":
		return &function{"cycle", func(_ *evaluator, a arguments) (any, error) {
			if len(a.pos) == 0 {
				return nil, errors.New("no items for cycling given")
			}
			return a.pos[l.i%len(a.pos)], nil
		}}, true
	case "changed":
		return &function{"changed", func(_ *evaluator, a arguments) (any, error) {
			now := &list{items: a.pos, tuple: true}
			was := l.changed
			l.changed = now
			return was == nil || !equal(was, now), nil
		}}, true
	}
	return nil, false
}

func (s *forStmt) exec(e *evaluator) error {
	v, err := e.known(s.in)
	if err != nil {
		return at(s.line, err)
	}
	items, err := iterate(v)
	if err != nil {
		return at(s.line, err)
	}
	outer, turn := e.scope, e.turn
	defer func() { e.scope, e.turn = outer, turn }()
	if s.cond != nil {
		var kept []any
		for _, x := range items {
			e.scope = &scope{parent: outer}
			if err := s.bind(e, x); err != nil {
				return at(s.line, err)
			}
			ok, err := s.cond.eval(e)
			if err != nil {
				return at(s.line, err)
			}
			if truth(ok) {
				kept = append(kept, x)
			}
		}
		items = kept
	}
	if len(items) == 0 {
		e.scope = outer
		return e.run(s.els)
	}
	l := &loop{items: items}
	for i, x := range items {
		if err := e.step(); err != nil {
			return at(s.line, err)
		}
		l.i = i
		e.scope = &scope{parent: outer}
		if err := s.bind(e, x); err != nil {
			return at(s.line, err)
		}
		e.scope.set("loop", l)
		if err := e.pass(s.body, x); err == errBreak {
			break
		} else if err != nil && err != errContinue {
			return err
		}
	}
	return nil
}

// pass runs the body of a loop once. When x is an assistant message, what the body writes is marked as its turn.
func (e *evaluator) pass(body []stmt, x any) error {
	d, ok := x.(*dict)
	if !ok || d.msg == 0 || !e.marks || e.turn == d.msg {
		return e.run(body)
	}
	outer, out, start := e.turn, e.out, len(e.out.b)
	e.turn = d.msg
	err := e.run(body)
	e.turn = outer
	if outer == 0 && len(out.b) > start {
		out.m = append(out.m, mark{start, len(out.b), d.msg - 1, markTurn})
	}
	return err
}

func (s *forStmt) bind(e *evaluator, x any) error { return e.unpack(s.targets, x) }

func (e *evaluator) unpack(targets []string, x any) error {
	if len(targets) == 1 {
		e.scope.set(targets[0], x)
		return nil
	}
	items, err := iterate(x)
	if err != nil {
		return err
	}
	if len(items) != len(targets) {
		return fmt.Errorf("expected %d values to unpack, found %d", len(targets), len(items))
	}
	for i, name := range targets {
		e.scope.set(name, items[i])
	}
	return nil
}

func (s *setStmt) exec(e *evaluator) error {
	v, err := s.value.eval(e)
	if err != nil {
		return at(s.line, err)
	}
	if !s.attr {
		return at(s.line, e.unpack(s.targets, v))
	}
	owner, ok := e.scope.lookup(s.targets[0])
	n, isNS := owner.(*namespace)
	if !ok || !isNS {
		return at(s.line, fmt.Errorf("%s: expected a namespace, found %s", s.targets[0], typeName(owner)))
	}
	n.set(text(s.targets[1]), v)
	return nil
}

// capture runs statements and returns what they write.
func (e *evaluator) capture(body []stmt) (str, error) {
	out := e.out
	e.out = &rope{}
	err := e.run(body)
	s := str{string(e.out.b), e.out.m}
	e.out = out
	return s, err
}

func (e *evaluator) scoped(f func() error) error {
	outer := e.scope
	e.scope = &scope{parent: outer}
	err := f()
	e.scope = outer
	return err
}

func (e *evaluator) filtered(body []stmt, filters []filterCall) (v any, err error) {
	err = e.scoped(func() error {
		v, err = e.capture(body)
		for i := range filters {
			if err == nil {
				v, err = filters[i].apply(e, v)
			}
		}
		return err
	})
	return v, err
}

func (s *setBlockStmt) exec(e *evaluator) error {
	v, err := e.filtered(s.body, s.filters)
	if err != nil {
		return at(s.line, err)
	}
	e.scope.set(s.target, v)
	return nil
}

func (s *filterStmt) exec(e *evaluator) error {
	v, err := e.filtered(s.body, s.filters)
	if err != nil {
		return at(s.line, err)
	}
	return at(s.line, e.write(toStr(v)))
}

func (s *withStmt) exec(e *evaluator) error {
	vals, err := evalAll(e, s.values)
	if err != nil {
		return at(s.line, err)
	}
	return e.scoped(func() error {
		for i, name := range s.names {
			e.scope.set(name, vals[i])
		}
		return e.run(s.body)
	})
}

func (s *macroStmt) exec(e *evaluator) error {
	e.scope.set(s.name, s.function(e.scope))
	return nil
}

// function returns the macro as a value; it sees the variables of the place where it is defined.
func (s *macroStmt) function(defined *scope) *function {
	return &function{s.name, func(e *evaluator, a arguments) (any, error) {
		if len(a.pos) > len(s.params) {
			return nil, fmt.Errorf("takes %d arguments, found %d", len(s.params), len(a.pos))
		}
		outer := e.scope
		e.scope = &scope{parent: defined}
		defer func() { e.scope = outer }()
		first := len(s.params) - len(s.defaults)
		for i, name := range s.params {
			v, ok := a.arg(i, name)
			if !ok && i >= first {
				var err error
				if v, err = s.defaults[i-first].eval(e); err != nil {
					return nil, err
				}
			} else if !ok {
				v = undefined{"parameter '" + name + "'"}
			}
			e.scope.set(name, v)
		}
		if caller, ok := a.arg(-1, "caller"); ok {
			e.scope.set("caller", caller)
		}
		return e.capture(s.body)
	}}
}

func (s *callStmt) exec(e *evaluator) error {
	c := s.call.(*callExpr)
	f, err := c.f.eval(e)
	if err != nil {
		return at(s.line, err)
	}
	args, err := c.args.eval(e)
	if err != nil {
		return at(s.line, err)
	}
	args.names = append(append([]string(nil), args.names...), "caller")
	args.kw = append(args.kw, s.macro.function(e.scope))
	v, err := e.call(f, args)
	if err != nil {
		return at(s.line, err)
	}
	return at(s.line, e.write(toStr(v)))
}

func (s *generationStmt) exec(e *evaluator) error {
	out, start := e.out, len(e.out.b)
	err := e.scoped(func() error { return e.run(s.body) })
	if e.marks && len(out.b) > start {
		out.m = append(out.m, mark{start, len(out.b), e.turn - 1, markGeneration})
	}
	return err
}

func (s *loopControl) exec(*evaluator) error { return s.err }
