package chat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"tune/internal/pyre"
)

// method returns a method of a string, list or dict, nil if there is none of that name.
func method(x any, name string) *function {
	switch x := x.(type) {
	case str:
		if f := stringMethods(name); f != nil {
			return &function{name, func(e *evaluator, a arguments) (any, error) { return f(e, x, a) }}
		}
	case *dict:
		if f := dictMethods(name); f != nil {
			return &function{name, func(_ *evaluator, a arguments) (any, error) { return f(x, a) }}
		}
	case *list:
		if f := listMethods(name); f != nil {
			return &function{name, func(_ *evaluator, a arguments) (any, error) { return f(x, a) }}
		}
	}
	return nil
}

func listMethods(name string) func(l *list, a arguments) (any, error) {
	switch name {
	case "index":
		return func(l *list, a arguments) (any, error) {
			x, _ := a.arg(0, "value")
			for i, v := range l.items {
				if equal(v, x) {
					return int64(i), nil
				}
			}
			return nil, errors.New("the value is not in the list")
		}
	case "count":
		return func(l *list, a arguments) (any, error) {
			x, _ := a.arg(0, "value")
			n := int64(0)
			for _, v := range l.items {
				if equal(v, x) {
					n++
				}
			}
			return n, nil
		}
	case "append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear":
		return func(*list, arguments) (any, error) { return nil, errors.New("values cannot be changed by a template") }
	}
	return nil
}

func dictMethods(name string) func(d *dict, a arguments) (any, error) {
	switch name {
	case "items":
		return func(d *dict, _ arguments) (any, error) { return items(d), nil }
	case "keys":
		return func(d *dict, _ arguments) (any, error) { return &list{items: d.keys}, nil }
	case "values":
		return func(d *dict, _ arguments) (any, error) { return &list{items: d.vals}, nil }
	case "get":
		return func(d *dict, a arguments) (any, error) {
			key, _ := a.arg(0, "key")
			if v, ok := d.get(key); ok {
				return v, nil
			}
			def, _ := a.arg(1, "default")
			return def, nil
		}
	case "copy":
		return func(d *dict, _ arguments) (any, error) {
			c := &dict{}
			for i, k := range d.keys {
				c.set(k, d.vals[i])
			}
			return c, nil
		}
	case "update", "pop", "popitem", "setdefault", "clear":
		return func(*dict, arguments) (any, error) { return nil, errors.New("values cannot be changed by a template") }
	}
	return nil
}

func items(d *dict) *list {
	l := &list{items: make([]any, len(d.keys))}
	for i, k := range d.keys {
		l.items[i] = &list{items: []any{k, d.vals[i]}, tuple: true}
	}
	return l
}

type stringMethod func(e *evaluator, s str, a arguments) (any, error)

// wantStr returns a string argument.
func wantStr(a arguments, i int, name string) (string, error) {
	v, ok := a.arg(i, name)
	if s, isStr := v.(str); ok && isStr {
		return s.s, nil
	}
	return "", fmt.Errorf("argument %d must be str, not %s", i+1, typeName(v))
}

func optInt(a arguments, i int, name string, def int64) (int64, error) {
	v, ok := a.arg(i, name)
	if !ok || v == nil {
		return def, nil
	}
	n, ok := asInt(v)
	if !ok {
		return 0, fmt.Errorf("argument %d must be int, not %s", i+1, typeName(v))
	}
	return n, nil
}

func stringMethods(name string) stringMethod {
	switch name {
	case "strip":
		return func(_ *evaluator, s str, a arguments) (any, error) { return strip(s, a, true, true) }
	case "lstrip":
		return func(_ *evaluator, s str, a arguments) (any, error) { return strip(s, a, true, false) }
	case "rstrip":
		return func(_ *evaluator, s str, a arguments) (any, error) { return strip(s, a, false, true) }
	case "split":
		return func(_ *evaluator, s str, a arguments) (any, error) { return split(s, a, false) }
	case "rsplit":
		return func(_ *evaluator, s str, a arguments) (any, error) { return split(s, a, true) }
	case "splitlines":
		return func(_ *evaluator, s str, a arguments) (any, error) { return splitLines(s), nil }
	case "startswith":
		return func(_ *evaluator, s str, a arguments) (any, error) { return affix(s, a, strings.HasPrefix) }
	case "endswith":
		return func(_ *evaluator, s str, a arguments) (any, error) { return affix(s, a, strings.HasSuffix) }
	case "removeprefix", "removesuffix":
		return func(_ *evaluator, s str, a arguments) (any, error) {
			x, err := wantStr(a, 0, "")
			if name == "removeprefix" && strings.HasPrefix(s.s, x) {
				return s.cut(len(x), len(s.s)), err
			}
			if name == "removesuffix" && strings.HasSuffix(s.s, x) {
				return s.cut(0, len(s.s)-len(x)), err
			}
			return s, err
		}
	case "replace":
		return func(e *evaluator, s str, a arguments) (any, error) { return replace(e, s, a) }
	case "join":
		return func(e *evaluator, s str, a arguments) (any, error) {
			v, _ := a.arg(0, "iterable")
			return join(e, v, s, true)
		}
	case "find", "rfind", "index", "rindex", "count":
		return func(_ *evaluator, s str, a arguments) (any, error) { return search(name, s, a) }
	case "format":
		return func(e *evaluator, s str, a arguments) (any, error) { return braceFormat(e, s.s, a) }
	case "partition", "rpartition":
		return func(_ *evaluator, s str, a arguments) (any, error) {
			sep, err := wantStr(a, 0, "sep")
			if err != nil || sep == "" {
				return nil, errors.Join(err, errors.New("empty separator"))
			}
			i := strings.Index(s.s, sep)
			three := []any{s, str{}, str{}}
			if name == "rpartition" {
				i = strings.LastIndex(s.s, sep)
				three = []any{str{}, str{}, s}
			}
			if i >= 0 {
				three = []any{s.cut(0, i), text(sep), s.cut(i+len(sep), len(s.s))}
			}
			return &list{items: three, tuple: true}, nil
		}
	case "zfill", "ljust", "rjust", "center":
		return func(e *evaluator, s str, a arguments) (any, error) { return pad(e, name, s, a) }
	}
	if f := caseMethod(name); f != nil {
		return func(_ *evaluator, s str, a arguments) (any, error) { return s.with(f(s.s)), nil }
	}
	if f := classMethod(name); f != nil {
		return func(_ *evaluator, s str, a arguments) (any, error) { return f(s.s), nil }
	}
	return nil
}

func caseMethod(name string) func(string) string {
	switch name {
	case "lower", "casefold":
		return Lower
	case "upper":
		return strings.ToUpper
	case "capitalize":
		return Capitalize
	case "title":
		return title
	case "swapcase":
		return func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.IsUpper(r) {
					return unicode.ToLower(r)
				}
				return unicode.ToUpper(r)
			}, s)
		}
	}
	return nil
}

func title(s string) string {
	inside := false
	return strings.Map(func(r rune) rune {
		letter := unicode.IsLetter(r)
		defer func() { inside = letter }()
		if inside {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func classMethod(name string) func(string) bool {
	all := func(f func(rune) bool) func(string) bool {
		return func(s string) bool { return s != "" && strings.IndexFunc(s, func(r rune) bool { return !f(r) }) < 0 }
	}
	cased := func(want, not func(rune) bool) func(string) bool {
		return func(s string) bool { return strings.IndexFunc(s, want) >= 0 && strings.IndexFunc(s, not) < 0 }
	}
	switch name {
	case "isdigit", "isdecimal":
		return all(unicode.IsDigit)
	case "isnumeric":
		return all(unicode.IsNumber)
	case "isalpha":
		return all(unicode.IsLetter)
	case "isalnum":
		return all(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	case "isspace":
		return all(pyre.IsSpace)
	case "isupper":
		return cased(unicode.IsUpper, unicode.IsLower)
	case "islower":
		return cased(unicode.IsLower, unicode.IsUpper)
	}
	return nil
}

// strip removes white space, or the characters of an argument, from the ends.
func strip(s str, a arguments, left, right bool) (any, error) {
	is := pyre.IsSpace
	if v, ok := a.arg(0, "chars"); ok && v != nil {
		chars, ok := v.(str)
		if !ok {
			return nil, fmt.Errorf("strip arg must be None or str, not %s", typeName(v))
		}
		is = func(r rune) bool { return strings.ContainsRune(chars.s, r) }
	}
	from, to := 0, len(s.s)
	if left {
		from = to - len(strings.TrimLeftFunc(s.s, is))
	}
	if right {
		to = from + len(strings.TrimRightFunc(s.s[from:], is))
	}
	return s.cut(from, to), nil
}

func split(s str, a arguments, fromRight bool) (any, error) {
	limit, err := optInt(a, 1, "maxsplit", -1)
	if err != nil {
		return nil, err
	}
	v, ok := a.arg(0, "sep")
	var cuts [][2]int // where the separators are
	if !ok || v == nil {
		start := -1
		for i, r := range s.s {
			if pyre.IsSpace(r) {
				if start < 0 {
					start = i
				}
			} else if start >= 0 {
				cuts = append(cuts, [2]int{start, i})
				start = -1
			}
		}
		return splitBlank(s, cuts, start, limit, fromRight), nil
	}
	sep, ok := v.(str)
	if !ok {
		return nil, fmt.Errorf("must be str or None, not %s", typeName(v))
	}
	if sep.s == "" {
		return nil, errors.New("empty separator")
	}
	if fromRight {
		for i := len(s.s); ; {
			k := strings.LastIndex(s.s[:i], sep.s)
			if k < 0 || limit >= 0 && int64(len(cuts)) >= limit {
				break
			}
			cuts = append([][2]int{{k, k + len(sep.s)}}, cuts...)
			i = k
		}
	} else {
		for i := 0; limit < 0 || int64(len(cuts)) < limit; {
			k := strings.Index(s.s[i:], sep.s)
			if k < 0 {
				break
			}
			cuts = append(cuts, [2]int{i + k, i + k + len(sep.s)})
			i += k + len(sep.s)
		}
	}
	return splitAt(s, cuts), nil
}

func splitAt(s str, cuts [][2]int) *list {
	l := &list{}
	from := 0
	for _, c := range cuts {
		l.items = append(l.items, s.cut(from, c[0]))
		from = c[1]
	}
	l.items = append(l.items, s.cut(from, len(s.s)))
	return l
}

// splitBlank splits at runs of white space, those at the ends left out; last is where one at the end begins, or -1.
func splitBlank(s str, cuts [][2]int, last int, limit int64, fromRight bool) *list {
	from, to := 0, len(s.s)
	if last >= 0 {
		to = last
	}
	if len(cuts) > 0 && cuts[0][0] == 0 {
		from, cuts = cuts[0][1], cuts[1:]
	}
	if from >= to {
		return &list{}
	}
	if limit >= 0 && int64(len(cuts)) > limit {
		if fromRight {
			cuts, from = cuts[len(cuts)-int(limit):], 0
		} else {
			cuts, to = cuts[:limit], len(s.s)
		}
	}
	for i := range cuts {
		cuts[i][0], cuts[i][1] = cuts[i][0]-from, cuts[i][1]-from
	}
	return splitAt(s.cut(from, to), cuts)
}

func splitLines(s str) *list {
	l := &list{}
	for from := 0; from < len(s.s); {
		k := strings.IndexAny(s.s[from:], "\n\r")
		if k < 0 {
			l.items = append(l.items, s.cut(from, len(s.s)))
			break
		}
		l.items = append(l.items, s.cut(from, from+k))
		if strings.HasPrefix(s.s[from+k:], "\r\n") {
			k++
		}
		from += k + 1
	}
	return l
}

func affix(s str, a arguments, has func(s, x string) bool) (any, error) {
	v, _ := a.arg(0, "prefix")
	switch v := v.(type) {
	case str:
		return has(s.s, v.s), nil
	case *list:
		for _, x := range v.items {
			if t, ok := x.(str); ok && has(s.s, t.s) {
				return true, nil
			}
		}
		return false, nil
	}
	return nil, fmt.Errorf("first arg must be str or a tuple of str, not %s", typeName(v))
}

// replace keeps the marks of what is not replaced.
func replace(e *evaluator, s str, a arguments) (any, error) {
	old, err := wantStr(a, 0, "old")
	if err != nil {
		return nil, err
	}
	repl, err := wantStr(a, 1, "new")
	if err != nil {
		return nil, err
	}
	limit, err := optInt(a, 2, "count", -1)
	if err != nil {
		return nil, err
	}
	n := int64(strings.Count(s.s, old))
	if limit >= 0 {
		n = min(n, limit)
	}
	if n > 0 && len(repl) > 0 && n > int64(maxBytes/len(repl)) {
		return nil, e.made(maxString)
	}
	if err := e.made(len(s.s) + int(n)*len(repl)); err != nil {
		return nil, err
	}
	if old == "" || s.m == nil {
		return s.with(strings.Replace(s.s, old, repl, int(n))), nil
	}
	var out rope
	from := 0
	for range n {
		k := strings.Index(s.s[from:], old)
		out.write(s.cut(from, from+k))
		out.write(s.cut(from+k, from+k+len(old)).with(repl))
		from += k + len(old)
	}
	out.write(s.cut(from, len(s.s)))
	return str{string(out.b), out.m}, nil
}

// join concatenates the elements of v; strict: all must be strings.
func join(e *evaluator, v any, sep str, strict bool) (any, error) {
	list, err := iterate(v)
	if err != nil {
		return nil, err
	}
	var out rope
	for i, x := range list {
		s, ok := x.(str)
		if !ok && strict {
			return nil, fmt.Errorf("sequence item %d: expected str instance, %s found", i, typeName(x))
		}
		if !ok {
			s = toStr(x)
		}
		if err := e.made(len(sep.s) + len(s.s)); err != nil {
			return nil, err
		}
		if i > 0 {
			out.write(sep)
		}
		out.write(s)
	}
	return str{string(out.b), out.m}, nil
}

func search(name string, s str, a arguments) (any, error) {
	x, err := wantStr(a, 0, "sub")
	if err != nil {
		return nil, err
	}
	if name == "count" {
		return int64(strings.Count(s.s, x)), nil
	}
	i := strings.Index(s.s, x)
	if name[0] == 'r' {
		i = strings.LastIndex(s.s, x)
	}
	if i >= 0 {
		return runeCount(s.s[:i]), nil
	}
	if strings.HasSuffix(name, "index") {
		return nil, errors.New("substring not found")
	}
	return int64(-1), nil
}

func pad(e *evaluator, name string, s str, a arguments) (any, error) {
	width, err := optInt(a, 0, "width", 0)
	if err != nil {
		return nil, err
	}
	fill := " "
	if v, ok := a.arg(1, "fillchar"); ok {
		fill = toStr(v).s
	}
	n := width - runeCount(s.s)
	if n <= 0 {
		return s, nil
	}
	if n > maxBytes/8 {
		return nil, e.made(maxString)
	}
	if err := e.made(int(n) * len(fill)); err != nil {
		return nil, err
	}
	left := int64(0)
	switch name {
	case "zfill":
		if s.s != "" && (s.s[0] == '-' || s.s[0] == '+') {
			return s.cut(0, 1).plus(text(strings.Repeat("0", int(n)))).plus(s.cut(1, len(s.s))), nil
		}
		fill, left = "0", n
	case "rjust":
		left = n
	case "center":
		left = n/2 + n&width&1
	}
	return text(strings.Repeat(fill, int(left))).plus(s).plus(text(strings.Repeat(fill, int(n-left)))), nil
}

// braceFormat is str.format with {}, {0} and {name}.
func braceFormat(e *evaluator, s string, a arguments) (any, error) {
	var out rope
	next, automatic, manual := 0, false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case (c == '{' || c == '}') && i+1 < len(s) && s[i+1] == c:
			i++
			out.b = append(out.b, c)
		case c == '{':
			n := strings.IndexByte(s[i:], '}')
			if n < 0 {
				return nil, errors.New("single '{' in format string")
			}
			field := s[i+1 : i+n]
			i += n
			k := -1
			if field == "" {
				k = next
				next++
				automatic = true
			} else if n, err := strconv.Atoi(field); err == nil {
				k, manual = n, true
			}
			if automatic && manual {
				return nil, errors.New("cannot mix numbered and plain fields")
			}
			v, ok := a.arg(k, field)
			if !ok {
				return nil, fmt.Errorf("no argument for the field {%s}", field)
			}
			t := toStr(v)
			if err := e.made(len(t.s)); err != nil {
				return nil, err
			}
			out.write(t)
		case c == '}':
			return nil, errors.New("single '}' in format string")
		default:
			out.b = append(out.b, c)
		}
	}
	return str{string(out.b), out.m}, nil
}
