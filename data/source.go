package data

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
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
	// open reads a block from a place on. Only the columns that keep accepts are needed; a nil keep accepts all.
	open(block int, from mark, keep func(string) bool) (batchReader, error)
	close() error
}

// mark is a place in a block: where a row begins.
type mark struct {
	row int
	// offset and line of the row count from the begin of the file, decompressed; readers of text give and need them. Line 0
	// of a row that is not the file's first says that the lines before it were not counted.
	offset int64
	line   int
}

// batchReader yields batches, io.EOF after the last one.
type batchReader interface {
	next() (batch, error)
	close()
}

// batch is some rows. It is valid until the file is closed.
type batch struct {
	arrow.RecordBatch
	key      func(row int) string // names a row of the batch for messages: file:line, file: row n or file: byte n
	exact    func(row int) string // names it for an error, and may read for that; nil: key does
	ends     []mark               // per row, of readers that need it: where the next row begins; mark.row is not set
	lines    int                  // beside io.EOF: lines before the block that follows in the file, 0 when they were not counted
	repaired map[int]bool         // rows that held invalid UTF-8
}

// where names a row for an error.
func (b batch) where(row int) string {
	if b.exact != nil {
		return b.exact(row)
	}
	return b.key(row)
}

// fileKinds maps the end of a file's name to what opens it. Text forms may be compressed: .jsonl.gz.
var fileKinds = []struct {
	suffix string
	open   func(in *input) (file, error)
	text   bool
}{
	{".parquet", openParquet, false},
	{".arrow", openArrow, false},
	{".arrows", openArrow, false},
	{".feather", openArrow, false},
	{".jsonl", openLines, true},
	{".ndjson", openLines, true},
	{".json", openJSON, true},
	{".csv", openCSV(','), true},
	{".tsv", openCSV('\t'), true},
	{".txt", openText, true},
	{".md", openText, true},
	{".raw", openText, true},
}

// openFile opens a file by the end of its name. The bytes are closed with it, and when it cannot be opened.
func openFile(name string, b blob, c Config) (_ file, err error) {
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	in := &input{blob: b, name: name, documents: c.Documents, repair: c.UTF8 == "replace"}
	plain, codec := codecOf(strings.ToLower(name))
	for _, k := range fileKinds {
		if strings.HasSuffix(plain, k.suffix) && (k.text || codec == nil) {
			in.codec = codec
			return k.open(in)
		}
	}
	return nil, fmt.Errorf("%s: expected a name that ends in %s; text forms also in .gz, .zst or .bz2", name, suffixes())
}

// isData says whether a name is one of a data file.
func isData(name string) bool {
	plain, codec := codecOf(strings.ToLower(name))
	for _, k := range fileKinds {
		if strings.HasSuffix(plain, k.suffix) {
			return k.text || codec == nil
		}
	}
	return false
}

func suffixes() string {
	var names []string
	for _, k := range fileKinds {
		names = append(names, k.suffix)
	}
	return strings.Join(names, ", ")
}

// guard turns a panic of a library that reads foreign bytes into an error.
func guard(at string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: the file is damaged: %v", at, r)
	}
}
