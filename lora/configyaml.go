package lora

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"
)

// UnmarshalYAML reads a string or a list of strings.
func (n *Names) UnmarshalYAML(node *yaml.Node) error {
	*n = Names{}
	if node.Kind == yaml.SequenceNode {
		return node.Decode(&n.List)
	}
	return node.Decode(&n.Pattern)
}

// MarshalYAML writes what UnmarshalYAML reads.
func (n Names) MarshalYAML() (any, error) { return n.plain(), nil }

// UnmarshalJSON reads what UnmarshalYAML reads; null is nothing.
func (n *Names) UnmarshalJSON(b []byte) error {
	*n = Names{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &n.Pattern)
	}
	return json.Unmarshal(b, &n.List)
}

// MarshalJSON writes what UnmarshalJSON reads.
func (n Names) MarshalJSON() ([]byte, error) { return json.Marshal(n.plain()) }

func (n Names) plain() any {
	switch {
	case n.Pattern != "":
		return n.Pattern
	case len(n.List) > 0:
		return n.List
	}
	return nil
}

// JSONSchema describes both ways to write names.
func (Names) JSONSchema() *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{s, {Type: "array", Items: s}}}
}

// UnmarshalYAML reads a mapping in its order.
func (ps *Patterns) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d, column %d: expected a mapping from patterns to numbers", node.Line, node.Column)
	}
	*ps = nil
	for i := 0; i+1 < len(node.Content); i += 2 {
		p := Pattern{Key: node.Content[i].Value}
		if err := node.Content[i+1].Decode(&p.Value); err != nil {
			return err
		}
		*ps = append(*ps, p)
	}
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (ps Patterns) MarshalYAML() (any, error) {
	node := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, p := range ps {
		var key, value yaml.Node
		key.SetString(p.Key)
		if err := value.Encode(integer(p.Value)); err != nil {
			return nil, err
		}
		node.Content = append(node.Content, &key, &value)
	}
	return node, nil
}

// UnmarshalJSON reads an object in its order; null is nothing.
func (ps *Patterns) UnmarshalJSON(b []byte) error {
	*ps = nil
	d := json.NewDecoder(bytes.NewReader(b))
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("expected an object from patterns to numbers, found %.40s", b)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var p Pattern
		p.Key, _ = key.(string) // the decoder lets only strings be keys
		if err := d.Decode(&p.Value); err != nil {
			return err
		}
		*ps = append(*ps, p)
	}
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (ps Patterns) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, p := range ps {
		if i > 0 {
			out = append(out, ',')
		}
		key, err := json.Marshal(p.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(integer(p.Value))
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	return append(out, '}'), nil
}

// JSONSchema describes a mapping to numbers.
func (Patterns) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{Type: "number"}}
}
