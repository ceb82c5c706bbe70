package data

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// textFile is plain text with one column, text. Config.Documents says what a row is.
type textFile struct {
	path      string
	size      int64
	documents string
}

func openText(path string, c Config) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &textFile{path, info.Size(), c.Documents}, nil
}

func (t *textFile) blocks() []block   { return []block{{rows: -1, bytes: t.size}} }
func (t *textFile) columns() []string { return []string{"text"} }
func (t *textFile) close() error      { return nil }

func (t *textFile) open(_, skip int, _ func(string) bool) (batchReader, error) {
	f, err := os.Open(t.path)
	if err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(f, 1<<16)
	if b, _ := br.Peek(3); bytes.Equal(b, byteOrderMark) {
		br.Discard(3)
	}
	return &textReader{file: t, f: f, br: br, skip: skip}, nil
}

type textReader struct {
	file *textFile
	f    *os.File
	br   *bufio.Reader
	line int
	skip int
}

var textSchema = arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)

func (r *textReader) next() (batch, error) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	var lines []int
	for total := 0; len(lines) < batchRows && total < batchBytes; {
		doc, line, err := r.document()
		if err == io.EOF {
			break
		}
		if err == nil && !utf8.Valid(doc) {
			err = errNotUTF8
		}
		if err != nil {
			return batch{}, fmt.Errorf("%s:%d: %w", r.file.path, line+1, err)
		}
		if r.skip > 0 {
			r.skip--
			continue
		}
		b.Append(string(doc))
		lines = append(lines, line)
		total += len(doc)
	}
	if len(lines) == 0 {
		return batch{}, io.EOF
	}
	a := b.NewArray()
	return batch{array.NewRecordBatch(textSchema, []arrow.Array{a}, int64(len(lines))),
		func(i int) string { return fmt.Sprintf("%s:%d", r.file.path, lines[i]+1) }}, nil
}

// document returns the next document that is not blank and the line it begins at.
func (r *textReader) document() ([]byte, int, error) {
	var doc []byte
	first := r.line
	for {
		line, err := readLine(r.br)
		if err == io.EOF {
			if len(bytes.TrimSpace(doc)) == 0 {
				return nil, first, io.EOF
			}
			return doc, first, nil
		}
		if err != nil {
			return nil, r.line, err
		}
		blank := len(bytes.TrimSpace(line)) == 0
		r.line++
		switch {
		case r.file.documents == "lines" && !blank:
			return bytes.TrimRight(line, "\r\n"), r.line - 1, nil
		case r.file.documents == "lines":
		case r.file.documents == "blocks" && blank && len(doc) > 0:
			return doc, first, nil
		case r.file.documents == "blocks" && blank:
			first = r.line
		default:
			doc = append(doc, line...)
		}
		if len(doc) > maxRow {
			return nil, first, fmt.Errorf("expected documents of at most %d bytes; documents: blocks or lines makes smaller ones", maxRow)
		}
	}
}

func (r *textReader) close() { r.f.Close() }
