package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

type testFunc func(e *evaluator, v any, a arguments) (bool, error)

// testNamed returns Jinja's test of a name, nil if there is none.
func testNamed(name string) testFunc {
	if f := typeTest(name); f != nil {
		return func(_ *evaluator, v any, _ arguments) (bool, error) { return f(v), nil }
	}
	ops := map[string]string{"equalto": "==", "eq": "==", "==": "==", "ne": "!=", "!=": "!=", "lt": "<", "lessthan": "<", "<": "<", "le": "<=",
		"<=": "<=", "gt": ">", "greaterthan": ">", ">": ">", "ge": ">=", ">=": ">=", "in": "in"}
	if op := ops[name]; op != "" {
		return func(_ *evaluator, v any, a arguments) (bool, error) {
			if len(a.pos) != 1 {
				return false, fmt.Errorf("expected 1 argument, found %d", len(a.pos))
			}
			return compareOp(op, v, a.pos[0])
		}
	}
	switch name {
	case "sameas":
		return func(_ *evaluator, v any, a arguments) (bool, error) {
			return len(a.pos) == 1 && typeName(v) == typeName(a.pos[0]) && equal(v, a.pos[0]), nil
		}
	case "odd", "even", "divisibleby":
		return func(_ *evaluator, v any, a arguments) (bool, error) {
			n, ok := asInt(v)
			by := int64(2)
			if name == "divisibleby" && len(a.pos) == 1 {
				by, _ = asInt(a.pos[0])
			}
			if !ok || by == 0 {
				return false, fmt.Errorf("expected integers, found %s", typeName(v))
			}
			return (n%by == 0) == (name != "odd"), nil
		}
	case "lower", "upper":
		return func(_ *evaluator, v any, _ arguments) (bool, error) { return classMethod("is" + name)(toStr(v).s), nil }
	case "filter", "test":
		return func(_ *evaluator, v any, _ arguments) (bool, error) {
			s := toStr(v).s
			return name == "filter" && filterNamed(s) != nil || name == "test" && testNamed(s) != nil, nil
		}
	}
	return nil
}

func typeTest(name string) func(v any) bool {
	is := func(names ...string) func(any) bool {
		return func(v any) bool {
			t := typeName(v)
			for _, n := range names {
				if n == t {
					return true
				}
			}
			return false
		}
	}
	switch name {
	case "defined":
		return func(v any) bool { _, no := v.(undefined); return !no }
	case "undefined":
		return is("Undefined")
	case "none":
		return func(v any) bool { return v == nil }
	case "string":
		return is("str")
	case "number":
		return is("int", "float", "bool")
	case "integer":
		return is("int")
	case "float":
		return is("float")
	case "boolean":
		return is("bool")
	case "true":
		return func(v any) bool { return v == true }
	case "false":
		return func(v any) bool { return v == false }
	case "mapping":
		return is("dict")
	case "iterable":
		return is("str", "list", "tuple", "dict", "Undefined")
	case "sequence":
		return is("str", "list", "tuple", "dict", "Undefined")
	case "callable":
		return is("function")
	case "escaped":
		return func(any) bool { return false }
	}
	return nil
}

// globalNamed returns a function that every template can call.
func globalNamed(name string) *function {
	var f func(e *evaluator, a arguments) (any, error)
	switch name {
	case "raise_exception":
		f = func(_ *evaluator, a arguments) (any, error) {
			v, _ := a.arg(0, "message")
			return nil, &RaisedError{toStr(v).s}
		}
	case "strftime_now":
		f = func(e *evaluator, a arguments) (any, error) {
			format, err := wantStr(a, 0, "format")
			if err != nil {
				return nil, err
			}
			if e.now.IsZero() {
				return nil, errors.New("the template asks for the time, and no clock was given")
			}
			return text(strftime(e.now, format)), nil
		}
	case "namespace", "dict":
		f = func(_ *evaluator, a arguments) (any, error) { return newDict(name, a) }
	case "range":
		f = globalRange
	default:
		return nil
	}
	return &function{name, f}
}

// RaisedError is a template's own refusal: raise_exception was called.
type RaisedError struct{ Message string }

func (r *RaisedError) Error() string { return r.Message }

func newDict(name string, a arguments) (any, error) {
	d := &dict{}
	if len(a.pos) > 0 {
		src, ok := a.pos[0].(*dict)
		if !ok {
			return nil, fmt.Errorf("expected a mapping, found %s", typeName(a.pos[0]))
		}
		for i, k := range src.keys {
			d.set(k, src.vals[i])
		}
	}
	for i, k := range a.names {
		d.set(text(k), a.kw[i])
	}
	if name == "namespace" {
		return &namespace{*d}, nil
	}
	return d, nil
}

func globalRange(_ *evaluator, a arguments) (any, error) {
	var n [3]int64
	for i, v := range a.pos {
		x, ok := asInt(v)
		if !ok || i > 2 {
			return nil, errors.New("expected up to three integers")
		}
		n[i] = x
	}
	from, to, by := n[0], n[1], int64(1)
	switch len(a.pos) {
	case 0:
		return nil, errors.New("expected 1 argument, found 0")
	case 1:
		from, to = 0, n[0]
	case 3:
		by = n[2]
	}
	if by == 0 {
		return nil, errors.New("arg 3 must not be zero")
	}
	l := &list{}
	for i := from; by > 0 && i < to || by < 0 && i > to; i += by {
		if len(l.items) >= maxRange {
			return nil, fmt.Errorf("more than %d elements", maxRange)
		}
		l.items = append(l.items, i)
		if i > 0 && by > 0 && i+by < 0 || i < 0 && by < 0 && i+by > 0 { // overflow
			break
		}
	}
	return l, nil
}

// strftime formats t as C does, in the C locale.
func strftime(t time.Time, format string) string {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'B': "January", 'b': "Jan", 'h': "Jan", 'A': "Monday", 'a': "Mon", 'H': "15",
		'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'y': "06", 'j': "002", 'Z': "MST", 'z': "-0700", 'e': "_2", 'F': "2006-01-02",
		'T': "15:04:05", 'R': "15:04", 'D': "01/02/06", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'f': "000000"}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		bare := format[i] == '-' && i+1 < len(format) // no leading zeros
		if bare {
			i++
		}
		switch c := format[i]; {
		case c == '%':
			b.WriteByte('%')
		case c == 'n':
			b.WriteByte('\n')
		case c == 'f':
			fmt.Fprintf(&b, "%06d", t.Nanosecond()/1000)
		case c == 'u':
			fmt.Fprint(&b, (int(t.Weekday())+6)%7+1)
		case c == 'w':
			fmt.Fprint(&b, int(t.Weekday()))
		case layouts[c] != "":
			s := t.Format(layouts[c])
			if bare && len(s) > 1 {
				s = strings.TrimLeft(s[:len(s)-1], "0 ") + s[len(s)-1:]
			}
			b.WriteString(s)
		default:
			b.WriteByte('%')
			b.WriteByte(c)
		}
	}
	return b.String()
}
