package kernels

import (
	"encoding/binary"
	"math"
)

// Decoders of the GGML block types to bf16, each value the type's float32 formula (one rounding per operation) rounded to nearest
// even. They are what Codec.BF16 of a quantized type points to; package qtype has the float32 forms and the table.
//
// src holds whole blocks, len(dst) is a multiple of the block. Where there is no assembly the value functions below, which are also
// the reference of the tests, are called one by one.

// storedType numbers the types whose layout the kernels know.
type storedType int

const (
	typeQ4_0 storedType = iota
	typeQ4_1
	typeQ5_0
	typeQ5_1
	typeQ8_0
	typeQ2_K
	typeQ3_K
	typeQ4_K
	typeQ5_K
	typeQ6_K
	typeINT4 // no file has it: what GPTQ and AWQ spread over tensors, as blocks
	typeIQ4_NL
	typeMXFP4
	numStored
)

// storedRow describes a type: values and bytes of a block, and the float32 value i of block b.
type storedRow struct {
	name         string
	block, bytes int
	value        func(b []byte, i int) float32
}

var storedRows = [numStored]storedRow{
	typeQ4_0: {"Q4_0", 32, 18, valueQ4_0},
	typeQ4_1: {"Q4_1", 32, 20, valueQ4_1},
	typeQ5_0: {"Q5_0", 32, 22, valueQ5_0},
	typeQ5_1: {"Q5_1", 32, 24, valueQ5_1},
	typeQ8_0: {"Q8_0", 32, 34, valueQ8_0},
	typeQ2_K: {"Q2_K", 256, 84, valueQ2_K},
	typeQ3_K: {"Q3_K", 256, 110, valueQ3_K},
	typeQ4_K: {"Q4_K", 256, 144, valueQ4_K},
	typeQ5_K: {"Q5_K", 256, 176, valueQ5_K},
	typeQ6_K: {"Q6_K", 256, 210, valueQ6_K},
	typeINT4: {"INT4", 32, 20, valueINT4},

	typeIQ4_NL: {"IQ4_NL", 32, 18, func(b []byte, i int) float32 { return half(b) * float32(levels4[nibble(b[2:], i)]) }},
	typeMXFP4:  {"MXFP4", 32, 17, func(b []byte, i int) float32 { return halfExponent(b[0]) * float32(halves4[nibble(b[1:], i)]) }},
}

// wordRows decodes rows of n > 0 blocks to bf16: stride bytes from row to row, ld values in dst.
type wordRows func(dst *uint16, ld int, src *byte, stride, n, rows int)

// storedTypeOf finds the type of a codec among those with kernels of their own.
func storedTypeOf(c *Codec) (storedType, bool) {
	for t := range storedRows {
		if r := &storedRows[t]; r.name == c.Name && r.block == c.Block && r.bytes == c.Bytes {
			return storedType(t), true
		}
	}
	return 0, false
}

// DecodeQ4_0 decodes blocks of 32: half d, 16 bytes of codes; (code-8)·d.
func DecodeQ4_0(dst []uint16, src []byte) { decodeStored(typeQ4_0, dst, src) }

// DecodeQ4_1 decodes blocks of 32: halves d and m, 16 bytes of codes; code·d + m.
func DecodeQ4_1(dst []uint16, src []byte) { decodeStored(typeQ4_1, dst, src) }

// DecodeQ5_0 decodes blocks of 32: half d, 32 fifth bits, 16 bytes of low nibbles; (code-16)·d.
func DecodeQ5_0(dst []uint16, src []byte) { decodeStored(typeQ5_0, dst, src) }

// DecodeQ5_1 decodes blocks of 32: halves d and m, 32 fifth bits, 16 bytes of low nibbles; code·d + m.
func DecodeQ5_1(dst []uint16, src []byte) { decodeStored(typeQ5_1, dst, src) }

// DecodeQ8_0 decodes blocks of 32: half d, 32 signed bytes; code·d.
func DecodeQ8_0(dst []uint16, src []byte) { decodeStored(typeQ8_0, dst, src) }

// DecodeQ2_K decodes blocks of 256: 16 scales and minima of 4 bits, 2-bit codes, halves d and dmin; d·scale·code - dmin·minimum.
func DecodeQ2_K(dst []uint16, src []byte) { decodeStored(typeQ2_K, dst, src) }

// DecodeQ3_K decodes blocks of 256: third bits, 2-bit codes, 16 scales of 6 bits, half d; d·(scale-32)·(code-4).
func DecodeQ3_K(dst []uint16, src []byte) { decodeStored(typeQ3_K, dst, src) }

// DecodeQ4_K decodes blocks of 256: halves d and dmin, 8 scales and minima of 6 bits, nibbles; d·scale·code - dmin·minimum.
func DecodeQ4_K(dst []uint16, src []byte) { decodeStored(typeQ4_K, dst, src) }

// DecodeQ5_K decodes blocks of 256: as Q4_K, with fifth bits before the nibbles.
func DecodeQ5_K(dst []uint16, src []byte) { decodeStored(typeQ5_K, dst, src) }

// DecodeQ6_K decodes blocks of 256: low nibbles, high 2 bits, 16 signed scales, half d; d·scale·(code-32).
func DecodeQ6_K(dst []uint16, src []byte) { decodeStored(typeQ6_K, dst, src) }

// decodeStored decodes whole blocks of a type.
func decodeStored(t storedType, dst []uint16, src []byte) {
	row := &storedRows[t]
	n := len(dst) / row.block
	if len(dst)%row.block != 0 || len(src) < n*row.bytes {
		panic("kernels: Decode" + row.name + ": not whole blocks, or fewer bytes than values")
	}
	if n == 0 {
		return
	}
	if fast := fastDecoder(t); fast != nil {
		fast(&dst[0], 0, &src[0], 0, n, 1)
		return
	}
	decodePlain(row, dst, src)
}

func decodePlain(row *storedRow, dst []uint16, src []byte) {
	for i := range dst {
		dst[i] = roundBF16(row.value(src[i/row.block*row.bytes:], i%row.block))
	}
}

// DecodeF16 is dst[i] = bf16(the half at src[2i:]).
func DecodeF16(dst []uint16, src []byte) {
	i := fastF16(dst, src)
	for ; i < len(dst); i++ {
		dst[i] = roundBF16(f16Value(binary.LittleEndian.Uint16(src[2*i:])))
	}
}

func half(b []byte) float32 { return f16Value(binary.LittleEndian.Uint16(b)) }

// nibble is code i of 32 in 16 bytes: low nibbles, then high nibbles.
func nibble(b []byte, i int) int { return int(b[i%16] >> (4 * (i / 16)) & 15) }

func valueQ4_0(b []byte, i int) float32 { return float32(nibble(b[2:], i)-8) * half(b) }

func valueQ4_1(b []byte, i int) float32 {
	return float32(float32(nibble(b[4:], i))*half(b)) + half(b[2:])
}

// fifth is bit i of 32, as 16 or 0.
func fifth(b []byte, i int) int { return int(binary.LittleEndian.Uint32(b)>>i&1) << 4 }

func valueQ5_0(b []byte, i int) float32 {
	return float32(nibble(b[6:], i)|fifth(b[2:], i)-16) * half(b)
}

func valueQ5_1(b []byte, i int) float32 {
	return float32(float32(nibble(b[8:], i)|fifth(b[4:], i))*half(b)) + half(b[2:])
}

func valueQ8_0(b []byte, i int) float32 { return float32(int8(b[2+i])) * half(b) }

// crumb is 2-bit code i of 256 in 64 bytes: bits 2k of 32 bytes hold codes 32k..32k+31 of each half.
func crumb(b []byte, i int) int { return int(b[i/128*32+i%32] >> (i % 128 / 32 * 2) & 3) }

func valueQ2_K(b []byte, i int) float32 {
	s := b[i/16]
	scale, low := half(b[80:])*float32(s&15), half(b[82:])*float32(s>>4)
	return float32(scale*float32(crumb(b[16:], i))) - low
}

// signedQ3_K is scale g of 16: a nibble of bytes 96..103, two bits of bytes 104..107.
func signedQ3_K(b []byte, g int) int {
	p := b[96:]
	return int(p[g%8]>>(4*(g/8))&15|p[8+g%4]>>(2*(g/4))&3<<4) - 32
}

func valueQ3_K(b []byte, i int) float32 {
	high := int(b[i%32]>>(i/32)&1) << 2
	return float32(half(b[108:])*float32(signedQ3_K(b, i/16))) * float32(crumb(b[32:], i)+high-4)
}

// scaleMin is the scale and minimum, 6 bits each, of group g of 8 in 12 bytes.
func scaleMin(p []byte, g int) (scale, low float32) {
	if g < 4 {
		return float32(p[g] & 63), float32(p[g+4] & 63)
	}
	return float32(p[g+4]&15 | p[g-4]>>6<<4), float32(p[g+4]>>4 | p[g]>>6<<4)
}

func valueQ4_K(b []byte, i int) float32 {
	s, m := scaleMin(b[4:], i/32)
	code := b[16+i/64*32+i%32] >> (i % 64 / 32 * 4) & 15
	return float32(float32(half(b)*s)*float32(code)) - half(b[2:])*m
}

func valueQ5_K(b []byte, i int) float32 {
	s, m := scaleMin(b[4:], i/32)
	code := b[48+i/64*32+i%32]>>(i%64/32*4)&15 | b[16+i%32]>>(i/32)&1<<4
	return float32(float32(half(b)*s)*float32(code)) - half(b[2:])*m
}

// The values of 4-bit codes of IQ4_NL, and twice those of MXFP4. Constants of ggml (MIT License; its text is in
// internal/qtype/iqgrids.go).
var (
	levels4 = [16]int{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	halves4 = [16]int{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
)

// halfExponent is 2^(e-128).
func halfExponent(e byte) float32 { return float32(math.Ldexp(1, int(e)-128)) }

// headINT4 is the scale and the zero of a block: 32 bits, the upper 24 of the scale as a float32, and the zero.
func headINT4(b []byte) (scale float32, zero int) {
	h := binary.LittleEndian.Uint32(b)
	return math.Float32frombits(h &^ 0xff), int(h & 0xff)
}

func valueINT4(b []byte, i int) float32 {
	scale, zero := headINT4(b)
	return scale * float32(nibble(b[4:], i)-zero)
}

func valueQ6_K(b []byte, i int) float32 {
	h, quarter, j := i/128, i%128/32, i%32
	code := b[64*h+32*(quarter%2)+j]>>(4*(quarter/2))&15 | b[128+32*h+j]>>(2*quarter)&3<<4
	return float32(half(b[208:])*float32(int8(b[192+i/16]))) * float32(int(code)-32)
}
