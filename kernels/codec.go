package kernels

import (
	"math"
	"unsafe"
)

// A Codec tells how a stored type becomes numbers: blocks of Block values in Bytes bytes. Codecs are compared by address.
type Codec struct {
	Name         string
	Block, Bytes int
	// F32 decodes len(dst) values, a multiple of Block.
	F32 func(dst []float32, src []byte)
	// BF16 gives F32's values rounded to nearest even; nil: F32 is called and rounded.
	BF16 func(dst []uint16, src []byte)
}

// The plain float types. Their data is little-endian; Data of an F32 Matrix must be 4-byte aligned, of the others 2-byte.
var (
	F32  = &Codec{Name: "F32", Block: 1, Bytes: 4, F32: decodeF32, BF16: decodeF32BF16}
	BF16 = &Codec{Name: "BF16", Block: 1, Bytes: 2, F32: decodeBF16, BF16: copyBF16}
	F16  = &Codec{Name: "F16", Block: 1, Bytes: 2, F32: decodeF16, BF16: DecodeF16}
)

// A Matrix is Rows x Cols stored values; row i begins at Data[i*Stride]. Cols is a multiple of the block.
type Matrix struct {
	Rows, Cols int
	Stride     int // bytes from row to row; 0: the rows are dense
	Data       []byte
	// Int8 allows products A·Bᵀ with this matrix to round A to 8 bits and multiply integers (int8.go), for types that are codes.
	Int8 bool
	*Codec
}

// Floats views a dense float32 matrix (rows, cols) as a Matrix, without a copy.
func Floats(x []float32, rows, cols int) Matrix {
	if len(x) < rows*cols {
		panic("kernels: Floats: slice shorter than the matrix")
	}
	m := Matrix{Rows: rows, Cols: cols, Stride: 4 * cols, Codec: F32}
	if rows*cols > 0 {
		m.Data = unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*rows*cols)
	}
	return m
}

// rowBytes is the bytes of n values.
func (m *Matrix) rowBytes(n int) int { return (n + m.Block - 1) / m.Block * m.Bytes }

// RowStride is the bytes from row to row.
func (m *Matrix) RowStride() int {
	if m.Stride != 0 {
		return m.Stride
	}
	return m.rowBytes(m.Cols)
}

// span is the bytes of columns [c0, c1) of a row, and how many values before c0 its first block holds.
func (m *Matrix) span(row, c0, c1 int) (src []byte, skip int) {
	b0, b1 := c0/m.Block, (c1+m.Block-1)/m.Block
	at := row * m.RowStride()
	return m.Data[at+b0*m.Bytes : at+b1*m.Bytes], c0 - b0*m.Block
}

// check panics unless m is rows x cols and its data is long enough.
func (m *Matrix) check(what string, rows, cols int) {
	switch {
	case m.Codec == nil:
		panic("kernels: " + what + ": no codec")
	case m.Rows != rows || m.Cols != cols:
		panic("kernels: " + what + ": shape does not fit the product")
	case rows > 0 && cols > 0 && len(m.Data) < (rows-1)*m.RowStride()+m.rowBytes(cols):
		panic("kernels: " + what + ": data shorter than the shape")
	}
}

// roundBF16 is x rounded to bf16, nearest even; a NaN stays one.
func roundBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

func widenBF16(x uint16) float32 { return math.Float32frombits(uint32(x) << 16) }

// view reads little-endian data as n numbers in place; the machines this runs on are little-endian.
func view[T float32 | uint16](src []byte, n int) []T {
	var zero T
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&src[:n*int(unsafe.Sizeof(zero))][0])), n)
}

func decodeF32(dst []float32, src []byte)    { copy(dst, view[float32](src, len(dst))) }
func decodeF32BF16(dst []uint16, src []byte) { BF16FromF32(dst, view[float32](src, len(dst))) }
func decodeBF16(dst []float32, src []byte)   { F32FromBF16(dst, view[uint16](src, len(dst))) }
func copyBF16(dst []uint16, src []byte)      { copy(dst, view[uint16](src, len(dst))) }
func decodeF16(dst []float32, src []byte)    { F32FromF16(dst, view[uint16](src, len(dst))) }
