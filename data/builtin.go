package data

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"tune/data/licenses"
	"tune/internal/hint"
)

// builtins are the data sets that come with the program: excerpts of licences as conversations, and what remains of the
// licence texts as documents (see package licenses).
var builtins = []string{"licenses", "licenses-text"}

// builtinPaths returns the file of a built-in data set, which is written to the cache when it is not there.
func builtinPaths(name, format, cache, split string) ([]string, error) {
	text := name == "licenses-text" || format == "text"
	if text && split != "train" {
		return nil, hint.Errorf("use valid_share to hold out documents, or builtin:licenses for excerpts",
			"builtin:licenses-text: expected split train, found %s", split)
	}
	dir, err := licenses.Files(cache)
	if err != nil {
		return nil, err
	}
	file := map[string]string{"train": licenses.TrainFile, "valid": licenses.ValidFile, "test": licenses.TestFile}[split]
	if text {
		file = licenses.TextFile
	}
	return []string{filepath.Join(dir, file)}, nil
}

// BuiltinFiles returns the files of a split of a built-in data set, such as builtin:licenses, for readers of rows.
func BuiltinFiles(path, cache, split string) ([]string, error) {
	name, ok := strings.CutPrefix(path, "builtin:")
	if !ok || !slices.Contains(builtins, name) {
		return nil, hint.Errorf("there are builtin:"+strings.Join(builtins, " and builtin:"), "%s: no built-in data set", path)
	}
	return builtinPaths(name, "", cache, split)
}

// About says how the built-in data sets that the configuration names were made, "" when it names none.
func (c Config) About(cache string) (string, error) {
	named := false
	for _, ss := range []Sources{c.Train, c.Valid, c.Test} {
		for _, s := range ss {
			named = named || strings.HasPrefix(s.Path, "builtin:licenses")
		}
	}
	if !named {
		return "", nil
	}
	dir, err := licenses.Files(cmp.Or(c.Cache, cache))
	if err != nil {
		return "", err
	}
	return licenses.About(dir)
}
