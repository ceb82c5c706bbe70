package data

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// jsonFile is a JSON file that holds an array of objects, or objects one after another.
type jsonFile struct{ *input }

func openJSON(in *input) (file, error) { return &jsonFile{in}, nil }

func (j *jsonFile) blocks() []block   { return []block{{rows: -1, bytes: j.Size()}} }
func (j *jsonFile) columns() []string { return nil }
func (j *jsonFile) close() error      { return j.Close() }

func (j *jsonFile) open(_ int, from mark, keep func(string) bool) (batchReader, error) {
	in, err := j.from(from.offset)
	if err != nil {
		return nil, err
	}
	limit := &bounded{in, maxRow}
	br := bufio.NewReaderSize(limit, 1<<16)
	r := &jsonReader{file: j, in: in, limit: limit, keep: keep, row: from.row, base: from.offset}
	if from.row == 0 {
		r.base += skipMark(br)
	}
	first, err := firstByte(br, &r.base)
	if err != nil && err != io.EOF {
		in.Close()
		return nil, fmt.Errorf("%s: %w", j.name, whole(err))
	}
	switch {
	case first == '[' && from.row == 0:
		r.dec, r.array = json.NewDecoder(br), true
		r.dec.Token()
	case first == ',' || first == ']': // between two elements of an array: it begins anew behind the comma
		if first == ',' {
			br.Discard(1)
		}
		r.dec, r.array = json.NewDecoder(io.MultiReader(strings.NewReader("["), br)), true
		r.base += map[byte]int64{',': 0, ']': -1}[first]
		r.dec.Token()
	default:
		r.dec = json.NewDecoder(br)
	}
	return r, nil
}

// firstByte passes over white space, which it adds to at.
func firstByte(br *bufio.Reader, at *int64) (byte, error) {
	for {
		b, err := br.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			return b, br.UnreadByte()
		}
		*at++
	}
}

type jsonReader struct {
	file  *jsonFile
	in    io.Closer
	limit *bounded
	keep  func(string) bool
	dec   *json.Decoder
	base  int64 // offset at which the decoder began
	array bool
	row   int
}

func (r *jsonReader) next() (batch, error) {
	rows := &jsonRows{keep: r.keep}
	var out batch
	first := r.row + 1
	for total := 0; rows.n < batchRows && total < batchBytes; {
		if r.array && !r.dec.More() {
			if _, err := r.dec.Token(); err != nil {
				return batch{}, r.fail(err)
			}
			r.array = false
		}
		r.limit.row()
		var raw json.RawMessage
		err := r.dec.Decode(&raw)
		if err == io.EOF {
			break
		}
		if err != nil {
			return batch{}, r.fail(err)
		}
		r.row++
		text, repaired, err := r.file.text(raw)
		if err == nil {
			var o object
			if o, err = splitObject(text); err == nil {
				err = rows.add(o)
			}
		}
		if err != nil {
			return batch{}, r.fail(err)
		}
		out.repair(rows.n-1, repaired)
		out.ends = append(out.ends, mark{offset: r.base + r.dec.InputOffset()})
		total += len(raw)
	}
	if rows.n == 0 {
		return batch{}, io.EOF
	}
	out.RecordBatch, out.key = rows.build(), func(i int) string { return fmt.Sprintf("%s: row %d", r.file.name, first+i) }
	return out, nil
}

func (r *jsonReader) fail(err error) error {
	return fmt.Errorf("%s: row %d, byte %d: %w", r.file.name, max(r.row, 1), r.base+r.dec.InputOffset(), whole(err))
}

func (r *jsonReader) close() { r.in.Close() }
