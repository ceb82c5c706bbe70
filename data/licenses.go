package data

import "fmt"

// builtins are the data sets that come with the program.
var builtins = []string{"licenses", "licenses-text"}

// builtinPaths returns the file of a built-in data set, which is written to the cache when it is not there.
func builtinPaths(name, cache, split string) ([]string, error) {
	return nil, fmt.Errorf("builtin:%s: not available for %s", name, split)
}
