package gguf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"

	"tune/internal/hint"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// What can be wrong with a file. Errors wrap one of them.
var (
	ErrMagic     = errors.New("not a GGUF file")
	ErrVersion   = errors.New("GGUF version is not supported")
	ErrTruncated = errors.New("file ends too early")
	ErrKey       = errors.New("bad metadata key")
	ErrValue     = errors.New("bad metadata value")
	ErrAlignment = errors.New("bad general.alignment")
	ErrName      = errors.New("bad tensor name")
	ErrShape     = errors.New("bad tensor shape")
	ErrType      = errors.New("bad tensor type")
	ErrOffset    = errors.New("bad tensor offset")
)

// Limits of the format.
const (
	magic            = "GGUF"
	maxNameBytes     = 63
	maxDims          = 4
	defaultAlignment = 32
	alignmentKey     = "general.alignment"
)

type entry struct {
	tensor.Info
	begin uint64 // from the start of the data
	shard int    // of a file in several parts
}

// File is a parsed file, or several that make up a model; it implements tensor.Source with the names in the order of the
// file.
type File struct {
	name      string
	Version   uint32
	Alignment uint32
	meta      Meta
	names     []string
	entries   map[string]entry
	data      []byte       // from the first tensor on
	start     int64        // where data starts in the file
	shards    []*File      // nil: one file, whose data is above
	close     func() error // of a mapped file; nil: data is in memory
}

// Open maps a file. When it is one of the files of a split model, whichever it is, all of them are opened and read as one;
// the metadata is the first one's, without what says how it was split.
func Open(path string) (*File, error) {
	f, err := openOne(path)
	if err != nil {
		return nil, err
	}
	return whole(f)
}

func openOne(path string) (*File, error) {
	data, closeFile, err := tensor.MapFile(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(path, data)
	if err != nil {
		closeFile()
		return nil, err
	}
	f.close = closeFile
	return f, nil
}

// Close unmaps the file; its tensors are invalid afterwards. Metadata stays valid.
func (f *File) Close() error {
	var err error
	for _, s := range f.shards {
		if s != nil { // opening stopped at another
			err = cmp.Or(err, s.Close())
		}
	}
	if f.close == nil {
		return err
	}
	c := f.close
	f.close = nil
	return c()
}

// Parse reads a file that is in memory or mapped; name is for errors. The file's tensors are views of data. Of a split model
// it reads the one part.
func Parse(name string, data []byte) (*File, error) {
	f := &File{name: name, entries: map[string]entry{}}
	r := &reader{data: data}
	if err := f.parse(r); err != nil {
		return nil, fmt.Errorf("%s: byte %d: %w", name, r.at, err)
	}
	return f, nil
}

func (f *File) parse(r *reader) error {
	m, err := r.take(4)
	if err != nil || string(m) != magic {
		return fmt.Errorf("%w: expected %q, found %q", ErrMagic, magic, m)
	}
	if f.Version, err = r.u32(); err != nil {
		return err
	}
	if bits.ReverseBytes32(f.Version) == 2 || bits.ReverseBytes32(f.Version) == 3 {
		return hint.Errorf("convert it on a little-endian machine", "%w: the file is big-endian", ErrVersion)
	}
	if f.Version != 2 && f.Version != 3 {
		return fmt.Errorf("%w: expected 2 or 3, found %d", ErrVersion, f.Version)
	}
	tensors, err := r.u64()
	if err != nil {
		return err
	}
	pairs, err := r.u64()
	if err != nil {
		return err
	}
	for range pairs { // each pair takes bytes, so a wrong count ends at the end of the file
		if err := f.pair(r); err != nil {
			return err
		}
	}
	if err := f.align(); err != nil {
		return err
	}
	for range tensors {
		if err := f.info(r); err != nil {
			return err
		}
	}
	start := roundUp(uint64(r.at), uint64(f.Alignment))
	f.start = int64(start)
	if start < uint64(len(r.data)) {
		f.data = r.data[start:]
	}
	return f.place()
}

func (f *File) pair(r *reader) error {
	key, err := r.str()
	switch {
	case err != nil:
		return err
	case key == "":
		return fmt.Errorf("%w: empty", ErrKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: %q is not UTF-8", ErrKey, key)
	}
	if _, ok := f.meta.Get(key); ok {
		return fmt.Errorf("%w: %q appears twice", ErrKey, key)
	}
	v, err := r.value()
	if err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	f.meta.Set(key, v)
	return nil
}

func (f *File) align() error {
	f.Alignment = defaultAlignment
	v, ok := f.meta.Get(alignmentKey)
	if !ok {
		return nil
	}
	a, ok := v.(uint32)
	if !ok {
		return fmt.Errorf("%w: expected a u32, found %s", ErrAlignment, TypeName(v))
	}
	if bits.OnesCount32(a) != 1 {
		return fmt.Errorf("%w: expected a power of two, found %d", ErrAlignment, a)
	}
	f.Alignment = a
	return nil
}

func (f *File) info(r *reader) error {
	name, err := r.str()
	switch {
	case err != nil:
		return err
	case len(name) > maxNameBytes:
		return fmt.Errorf("%w: expected at most %d bytes, found %d", ErrName, maxNameBytes, len(name))
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %q is not UTF-8", ErrName, name)
	}
	if _, ok := f.entries[name]; ok {
		return fmt.Errorf("%w: %q appears twice", ErrName, name)
	}
	e, err := readInfo(r, name)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	f.entries[name] = e
	f.names = append(f.names, name)
	return nil
}

func readInfo(r *reader, name string) (e entry, err error) {
	e.Name = name
	dims, err := r.u32()
	if err != nil {
		return e, err
	}
	if dims > maxDims {
		return e, fmt.Errorf("%w: expected at most %d dimensions, found %d", ErrShape, maxDims, dims)
	}
	e.Shape = make([]int, dims)
	for i := range e.Shape {
		d, err := r.u64()
		if err != nil {
			return e, err
		}
		if d > math.MaxInt {
			return e, fmt.Errorf("%w: dimension %d", ErrShape, d)
		}
		e.Shape[len(e.Shape)-1-i] = int(d)
	}
	id, err := r.u32()
	if err != nil {
		return e, err
	}
	if e.Type, err = qtype.FromGGUF(id); err != nil {
		return e, fmt.Errorf("%w: %w", ErrType, err)
	}
	if err := e.Check(); err != nil {
		return e, fmt.Errorf("%w: %w", ErrShape, err)
	}
	e.begin, err = r.u64()
	return e, err
}

// place checks that tensors follow each other in the order of their descriptions, padded, and end within the file.
func (f *File) place() error {
	var at uint64
	for _, name := range f.names {
		e := f.entries[name]
		size := uint64(e.Bytes())
		switch {
		case e.begin != at:
			return fmt.Errorf("tensor %q: %w: expected %d, found %d", name, ErrOffset, at, e.begin)
		case size > uint64(len(f.data)) || at > uint64(len(f.data))-size:
			return fmt.Errorf("tensor %q: %w: expected %d bytes at %d, found %d in all", name, ErrTruncated, size, at, len(f.data))
		}
		at = roundUp(at+size, uint64(f.Alignment))
	}
	return nil
}

func roundUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// Meta is the metadata; the caller must not change it.
func (f *File) Meta() *Meta { return &f.meta }

// Name is the path the file was opened with.
func (f *File) Name() string { return f.name }

// Names lists the tensors in the order of the file.
func (f *File) Names() []string { return f.names }

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
	if f.shards != nil {
		return f.shards[e.shard].Tensor(name)
	}
	end := e.begin + uint64(e.Bytes())
	data := f.data[e.begin:end:end]
	if f.close == nil { // in memory: there are no pages to give back
		return tensor.Tensor{Info: e.Info, Data: data}, nil
	}
	return tensor.View(e.Info, data), nil
}

// Offset is where a tensor begins in the file that holds it, in bytes; -1 when there is no such tensor.
func (f *File) Offset(name string) int64 {
	e, ok := f.entries[name]
	if !ok {
		return -1
	}
	if f.shards != nil {
		return f.shards[e.shard].Offset(name)
	}
	return f.start + int64(e.begin)
}

// reader walks over the header.
type reader struct {
	data []byte
	at   int
}

func (r *reader) left() uint64 { return uint64(len(r.data) - r.at) }

func (r *reader) take(n uint64) ([]byte, error) {
	if n > r.left() {
		return nil, fmt.Errorf("%w: expected %d bytes, found %d", ErrTruncated, n, r.left())
	}
	b := r.data[r.at : r.at+int(n)]
	r.at += int(n)
	return b, nil
}

func (r *reader) u32() (uint32, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (r *reader) u64() (uint64, error) {
	b, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (r *reader) str() (string, error) {
	n, err := r.u64()
	if err != nil {
		return "", err
	}
	b, err := r.take(n)
	return string(b), err
}

// value reads a type and a value of it.
func (r *reader) value() (any, error) {
	k, err := r.u32()
	if err != nil {
		return nil, err
	}
	if kind(k) != kindArray {
		return r.scalar(kind(k))
	}
	if k, err = r.u32(); err != nil {
		return nil, err
	}
	n, err := r.u64()
	switch {
	case err != nil:
		return nil, err
	case kind(k) >= numKinds || kind(k) == kindArray:
		return nil, fmt.Errorf("%w: an array cannot hold values of type %d", ErrValue, k)
	case n > r.left()/kinds[k].size:
		return nil, fmt.Errorf("%w: an array of %d values in the last %d bytes", ErrTruncated, n, r.left())
	}
	switch kind(k) {
	case kindBool:
		return array[bool](r, kindBool, n)
	case kindString:
		return array[string](r, kindString, n)
	}
	b, err := r.take(n * kinds[k].size)
	if err != nil {
		return nil, err
	}
	return numbers(kind(k), b, int(n)), nil
}

// array reads values one by one.
func array[T any](r *reader, k kind, n uint64) ([]T, error) {
	a := make([]T, n)
	for i := range a {
		v, err := r.scalar(k)
		if err != nil {
			return nil, err
		}
		a[i] = v.(T)
	}
	return a, nil
}

// numbers reads n numbers that fill b.
func numbers(k kind, b []byte, n int) any {
	le := binary.LittleEndian
	switch k {
	case kindU8:
		return slices.Clone(b[:n:n])
	case kindI8:
		return fill(n, func(i int) int8 { return int8(b[i]) })
	case kindU16:
		return fill(n, func(i int) uint16 { return le.Uint16(b[2*i:]) })
	case kindI16:
		return fill(n, func(i int) int16 { return int16(le.Uint16(b[2*i:])) })
	case kindU32:
		return fill(n, func(i int) uint32 { return le.Uint32(b[4*i:]) })
	case kindI32:
		return fill(n, func(i int) int32 { return int32(le.Uint32(b[4*i:])) })
	case kindF32:
		return fill(n, func(i int) float32 { return math.Float32frombits(le.Uint32(b[4*i:])) })
	case kindU64:
		return fill(n, func(i int) uint64 { return le.Uint64(b[8*i:]) })
	case kindI64:
		return fill(n, func(i int) int64 { return int64(le.Uint64(b[8*i:])) })
	}
	return fill(n, func(i int) float64 { return math.Float64frombits(le.Uint64(b[8*i:])) })
}

func fill[T any](n int, at func(int) T) []T {
	a := make([]T, n)
	for i := range a {
		a[i] = at(i)
	}
	return a
}

func (r *reader) scalar(k kind) (any, error) {
	switch {
	case k >= numKinds:
		return nil, fmt.Errorf("%w: unknown type %d", ErrValue, k)
	case k == kindString:
		return r.str()
	}
	b, err := r.take(kinds[k].size)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	switch k {
	case kindU8:
		return b[0], nil
	case kindI8:
		return int8(b[0]), nil
	case kindU16:
		return le.Uint16(b), nil
	case kindI16:
		return int16(le.Uint16(b)), nil
	case kindU32:
		return le.Uint32(b), nil
	case kindI32:
		return int32(le.Uint32(b)), nil
	case kindF32:
		return math.Float32frombits(le.Uint32(b)), nil
	case kindU64:
		return le.Uint64(b), nil
	case kindI64:
		return int64(le.Uint64(b)), nil
	case kindF64:
		return math.Float64frombits(le.Uint64(b)), nil
	}
	if b[0] > 1 {
		return nil, fmt.Errorf("%w: expected a bool of 0 or 1, found %d", ErrValue, b[0])
	}
	return b[0] == 1, nil
}
