package data

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// textFile is plain text with one column, text. Config.Documents says what a row is.
type textFile struct{ *input }

func openText(in *input) (file, error) { return &textFile{in}, nil }

func (t *textFile) blocks() []block   { return []block{{rows: -1, bytes: t.Size()}} }
func (t *textFile) columns() []string { return []string{"text"} }
func (t *textFile) close() error      { return t.Close() }

func (t *textFile) open(_ int, from mark, _ func(string) bool) (batchReader, error) {
	in, err := t.from(from.offset)
	if err != nil {
		return nil, err
	}
	r := &textReader{file: t, in: in, br: bufio.NewReaderSize(in, 1<<16), at: from.offset, line: from.line}
	if from.offset == 0 {
		r.at = skipMark(r.br)
	}
	return r, nil
}

type textReader struct {
	file *textFile
	in   io.Closer
	br   *bufio.Reader
	at   int64
	line int
}

var textSchema = arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)

func (r *textReader) next() (batch, error) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	var out batch
	var lines []int
	for total := 0; len(lines) < batchRows && total < batchBytes; {
		doc, line, err := r.document()
		if err == io.EOF {
			break
		}
		var repaired bool
		if err == nil {
			doc, repaired, err = r.file.text(doc)
		}
		if err != nil {
			return batch{}, fmt.Errorf("%s:%d: %w", r.file.name, line+1, err)
		}
		b.BinaryBuilder.Append(doc)
		out.repair(len(lines), repaired)
		lines = append(lines, line)
		out.ends = append(out.ends, mark{offset: r.at, line: r.line})
		total += len(doc)
	}
	if len(lines) == 0 {
		return batch{}, io.EOF
	}
	out.RecordBatch = array.NewRecordBatch(textSchema, []arrow.Array{b.NewArray()}, int64(len(lines)))
	out.key = func(i int) string { return fmt.Sprintf("%s:%d", r.file.name, lines[i]+1) }
	return out, nil
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
			return nil, r.line, whole(err)
		}
		r.at += int64(len(line))
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

func (r *textReader) close() { r.in.Close() }
