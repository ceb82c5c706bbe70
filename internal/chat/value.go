package chat

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Values inside an evaluation are
//
//	nil (None)  undefined  bool  int64  float64  str  *list  *dict  *namespace  *function  *loop
//
// with the semantics that Python and Jinja give them.

// str is a string whose parts may be marked with where they come from.
type str struct {
	s string
	m []mark // in order of start; nil in most strings
}

// A mark says that bytes [start, end) come from message msg, or were written while it was the turn of that message.
type mark struct {
	start, end int
	msg        int32
	kind       markKind
}

type markKind uint8

const (
	markContent    markKind = iota // a value of an assistant message
	markTurn                       // written by a pass of a loop over messages
	markGeneration                 // written inside {% generation %}
)

func text(s string) str { return str{s: s} }

// cut returns s[a:b] with its marks.
func (s str) cut(a, b int) str {
	r := str{s: s.s[a:b]}
	for _, m := range s.m {
		m.start, m.end = max(m.start, a)-a, min(m.end, b)-a
		if m.start < m.end {
			r.m = append(r.m, m)
		}
	}
	return r
}

func (s str) plus(t str) str {
	r := str{s: s.s + t.s}
	if s.m == nil && t.m == nil {
		return r
	}
	r.m = append(append(make([]mark, 0, len(s.m)+len(t.m)), s.m...), shifted(t.m, len(s.s))...)
	return r
}

func shifted(m []mark, by int) []mark {
	out := make([]mark, len(m))
	for i, x := range m {
		x.start += by
		x.end += by
		out[i] = x
	}
	return out
}

// with returns another spelling of s: wholly marked if s is wholly of one message, unmarked otherwise.
func (s str) with(t string) str {
	r := str{s: t}
	for _, m := range s.m {
		if m.kind == markContent && m.start == 0 && m.end == len(s.s) {
			r.m = []mark{{0, len(t), m.msg, markContent}}
		}
	}
	return r
}

// undefined is the value of a name or attribute that does not exist; what says which.
type undefined struct{ what string }

type list struct {
	items []any
	tuple bool
}

// dict keeps the order of its keys, which are strings, numbers, bools or nil.
type dict struct {
	keys, vals []any
	index      map[string]int // of large ones
	msg        int32          // 1 + index of the message that this is; 0: none
}

const dictLinear = 12

func dictKey(k any) (string, bool) {
	switch k := k.(type) {
	case str:
		return "s" + k.s, true
	case nil, bool, int64, float64:
		if n, ok := asNumber(k); ok { // 1, 1.0 and true are one key
			return "n" + strconv.FormatFloat(n, 'g', -1, 64), true
		}
		return "0", true
	}
	return "", false
}

func (d *dict) find(k any) int {
	if s, ok := k.(str); ok && d.index == nil {
		for i, x := range d.keys {
			if t, ok := x.(str); ok && t.s == s.s {
				return i
			}
		}
		return -1
	}
	key, ok := dictKey(k)
	if !ok {
		return -1
	}
	if d.index == nil {
		for i, x := range d.keys {
			if other, _ := dictKey(x); other == key {
				return i
			}
		}
		return -1
	}
	if i, ok := d.index[key]; ok {
		return i
	}
	return -1
}

func (d *dict) get(k any) (any, bool) {
	if i := d.find(k); i >= 0 {
		return d.vals[i], true
	}
	return nil, false
}

func (d *dict) set(k, v any) {
	if i := d.find(k); i >= 0 {
		d.vals[i] = v
		return
	}
	d.keys, d.vals = append(d.keys, k), append(d.vals, v)
	if d.index == nil && len(d.keys) <= dictLinear {
		return
	}
	if d.index == nil {
		d.index = make(map[string]int, 2*len(d.keys))
		for i, x := range d.keys {
			key, _ := dictKey(x)
			d.index[key] = i
		}
		return
	}
	key, _ := dictKey(k)
	d.index[key] = len(d.keys) - 1
}

type namespace struct{ dict }

// A function is anything that can be called.
type function struct {
	name string
	call func(e *evaluator, a arguments) (any, error)
}

// arguments of a call.
type arguments struct {
	pos   []any
	names []string // of kw
	kw    []any
}

// arg returns positional argument i or the keyword argument name.
func (a arguments) arg(i int, name string) (any, bool) {
	if i >= 0 && i < len(a.pos) {
		return a.pos[i], true
	}
	for k, n := range a.names {
		if n == name {
			return a.kw[k], true
		}
	}
	return nil, false
}

// fromGo converts a public value; strings of assistant messages are marked with mark (msg < 0: no mark).
func fromGo(v any, msg int32, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case nil, bool, int64, float64:
		return v, nil
	case int:
		return int64(v), nil
	case string:
		if msg >= 0 && v != "" {
			return str{v, []mark{{0, len(v), msg, markContent}}}, nil
		}
		return text(v), nil
	case []any:
		l := &list{items: make([]any, len(v))}
		for i, x := range v {
			var err error
			if l.items[i], err = fromGo(x, msg, depth+1); err != nil {
				return nil, err
			}
		}
		return l, nil
	case *Dict:
		d := &dict{keys: make([]any, 0, v.Len()), vals: make([]any, 0, v.Len())}
		for _, k := range v.Keys() {
			x, _ := v.Get(k)
			y, err := fromGo(x, msg, depth+1)
			if err != nil {
				return nil, err
			}
			d.set(text(k), y)
		}
		return d, nil
	}
	return nil, fmt.Errorf("a value for a template is nil, bool, int64, float64, string, []any or *Dict, not %T", v)
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case str:
		return v.s != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return len(v.keys) > 0
	}
	return true
}

// typeName is Python's name of the type, for messages.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case undefined:
		return "Undefined"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case str:
		return "str"
	case *list:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *dict:
		return "dict"
	case *namespace:
		return "namespace"
	case *function:
		return "function"
	}
	return "object"
}

// toStr is Python's str(); an undefined value is empty.
func toStr(v any) str {
	switch v := view(v).(type) {
	case str:
		return v
	case undefined:
		return str{}
	}
	var b strings.Builder
	writeRepr(&b, v, 0)
	return text(b.String())
}

// writeRepr is Python's repr().
func writeRepr(b *strings.Builder, v any, depth int) {
	if depth > maxDepth {
		b.WriteString("...")
		return
	}
	switch v := view(v).(type) {
	case nil:
		b.WriteString("None")
	case undefined:
		b.WriteString("Undefined")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(floatRepr(v))
	case str:
		b.WriteString(strRepr(v.s))
	case *list:
		open, end := "[", "]"
		if v.tuple {
			open, end = "(", ")"
			if len(v.items) == 1 {
				end = ",)"
			}
		}
		b.WriteString(open)
		for i, x := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, x, depth+1)
		}
		b.WriteString(end)
	case *dict:
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, k, depth+1)
			b.WriteString(": ")
			writeRepr(b, v.vals[i], depth+1)
		}
		b.WriteByte('}')
	default:
		b.WriteString("<" + typeName(v) + ">")
	}
}

// floatRepr writes a float as Python does: shortest digits, an exponent below 1e-4 and from 1e16 on.
func floatRepr(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func strRepr(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b := []byte{quote}
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < 0x20 || r == 0x7f:
			b = fmt.Appendf(b, `\x%02x`, r)
		case strconv.IsPrint(r):
			b = append(b, string(r)...)
		case r < 0x100:
			b = fmt.Appendf(b, `\x%02x`, r)
		case r < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\U%08x`, r)
		}
	}
	return string(append(b, quote))
}

// asNumber returns a number or bool as float64.
func asNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// asInt returns an int or bool.
func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

func equal(a, b any) bool { return equalDepth(a, b, 0) }

func equalDepth(a, b any, depth int) bool {
	if depth > maxDepth {
		return false
	}
	if a, ok := a.(*Dict); ok && a == b {
		return true
	}
	a, b = view(a), view(b)
	if x, ok := asInt(a); ok {
		if y, ok := asInt(b); ok {
			return x == y
		}
	}
	if x, ok := asNumber(a); ok {
		y, ok := asNumber(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case str:
		t, ok := b.(str)
		return ok && a.s == t.s
	case *list:
		l, ok := b.(*list)
		if !ok || len(a.items) != len(l.items) || a.tuple != l.tuple {
			return false
		}
		for i := range a.items {
			if !equalDepth(a.items[i], l.items[i], depth+1) {
				return false
			}
		}
		return true
	case *dict:
		d, ok := b.(*dict)
		if !ok || len(a.keys) != len(d.keys) {
			return false
		}
		if a == d {
			return true
		}
		for i, k := range a.keys {
			v, ok := d.get(k)
			if !ok || !equalDepth(a.vals[i], v, depth+1) {
				return false
			}
		}
		return true
	case *namespace, *function, *loop:
		return a == b
	}
	return false
}

// compare orders two values as Python's < does.
func compare(a, b any) (int, error) {
	if x, ok := asNumber(a); ok {
		if y, ok := asNumber(b); ok {
			switch {
			case x < y:
				return -1, nil
			case x > y:
				return 1, nil
			}
			return 0, nil
		}
	}
	if s, ok := a.(str); ok {
		if t, ok := b.(str); ok {
			return strings.Compare(s.s, t.s), nil
		}
	}
	if s, ok := a.(*list); ok {
		if t, ok := b.(*list); ok {
			for i := range min(len(s.items), len(t.items)) {
				if !equal(s.items[i], t.items[i]) {
					return compare(s.items[i], t.items[i])
				}
			}
			return len(s.items) - len(t.items), nil
		}
	}
	if u, ok := a.(undefined); ok {
		return 0, u.fail()
	}
	if u, ok := b.(undefined); ok {
		return 0, u.fail()
	}
	return 0, fmt.Errorf("'<' not supported between instances of '%s' and '%s'", typeName(a), typeName(b))
}

func (u undefined) fail() error { return fmt.Errorf("%s is undefined", u.what) }

// iterate returns the elements of a value.
func iterate(v any) ([]any, error) {
	switch v := v.(type) {
	case *list:
		return v.items, nil
	case *dict:
		return v.keys, nil
	case undefined:
		return nil, nil
	case str:
		var out []any
		for i, r := range v.s {
			n := len(string(r))
			out = append(out, v.cut(i, min(i+n, len(v.s))))
		}
		return out, nil
	}
	return nil, fmt.Errorf("'%s' object is not iterable", typeName(v))
}
