package chat

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

type filterFunc func(e *evaluator, v any, a arguments) (any, error)

// filterNamed returns Jinja's filter of a name, nil if there is none.
func filterNamed(name string) filterFunc {
	switch name {
	case "tojson":
		return filterToJSON
	case "trim":
		return func(_ *evaluator, v any, a arguments) (any, error) { return strip(toStr(v), a, true, true) }
	case "string":
		return func(_ *evaluator, v any, _ arguments) (any, error) { return toStr(v), nil }
	case "length", "count":
		return func(_ *evaluator, v any, _ arguments) (any, error) { return length(v) }
	case "default", "d":
		return filterDefault
	case "join":
		return filterJoin
	case "items":
		return filterItems
	case "list":
		return func(_ *evaluator, v any, _ arguments) (any, error) {
			l, err := iterate(v)
			return &list{items: slices.Clone(l)}, err
		}
	case "first", "last":
		return func(_ *evaluator, v any, _ arguments) (any, error) { return end(v, name == "last") }
	case "replace":
		return func(e *evaluator, v any, a arguments) (any, error) { return replace(e, toStr(v), a) }
	case "lower", "upper", "capitalize", "title":
		f := caseMethod(name)
		return func(_ *evaluator, v any, _ arguments) (any, error) { s := toStr(v); return s.with(f(s.s)), nil }
	case "safe", "forceescape":
		return func(_ *evaluator, v any, _ arguments) (any, error) { return toStr(v), nil }
	case "escape", "e":
		return func(_ *evaluator, v any, _ arguments) (any, error) {
			s := toStr(v)
			return s.with(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;").Replace(s.s)), nil
		}
	case "int", "float", "abs", "round":
		return numberFilter(name)
	case "map":
		return filterMap
	case "select", "reject", "selectattr", "rejectattr":
		return func(e *evaluator, v any, a arguments) (any, error) {
			return filterSelect(e, v, a, strings.HasSuffix(name, "attr"), strings.HasPrefix(name, "reject"))
		}
	case "reverse", "sort", "unique", "min", "max", "sum", "groupby", "batch", "slice", "dictsort":
		return listFilter(name)
	case "attr":
		return func(_ *evaluator, v any, a arguments) (any, error) {
			name, err := wantStr(a, 0, "name")
			if err != nil {
				return nil, err
			}
			return attribute(v, name)
		}
	case "indent":
		return filterIndent
	case "center":
		return func(e *evaluator, v any, a arguments) (any, error) { return pad(e, name, toStr(v), a) }
	case "format":
		return func(e *evaluator, v any, a arguments) (any, error) {
			return e.percent(toStr(v), &list{items: a.pos, tuple: true})
		}
	case "wordcount":
		return func(_ *evaluator, v any, _ arguments) (any, error) {
			return int64(len(strings.Fields(toStr(v).s))), nil
		}
	case "urlencode":
		return func(_ *evaluator, v any, _ arguments) (any, error) {
			return text(strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(toStr(v).s), "+", "%20"), "%2F", "/")), nil
		}
	}
	return nil
}

func length(v any) (any, error) {
	switch v := v.(type) {
	case str:
		return runeCount(v.s), nil
	case *list:
		return int64(len(v.items)), nil
	case *dict:
		return int64(len(v.keys)), nil
	case undefined:
		return int64(0), nil
	}
	return nil, fmt.Errorf("object of type '%s' has no len()", typeName(v))
}

func end(v any, last bool) (any, error) {
	l, err := iterate(v)
	if err != nil {
		return nil, err
	}
	if len(l) == 0 {
		return undefined{"the first or last item of an empty sequence"}, nil
	}
	if last {
		return l[len(l)-1], nil
	}
	return l[0], nil
}

func filterDefault(_ *evaluator, v any, a arguments) (any, error) {
	def, ok := a.arg(0, "default_value")
	if !ok {
		def = str{}
	}
	falsy, _ := a.arg(1, "boolean")
	if _, no := v.(undefined); no || truth(falsy) && !truth(v) {
		return def, nil
	}
	return v, nil
}

func filterJoin(e *evaluator, v any, a arguments) (any, error) {
	sep, _ := a.arg(0, "d")
	s, ok := sep.(str)
	if !ok && sep != nil {
		s = toStr(sep)
	}
	if attr, ok := a.arg(1, "attribute"); ok {
		l, err := iterate(v)
		if err != nil {
			return nil, err
		}
		if l, err = mapAttr(l, attr, nil); err != nil {
			return nil, err
		}
		v = &list{items: l}
	}
	return join(e, v, s, false)
}

func filterItems(_ *evaluator, v any, _ arguments) (any, error) {
	switch v := v.(type) {
	case undefined:
		return &list{}, nil
	case *dict:
		return items(v), nil
	}
	return nil, errors.New("can only get item pairs from a mapping")
}

func numberFilter(name string) filterFunc {
	return func(_ *evaluator, v any, a arguments) (any, error) {
		switch name {
		case "int":
			return toInt(v, a)
		case "float":
			if s, ok := v.(str); ok {
				if f, err := strconv.ParseFloat(strings.TrimSpace(s.s), 64); err == nil {
					return f, nil
				}
			} else if f, ok := asNumber(v); ok {
				return f, nil
			}
			if def, ok := a.arg(0, "default"); ok {
				return def, nil
			}
			return 0.0, nil
		}
		x, ok := asNumber(v)
		if !ok {
			return nil, fmt.Errorf("expected a number, found %s", typeName(v))
		}
		if name == "abs" {
			if n, ok := asInt(v); ok && n != math.MinInt64 {
				return max(n, -n), nil
			}
			return math.Abs(x), nil
		}
		digits, err := optInt(a, 0, "precision", 0)
		if err != nil {
			return nil, err
		}
		scale := math.Pow(10, float64(max(min(digits, 300), -300)))
		how, _ := a.arg(1, "method")
		switch toStr(how).s {
		case "ceil":
			return math.Ceil(x*scale) / scale, nil
		case "floor":
			return math.Floor(x*scale) / scale, nil
		}
		return math.RoundToEven(x*scale) / scale, nil
	}
}

func toInt(v any, a arguments) (any, error) {
	switch v := v.(type) {
	case float64:
		if math.Abs(v) < 1<<63 {
			return int64(v), nil
		}
	case str:
		base, err := optInt(a, 1, "base", 10)
		if err != nil {
			return nil, err
		}
		s := strings.TrimSpace(v.s)
		if n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), int(max(min(base, 36), 2)), 64); err == nil {
			return n, nil
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<63 {
			return int64(f), nil
		}
	default:
		if n, ok := asInt(v); ok {
			return n, nil
		}
	}
	if def, ok := a.arg(0, "default"); ok {
		return def, nil
	}
	return int64(0), nil
}

// path looks up "a.b.0" or an index in an element.
func path(v any, attr any) (any, error) {
	if n, ok := asInt(attr); ok {
		return item(v, n)
	}
	for _, name := range strings.Split(toStr(attr).s, ".") {
		var key any = text(name)
		if n, err := strconv.ParseInt(name, 10, 64); err == nil {
			key = n
		}
		var err error
		if v, err = item(v, key); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// mapAttr looks up an attribute in every element; def, when not nil, points to what stands for a missing one.
func mapAttr(l []any, attr any, def *any) ([]any, error) {
	out := make([]any, len(l))
	for i, x := range l {
		v, err := path(x, attr)
		if err != nil {
			return nil, err
		}
		if _, no := v.(undefined); no && def != nil {
			v = *def
		}
		out[i] = v
	}
	return out, nil
}

func filterMap(e *evaluator, v any, a arguments) (any, error) {
	l, err := iterate(v)
	if err != nil {
		return nil, err
	}
	if attr, ok := a.arg(-1, "attribute"); ok {
		var def *any
		if d, ok := a.arg(-1, "default"); ok {
			def = &d
		}
		l, err = mapAttr(l, attr, def)
		return &list{items: l}, err
	}
	name, err := wantStr(a, 0, "filter")
	if err != nil {
		return nil, err
	}
	f := filterNamed(name)
	if f == nil {
		return nil, fmt.Errorf("unknown filter %q", name)
	}
	rest := arguments{a.pos[1:], a.names, a.kw}
	out := &list{items: make([]any, len(l))}
	for i, x := range l {
		if err := e.step(); err != nil {
			return nil, err
		}
		if out.items[i], err = f(e, x, rest); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func filterSelect(e *evaluator, v any, a arguments, byAttr, reject bool) (any, error) {
	l, err := iterate(v)
	if err != nil {
		return nil, err
	}
	var attr any
	if byAttr {
		if len(a.pos) == 0 {
			return nil, errors.New("expected the name of an attribute")
		}
		attr, a.pos = a.pos[0], a.pos[1:]
	}
	test := func(_ *evaluator, v any, _ arguments) (bool, error) { return truth(v), nil }
	if len(a.pos) > 0 {
		name, err := wantStr(a, 0, "test")
		if err != nil {
			return nil, err
		}
		if test = testNamed(name); test == nil {
			return nil, fmt.Errorf("unknown test %q", name)
		}
		a.pos = a.pos[1:]
	}
	out := &list{}
	for _, x := range l {
		if err := e.step(); err != nil {
			return nil, err
		}
		y := x
		if byAttr {
			if y, err = path(x, attr); err != nil {
				return nil, err
			}
		}
		ok, err := test(e, y, a)
		if err != nil {
			return nil, err
		}
		if ok != reject {
			out.items = append(out.items, x)
		}
	}
	return out, nil
}

func listFilter(name string) filterFunc {
	return func(e *evaluator, v any, a arguments) (any, error) {
		if s, ok := v.(str); ok && name == "reverse" {
			by := int64(-1)
			return e.slice(s, nil, nil, &by)
		}
		l, err := iterate(v)
		if err != nil {
			return nil, err
		}
		l = slices.Clone(l)
		switch name {
		case "reverse":
			slices.Reverse(l)
			return &list{items: l}, nil
		case "sum":
			return sum(l, a)
		case "batch", "slice":
			return pieces(e, name, l, a)
		case "dictsort":
			return dictSort(v, a)
		case "groupby":
			return groupBy(l, a)
		case "unique":
			return unique(l, a)
		}
		attr, _ := a.arg(2, "attribute")
		caseSensitive, _ := a.arg(1, "case_sensitive")
		reverse, _ := a.arg(0, "reverse")
		if name != "sort" {
			attr, _ = a.arg(1, "attribute")
			caseSensitive, _ = a.arg(0, "case_sensitive")
			reverse = false
		}
		if err := sortBy(l, attr, truth(caseSensitive), truth(reverse)); err != nil {
			return nil, err
		}
		if name == "sort" {
			return &list{items: l}, nil
		}
		return end(&list{items: l}, name == "max")
	}
}

// sortKey is what an element is compared by.
func sortKey(v, attr any, caseSensitive bool) (any, error) {
	if attr != nil {
		var err error
		if v, err = path(v, attr); err != nil {
			return nil, err
		}
	}
	if s, ok := v.(str); ok && !caseSensitive {
		return text(strings.ToLower(s.s)), nil
	}
	return v, nil
}

func sortBy(l []any, attr any, caseSensitive, reverse bool) error {
	type keyed struct{ key, v any }
	list := make([]keyed, len(l))
	for i, v := range l {
		key, err := sortKey(v, attr, caseSensitive)
		if err != nil {
			return err
		}
		list[i] = keyed{key, v}
	}
	var failed error
	slices.SortStableFunc(list, func(a, b keyed) int {
		c, err := compare(a.key, b.key)
		if err != nil {
			failed = err
		}
		if reverse {
			return -c
		}
		return c
	})
	for i := range list {
		l[i] = list[i].v
	}
	return failed
}

func sum(l []any, a arguments) (any, error) {
	if attr, ok := a.arg(0, "attribute"); ok && attr != nil {
		var err error
		if l, err = mapAttr(l, attr, nil); err != nil {
			return nil, err
		}
	}
	total, ok := a.arg(1, "start")
	if !ok {
		total = int64(0)
	}
	for _, v := range l {
		var err error
		if total, err = arithmetic("+", total, v); err != nil {
			return nil, err
		}
	}
	return total, nil
}

// pieces cuts a list into rows of n (batch) or into n rows (slice).
func pieces(e *evaluator, name string, l []any, a arguments) (any, error) {
	n, err := optInt(a, 0, "linecount", 0)
	if err != nil {
		return nil, err
	}
	if n <= 0 || n > maxRange {
		return nil, fmt.Errorf("expected a count from 1 to %d, found %d", maxRange, n)
	}
	fill, filled := a.arg(1, "fill_with")
	out := &list{}
	size, extra := n, int64(0)
	if name == "slice" {
		size, extra = int64(len(l))/n, int64(len(l))%n
	}
	for k := int64(0); name == "slice" && k < n || name == "batch" && len(l) > 0; k++ {
		m := size
		if k < extra {
			m++
		}
		row := slices.Clone(l[:min(m, int64(len(l)))])
		l = l[len(row):]
		if filled && fill != nil && name == "slice" && extra > 0 && k >= extra {
			row = append(row, fill)
		}
		for filled && fill != nil && name == "batch" && int64(len(row)) < n {
			row = append(row, fill)
		}
		if err := e.made(16 * len(row)); err != nil {
			return nil, err
		}
		out.items = append(out.items, &list{items: row})
	}
	return out, nil
}

func dictSort(v any, a arguments) (any, error) {
	d, ok := v.(*dict)
	if !ok {
		return nil, fmt.Errorf("expected a mapping, found %s", typeName(v))
	}
	caseSensitive, _ := a.arg(0, "case_sensitive")
	by, _ := a.arg(1, "by")
	reverse, _ := a.arg(2, "reverse")
	at := int64(0)
	if toStr(by).s == "value" {
		at = 1
	}
	l := items(d)
	return l, sortBy(l.items, at, truth(caseSensitive), truth(reverse))
}

func groupBy(l []any, a arguments) (any, error) {
	attr, ok := a.arg(0, "attribute")
	if !ok {
		return nil, errors.New("expected an attribute")
	}
	if err := sortBy(l, attr, false, false); err != nil {
		return nil, err
	}
	out := &list{}
	var last *list
	var lastKey any
	for _, v := range l {
		key, err := path(v, attr)
		if err != nil {
			return nil, err
		}
		if last == nil || !equal(key, lastKey) {
			last, lastKey = &list{}, key
			out.items = append(out.items, &list{items: []any{key, last}, tuple: true})
		}
		last.items = append(last.items, v)
	}
	return out, nil
}

func unique(l []any, a arguments) (any, error) {
	caseSensitive, _ := a.arg(0, "case_sensitive")
	attr, _ := a.arg(1, "attribute")
	out := &list{}
	var seen []any
	for _, v := range l {
		key, err := sortKey(v, attr, truth(caseSensitive))
		if err != nil {
			return nil, err
		}
		if len(seen) > maxRange/10 {
			return nil, fmt.Errorf("more than %d different elements", maxRange/10)
		}
		if !slices.ContainsFunc(seen, func(x any) bool { return equal(x, key) }) {
			seen = append(seen, key)
			out.items = append(out.items, v)
		}
	}
	return out, nil
}

func filterIndent(e *evaluator, v any, a arguments) (any, error) {
	width, ok := a.arg(0, "width")
	by := "    "
	if n, isInt := asInt(width); ok && isInt {
		if n < 0 || n > maxRange {
			return nil, fmt.Errorf("expected a width from 0 to %d, found %d", maxRange, n)
		}
		by = strings.Repeat(" ", int(n))
	} else if s, isStr := width.(str); isStr {
		by = s.s
	}
	first, _ := a.arg(1, "first")
	blank, _ := a.arg(2, "blank")
	s := toStr(v)
	if err := e.made(len(s.s) + strings.Count(s.s, "\n")*len(by)); err != nil {
		return nil, err
	}
	var out rope
	for from, i := 0, 0; ; i++ {
		to := strings.IndexByte(s.s[from:], '\n')
		line := s.cut(from, len(s.s))
		if to >= 0 {
			line = s.cut(from, from+to+1)
		}
		if i == 0 && truth(first) || i > 0 && (truth(blank) || strings.TrimRight(line.s, "\n") != "") {
			out.write(text(by))
		}
		out.write(line)
		if to < 0 {
			return str{string(out.b), out.m}, nil
		}
		from += to + 1
	}
}
