package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"
)

var sourceKeys = []string{"path", "format", "columns", "where", "filter", "weight", "limit"}

// UnmarshalYAML reads a path, a source, or a list of either. Unknown keys are errors that name their line and column.
func (ss *Sources) UnmarshalYAML(node *yaml.Node) error {
	nodes := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		nodes = node.Content
	}
	var out Sources
	var errs []error
	for _, n := range nodes {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		s, err := sourceOf(n)
		errs = append(errs, err)
		out = append(out, s)
	}
	*ss = out
	return errors.Join(errs...)
}

func sourceOf(n *yaml.Node) (Source, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		var s Source
		return s, n.Decode(&s.Path)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i]; !slices.Contains(sourceKeys, k.Value) {
				return Source{}, fmt.Errorf("line %d, column %d: unknown key %q, expected %s", k.Line, k.Column, k.Value, strings.Join(sourceKeys, ", "))
			}
		}
		var s Source
		return s, n.Decode(&s)
	}
	return Source{}, fmt.Errorf("line %d, column %d: expected a path or a source with a path key", n.Line, n.Column)
}

// UnmarshalJSON reads what UnmarshalYAML reads.
func (ss *Sources) UnmarshalJSON(b []byte) error {
	var path string
	if json.Unmarshal(b, &path) == nil {
		*ss = Sources{{Path: path}}
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil {
		list = []json.RawMessage{b}
	}
	*ss = nil
	for _, raw := range list {
		var s Source
		if json.Unmarshal(raw, &s.Path) != nil {
			if err := json.Unmarshal(raw, &s); err != nil {
				return err
			}
		}
		*ss = append(*ss, s)
	}
	return nil
}

// JSONSchema describes the three ways to write sources.
func (Sources) JSONSchema() *jsonschema.Schema {
	path := &jsonschema.Schema{Type: "string", Description: "a file, glob, folder or builtin:licenses"}
	r := jsonschema.Reflector{DoNotReference: true, Anonymous: true}
	one := r.Reflect(Source{})
	one.Version = ""
	entry := &jsonschema.Schema{OneOf: []*jsonschema.Schema{path, one}}
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{path, one, {Type: "array", Items: entry}}}
}
