// Package recipes reads recipes: one YAML file says everything about a job. It also holds the recipes and the base model
// that come with the program.
//
// Reading is strict. Unknown keys, wrong types and impossible combinations are all reported at once, each with file,
// line, column, what was expected and what was found. key=value overrides pass through the same decoder. A recipe names
// a method; facts about the model come from the checkpoint.
package recipes

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"tune/data"
	"tune/internal/hint"
	"tune/lora"
	"tune/train"
)

// Recipe is one job. Paths in it are relative to the current folder.
type Recipe struct {
	Base      string       `yaml:"base" json:"base,omitempty" jsonschema:"description=the model to start from: builtin:lex-5m or a Hugging Face folder or a GGUF file"`
	Precision string       `yaml:"precision" json:"precision,omitempty" jsonschema:"enum=auto,enum=bf16,enum=f32,description=of matrix products; auto is bf16 where the processor multiplies it"`
	Memory    Size         `yaml:"memory" json:"memory,omitempty" jsonschema:"description=most memory the job may use; 0 sets no limit"`
	Seed      uint64       `yaml:"seed" json:"seed,omitempty" jsonschema:"description=decides order and dropout and initial values"`
	Data      data.Config  `yaml:"data" json:"data,omitempty"`
	LoRA      lora.Config  `yaml:"lora" json:"lora,omitempty"`
	Train     train.Config `yaml:"train" json:"train,omitempty"`
	Eval      Eval         `yaml:"eval" json:"eval,omitempty"`
	Export    []Artifact   `yaml:"export" json:"export,omitempty" jsonschema:"description=what is written after training beside the adapter or the checkpoint; [] is nothing"`
	Output    string       `yaml:"output" json:"output,omitempty" jsonschema:"description=folder for results"`
}

// Default is a recipe in which nothing is set.
func Default() Recipe {
	return Recipe{Base: Builtin, Precision: "auto", Seed: 1, Data: data.Default(), LoRA: lora.Default(), Train: train.Defaults(),
		Eval: Eval{EvalConfig: train.EvalDefaults()}, Export: []Artifact{{Merged: "bf16"}, {GGUF: "Q8_0"}}}
}

// Override is one key=value of the command line.
type Override struct {
	Key, Value string
	Text       bool   // Value is text as it stands, not YAML: paths given by flags
	From       string // what the user wrote, for messages
}

// ParseOverride reads "key=value"; the value is YAML, as it would stand behind "key: ".
func ParseOverride(arg string) (Override, error) {
	key, value, ok := strings.Cut(arg, "=")
	if !ok || key == "" {
		return Override{}, hint.Errorf("write it as train.lr=1e-4", "override %s: expected key=value", arg)
	}
	return Override{Key: key, Value: value, From: arg}, nil
}

// Load reads a recipe by path or by the name of a built-in one, and applies overrides in their order.
func Load(name string, overrides []Override) (*Recipe, error) {
	text, file, err := read(name)
	if err != nil {
		return nil, err
	}
	return Parse(file, text, overrides)
}

// Parse reads a recipe. The error is *Problems when something is wrong with its content.
func Parse(file string, text []byte, overrides []Override) (*Recipe, error) {
	p := &parser{file: file, ps: &Problems{source: map[string][]string{file: strings.Split(strings.TrimRight(string(text), "\n"), "\n")}},
		origin: map[*yaml.Node]string{}}
	root := p.tree(text)
	for _, o := range overrides {
		p.override(root, o)
	}
	r := Default()
	d := &decoder{report: p.report, root: reflect.TypeFor[Recipe]()}
	d.decode(root, reflect.ValueOf(&r).Elem(), "")
	undecoded := p.ps.List
	for _, x := range r.Check() {
		if !slices.ContainsFunc(undecoded, func(u Problem) bool { return covers(u.Path, x.Path) }) {
			p.report(p.locate(root, x.Path), x.Path, x.Message)
		}
	}
	if len(p.ps.List) > 0 {
		p.ps.List = sorted(p.ps.List)
		return nil, p.ps
	}
	return &r, nil
}

// covers tells whether a problem of key a makes one of key b pointless.
func covers(a, b string) bool {
	return a != "" && strings.HasPrefix(b, a) && (len(a) == len(b) || b[len(a)] == '.' || b[len(a)] == '[')
}

type parser struct {
	file   string
	ps     *Problems
	origin map[*yaml.Node]string // nodes that overrides brought in
}

func (p *parser) report(n *yaml.Node, path, message string) {
	x := Problem{File: p.file, Line: n.Line, Column: n.Column, Path: path, Message: message}
	if from := p.origin[n]; from != "" {
		x = Problem{Override: from, Path: path, Message: message}
	}
	p.ps.List = append(p.ps.List, x)
}

// tree parses the text; a syntax error leaves an empty recipe and a problem.
func (p *parser) tree(text []byte) *yaml.Node {
	empty := &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	var doc yaml.Node
	err := yaml.Load(text, &doc)
	var syntax *yaml.LoadError
	switch {
	case !hasContent(text):
	case errors.As(err, &syntax):
		p.report(&yaml.Node{Line: max(1, syntax.Mark.Line), Column: max(1, syntax.Mark.Column)}, "", "expected YAML: "+syntax.Message)
	case err != nil:
		p.report(empty, "", "expected YAML: "+err.Error())
	case len(doc.Content) == 1 && doc.Content[0].Kind == yaml.MappingNode:
		return doc.Content[0]
	case doc.Kind == yaml.MappingNode:
		return &doc
	case len(doc.Content) == 1 && !isNull(doc.Content[0]):
		p.report(doc.Content[0], "", fmt.Sprintf("expected a recipe with keys such as %s, found %s", list(reflect.TypeFor[Recipe]()), found(doc.Content[0])))
	}
	return empty
}

// hasContent tells whether a text is more than blank lines and comments.
func hasContent(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return true
		}
	}
	return false
}

// override sets a dotted key of the tree, making sections that are not there.
func (p *parser) override(root *yaml.Node, o Override) {
	value := &yaml.Node{}
	if o.Text {
		value.SetString(o.Value)
	} else if err := yaml.Load([]byte(o.Value), value); err != nil {
		// Nothing at all, and text that is no YAML, are both text: base= and output=a: b.
		*value = yaml.Node{}
		value.SetString(o.Value)
	}
	if value.Kind == yaml.DocumentNode {
		value = value.Content[0]
	}
	p.mark(value, o.From)
	n := root
	parts := strings.Split(o.Key, ".")
	for i, part := range parts {
		at := -1
		for k := 0; k+1 < len(n.Content); k += 2 {
			if n.Content[k].Value == part {
				at = k + 1
			}
		}
		if at < 0 {
			key := &yaml.Node{}
			key.SetString(part)
			p.origin[key] = o.From
			section := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			p.origin[section] = o.From
			n.Content = append(n.Content, key, section)
			at = len(n.Content) - 1
		}
		if i == len(parts)-1 {
			n.Content[at] = value
			return
		}
		if n.Content[at].Kind != yaml.MappingNode {
			n.Content[at] = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			p.origin[n.Content[at]] = o.From
		}
		n = n.Content[at]
	}
}

// mark remembers where nodes came from.
func (p *parser) mark(n *yaml.Node, from string) {
	p.origin[n] = from
	for _, c := range n.Content {
		p.mark(c, from)
	}
}

// locate finds the node of a dotted key, or of the section that lacks it.
func (p *parser) locate(root *yaml.Node, path string) *yaml.Node {
	n := root
walk:
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch n.Kind {
		case yaml.MappingNode:
			for k := 0; k+1 < len(n.Content); k += 2 {
				if n.Content[k].Value == part {
					n = n.Content[k+1]
					continue walk
				}
			}
			return n
		case yaml.SequenceNode:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i < 0 || i >= len(n.Content) {
				return n
			}
			n = n.Content[i]
		default:
			return n
		}
	}
	return n
}

// Marshal writes the recipe with every key, as it stands after defaults and overrides.
func (r *Recipe) Marshal() ([]byte, error) {
	b, err := yaml.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	return b, nil
}

// read returns a recipe's text and the name to show for it. A name without folder or ending is a built-in recipe.
func read(name string) ([]byte, string, error) {
	text, err := os.ReadFile(name)
	if err == nil {
		return text, name, nil
	}
	if text, ok := builtin(name); ok {
		return text, "builtin:" + strings.TrimSuffix(name, ".yaml"), nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", hint.Errorf("built-in recipes: "+strings.Join(Names(), ", "), "recipe %s: no such file and no built-in recipe", name)
	}
	return nil, "", fmt.Errorf("recipe: %w", err)
}
