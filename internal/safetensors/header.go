// Package safetensors reads and writes safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
//
// Reading is strict and cheap: every rule of the format has an error of its own, and nothing is allocated by a number read
// from the file before that number was held against the size of the file. Tensors are views of the mapped file.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"tune/internal/qtype"
	"tune/internal/tensor"
)

// The rules of the format that a file can break. Errors wrap one of them.
var (
	ErrTooShort     = errors.New("file ends inside the header length")
	ErrHeaderSize   = errors.New("header length does not fit the file")
	ErrHeaderLimit  = errors.New("header is longer than 100000000 bytes")
	ErrNotUTF8      = errors.New("header is not UTF-8")
	ErrNotJSON      = errors.New("header is not a JSON object")
	ErrDuplicate    = errors.New("name appears twice in the header")
	ErrMetadata     = errors.New("__metadata__ is not an object of strings")
	ErrEntry        = errors.New("entry is not {dtype, shape, data_offsets}")
	ErrDType        = errors.New("dtype is not supported")
	ErrShape        = errors.New("shape is not possible")
	ErrOffsets      = errors.New("data_offsets are not a range of the file")
	ErrSizeMismatch = errors.New("data_offsets do not fit dtype and shape")
	ErrGap          = errors.New("data is not covered exactly once")
)

// maxHeader is the limit of the reference reader.
const maxHeader = 100_000_000

// entry is one tensor; begin and end count from the start of the data.
type entry struct {
	tensor.Info
	begin, end int64
}

// File is a parsed file; it implements tensor.Source with the names in the order of the data.
type File struct {
	name     string
	metadata map[string]string
	names    []string
	entries  map[string]entry
	data     []byte // after the header
	start    int64  // where data starts in the file
	mapped   bool   // data is a mapped file, whose pages may be given back
}

// ParseMapped is Parse of a file that tensor.MapFile has mapped: tensors can give its pages back to the system.
func ParseMapped(name string, data []byte) (*File, error) {
	f, err := Parse(name, data)
	if err == nil {
		f.mapped = true
	}
	return f, err
}

// Parse reads a file that is in memory; name is for errors. The file's tensors are views of data.
func Parse(name string, data []byte) (*File, error) {
	f := &File{name: name, entries: map[string]entry{}}
	if err := f.parse(data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func (f *File) parse(data []byte) error {
	if len(data) < 8 {
		return fmt.Errorf("%w: expected 8 bytes, found %d", ErrTooShort, len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	switch {
	case n > uint64(len(data)-8):
		return fmt.Errorf("%w: expected at most %d, found %d", ErrHeaderSize, len(data)-8, n)
	case n > maxHeader:
		return fmt.Errorf("%w: found %d", ErrHeaderLimit, n)
	}
	header := data[8 : 8+n]
	if !utf8.Valid(header) {
		return ErrNotUTF8
	}
	f.start, f.data = int64(8+n), data[8+n:]
	if err := f.header(header); err != nil {
		return err
	}
	return f.cover()
}

// header reads the JSON object key by key, because a map would hide duplicates.
func (f *File) header(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: expected {, found %.20q", ErrNotJSON, text)
	}
	seenMeta := false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotJSON, err)
		}
		name := key.(string) // keys of an object are strings, or Token fails
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return fmt.Errorf("%w: %q: %w", ErrNotJSON, name, err)
		}
		if name == "__metadata__" {
			if seenMeta {
				return fmt.Errorf("%w: %q", ErrDuplicate, name)
			}
			seenMeta = true
			if f.metadata, err = stringMap(raw); err != nil {
				return err
			}
			continue
		}
		if _, ok := f.entries[name]; ok {
			return fmt.Errorf("%w: %q", ErrDuplicate, name)
		}
		e, err := f.entry(name, raw)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		f.entries[name] = e
		f.names = append(f.names, name)
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: text after the object", ErrNotJSON)
	}
	return nil
}

func stringMap(raw json.RawMessage) (map[string]string, error) {
	var m map[string]*string
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return nil, fmt.Errorf("%w: found %.40s", ErrMetadata, raw)
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		if v == nil {
			return nil, fmt.Errorf("%w: %q is null", ErrMetadata, k)
		}
		out[k] = *v
	}
	return out, nil
}

func (f *File) entry(name string, raw json.RawMessage) (entry, error) {
	var j struct {
		DType   *string            `json:"dtype"`
		Shape   *[]json.RawMessage `json:"shape"`
		Offsets *[]json.RawMessage `json:"data_offsets"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return entry{}, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	switch {
	case j.DType == nil:
		return entry{}, fmt.Errorf("%w: no dtype", ErrEntry)
	case j.Shape == nil:
		return entry{}, fmt.Errorf("%w: no shape", ErrEntry)
	case j.Offsets == nil || len(*j.Offsets) != 2:
		return entry{}, fmt.Errorf("%w: expected 2 data_offsets", ErrEntry)
	}
	t, err := qtype.FromSafeTensors(*j.DType)
	if err != nil {
		return entry{}, fmt.Errorf("%w: found %q", ErrDType, *j.DType)
	}
	e := entry{Info: tensor.Info{Name: name, Type: t, Shape: make([]int, len(*j.Shape))}}
	for i, d := range *j.Shape {
		v, err := strconv.ParseUint(string(d), 10, 63)
		if err != nil {
			return e, fmt.Errorf("%w: dimension %s", ErrShape, d)
		}
		e.Shape[i] = int(v)
	}
	if err := e.Check(); err != nil {
		return e, fmt.Errorf("%w: %w", ErrShape, err)
	}
	for i, p := range []*int64{&e.begin, &e.end} {
		v, err := strconv.ParseUint(string((*j.Offsets)[i]), 10, 64)
		if err != nil || v > uint64(len(f.data)) || v > math.MaxInt64 {
			return e, fmt.Errorf("%w: expected at most %d, found %s", ErrOffsets, len(f.data), (*j.Offsets)[i])
		}
		*p = int64(v)
	}
	switch {
	case e.begin > e.end:
		return e, fmt.Errorf("%w: begin %d after end %d", ErrOffsets, e.begin, e.end)
	case e.end-e.begin != e.Bytes():
		return e, fmt.Errorf("%w: %s %v takes %d bytes, found %d", ErrSizeMismatch, e.Type, e.Shape, e.Bytes(), e.end-e.begin)
	}
	return e, nil
}

// cover puts the names in the order of the data and checks that every byte belongs to exactly one tensor.
func (f *File) cover() error {
	slices.SortStableFunc(f.names, func(a, b string) int {
		x, y := f.entries[a], f.entries[b]
		return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.end, y.end))
	})
	var at int64
	for _, name := range f.names {
		e := f.entries[name]
		if e.begin != at {
			return fmt.Errorf("%w: tensor %q: expected data at %d, found %d", ErrGap, name, at, e.begin)
		}
		at = e.end
	}
	if at != int64(len(f.data)) {
		return fmt.Errorf("%w: expected %d bytes of data, found %d", ErrGap, at, len(f.data))
	}
	return nil
}

// Names lists the tensors in the order of the data.
func (f *File) Names() []string { return f.names }

// Metadata is the __metadata__ of the header; nil when there is none. The caller must not change it.
func (f *File) Metadata() map[string]string { return f.metadata }

// Info describes a tensor.
func (f *File) Info(name string) (tensor.Info, error) {
	e, ok := f.entries[name]
	if !ok {
		return tensor.Info{}, fmt.Errorf("%s: %w", f.name, tensor.Missing(name))
	}
	return e.Info, nil
}

// Tensor returns a view of a tensor.
func (f *File) Tensor(name string) (tensor.Tensor, error) {
	e, ok := f.entries[name]
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("%s: %w", f.name, tensor.Missing(name))
	}
	data := f.data[e.begin:e.end:e.end]
	if !f.mapped {
		return tensor.Tensor{Info: e.Info, Data: data}, nil
	}
	return tensor.View(e.Info, data), nil
}

// Offset is where a tensor begins in the file, in bytes; -1 when there is no such tensor.
func (f *File) Offset(name string) int64 {
	e, ok := f.entries[name]
	if !ok {
		return -1
	}
	return f.start + e.begin
}
