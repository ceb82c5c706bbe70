package recipes

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"tune/internal/hint"
)

// Builtin names the base model that comes with the program.
const Builtin = "builtin:lex-5m"

//go:embed *.yaml
var files embed.FS

// The base model: config.json, tokenizer.json, model.safetensors and a README.md that says how it was made.
//
//go:embed all:base
var base embed.FS

// Names lists the built-in recipes.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the embedded folder is part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// builtin returns the text of a built-in recipe, by "legal", "legal.yaml", "builtin:legal" or "recipes/legal.yaml".
func builtin(name string) ([]byte, bool) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "builtin:"), "recipes/")
	text, err := files.ReadFile(strings.TrimSuffix(name, ".yaml") + ".yaml")
	return text, err == nil
}

// Text returns a recipe's text as it was written, comments and all.
func Text(name string) ([]byte, error) {
	text, _, err := read(name)
	return text, err
}

// Summary is the first comment line of a recipe.
func Summary(text []byte) string {
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(strings.TrimPrefix(first, "#"))
}

// OpenBuiltin returns the folder of a built-in base model.
func OpenBuiltin(name string) (fs.FS, error) {
	if name != Builtin {
		return nil, hint.Errorf("the built-in model is "+Builtin, "base: expected %s, found %q", Builtin, name)
	}
	dir, err := fs.Sub(base, "base")
	if err != nil {
		return nil, err
	}
	for _, f := range []string{"config.json", "tokenizer.json", "model.safetensors"} {
		if _, err := fs.Stat(dir, f); err != nil {
			return nil, hint.Errorf("make it with `tune full --recipe pretrain-lex` and put it in recipes/base, or give another --base",
				"%s: this program was built without it: no %s", name, path.Join("recipes/base", f))
		}
	}
	return dir, nil
}

// Schema is the JSON schema of recipes, for editors.
func Schema() ([]byte, error) {
	r := jsonschema.Reflector{RequiredFromJSONSchemaTags: true, ExpandedStruct: true, DoNotReference: true, Anonymous: true}
	s := r.Reflect(&Recipe{})
	s.Title = "tune recipe"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return append(b, '\n'), nil
}
