package chat

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Bounds of an evaluation: templates are foreign programs and must neither hang nor exhaust memory.
const (
	maxDepth = 120       // nesting of a template, of values, of calls
	maxSteps = 5e6       // expressions and statements evaluated
	maxBytes = 128 << 20 // of all strings made, and
	maxTimes = 16        // the texts of the conversation so many times
	maxRange = 100000    // elements of range()

	maxString = math.MaxInt // more than is ever allowed
)

var (
	errBreak    = errors.New("break outside of a loop")
	errContinue = errors.New("continue outside of a loop")
)

// evaluator is the state of one rendering.
type evaluator struct {
	scope *scope
	out   *rope
	now   time.Time
	steps int
	bytes int
	long  int // bytes of the conversation's texts
	depth int
	turn  int32 // 1 + index of the message whose pass of a loop is being written; 0: none
	marks bool  // record marks
	// strict makes it an error to write an undefined value, to compare it or to take it for true or false.
	strict bool
}

// A rope is text being written.
type rope struct {
	b []byte
	m []mark
}

func (r *rope) write(s str) {
	for _, m := range s.m {
		m.start += len(r.b)
		m.end += len(r.b)
		r.m = append(r.m, m)
	}
	r.b = append(r.b, s.s...)
}

// A scope holds the variables of a template, a pass of a loop, or a call of a macro.
type scope struct {
	names  []string
	vals   []any
	parent *scope
}

func (s *scope) lookup(name string) (any, bool) {
	for ; s != nil; s = s.parent {
		for i := len(s.names) - 1; i >= 0; i-- {
			if s.names[i] == name {
				return s.vals[i], true
			}
		}
	}
	return nil, false
}

func (s *scope) set(name string, v any) {
	for i, n := range s.names {
		if n == name {
			s.vals[i] = v
			return
		}
	}
	s.names, s.vals = append(s.names, name), append(s.vals, v)
}

func (e *evaluator) step() error {
	if e.steps++; e.steps > maxSteps {
		return fmt.Errorf("the template takes more than %d steps", int(maxSteps))
	}
	return nil
}

// made counts the bytes of a new string.
func (e *evaluator) made(n int) error {
	if most := maxBytes + maxTimes*e.long; e.bytes > most-n || n > most {
		return fmt.Errorf("the template makes more than %d bytes of text", most)
	}
	e.bytes += n
	return nil
}

func (e *evaluator) enter() error {
	if e.depth++; e.depth > maxDepth {
		return fmt.Errorf("calls nested deeper than %d", maxDepth)
	}
	return nil
}

func (x *constExpr) eval(*evaluator) (any, error) { return x.v, nil }

func (x *nameExpr) eval(e *evaluator) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	if v, ok := e.scope.lookup(x.name); ok {
		return v, nil
	}
	if f := globalNamed(x.name); f != nil {
		return f, nil
	}
	return undefined{"'" + x.name + "'"}, nil
}

// known evaluates an expression whose value is looked at.
func (e *evaluator) known(x expr) (any, error) {
	v, err := x.eval(e)
	if u, no := v.(undefined); no && e.strict && err == nil {
		return nil, u.fail()
	}
	return v, err
}

func evalAll(e *evaluator, list []expr) ([]any, error) {
	out := make([]any, len(list))
	for i, x := range list {
		var err error
		if out[i], err = x.eval(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (x *listExpr) eval(e *evaluator) (any, error) {
	items, err := evalAll(e, x.items)
	if err != nil {
		return nil, err
	}
	if err := e.made(16 * len(items)); err != nil {
		return nil, err
	}
	return &list{items: items, tuple: x.tuple}, nil
}

func (x *dictExpr) eval(e *evaluator) (any, error) {
	d := &dict{}
	for i, k := range x.keys {
		key, err := k.eval(e)
		if err != nil {
			return nil, err
		}
		if _, ok := dictKey(key); !ok {
			return nil, fmt.Errorf("unhashable type: '%s'", typeName(key))
		}
		v, err := x.vals[i].eval(e)
		if err != nil {
			return nil, err
		}
		d.set(key, v)
	}
	return d, e.made(32 * len(x.keys))
}

func (x *condExpr) eval(e *evaluator) (any, error) {
	c, err := e.known(x.cond)
	if err != nil {
		return nil, err
	}
	if truth(c) {
		return x.then.eval(e)
	}
	if x.els == nil {
		return undefined{"the inline if-expression without else"}, nil
	}
	return x.els.eval(e)
}

func (x *notExpr) eval(e *evaluator) (any, error) {
	v, err := e.known(x.x)
	return !truth(v), err
}

func (x *andExpr) eval(e *evaluator) (any, error) {
	v, err := e.known(x.a)
	if err != nil || !truth(v) {
		return v, err
	}
	return x.b.eval(e)
}

func (x *orExpr) eval(e *evaluator) (any, error) {
	v, err := e.known(x.a)
	if err != nil || truth(v) {
		return v, err
	}
	return x.b.eval(e)
}

func (x *signExpr) eval(e *evaluator) (any, error) {
	v, err := x.x.eval(e)
	if err != nil {
		return nil, err
	}
	if f, ok := v.(float64); ok {
		if x.neg {
			return -f, nil
		}
		return f, nil
	}
	n, ok := asInt(v)
	switch {
	case !ok:
		if u, ok := v.(undefined); ok {
			return nil, u.fail()
		}
		return nil, fmt.Errorf("bad operand type for unary -: '%s'", typeName(v))
	case x.neg && n == math.MinInt64:
		return nil, errOverflow
	case x.neg:
		n = -n
	}
	return n, nil
}

func (x *concatExpr) eval(e *evaluator) (any, error) {
	var out str
	for _, p := range x.parts {
		v, err := e.known(p)
		if err != nil {
			return nil, err
		}
		s := toStr(v)
		if err := e.made(len(out.s) + len(s.s)); err != nil {
			return nil, err
		}
		out = out.plus(s)
	}
	return out, nil
}

func (x *compareExpr) eval(e *evaluator) (any, error) {
	a, err := e.known(x.first)
	if err != nil {
		return nil, err
	}
	for i, op := range x.ops {
		b, err := e.known(x.rest[i])
		if err != nil {
			return nil, err
		}
		ok, err := compareOp(op, a, b)
		if err != nil || !ok {
			return false, err
		}
		a = b
	}
	return true, nil
}

func compareOp(op string, a, b any) (bool, error) {
	switch op {
	case "==":
		return equal(a, b), nil
	case "!=":
		return !equal(a, b), nil
	case "in":
		return contains(b, a)
	case "not in":
		ok, err := contains(b, a)
		return !ok, err
	}
	c, err := compare(a, b)
	if err != nil {
		return false, err
	}
	switch op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

func (x *attrExpr) eval(e *evaluator) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	v, err := x.x.eval(e)
	if err != nil {
		return nil, err
	}
	return attribute(v, x.name)
}

func (x *indexExpr) eval(e *evaluator) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	v, err := x.x.eval(e)
	if err != nil {
		return nil, err
	}
	i, err := x.i.eval(e)
	if err != nil {
		return nil, err
	}
	return item(v, i)
}

func (x *sliceExpr) eval(e *evaluator) (any, error) {
	v, err := x.x.eval(e)
	if err != nil {
		return nil, err
	}
	var bounds [3]*int64
	for i, b := range []expr{x.from, x.to, x.step} {
		if b == nil {
			continue
		}
		w, err := b.eval(e)
		if err != nil {
			return nil, err
		}
		if w == nil {
			continue
		}
		n, ok := asInt(w)
		if !ok {
			return nil, fmt.Errorf("slice indices must be integers or None, not %s", typeName(w))
		}
		bounds[i] = &n
	}
	return e.slice(v, bounds[0], bounds[1], bounds[2])
}

func (a *argExprs) eval(e *evaluator) (out arguments, err error) {
	if out.pos, err = evalAll(e, a.pos); err != nil {
		return out, err
	}
	if out.kw, err = evalAll(e, a.kw); err != nil {
		return out, err
	}
	out.names = a.names
	if a.list != nil {
		v, err := a.list.eval(e)
		if err != nil {
			return out, err
		}
		items, err := iterate(v)
		if err != nil {
			return out, err
		}
		out.pos = append(out.pos, items...)
	}
	if a.dict != nil {
		v, err := a.dict.eval(e)
		if err != nil {
			return out, err
		}
		d, ok := v.(*dict)
		if !ok {
			return out, fmt.Errorf("argument after ** must be a mapping, not %s", typeName(v))
		}
		out.names = append([]string(nil), out.names...)
		for i, k := range d.keys {
			out.names, out.kw = append(out.names, toStr(k).s), append(out.kw, d.vals[i])
		}
	}
	return out, nil
}

func (x *callExpr) eval(e *evaluator) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	f, err := x.f.eval(e)
	if err != nil {
		return nil, err
	}
	args, err := x.args.eval(e)
	if err != nil {
		return nil, err
	}
	return e.call(f, args)
}

func (e *evaluator) call(f any, args arguments) (any, error) {
	switch f := f.(type) {
	case *function:
		if err := e.enter(); err != nil {
			return nil, err
		}
		defer func() { e.depth-- }()
		v, err := f.call(e, args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		return v, nil
	case undefined:
		return nil, f.fail()
	}
	return nil, fmt.Errorf("'%s' object is not callable", typeName(f))
}

func (x *filterExpr) eval(e *evaluator) (any, error) {
	v, err := x.x.eval(e)
	if err != nil {
		return nil, err
	}
	return x.f.apply(e, v)
}

func (f *filterCall) apply(e *evaluator, v any) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	args, err := f.args.eval(e)
	if err != nil {
		return nil, err
	}
	if u, no := v.(undefined); no && e.strict && f.name != "default" && f.name != "d" {
		return nil, u.fail()
	}
	out, err := f.f(e, v, args)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", f.name, err)
	}
	return out, nil
}

func (x *testExpr) eval(e *evaluator) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	v, err := x.x.eval(e)
	if err != nil {
		return nil, err
	}
	args, err := x.args.eval(e)
	if err != nil {
		return nil, err
	}
	ok, err := x.f(e, v, args)
	if err != nil {
		return nil, fmt.Errorf("test %s: %w", x.name, err)
	}
	return ok != x.not, nil
}
