// Package qtype is the table of storage types: how the numbers of one tensor lie in memory and in files.
//
// One row is the whole truth about a type. A new type is one file with its Decode and Encode, one row here, and golden
// bytes in testdata; file formats, conversion and the command line take it from the table.
//
// Layouts and arithmetic are those of ggml (ggml-common.h, ggml-quants.c) compiled without contraction: every product is
// rounded to float32 before it is added, so that the same bytes give the same bits on every machine, and the same numbers the
// same bytes. Encoders may therefore not use kernels that multiply and add in one step; their own assembly works on several
// groups or candidates at a time, each with the operations of the plain form in the same order.
package qtype

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"tune/kernels"
)

// Type names one way to store numbers.
type Type uint8

// The storage types. Quantized names are spelled as in GGUF files.
const (
	F32 Type = iota
	F16
	BF16
	F64
	I8
	I16
	I32
	I64
	U8
	U16
	U32
	U64
	BOOL
	F8_E4M3
	F8_E5M2
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	IQ1_S
	IQ1_M
	IQ2_XXS
	IQ2_XS
	IQ2_S
	IQ3_XXS
	IQ3_S
	IQ4_NL
	IQ4_XS
	TQ1_0
	TQ2_0
	MXFP4
	NVFP4
	Q1_0
	Q2_0
	INT2
	INT3
	INT4
	INT8
	NF4
	FP4
	E2M1
	FP8
	numTypes
)

// A Row says all that is known of a type. Functions take whole blocks and are nil where the direction is not written yet.
type Row struct {
	Name         string
	GGUF         int    // number in GGUF files, -1: none
	SafeTensors  string // dtype in safetensors files, "": none
	Block, Bytes int    // values and bytes of one block
	Decode       func(dst []float32, src []byte)
	DecodeBF16   func(dst []uint16, src []byte) // Decode rounded to nearest even; nil: kernels derive it
	Encode       func(dst []byte, src []float32)
	// EncodeWeighted takes whole rows of len(importance) values; importance[c] weighs the error of column c. nil: the type
	// does not use importance, or has no encoder.
	EncodeWeighted  func(dst []byte, src, importance []float32)
	NeedsImportance bool // cannot be encoded without importance, Encode is nil
}

var rows = [numTypes]Row{
	F32:     {"F32", 0, "F32", 1, 4, kernels.F32.F32, kernels.F32.BF16, encodeF32, nil, false},
	F16:     {"F16", 1, "F16", 1, 2, kernels.F16.F32, kernels.F16.BF16, encodeF16, nil, false},
	BF16:    {"BF16", 30, "BF16", 1, 2, kernels.BF16.F32, kernels.BF16.BF16, encodeBF16, nil, false},
	F64:     {"F64", 28, "F64", 1, 8, decodeF64, nil, nil, nil, false},
	I8:      {"I8", 24, "I8", 1, 1, nil, nil, nil, nil, false},
	I16:     {"I16", 25, "I16", 1, 2, nil, nil, nil, nil, false},
	I32:     {"I32", 26, "I32", 1, 4, nil, nil, nil, nil, false},
	I64:     {"I64", 27, "I64", 1, 8, nil, nil, nil, nil, false},
	U8:      {"U8", -1, "U8", 1, 1, nil, nil, nil, nil, false},
	U16:     {"U16", -1, "U16", 1, 2, nil, nil, nil, nil, false},
	U32:     {"U32", -1, "U32", 1, 4, nil, nil, nil, nil, false},
	U64:     {"U64", -1, "U64", 1, 8, nil, nil, nil, nil, false},
	BOOL:    {"BOOL", -1, "BOOL", 1, 1, nil, nil, nil, nil, false},
	F8_E4M3: {"F8_E4M3", -1, "F8_E4M3", 1, 1, decodeE4M3, kernels.BlockDecoder("F8_E4M3", nil), nil, nil, false},
	F8_E5M2: {"F8_E5M2", -1, "F8_E5M2", 1, 1, decodeE5M2, kernels.BlockDecoder("F8_E5M2", nil), nil, nil, false},
	Q4_0:    {"Q4_0", 2, "", 32, 18, decodeQ4_0, kernels.DecodeQ4_0, encodeQ4_0, encodeWeightedQ4_0, false},
	Q4_1:    {"Q4_1", 3, "", 32, 20, decodeQ4_1, kernels.DecodeQ4_1, encodeQ4_1, encodeWeightedQ4_1, false},
	Q5_0:    {"Q5_0", 6, "", 32, 22, decodeQ5_0, kernels.DecodeQ5_0, encodeQ5_0, encodeWeightedQ5_0, false},
	Q5_1:    {"Q5_1", 7, "", 32, 24, decodeQ5_1, kernels.DecodeQ5_1, encodeQ5_1, encodeWeightedQ5_1, false},
	Q8_0:    {"Q8_0", 8, "", 32, 34, decodeQ8_0, kernels.DecodeQ8_0, encodeQ8_0, nil, false},
	Q2_K:    {"Q2_K", 10, "", 256, 84, decodeQ2_K, kernels.DecodeQ2_K, plain(256, 84, encodeQ2_K), weighted(256, 84, encodeQ2_K), false},
	Q3_K:    {"Q3_K", 11, "", 256, 110, decodeQ3_K, kernels.DecodeQ3_K, plain(256, 110, encodeQ3_K), weighted(256, 110, encodeQ3_K), false},
	Q4_K:    {"Q4_K", 12, "", 256, 144, decodeQ4_K, kernels.DecodeQ4_K, plain(256, 144, encodeQ4_K), weighted(256, 144, encodeQ4_K), false},
	Q5_K:    {"Q5_K", 13, "", 256, 176, decodeQ5_K, kernels.DecodeQ5_K, plain(256, 176, encodeQ5_K), weighted(256, 176, encodeQ5_K), false},
	Q6_K:    {"Q6_K", 14, "", 256, 210, decodeQ6_K, kernels.DecodeQ6_K, plain(256, 210, encodeQ6_K), weighted(256, 210, encodeQ6_K), false},
	IQ1_S:   {"IQ1_S", 19, "", 256, 50, decodeIQ1_S, kernels.BlockDecoder("IQ1_S", gridIQ1[:]), nil, weighted(256, 50, encodeIQ1_S), true},
	IQ1_M:   {"IQ1_M", 29, "", 256, 56, decodeIQ1_M, kernels.BlockDecoder("IQ1_M", gridIQ1[:]), plain(256, 56, encodeIQ1_M), weighted(256, 56, encodeIQ1_M), false},
	IQ2_XXS: {"IQ2_XXS", 16, "", 256, 66, decodeIQ2_XXS, kernels.BlockDecoder("IQ2_XXS", gridIQ2_XXS[:]), nil, weighted(256, 66, encodeIQ2_XXS), true},
	IQ2_XS:  {"IQ2_XS", 17, "", 256, 74, decodeIQ2_XS, kernels.BlockDecoder("IQ2_XS", gridIQ2_XS[:]), nil, weighted(256, 74, encodeIQ2_XS), true},
	IQ2_S:   {"IQ2_S", 22, "", 256, 82, decodeIQ2_S, kernels.BlockDecoder("IQ2_S", gridIQ2_S[:]), plain(256, 82, encodeIQ2_S), weighted(256, 82, encodeIQ2_S), false},
	IQ3_XXS: {"IQ3_XXS", 18, "", 256, 98, decodeIQ3_XXS, kernels.BlockDecoder("IQ3_XXS", gridIQ3_XXS[:]), plain(256, 98, encodeIQ3_XXS), weighted(256, 98, encodeIQ3_XXS), false},
	IQ3_S:   {"IQ3_S", 21, "", 256, 110, decodeIQ3_S, kernels.BlockDecoder("IQ3_S", gridIQ3_S[:]), plain(256, 110, encodeIQ3_S), weighted(256, 110, encodeIQ3_S), false},
	IQ4_NL:  {"IQ4_NL", 20, "", 32, 18, decodeIQ4_NL, kernels.BlockDecoder("IQ4_NL", nil), plain(32, 18, encodeIQ4_NL), weighted(32, 18, encodeIQ4_NL), false},
	IQ4_XS:  {"IQ4_XS", 23, "", 256, 136, decodeIQ4_XS, kernels.BlockDecoder("IQ4_XS", nil), plain(256, 136, encodeIQ4_XS), weighted(256, 136, encodeIQ4_XS), false},
	TQ1_0:   {"TQ1_0", 34, "", 256, 54, decodeTQ1_0, kernels.BlockDecoder("TQ1_0", nil), encodeTQ1_0, nil, false},
	TQ2_0:   {"TQ2_0", 35, "", 256, 66, decodeTQ2_0, kernels.BlockDecoder("TQ2_0", nil), encodeTQ2_0, nil, false},
	MXFP4:   {"MXFP4", 39, "", 32, 17, decodeMXFP4, kernels.BlockDecoder("MXFP4", nil), encodeMXFP4, nil, false},
	NVFP4:   {"NVFP4", 40, "", 64, 36, decodeNVFP4, kernels.BlockDecoder("NVFP4", nil), encodeNVFP4, nil, false},
	Q1_0:    {"Q1_0", 41, "", 128, 18, decodeQ1_0, kernels.BlockDecoder("Q1_0", nil), encodeQ1_0, nil, false},
	Q2_0:    {"Q2_0", 42, "", 64, 18, decodeQ2_0, kernels.BlockDecoder("Q2_0", nil), encodeQ2_0, nil, false},
	INT2:    {"INT2", -1, "", 32, 12, decodeINT2, kernels.BlockDecoder("INT2", nil), nil, nil, false},
	INT3:    {"INT3", -1, "", 32, 16, decodeINT3, kernels.BlockDecoder("INT3", nil), nil, nil, false},
	INT4:    {"INT4", -1, "", 32, 20, decodeINT4, kernels.BlockDecoder("INT4", nil), nil, nil, false},
	INT8:    {"INT8", -1, "", 32, 36, decodeINT8, kernels.BlockDecoder("INT8", nil), nil, nil, false},
	NF4:     {"NF4", -1, "", 32, 20, decodeNF4, kernels.BlockDecoder("NF4", nil), nil, nil, false},
	FP4:     {"FP4", -1, "", 32, 20, decodeFP4, kernels.BlockDecoder("FP4", nil), nil, nil, false},
	E2M1:    {"E2M1", -1, "", 16, 12, decodeE2M1, kernels.BlockDecoder("E2M1", nil), nil, nil, false},
	FP8:     {"FP8", -1, "", 32, 36, decodeFP8, kernels.BlockDecoder("FP8", nil), nil, nil, false},
}

// codecs holds one Codec per decodable type: kernels compare codecs by address.
var codecs = func() (c [numTypes]*kernels.Codec) {
	for t, r := range rows {
		if r.Decode != nil {
			c[t] = &kernels.Codec{Name: r.Name, Block: r.Block, Bytes: r.Bytes, F32: r.Decode, BF16: r.DecodeBF16}
		}
	}
	c[F32], c[F16], c[BF16] = kernels.F32, kernels.F16, kernels.BF16
	return c
}()

// Row returns the row of the table; the caller must not change it.
func (t Type) Row() *Row {
	if t >= numTypes {
		panic(fmt.Sprintf("qtype: no type %d", uint8(t)))
	}
	return &rows[t]
}

func (t Type) String() string {
	if t >= numTypes {
		return fmt.Sprintf("Type(%d)", uint8(t))
	}
	return rows[t].Name
}

// All returns the types in table order.
func All() []Type {
	all := make([]Type, numTypes)
	for i := range all {
		all[i] = Type(i)
	}
	return all
}

// ParseType finds a type by name, in any case.
func ParseType(name string) (Type, error) {
	i := slices.IndexFunc(rows[:], func(r Row) bool { return strings.EqualFold(r.Name, name) })
	if i < 0 {
		return 0, fmt.Errorf("unknown storage type %q", name)
	}
	return Type(i), nil
}

// retired are the GGUF numbers of layouts that are no longer read.
var retired = map[uint32]string{
	4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
	9: "Q8_1 (activations only)", 15: "Q8_K (activations only)",
}

// FromGGUF finds a type by its number in GGUF files.
func FromGGUF(id uint32) (Type, error) {
	if name, ok := retired[id]; ok {
		return 0, fmt.Errorf("tensor type %d, %s, is not stored in files any more", id, name)
	}
	i := slices.IndexFunc(rows[:], func(r Row) bool { return r.GGUF >= 0 && uint32(r.GGUF) == id })
	if i < 0 {
		return 0, fmt.Errorf("unknown tensor type %d", id)
	}
	return Type(i), nil
}

// FromSafeTensors finds a type by its dtype in safetensors files.
func FromSafeTensors(dtype string) (Type, error) {
	i := slices.IndexFunc(rows[:], func(r Row) bool { return r.SafeTensors != "" && r.SafeTensors == dtype })
	if i < 0 {
		return 0, fmt.Errorf("unknown dtype %q", dtype)
	}
	return Type(i), nil
}

// RowBytes is the size of a row of cols values; it fails when cols is not a multiple of the block.
func (t Type) RowBytes(cols int) (int64, error) {
	r := t.Row()
	switch {
	case cols < 0:
		return 0, fmt.Errorf("negative row width %d", cols)
	case cols%r.Block != 0:
		return 0, fmt.Errorf("row width: expected a multiple of %d for %s, found %d", r.Block, r.Name, cols)
	case int64(cols/r.Block) > math.MaxInt64/int64(r.Bytes):
		return 0, fmt.Errorf("row width %d is too large", cols)
	}
	return int64(cols/r.Block) * int64(r.Bytes), nil
}

// Codec is what kernels need to compute with a type; nil when it cannot be decoded.
func (t Type) Codec() *kernels.Codec {
	t.Row()
	return codecs[t]
}
