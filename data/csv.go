package data

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// csvFile is comma- or tab-separated values (RFC 4180, the separator apart). The first record names the columns, and all
// values are strings. A quoted value may hold line breaks, so the file is one block that is read forwards.
type csvFile struct {
	*input
	comma rune
	names []string
	begin mark // behind the first record
}

func openCSV(comma rune) func(*input) (file, error) {
	return func(in *input) (file, error) {
		c := &csvFile{input: in, comma: comma}
		r, err := c.reader(mark{})
		if err != nil {
			return nil, err
		}
		defer r.close()
		names, end, _, err := r.record()
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s:1: %w", in.name, err)
		}
		for i, n := range names {
			if n = strings.TrimSpace(n); slices.Contains(c.names, n) {
				return nil, fmt.Errorf("%s:1: expected different names of columns, found %q twice", in.name, names[i])
			}
			c.names = append(c.names, n)
		}
		c.begin = end
		return c, nil
	}
}

func (c *csvFile) blocks() []block {
	if c.names == nil {
		return nil
	}
	return []block{{rows: -1, bytes: c.Size()}}
}

func (c *csvFile) columns() []string { return c.names }
func (c *csvFile) close() error      { return c.Close() }

func (c *csvFile) open(_ int, from mark, keep func(string) bool) (batchReader, error) {
	if from.row == 0 {
		from = c.begin
	}
	r, err := c.reader(from)
	if err != nil {
		return nil, err
	}
	var fields []arrow.Field
	for i, n := range c.names {
		if keep == nil || keep(n) {
			fields = append(fields, arrow.Field{Name: n, Type: arrow.BinaryTypes.String})
			r.kept = append(r.kept, i)
		}
	}
	r.schema = arrow.NewSchema(fields, nil)
	return r, nil
}

func (c *csvFile) reader(from mark) (*csvReader, error) {
	in, err := c.from(from.offset)
	if err != nil {
		return nil, err
	}
	r := &csvReader{file: c, in: in, from: from}
	src := bufio.NewReaderSize(in, 1<<16)
	if from.offset == 0 {
		r.from.offset = skipMark(src)
	}
	r.limit = &bounded{src, maxRow}
	r.csv = csv.NewReader(r.limit)
	r.csv.Comma, r.csv.ReuseRecord, r.csv.FieldsPerRecord = c.comma, true, -1
	return r, nil
}

type csvReader struct {
	file   *csvFile
	in     io.Closer
	limit  *bounded
	csv    *csv.Reader
	from   mark // where csv began
	kept   []int
	schema *arrow.Schema
}

// record returns the next record, where the one after it begins, and the line it begins in, counted from 0.
func (r *csvReader) record() (fields []string, end mark, line int, err error) {
	r.limit.row()
	fields, err = r.csv.Read()
	if err != nil {
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			return nil, mark{}, r.from.line + bad.StartLine - 1, bad.Err
		}
		if err != io.EOF {
			err = whole(err)
		}
		return nil, mark{}, 0, err
	}
	last, _ := r.csv.FieldPos(len(fields) - 1)
	first, _ := r.csv.FieldPos(0)
	next := r.from.line + last + strings.Count(fields[len(fields)-1], "\n")
	return fields, mark{offset: r.from.offset + r.csv.InputOffset(), line: next}, r.from.line + first - 1, nil
}

func (r *csvReader) next() (batch, error) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, r.schema)
	defer b.Release()
	var out batch
	var lines []int
	for total := 0; len(lines) < batchRows && total < batchBytes; {
		fields, end, line, err := r.record()
		if err == io.EOF {
			break
		}
		if want := len(r.file.names); err == nil && len(fields) != want {
			err = fmt.Errorf("expected %d values, found %d", want, len(fields))
		}
		if err != nil {
			return batch{}, fmt.Errorf("%s: %w", r.key(line), err)
		}
		for k, i := range r.kept {
			text, repaired, err := r.file.text([]byte(fields[i]))
			if err != nil {
				return batch{}, fmt.Errorf("%s: column %s: %w", r.key(line), r.file.names[i], err)
			}
			out.repair(len(lines), repaired)
			b.Field(k).(*array.StringBuilder).BinaryBuilder.Append(text)
			total += len(text)
		}
		out.ends = append(out.ends, end)
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return batch{}, io.EOF
	}
	arrays := make([]arrow.Array, len(r.kept))
	for k := range arrays {
		arrays[k] = b.Field(k).NewArray()
	}
	out.RecordBatch = array.NewRecordBatch(r.schema, arrays, int64(len(lines)))
	out.key = func(i int) string { return r.key(lines[i]) }
	return out, nil
}

func (r *csvReader) key(line int) string { return fmt.Sprintf("%s:%d", r.file.name, line+1) }

func (r *csvReader) close() { r.in.Close() }
