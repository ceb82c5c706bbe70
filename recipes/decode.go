package recipes

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder walks a YAML tree and a Go value side by side and collects every problem instead of stopping at the first.
type decoder struct {
	report func(n *yaml.Node, path, message string)
	root   reflect.Type // for suggestions
}

type yamlUnmarshaler interface{ UnmarshalYAML(*yaml.Node) error }

// decode writes node n into v, which keeps its value where n says nothing.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if v.Kind() == reflect.Pointer {
		if isNull(n) {
			v.SetZero()
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, v.Elem(), path)
		return
	}
	switch x := v.Addr().Interface().(type) {
	case yamlUnmarshaler:
		d.foreign(n, path, v.Type(), x.UnmarshalYAML(n))
		return
	case encoding.TextUnmarshaler:
		if n.Kind != yaml.ScalarNode {
			d.expected(n, path, describe(v.Type()))
		} else if err := x.UnmarshalText([]byte(n.Value)); err != nil {
			d.report(n, path, err.Error())
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.expected(n, path, describe(v.Type()))
			return
		}
		out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, c := range n.Content {
			d.decode(c, out.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(out)
	case reflect.Map:
		d.mapping(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// object decodes a section: a mapping with known keys. An empty section keeps all defaults.
func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.expected(n, path, describe(v.Type()))
		return
	}
	fields := keysOf(v.Type())
	d.pairs(n, path, func(key, value *yaml.Node, at string) {
		if i, ok := fields[key.Value]; ok {
			d.decode(value, v.FieldByIndex(i), at)
			return
		}
		message := fmt.Sprintf("unknown key, expected one of %s", list(v.Type()))
		if s := suggest(key.Value, v.Type(), path, d.root); s != "" {
			message = fmt.Sprintf("unknown key, did you mean %s?", s)
		}
		d.report(key, at, message)
	})
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.expected(n, path, describe(v.Type()))
		return
	}
	out := reflect.MakeMap(v.Type())
	d.pairs(n, path, func(key, value *yaml.Node, at string) {
		x := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, x, at)
		out.SetMapIndex(reflect.ValueOf(key.Value), x)
	})
	v.Set(out)
}

// pairs visits the entries of a mapping; a key written twice is a problem.
func (d *decoder) pairs(n *yaml.Node, path string, visit func(key, value *yaml.Node, at string)) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := join(path, key.Value)
		if key.Kind != yaml.ScalarNode {
			d.expected(key, path, "a key")
			continue
		}
		if first := seen[key.Value]; first != nil {
			d.report(key, at, fmt.Sprintf("expected each key once, found it first in line %d", first.Line))
			continue
		}
		seen[key.Value] = key
		visit(key, n.Content[i+1], at)
	}
}

// scalar decodes booleans, numbers and text. The YAML library reads the number; here its kind is checked first.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	tag := n.ShortTag()
	ok := n.Kind == yaml.ScalarNode
	switch v.Kind() {
	case reflect.Bool:
		ok = ok && tag == "!!bool"
	case reflect.String:
		ok = ok && tag == "!!str"
	case reflect.Float64:
		ok = ok && (tag == "!!int" || tag == "!!float")
	default:
		ok = ok && tag == "!!int"
	}
	if !ok {
		d.expected(n, path, describe(v.Type()))
		return
	}
	if err := n.Decode(v.Addr().Interface()); err != nil || v.Kind() == reflect.Float64 && math.IsNaN(v.Float()) {
		d.expected(n, path, describe(v.Type()))
	}
}

// foreign reports the error of a type that decodes itself. Such an error may hold several and know better positions.
func (d *decoder) foreign(n *yaml.Node, path string, t reflect.Type, err error) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			d.foreign(n, path, t, e)
		}
		return
	}
	var loads *yaml.LoadErrors
	if errors.As(err, &loads) {
		for _, e := range loads.Errors {
			at := *n
			if e.Mark.Line > 0 {
				at.Line, at.Column = e.Mark.Line, e.Mark.Column
			}
			d.report(&at, path, e.Message)
		}
		return
	}
	message := err.Error()
	at := *n
	var line, column int
	if k, _ := fmt.Sscanf(message, "line %d, column %d:", &line, &column); k == 2 {
		at.Line, at.Column = line, column
		_, message, _ = strings.Cut(message, ": ")
	}
	d.report(&at, path, message)
}

func (d *decoder) expected(n *yaml.Node, path, what string) {
	d.report(n, path, fmt.Sprintf("expected %s, found %s", what, found(n)))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// found says what a node is, in a user's words.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("the text %q", n.Value)
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return n.Value
}

// describe says what a type wants, in a user's words.
func describe(t reflect.Type) string {
	if t == reflect.TypeFor[Size]() {
		return "a size such as 2GiB or 95MB"
	}
	if t == reflect.TypeFor[[]Artifact]() {
		return "a list such as [{merged: bf16}, {gguf: Q4_K_M}]"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Map:
		return "a section of your own keys"
	case reflect.Struct:
		return "a section with keys such as " + list(t)
	}
	return "a whole number"
}

// keysOf maps the YAML keys of a struct to its fields, those of inlined structs among them.
func keysOf(t reflect.Type) map[string][]int {
	keys := map[string][]int{}
	for _, k := range orderedKeys(t) {
		keys[k.name] = k.index
	}
	return keys
}

type yamlKey struct {
	name  string
	index []int
}

// orderedKeys are the YAML keys of a struct in their order.
func orderedKeys(t reflect.Type) (keys []yamlKey) {
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if options == "inline" {
			for _, k := range orderedKeys(t.Field(i).Type) {
				keys = append(keys, yamlKey{k.name, append([]int{i}, k.index...)})
			}
		} else if name != "" && name != "-" {
			keys = append(keys, yamlKey{name, []int{i}})
		}
	}
	return keys
}

// list names the keys of a struct in their order.
func list(t reflect.Type) string {
	var names []string
	for _, k := range orderedKeys(t) {
		names = append(names, k.name)
	}
	return strings.Join(names, ", ")
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
