package data

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"tune/internal/hint"
)

// block is a part of a file that can be read without reading what stands before it: a row group, a record batch, a range
// of lines.
type block struct {
	rows  int64 // -1 when it is not known before the block is read
	bytes int64 // about its size in the file
}

// file is a file of rows.
type file interface {
	blocks() []block
	// columns are the names of the columns, in order; nil when they may differ from row to row.
	columns() []string
	// open reads a block from its row skip on. Only the columns that keep accepts are needed; a nil keep accepts all.
	open(block, skip int, keep func(string) bool) (batchReader, error)
	close() error
}

// batchReader yields batches, io.EOF after the last one.
type batchReader interface {
	next() (batch, error)
	close()
}

// batch is some rows. It is valid until the file is closed.
type batch struct {
	arrow.RecordBatch
	key func(row int) string // names a row of the batch for messages: file:line or file: row n
}

// fileKinds maps the end of a file's name to what opens it. The longest end that fits wins.
var fileKinds = []struct {
	suffix string
	open   func(path string, c Config) (file, error)
}{
	{".parquet", openParquet},
	{".jsonl", openLines},
	{".ndjson", openLines},
	{".jsonl.gz", openLines},
	{".ndjson.gz", openLines},
	{".json", openJSON},
	{".json.gz", openJSON},
	{".arrow", openArrow},
	{".feather", openArrow},
	{".arrows", openArrow},
	{".txt", openText},
	{".md", openText},
	{".raw", openText},
}

// openFile opens a file by the end of its name.
func openFile(path string, c Config) (file, error) {
	var found func(string, Config) (file, error)
	longest := 0
	for _, k := range fileKinds {
		if strings.HasSuffix(strings.ToLower(path), k.suffix) && len(k.suffix) > longest {
			found, longest = k.open, len(k.suffix)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%s: expected a name that ends in %s", path, suffixes())
	}
	return found(path, c)
}

func suffixes() string {
	var names []string
	for _, k := range fileKinds {
		names = append(names, k.suffix)
	}
	return strings.Join(names, ", ")
}

// expand lists the files of a path, glob or folder, sorted by name.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return folder(path)
	case err == nil:
		return []string{path}, nil
	case !strings.ContainsAny(path, "*?["):
		return nil, hint.Errorf("give a file, a folder, a glob or builtin:licenses", "data: %w", err)
	}
	names, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: expected files, found none that match", path)
	}
	slices.Sort(names)
	return names, nil
}

// folder lists the data files directly in a folder and below it.
func folder(path string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, k := range fileKinds {
			if strings.HasSuffix(strings.ToLower(p), k.suffix) && k.suffix != ".md" {
				names = append(names, p)
				break
			}
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: expected files whose names end in %s, found none", path, suffixes())
	}
	slices.Sort(names)
	return names, err
}

// guard turns a panic of a library that reads foreign bytes into an error.
func guard(at string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: the file is damaged: %v", at, r)
	}
}
