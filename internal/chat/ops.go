package chat

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

var errOverflow = errors.New("integer too large")

// attribute is x.name: a method or attribute of the value, otherwise an item of that name.
func attribute(x any, name string) (any, error) {
	if u, ok := x.(undefined); ok {
		return nil, u.fail()
	}
	if l, ok := x.(*loop); ok {
		if v, ok := l.attr(name); ok {
			return v, nil
		}
		return undefined{"'loop' attribute '" + name + "'"}, nil
	}
	if n, ok := x.(*namespace); ok {
		if v, ok := n.get(text(name)); ok {
			return v, nil
		}
		return undefined{"'namespace' attribute '" + name + "'"}, nil
	}
	if f := method(x, name); f != nil {
		return f, nil
	}
	if d, ok := x.(*dict); ok {
		if v, ok := d.get(text(name)); ok {
			return v, nil
		}
	}
	return undefined{fmt.Sprintf("'%s object' attribute '%s'", typeName(x), name)}, nil
}

// item is x[i]: an item, otherwise an attribute of that name.
func item(x, i any) (any, error) {
	switch x := x.(type) {
	case undefined:
		return nil, x.fail()
	case *dict:
		if v, ok := x.get(i); ok {
			return v, nil
		}
	case *list:
		if n, ok := asInt(i); ok {
			if n < 0 {
				n += int64(len(x.items))
			}
			if n >= 0 && n < int64(len(x.items)) {
				return x.items[n], nil
			}
		}
	case str:
		if n, ok := asInt(i); ok {
			at := runeStarts(x.s)
			if n < 0 {
				n += int64(len(at) - 1)
			}
			if n >= 0 && n < int64(len(at)-1) {
				return x.cut(at[n], at[n+1]), nil
			}
		}
	}
	if name, ok := i.(str); ok {
		return attribute(x, name.s)
	}
	return undefined{fmt.Sprintf("'%s object' item %s", typeName(x), toStr(i).s)}, nil
}

// runeStarts returns the byte offset of every character and of the end.
func runeStarts(s string) []int {
	at := make([]int, 0, len(s)+1)
	for i := range s {
		at = append(at, i)
	}
	return append(at, len(s))
}

// slice is x[from:to:step] as Python cuts it; nil bounds are open.
func (e *evaluator) slice(x any, from, to, step *int64) (any, error) {
	var n int
	var at []int
	switch x := x.(type) {
	case str:
		at = runeStarts(x.s)
		n = len(at) - 1
	case *list:
		n = len(x.items)
	case undefined:
		return nil, x.fail()
	default:
		return nil, fmt.Errorf("'%s' object is not subscriptable", typeName(x))
	}
	by := int64(1)
	if step != nil {
		by = *step
	}
	if by == 0 {
		return nil, errors.New("slice step cannot be zero")
	}
	a, b := sliceBounds(int64(n), from, to, by)
	if s, ok := x.(str); ok && by == 1 {
		if a >= b {
			return str{}, nil
		}
		return s.cut(at[a], at[b]), nil
	}
	var picked []int64
	for i := a; by > 0 && i < b || by < 0 && i > b; i += by {
		picked = append(picked, i)
		if by > math.MaxInt64/2 || by < math.MinInt64/2 {
			break
		}
	}
	if err := e.made(16 * len(picked)); err != nil {
		return nil, err
	}
	if s, ok := x.(str); ok {
		var out str
		for _, i := range picked {
			out = out.plus(s.cut(at[i], at[i+1]))
		}
		return out, nil
	}
	l := x.(*list)
	out := &list{tuple: l.tuple, items: make([]any, 0, len(picked))}
	for _, i := range picked {
		out.items = append(out.items, l.items[i])
	}
	return out, nil
}

func sliceBounds(n int64, from, to *int64, by int64) (a, b int64) {
	clamp := func(v *int64, def, low, high int64) int64 {
		if v == nil {
			return def
		}
		x := *v
		if x < 0 {
			x += n
		}
		return min(max(x, low), high)
	}
	if by > 0 {
		return clamp(from, 0, 0, n), clamp(to, n, 0, n)
	}
	return clamp(from, n-1, -1, n-1), clamp(to, -1, -1, n-1)
}

// contains is "x in container".
func contains(container, x any) (bool, error) {
	switch c := container.(type) {
	case undefined:
		return false, nil
	case str:
		s, ok := x.(str)
		if !ok {
			return false, fmt.Errorf("'in <string>' requires string as left operand, not %s", typeName(x))
		}
		return strings.Contains(c.s, s.s), nil
	case *dict:
		_, ok := c.get(x)
		return ok, nil
	case *list:
		for _, v := range c.items {
			if equal(v, x) {
				return true, nil
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("argument of type '%s' is not iterable", typeName(container))
}

func (x *binaryExpr) eval(e *evaluator) (any, error) {
	if err := e.step(); err != nil {
		return nil, err
	}
	a, err := x.a.eval(e)
	if err != nil {
		return nil, err
	}
	b, err := x.b.eval(e)
	if err != nil {
		return nil, err
	}
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok {
			return nil, u.fail()
		}
	}
	switch x.op {
	case "+":
		switch a := a.(type) {
		case str:
			t, ok := b.(str)
			if !ok {
				return nil, fmt.Errorf("can only concatenate str (not \"%s\") to str", typeName(b))
			}
			return a.plus(t), e.made(len(a.s) + len(t.s))
		case *list:
			if l, ok := b.(*list); ok && l.tuple == a.tuple {
				items := append(append(make([]any, 0, len(a.items)+len(l.items)), a.items...), l.items...)
				return &list{items: items, tuple: a.tuple}, e.made(16 * len(items))
			}
		}
	case "*":
		if n, ok := asInt(a); ok {
			if v, err, ok := e.repeat(b, n); ok {
				return v, err
			}
		} else if n, ok := asInt(b); ok {
			if v, err, ok := e.repeat(a, n); ok {
				return v, err
			}
		}
	case "%":
		if s, ok := a.(str); ok {
			return e.percent(s, b)
		}
	}
	return arithmetic(x.op, a, b)
}

// repeat is a string or list times n; ok is false for other values.
func (e *evaluator) repeat(v any, n int64) (out any, err error, ok bool) {
	switch v := v.(type) {
	case str:
		n = max(n, 0)
		if len(v.s) > 0 && n > int64(maxBytes/len(v.s)) {
			return nil, e.made(maxString), true
		}
		if err := e.made(int(n) * len(v.s)); err != nil {
			return nil, err, true
		}
		return v.with(strings.Repeat(v.s, int(n))), nil, true
	case *list:
		n = max(n, 0)
		if len(v.items) > 0 && n > int64(maxBytes/16/len(v.items)) {
			return nil, e.made(maxString), true
		}
		if err := e.made(16 * int(n) * len(v.items)); err != nil {
			return nil, err, true
		}
		l := &list{tuple: v.tuple}
		for range n {
			l.items = append(l.items, v.items...)
		}
		return l, nil, true
	}
	return nil, nil, false
}

func arithmetic(op string, a, b any) (any, error) {
	m, okA := asInt(a)
	n, okB := asInt(b)
	if okA && okB && op != "/" && (op != "**" || n >= 0) {
		return integers(op, m, n)
	}
	x, okA := asNumber(a)
	y, okB := asNumber(b)
	if !okA || !okB {
		return nil, fmt.Errorf("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	}
	switch op {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "**":
		return math.Pow(x, y), nil
	}
	if y == 0 {
		return nil, errors.New("division by zero")
	}
	switch op {
	case "/":
		return x / y, nil
	case "//":
		return math.Floor(x / y), nil
	}
	r := math.Mod(x, y)
	if r != 0 && (r < 0) != (y < 0) {
		r += y
	}
	return r, nil
}

func integers(op string, m, n int64) (any, error) {
	switch op {
	case "+":
		if s := m + n; (s > m) == (n > 0) {
			return s, nil
		}
	case "-":
		if s := m - n; (s < m) == (n > 0) {
			return s, nil
		}
	case "*":
		if m == 0 || n == 0 {
			return int64(0), nil
		}
		if s := m * n; s/n == m && !(m == -1 && n == math.MinInt64) && !(n == -1 && m == math.MinInt64) {
			return s, nil
		}
	case "**":
		r := int64(1)
		for ; n > 0; n-- {
			v, err := integers("*", r, m)
			if err != nil || m == 0 || m == 1 {
				return v, err
			}
			if m == -1 {
				return 1 - 2*(n%2), nil
			}
			r = v.(int64)
		}
		return r, nil
	default:
		if n == 0 {
			return nil, errors.New("integer division or modulo by zero")
		}
		if n == -1 && m == math.MinInt64 {
			return nil, errOverflow
		}
		q, r := m/n, m%n
		if r != 0 && (r < 0) != (n < 0) {
			q, r = q-1, r+n
		}
		if op == "//" {
			return q, nil
		}
		return r, nil
	}
	return nil, errOverflow
}

// percent is Python's old string formatting with %s, %d, %f, %r and %%.
func (e *evaluator) percent(format str, v any) (any, error) {
	args := []any{v}
	if l, ok := v.(*list); ok && l.tuple {
		args = l.items
	}
	var b strings.Builder
	for i := 0; i < len(format.s); i++ {
		c := format.s[i]
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		verb := i + 1
		for verb < len(format.s) && strings.IndexByte("0123456789.-+", format.s[verb]) >= 0 {
			verb++
		}
		if verb == len(format.s) || verb-i > 8 {
			return nil, errors.New("incomplete format")
		}
		flags := format.s[i+1 : verb]
		i = verb
		if format.s[verb] == '%' {
			b.WriteByte('%')
			continue
		}
		if len(args) == 0 {
			return nil, errors.New("not enough arguments for format string")
		}
		arg := args[0]
		args = args[1:]
		if err := formatVerb(&b, flags, format.s[verb], arg); err != nil {
			return nil, err
		}
		if err := e.made(b.Len()); err != nil {
			return nil, err
		}
	}
	if len(args) > 0 {
		return nil, errors.New("not all arguments converted during string formatting")
	}
	return text(b.String()), nil
}

func formatVerb(b *strings.Builder, flags string, verb byte, arg any) error {
	switch verb {
	case 's':
		fmt.Fprintf(b, "%"+flags+"s", toStr(arg).s)
	case 'r':
		var r strings.Builder
		writeRepr(&r, arg, 0)
		fmt.Fprintf(b, "%"+flags+"s", r.String())
	case 'd', 'i', 'x', 'X', 'o':
		x, ok := asNumber(arg)
		if !ok {
			return fmt.Errorf("%%%c format: a number is required, not %s", verb, typeName(arg))
		}
		n, isInt := asInt(arg)
		if !isInt {
			n = int64(x)
		}
		if verb == 'i' {
			verb = 'd'
		}
		fmt.Fprintf(b, "%"+flags+string(verb), n)
	case 'f', 'F', 'e', 'E', 'g', 'G':
		x, ok := asNumber(arg)
		if !ok {
			return fmt.Errorf("must be real number, not %s", typeName(arg))
		}
		if (verb == 'g' || verb == 'G') && !strings.Contains(flags, ".") {
			flags += ".6"
		}
		fmt.Fprintf(b, "%"+flags+string(verb), x)
	default:
		return fmt.Errorf("unsupported format character %q", verb)
	}
	return nil
}

func runeCount(s string) int64 { return int64(utf8.RuneCountInString(s)) }
