package hub

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"go.yaml.in/yaml/v4"

	"tune/internal/hint"
)

// Scheme begins the addresses that this package understands.
const Scheme = "hf://"

// Address is a parsed hf:// address.
type Address struct {
	Repo
	File          string // path or glob in the repository, "" for none
	Config, Split string // of a data set, "" for none
}

var addresses = regexp.MustCompile(`^hf://(datasets/)?(\w[\w.-]*/\w[\w.-]*)(?:@(refs/\w[\w.-]*/\w[\w.-]*|\w[\w.-]*))?(?:/([^:]+))?(?::([^:/]+))?(?::([^:/]+))?$`)

// Parse reads hf://org/name[@rev][/file] of a model, hf://datasets/org/name[@rev][/file or glob] or
// hf://datasets/org/name[@rev][:config][:split] of a data set.
func Parse(address string) (Address, error) {
	m := addresses.FindStringSubmatch(address)
	if m == nil || m[1] == "" && strings.HasPrefix(m[2], "datasets/") || m[1] == "" && m[5] != "" || m[4] != "" && m[5] != "" || strings.Contains(m[4], "..") {
		return Address{}, hint.Errorf("hf://datasets/org/name[@revision][:config][:split], hf://datasets/org/name/file, or hf://org/name of a model",
			"expected an address of the hub, found %q", address)
	}
	a := Address{Repo: Repo{Kind: "models", Name: m[2], Revision: m[3]}, File: m[4], Config: m[5], Split: m[6]}
	if m[1] != "" {
		a.Kind = "datasets"
	}
	if a.Revision == "" {
		a.Revision = "main"
	}
	return a, nil
}

// Fetch brings the files of an address that names files into the cache, and returns their paths.
func (c *Client) Fetch(ctx context.Context, a Address) ([]string, error) {
	s, err := c.Open(ctx, a.Repo)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, f := range s.Files {
		if ok, err := doublestar.Match(a.File, f); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", a.Repo, a.File, err)
		} else if ok || strings.HasPrefix(f, strings.TrimSuffix(a.File, "/")+"/") {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: expected files that match %s, found %s", a.Repo, a.File, some(s.Files))
	}
	return s.all(ctx, files)
}

func (s *Snapshot) all(ctx context.Context, files []string) ([]string, error) {
	var paths []string
	for _, f := range files {
		p, err := s.Fetch(ctx, f)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// modelFiles are what a model needs, without copies of its weights in other formats.
var modelFiles = []string{"*.json", "*.safetensors", "tokenizer.model", "*.tiktoken", "*.jinja", "vocab.txt", "merges.txt"}

// Model brings a model into the cache and returns its folder, or the file when the address names one.
func (c *Client) Model(ctx context.Context, a Address) (string, error) {
	if a.File != "" {
		paths, err := c.Fetch(ctx, a)
		if err == nil && len(paths) > 1 {
			err = fmt.Errorf("%s: expected one file, found %s", a.Repo, some(paths))
		}
		if err != nil {
			return "", err
		}
		return paths[0], nil
	}
	s, err := c.Open(ctx, a.Repo)
	if err != nil {
		return "", err
	}
	var files []string
	for _, f := range s.Files {
		if slices.ContainsFunc(modelFiles, func(p string) bool { ok, _ := path.Match(p, f); return ok }) {
			files = append(files, f)
		}
	}
	if !slices.Contains(files, "config.json") {
		return "", hint.Errorf("a GGUF file is named by hf://org/name/file.gguf", "%s: expected a model with config.json, found %s", a.Repo, some(s.Files))
	}
	_, err = s.all(ctx, files)
	return s.Dir(), err
}

// Dataset brings the data files of a split into the cache. split is what the user has asked for by the place in his recipe;
// the address may name another. isData tells data files from others.
func (c *Client) Dataset(ctx context.Context, a Address, split string, isData func(string) bool) ([]string, error) {
	if a.File != "" {
		return c.Fetch(ctx, a)
	}
	s, err := c.Open(ctx, a.Repo)
	if err != nil {
		return nil, err
	}
	configs, err := s.configs(ctx)
	if err != nil {
		return nil, err
	}
	if a.Config != "" && a.Split == "" && !hasConfig(configs, s.Files, a.Config) { // :train alone is a split
		a.Config, a.Split = "", a.Config
	}
	if a.Split != "" {
		split = a.Split
	}
	files, err := s.files(configs, a.Config, split, isData)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Repo, err)
	}
	return s.all(ctx, files)
}

// config is an entry of the card's list of configurations.
type config struct {
	Name    string `yaml:"config_name"`
	Default bool   `yaml:"default"`
	Files   any    `yaml:"data_files"`
	Dir     string `yaml:"data_dir"`
}

// configs reads the YAML that stands before the card's text.
func (s *Snapshot) configs(ctx context.Context) ([]config, error) {
	if !slices.Contains(s.Files, "README.md") {
		return nil, nil
	}
	p, err := s.Fetch(ctx, "README.md")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(p)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("---\n"))
	head, _, closed := bytes.Cut(rest, []byte("\n---"))
	if !ok || !closed {
		return nil, nil
	}
	var card struct {
		Configs []config `yaml:"configs"`
	}
	if err := yaml.Unmarshal(head, &card); err != nil {
		return nil, fmt.Errorf("%s/README.md: configs: %w", s.Repo, err)
	}
	return slices.DeleteFunc(card.Configs, func(c config) bool { return c.Files == nil && c.Dir == "" }), nil
}

func hasConfig(configs []config, files []string, name string) bool {
	return slices.ContainsFunc(configs, func(c config) bool { return c.Name == name }) ||
		slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, name+"/") && !isSplit(name) })
}

// files picks the files of a configuration and split.
func (s *Snapshot) files(configs []config, name, split string, isData func(string) bool) ([]string, error) {
	data := slices.DeleteFunc(slices.Clone(s.Files), func(f string) bool { return !isData(f) || f == "README.md" })
	patterns := map[string][]string{} // by split
	switch {
	case len(configs) > 0:
		c, err := choose(configs, name)
		if err != nil {
			return nil, err
		}
		if patterns, err = c.patterns(); err != nil {
			return nil, err
		}
		if c.Dir != "" {
			data = slices.DeleteFunc(data, func(f string) bool { return !strings.HasPrefix(f, strings.Trim(c.Dir, "/")+"/") })
		}
	case name != "":
		data = slices.DeleteFunc(data, func(f string) bool { return !strings.HasPrefix(f, name+"/") })
		if len(data) == 0 {
			return nil, fmt.Errorf("expected a configuration %s, found none: the card names none and no folder has that name", name)
		}
	}
	if len(patterns) == 0 { // by their names; what names no split is for training
		for _, f := range data {
			of := splitOf(f)
			patterns[of] = append(patterns[of], f)
		}
	}
	var found []string
	for _, p := range patterns[canonical(split)] {
		for _, f := range s.Files {
			if ok, _ := doublestar.Match(p, f); (ok || p == f) && !slices.Contains(found, f) {
				found = append(found, f)
			}
		}
	}
	if len(found) == 0 {
		var splits []string
		for k := range patterns {
			splits = append(splits, k)
		}
		slices.Sort(splits)
		if len(splits) == 0 {
			return nil, hint.Errorf("many such data sets are there as Parquet at @refs/convert/parquet", "expected data files, found %s", some(s.Files))
		}
		return nil, hint.Errorf(":split at the end of the address names one", "expected a split %s, found %s", split, strings.Join(splits, ", "))
	}
	slices.Sort(found)
	return found, nil
}

// choose picks a configuration by name, or the default one.
func choose(configs []config, name string) (config, error) {
	var names []string
	for _, c := range configs {
		if c.Name == name || name == "" && (c.Default || c.Name == "default" || len(configs) == 1) {
			return c, nil
		}
		names = append(names, c.Name)
	}
	if name == "" {
		return config{}, hint.Errorf(":config at the end of the address names one", "expected the name of a configuration: %s", strings.Join(names, ", "))
	}
	return config{}, fmt.Errorf("expected a configuration of %s, found %q", strings.Join(names, ", "), name)
}

// patterns reads data_files: a pattern, a list of patterns, or a list of {split, path}.
func (c config) patterns() (map[string][]string, error) {
	out := map[string][]string{}
	var add func(split string, v any) error
	add = func(split string, v any) error {
		switch v := v.(type) {
		case nil:
		case string:
			out[canonical(split)] = append(out[canonical(split)], v)
		case []any:
			for _, x := range v {
				if err := add(split, x); err != nil {
					return err
				}
			}
		case map[string]any:
			of, ok := v["split"].(string)
			if !ok || v["path"] == nil {
				return fmt.Errorf("the card: configuration %s: expected split and path in data_files, found %v", c.Name, v)
			}
			return add(of, v["path"])
		default:
			return fmt.Errorf("the card: configuration %s: expected patterns in data_files, found %v", c.Name, v)
		}
		return nil
	}
	return out, add("train", c.Files)
}

type splitName struct {
	split string
	words *regexp.Regexp
}

// splitNames are the words for the usual splits in names of files and folders.
var splitNames = []splitName{
	{"validation", regexp.MustCompile(`(^|[-_./ 0-9])(validation|valid|dev|val)($|[-_./ 0-9])`)},
	{"test", regexp.MustCompile(`(^|[-_./ 0-9])(test|testing|eval|evaluation)($|[-_./ 0-9])`)},
	{"train", regexp.MustCompile(`(^|[-_./ 0-9])(train|training)($|[-_./ 0-9])`)},
}

func splitOf(file string) string {
	for _, s := range splitNames {
		if s.words.MatchString(file) {
			return s.split
		}
	}
	return "train"
}

func isSplit(name string) bool {
	return slices.ContainsFunc(splitNames, func(s splitName) bool { return s.words.MatchString(name) })
}

// canonical is the hub's word for a split.
func canonical(split string) string {
	if split == "valid" || split == "dev" || split == "val" {
		return "validation"
	}
	return split
}

// some names a few files.
func some(files []string) string {
	const most = 8
	if len(files) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
	}
	if len(files) == 0 {
		return "none"
	}
	return strings.Join(files, ", ")
}
