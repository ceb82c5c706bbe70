// Package tensor holds stored tensors and Source, the seam between whatever has weights and whatever uses them: mapped
// files, merged adapters, renamed or converted views are all Sources, and writers take a Source.
package tensor

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"tune/internal/qtype"
	"tune/kernels"
)

// Info describes a tensor without its numbers.
type Info struct {
	Name  string
	Type  qtype.Type
	Shape []int // row-major, outermost first; empty: a scalar
}

// Elems is the number of values.
func (i Info) Elems() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// Cols is the width of a row: the innermost dimension, 1 for a scalar.
func (i Info) Cols() int {
	if len(i.Shape) == 0 {
		return 1
	}
	return i.Shape[len(i.Shape)-1]
}

// Bytes is the size of the stored values of an Info that Check accepts.
func (i Info) Bytes() int64 {
	r := i.Type.Row()
	return int64(i.Elems() / r.Block * r.Bytes)
}

// Check fails when a dimension is negative, the values or bytes overflow, or rows do not consist of whole blocks.
func (i Info) Check() error {
	n, nonzero := uint64(1), uint64(1)
	for _, d := range i.Shape {
		if d < 0 {
			return fmt.Errorf("shape %v: negative dimension", i.Shape)
		}
		var hi uint64
		if hi, nonzero = bits.Mul64(nonzero, uint64(max(d, 1))); hi != 0 || nonzero > math.MaxInt {
			return fmt.Errorf("shape %v: too many values", i.Shape)
		}
		n *= uint64(d)
	}
	r := i.Type.Row()
	if _, err := i.Type.RowBytes(i.Cols()); err != nil {
		return err
	}
	if hi, lo := bits.Mul64(n/uint64(r.Block), uint64(r.Bytes)); hi != 0 || lo > math.MaxInt {
		return fmt.Errorf("shape %v: too many bytes", i.Shape)
	}
	return nil
}

// Tensor is a stored tensor. Data may be a view of a mapped file: it must not be written, nor used after its file is closed.
type Tensor struct {
	Info
	Data   []byte
	mapped []byte // Data when it is a view of a mapped file
}

// View is a tensor whose Data is a part of a mapped file, which Release gives back to the system. Ordinary memory must not be one: it
// would lose its values.
func View(info Info, data []byte) Tensor { return Tensor{info, data, data} }

// Source gives tensors by name. Implementations are safe for concurrent use.
type Source interface {
	Names() []string // in the order of the file; the caller must not change it
	Info(name string) (Info, error)
	Tensor(name string) (Tensor, error)
}

// Missing is the error of a Source that has no tensor of that name.
func Missing(name string) error { return fmt.Errorf("no tensor %q", name) }

func (t Tensor) check() error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	if int64(len(t.Data)) != t.Bytes() {
		return fmt.Errorf("tensor %s: expected %d bytes, found %d", t.Name, t.Bytes(), len(t.Data))
	}
	return nil
}

// Floats decodes a tensor into a new slice.
func Floats(t Tensor) ([]float32, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	decode := t.Type.Row().Decode
	if decode == nil {
		return nil, fmt.Errorf("tensor %s: type %s cannot be decoded", t.Name, t.Type)
	}
	x := make([]float32, t.Elems())
	decode(x, t.Data)
	return x, nil
}

// Matrix views a tensor as rows of its innermost dimension, for kernels to decode tile by tile. It copies the data only
// when a file has put floats where the CPU must not read them.
func Matrix(t Tensor) (kernels.Matrix, error) {
	if err := t.check(); err != nil {
		return kernels.Matrix{}, err
	}
	codec := t.Type.Codec()
	if codec == nil {
		return kernels.Matrix{}, fmt.Errorf("tensor %s: type %s cannot be decoded", t.Name, t.Type)
	}
	m := kernels.Matrix{Cols: t.Cols(), Data: aligned(t.Data, t.Type), Codec: codec}
	if m.Cols > 0 {
		m.Rows = t.Elems() / m.Cols
		m.Stride = m.Cols / codec.Block * codec.Bytes
	}
	return m, nil
}

// aligned returns data at an address that suits the type.
func aligned(data []byte, t qtype.Type) []byte {
	r := t.Row()
	align := uintptr(2)
	if r.Block == 1 {
		align = uintptr(r.Bytes)
	}
	if len(data) == 0 || uintptr(unsafe.Pointer(&data[0]))%align == 0 {
		return data
	}
	words := make([]uint64, (len(data)+7)/8)
	whole := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(data))
	copy(whole, data)
	return whole
}

// FromFloats makes an F32 tensor of a copy of x.
func FromFloats(name string, shape []int, x []float32) Tensor {
	t := Tensor{Info: Info{name, qtype.F32, slices.Clone(shape)}}
	if t.Elems() != len(x) {
		panic(fmt.Sprintf("tensor: %s: shape %v does not hold %d values", name, shape, len(x)))
	}
	t.Data = make([]byte, 4*len(x))
	qtype.F32.Row().Encode(t.Data, x)
	return t
}

// convertChunk is the number of values that Convert holds as float32 at a time, a multiple of every block.
const convertChunk = 1 << 14

// Convert stores a tensor as another type; a tensor that has the type already is returned as it is.
func Convert(t Tensor, to qtype.Type) (Tensor, error) {
	if err := t.check(); err != nil {
		return Tensor{}, err
	}
	if t.Type == to {
		return t, nil
	}
	from, row := t.Type.Row(), to.Row()
	switch {
	case from.Decode == nil:
		return Tensor{}, fmt.Errorf("tensor %s: type %s cannot be decoded", t.Name, t.Type)
	case row.Encode == nil:
		return Tensor{}, fmt.Errorf("tensor %s: type %s cannot be written", t.Name, to)
	}
	out := Tensor{Info: Info{t.Name, to, t.Shape}}
	if err := out.Check(); err != nil {
		return Tensor{}, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	out.Data = make([]byte, out.Bytes())
	n := t.Elems()
	buf := make([]float32, min(n, convertChunk))
	for i := 0; i < n; i += convertChunk {
		x := buf[:min(convertChunk, n-i)]
		from.Decode(x, t.Data[i/from.Block*from.Bytes:])
		row.Encode(out.Data[i/row.Block*row.Bytes:], x)
	}
	return out, nil
}
