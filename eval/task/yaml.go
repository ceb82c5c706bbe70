package task

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"tune/internal/chat"
)

// Function is what "!function module.name" stands for in a task file: an entry of the table of functions.
type Function struct {
	Folder string // base name of the folder of the file that names it
	Name   string // module.name
}

// String is the function's name in the table. A file of another folder may write folder/module.name.
func (f Function) String() string {
	if strings.Contains(f.Name, "/") {
		return f.Name
	}
	return f.Folder + "/" + f.Name
}

const (
	maxYAML      = 4 << 20 // bytes of a task file
	maxYAMLDepth = 60
	maxYAMLNodes = 200000 // with aliases expanded
)

// A converter turns YAML nodes into the values of package chat, with PyYAML's reading of plain scalars: YAML 1.1, where
// yes is true and 1e5 is a string.
type converter struct {
	file   string
	folder string
	nodes  int
}

// readYAML reads a file that holds one mapping.
func readYAML(file string, text []byte) (*chat.Dict, error) {
	if len(text) > maxYAML {
		return nil, fmt.Errorf("%s: expected at most %d bytes, found %d", file, maxYAML, len(text))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: expected a mapping, found nothing", file)
	}
	c := &converter{file: file, folder: filepath.Base(filepath.Dir(filepath.ToSlash(file)))}
	v, err := c.value(doc.Content[0], 0)
	if err != nil {
		return nil, err
	}
	d, ok := v.(*chat.Dict)
	if !ok {
		return nil, c.fail(doc.Content[0], "expected a mapping of keys to values, found %s", kindOf(v))
	}
	return d, nil
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", c.file, n.Line, fmt.Errorf(format, args...))
}

func (c *converter) value(n *yaml.Node, depth int) (any, error) {
	if c.nodes++; c.nodes > maxYAMLNodes || depth > maxYAMLDepth {
		return nil, c.fail(n, "expected at most %d values nested %d deep", maxYAMLNodes, maxYAMLDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, x := range n.Content {
			v, err := c.value(x, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		return c.mapping(n, depth)
	}
	return c.scalar(n)
}

func (c *converter) mapping(n *yaml.Node, depth int) (any, error) {
	d := chat.NewDict()
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, x := n.Content[i], n.Content[i+1]
		v, err := c.value(x, depth+1)
		if err != nil {
			return nil, err
		}
		if k.Value == "<<" && k.Style == 0 {
			merged, ok := v.(*chat.Dict)
			if !ok {
				return nil, c.fail(x, "expected a mapping behind <<, found %s", kindOf(v))
			}
			for _, name := range merged.Keys() {
				if _, have := d.Get(name); !have {
					w, _ := merged.Get(name)
					d.Set(name, w)
				}
			}
			continue
		}
		if k.Kind != yaml.ScalarNode {
			return nil, c.fail(k, "expected a name as key")
		}
		d.Set(k.Value, v)
	}
	return d, nil
}

func (c *converter) scalar(n *yaml.Node) (any, error) {
	switch {
	case n.Tag == "!function":
		if !strings.Contains(n.Value, ".") {
			return nil, c.fail(n, "expected !function module.name, found %q", n.Value)
		}
		return Function{c.folder, n.Value}, nil
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		return nil, c.fail(n, "expected no tag but !function, found %s", n.Tag)
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0,
		n.Style&yaml.TaggedStyle != 0 && n.Tag == "!!str":
		return n.Value, nil
	}
	return plainScalar(n.Value), nil
}

// plainScalar reads a scalar without quotes.
func plainScalar(s string) any {
	switch strings.ToLower(s) {
	case "", "~", "null":
		return nil
	case "yes", "true", "on":
		return true
	case "no", "false", "off":
		return false
	case ".inf", "+.inf":
		return math.Inf(1)
	case "-.inf":
		return math.Inf(-1)
	case ".nan":
		return math.NaN()
	}
	if c := s[0]; c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return s
	}
	digits := strings.ReplaceAll(s, "_", "")
	body := strings.TrimLeft(digits, "+-")
	base := 10
	switch {
	case strings.HasPrefix(body, "0x"), strings.HasPrefix(body, "0b"):
		base = 0
	case len(body) > 1 && body[0] == '0' && strings.Trim(body, "01234567") == "":
		base = 8
	case len(body) > 1 && body[0] == '0' && !strings.Contains(body, "."):
		return s // 08 is no number
	}
	if n, err := strconv.ParseInt(digits, base, 64); err == nil && s[0] != '_' {
		return n
	}
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(body), "e")
	if !strings.Contains(mantissa, ".") || mantissa == "." || hasExponent && (exponent == "" || exponent[0] != '+' && exponent[0] != '-') {
		return s
	}
	if f, err := strconv.ParseFloat(digits, 64); err == nil {
		return f
	}
	return s
}

// kindOf names a value's kind for messages.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a truth value"
	case int64, float64:
		return "a number"
	case string:
		return "a text"
	case []any:
		return "a list"
	case *chat.Dict:
		return "a mapping"
	case Function:
		return "a function"
	}
	return fmt.Sprintf("a %T", v)
}
