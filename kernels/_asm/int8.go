package main

import (
	"fmt"
	"strings"
)

// Integer products with AVX2: activations of 8 bits, weights as the codes they are stored as, exact sums in integers.
//
// VPMADDUBSW multiplies unsigned by signed bytes and adds pairs in 16 bits, where it saturates. Nothing here comes to that: activations
// lie in -127..127, so that a pair is at most 2·31·127 = 7,874 with codes of 5 bits, of which four are added (31,496), and
// 2·63·127 = 16,002 with 6 bits, of which two are (32,004). With 8 bits the tile multiplies codes of 0..255 by the low and the high
// four bits of activations: a pair is at most 2·255·8 = 4,080, and eight are added (32,640). Products of few rows multiply magnitudes
// of 0..128 by activations that took the sign: 2·128·127 = 32,512, and none is added in 16 bits.

// A codeKind is what the codes of a type are in records: unsigned of 5 bits or less with a scale per 32, of 6 bits with one per 16, of 8
// bits with one per 32. The names are those of package kernels.
type codeKind struct {
	name   string
	record int // bytes of 32 opened codes with their scales
	group  int // values of a scale
	pairs  int // pairs that are added in 16 bits
}

var (
	codes5 = codeKind{"5", 40, 32, 4}
	codes6 = codeKind{"6", 48, 16, 2}
	codes8 = codeKind{"8", 40, 32, 0}
)

// integers emits all of it.
func integers(a *asm) {
	a.table("minus128", repeat(f32bits(-128), 8))
	a.table("int8Order", []uint32{0, 4, 1, 5, 2, 6, 3, 7})
	a.table("int8Pairs", []uint32{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7})
	a.table("int8Halves", []uint32{0, 0, 0, 0, 1, 1, 1, 1})
	a.table("int8High", []uint32{0, 0, 0, 0, 4, 4, 4, 4})
	a.table("int8Spread", []uint32{0, 0, 0x01010101, 0x01010101, 0x02020202, 0x02020202, 0x03030303, 0x03030303})
	a.table("int8Bits", []uint32{0x08040201, 0x80402010, 0x08040201, 0x80402010, 0x08040201, 0x80402010, 0x08040201, 0x80402010})
	a.table("int8Sixteen", repeat(0x10101010, 8))
	a.table("int8Top", repeat(0x30303030, 8))
	a.table("int8Eight", repeat(0x08080808, 8))
	a.table("int8Eights", repeat(0x00080008, 8))
	a.table("int8Nibble", repeat(0x0f0f0f0f, 8))
	a.table("int8Sign", repeat(0x80808080, 8))
	a.table("int8Sixteens", repeat(0x00100010, 8))
	// Constants of ggml (MIT License; its text is in internal/qtype/iqgrids.go).
	a.table("int8Levels", twice([16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}))
	a.table("int8Halves4", twice([16]int8{12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0})) // twice a value, and 12
	a.table("int8Exponents", exponents())
	a.table("minus12", repeat(f32bits(-12), 8))
	a.table("int8Zero", repeat(0xff, 8))
	a.table("int8Negative", repeat(0x80000000, 8))
	a.table("int8Abs", repeat(0x7fffffff, 8))
	a.table("int8Limits", []uint32{f32bits(127), f32bits(1e-36)})
	quantizeRow(a)
	packRows8(a)
	for _, k := range []codeKind{codes5, codes6, codes8} {
		intTile(a, k)
	}
	storeTile(a)
	intPeak(a)
	intTypes(a)
}

// ones sets all bytes or words of a register to 1.
func (a *asm) ones(wordwise bool, r int) {
	v := 0x01010101
	if wordwise {
		v = 0x00010001
	}
	a.i("MOVL $0x%08x, AX; VMOVD AX, X%d; VPBROADCASTD X%d, Y%d", v, r, r, r)
}

// quantizeRow emits the rounding of a row of activations to 8 bits, 32 values to a scale.
func quantizeRow(a *asm) {
	a.fn("rounds n > 0 groups of 32 values to codes in -127..127 with a scale each: scales[g] is the largest magnitude over 127, sums32 and sums16 are scale times the sum of 32 and of 16 codes.",
		"quantizeAVX2", "q *int8, scales, sums32, sums16, x *float32, n int", 48, 0)
	a.i("MOVQ q+0(FP), DI; MOVQ scales+8(FP), R8; MOVQ sums32+16(FP), R9; MOVQ sums16+24(FP), R10; MOVQ x+32(FP), SI; MOVQ n+40(FP), CX")
	a.i("VMOVUPS ·int8Order(SB), Y13; VMOVSS ·int8Limits(SB), X12; VMOVSS ·int8Limits+4(SB), X11; VMOVUPS ·int8Abs(SB), Y10")
	a.ones(false, 15)
	a.ones(true, 14)
	a.label("loop")
	for v := range 4 {
		a.i("VMOVUPS %d(SI), Y%d; VPAND Y%d, Y10, Y%d", 32*v, v, v, 4+v)
	}
	a.i("VPMAXSD Y4, Y5, Y4; VPMAXSD Y6, Y7, Y6; VPMAXSD Y4, Y6, Y4") // as integers, so that a NaN is the largest
	a.i("VEXTRACTI128 $1, Y4, X5; VPMAXSD X5, X4, X4; VPSHUFD $0x4e, X4, X5; VPMAXSD X5, X4, X4; VPSHUFD $0xb1, X4, X5; VPMAXSD X5, X4, X4")
	a.i("VDIVSS X12, X4, X5; VMOVSS X5, (R8); VCMPSS $13, X11, X4, X6; VDIVSS X4, X12, X7; VANDPS X6, X7, X7; VBROADCASTSS X7, Y7; VBROADCASTSS X5, Y5")
	for v := range 4 {
		a.i("VMULPS Y%d, Y7, Y%d; VCVTPS2DQ Y%d, Y%d", v, v, v, v)
	}
	a.i("VPACKSSDW Y1, Y0, Y0; VPACKSSDW Y3, Y2, Y2; VPACKSSWB Y2, Y0, Y0; VPERMD Y0, Y13, Y0; VMOVDQU Y0, (DI)")
	a.i("VPMADDUBSW Y0, Y15, Y1; VPMADDWD Y14, Y1, Y1; VPSHUFD $0x4e, Y1, Y2; VPADDD Y2, Y1, Y1; VPSHUFD $0xb1, Y1, Y2; VPADDD Y2, Y1, Y1")
	a.i("VEXTRACTI128 $1, Y1, X2; VPADDD X1, X2, X3; VCVTDQ2PS Y1, Y1; VCVTDQ2PS X3, X3; VMULPS Y5, Y1, Y1; VMULSS X5, X3, X3")
	a.i("VMOVSS X3, (R9); VEXTRACTF128 $1, Y1, X2; VMOVSS X1, (R10); VMOVSS X2, 4(R10)")
	a.i("ADDQ $128, SI; ADDQ $32, DI; ADDQ $4, R8; ADDQ $4, R9; ADDQ $8, R10; DECQ CX; JNZ loop")
	a.ret()
}

// packRows8 emits the transpose of eight rounded rows: what the tile holds in registers.
func packRows8(a *asm) {
	a.fn("packs n > 0 groups of eight rows, ldx bytes apart, that quantizeAVX2 made: of each the eight dwords of codes of all rows, then their scales, sums of 32, and both sums of 16. q, scales, sums32 and sums16 are those of the first row.",
		"packInt8AVX2", "dst, q, scales, sums32, sums16 unsafe.Pointer, ldx, n int", 56, 0)
	a.i("MOVQ dst+0(FP), DI; MOVQ q+8(FP), SI; MOVQ scales+16(FP), R8; MOVQ sums32+24(FP), R9; MOVQ sums16+32(FP), R10; MOVQ ldx+40(FP), R11; MOVQ n+48(FP), CX")
	a.i("LEAQ (R11)(R11*2), R12")
	a.label("loop")
	a.i("LEAQ (SI)(R11*4), DX")
	for r := range 8 {
		base := []string{"SI", "DX"}[r/4]
		a.i("VMOVDQU (%s)%s, Y%d", base, []string{"", "(R11*1)", "(R11*2)", "(R12*1)"}[r%4], r)
	}
	for r := 0; r < 8; r += 2 {
		a.i("VPUNPCKLDQ Y%d, Y%d, Y%d; VPUNPCKHDQ Y%d, Y%d, Y%d", r+1, r, 8+r, r+1, r, 9+r)
	}
	for h := range 2 { // Y0..Y3: columns 0..3 (and 4..7) of rows 0..3, Y4..Y7: of rows 4..7
		l := 8 + 4*h
		a.i("VPUNPCKLQDQ Y%d, Y%d, Y%d; VPUNPCKHQDQ Y%d, Y%d, Y%d", l+2, l, 4*h, l+2, l, 4*h+1)
		a.i("VPUNPCKLQDQ Y%d, Y%d, Y%d; VPUNPCKHQDQ Y%d, Y%d, Y%d", l+3, l+1, 4*h+2, l+3, l+1, 4*h+3)
	}
	for c := range 4 {
		a.i("VPERM2I128 $0x20, Y%d, Y%d, Y8; VMOVDQU Y8, %d(DI); VPERM2I128 $0x31, Y%d, Y%d, Y8; VMOVDQU Y8, %d(DI)", 4+c, c, 32*c, 4+c, c, 128+32*c)
	}
	for r := range 8 { // scalars: of all kinds as far apart as the rows
		for i, src := range []string{"(R8)", "(R9)", "(R10)", "4(R10)"} {
			a.i("MOVL %s, AX; MOVL AX, %d(DI)", src, 256+32*i+4*r)
		}
		a.i("ADDQ R11, R8; ADDQ R11, R9; ADDQ R11, R10")
	}
	a.i("SHLQ $3, R11; SUBQ R11, R8; SUBQ R11, R9; SUBQ R11, R10; SHRQ $3, R11")
	a.i("ADDQ $32, SI; ADDQ $384, DI; ADDQ $4, R8; ADDQ $4, R9; ADDQ $8, R10; DECQ CX; JNZ loop")
	a.ret()
}

// intTile emits the product of eight rows of activations, the lanes, with opened weights of one kind.
//
// Registers: 32 values of the eight rows 0..7, their scales 8, their sums 9, temporaries 10..14, ones 15.
func intTile(a *asm, k codeKind) {
	t := tileOf{a, k}
	a.fn(fmt.Sprintf("is acc[c*8+r] += sum over n > 0 groups g of d·scale[r]·(sum of 32 codes times activations) + low·sum[r] for rows r < 8 and columns c < cols; a is what packInt8AVX2 wrote, w has cols records of %d bytes for each group.", k.record),
		"tileCodes"+k.name, "acc *float32, a, w unsafe.Pointer, n, cols int", 40, tileFrame)
	a.i("MOVQ a+8(FP), DX; MOVQ w+16(FP), SI; MOVQ n+24(FP), R9")
	a.ones(true, 15)
	a.label("group")
	a.i("MOVQ acc+0(FP), DI; MOVQ cols+32(FP), CX")
	for s := range 8 {
		a.i("VMOVDQU %d(DX), Y%d", 32*s, s)
		if k == codes8 { // a = 16·high + low with low in -8..7 and high in -8..8
			a.i("VPADDB ·int8Eight(SB), Y%d, Y11; VPAND ·int8Nibble(SB), Y11, Y11; VPSUBB ·int8Eight(SB), Y11, Y11", s)
			a.i("VPMOVSXBW X%d, Y12; VEXTRACTI128 $1, Y%d, X13; VPMOVSXBW X13, Y13; VMOVDQA Y11, Y%d", s, s, s)
			a.i("VPADDW ·int8Eights(SB), Y12, Y12; VPADDW ·int8Eights(SB), Y13, Y13; VPSRAW $4, Y12, Y12; VPSRAW $4, Y13, Y13")
			a.i("VPACKSSWB Y13, Y12, Y12; VPERMQ $0xd8, Y12, Y12; VMOVDQU Y12, buf-%d(SP)", tileFrame-32*s)
		}
	}
	sums := 288
	if k == codes6 {
		sums = 320
	}
	a.i("VMOVUPS 256(DX), Y8; VMOVUPS %d(DX), Y9; PCALIGN $32", sums)
	a.label("column")
	a.i("VBROADCASTSS 36(SI), Y13; VFMADD213PS (DI), Y9, Y13")
	switch k {
	case codes5:
		t.sums(0, 8, 10)
		t.scaled(32)
	case codes6:
		a.i("VBROADCASTSS 44(SI), Y12; VFMADD231PS 352(DX), Y12, Y13")
		t.sums(0, 4, 10)
		t.scaled(32)
		t.sums(4, 8, 10)
		t.scaled(40)
	default:
		t.halves()
		t.scaled(32)
	}
	a.i("VMOVUPS Y13, (DI); ADDQ $%d, SI; ADDQ $32, DI; DECQ CX; JNZ column", k.record)
	a.i("ADDQ $384, DX; DECQ R9; JNZ group")
	a.ret()
}

// tileFrame holds the high parts of activations.
const tileFrame = 256

// tileOf emits the parts of a tile of one kind.
type tileOf struct {
	*asm
	codeKind
}

// product leaves four codes of step s times activations, pairs added in 16 bits, in Y[r].
func (t tileOf) product(s, r int) {
	t.i("VPBROADCASTD %d(SI), Y%d; VPMADDUBSW Y%d, Y%d, Y%d", 4*s, r, s, r, r)
}

// sums leaves the sums of steps s to end-1 in Y[r], eight dwords.
func (t tileOf) sums(s, end, r int) {
	for first := s; s < end; s += t.pairs {
		to := r
		if s > first {
			to = 14
		}
		t.product(s, to)
		for p := 1; p < t.pairs; p++ {
			t.product(s+p, 11)
			t.i("VPADDW Y11, Y%d, Y%d", to, to)
		}
		t.i("VPMADDWD Y15, Y%d, Y%d", to, to)
		if s > first {
			t.i("VPADDD Y14, Y%d, Y%d", r, r)
		}
	}
}

// halves is sums of all steps for codes of 8 bits: low and high parts of the activations apart, 16 pairs of each added in 16 bits.
func (t tileOf) halves() {
	for s := range 8 {
		low, high := 11, 12
		if s == 0 {
			low, high = 10, 14
		}
		t.i("VPBROADCASTD %d(SI), Y%d; VPMADDUBSW buf-%d(SP), Y%d, Y%d; VPMADDUBSW Y%d, Y%d, Y%d", 4*s, low, tileFrame-32*s, low, high, s, low, low)
		if s > 0 {
			t.i("VPADDW Y11, Y10, Y10; VPADDW Y12, Y14, Y14")
		}
	}
	t.i("VPMADDWD Y15, Y10, Y10; VPMADDWD ·int8Sixteens(SB), Y14, Y14; VPADDD Y14, Y10, Y10")
}

// scaled adds the sums in Y10 times the scale at a byte of the record and those of the activations to Y13.
func (t tileOf) scaled(at int) {
	t.i("VBROADCASTSS %d(SI), Y12; VMULPS Y8, Y12, Y12; VCVTDQ2PS Y10, Y10; VFMADD231PS Y12, Y10, Y13", at)
}

// storeTile emits the way of a tile of eight rows into C.
func storeTile(a *asm) {
	a.fn("is c[r*ldc+j] = scale·acc[j*8+r] + add[r*lda+j] + bias[j] for r < 8 and j < cols, a multiple of 8; add and bias may be nil.",
		"storeInt8AVX2", "c *float32, ldc int, add *float32, lda int, bias, acc *float32, cols int, scale float32", 60, 0)
	a.i("MOVQ c+0(FP), DI; MOVQ ldc+8(FP), R8; SHLQ $2, R8; MOVQ add+16(FP), BX; MOVQ lda+24(FP), R9; SHLQ $2, R9; MOVQ bias+32(FP), R10; MOVQ acc+40(FP), SI; MOVQ cols+48(FP), CX")
	a.label("loop")
	for j := range 8 {
		a.i("VMOVUPS %d(SI), Y%d", 32*j, j)
	}
	for r := 0; r < 8; r += 2 {
		a.i("VUNPCKLPS Y%d, Y%d, Y%d; VUNPCKHPS Y%d, Y%d, Y%d", r+1, r, 8+r, r+1, r, 9+r)
	}
	for h := range 2 {
		l := 8 + 4*h
		a.i("VUNPCKLPD Y%d, Y%d, Y%d; VUNPCKHPD Y%d, Y%d, Y%d", l+2, l, 4*h, l+2, l, 4*h+1)
		a.i("VUNPCKLPD Y%d, Y%d, Y%d; VUNPCKHPD Y%d, Y%d, Y%d", l+3, l+1, 4*h+2, l+3, l+1, 4*h+3)
	}
	a.i("VBROADCASTSS scale+56(FP), Y15; MOVQ DI, AX; MOVQ BX, DX; VXORPS Y14, Y14, Y14; TESTQ R10, R10; JZ rows; VMOVUPS (R10), Y14; ADDQ $32, R10")
	a.label("rows")
	for r := range 8 {
		c := r % 4
		if r < 4 {
			a.i("VPERM2F128 $0x20, Y%d, Y%d, Y8", 4+c, c)
		} else {
			a.i("VPERM2F128 $0x31, Y%d, Y%d, Y8", 4+c, c)
		}
		a.i("VFMADD213PS Y14, Y15, Y8; TESTQ BX, BX; JZ store%d; VADDPS (DX), Y8, Y8; ADDQ R9, DX", r)
		a.label(fmt.Sprintf("store%d", r))
		a.i("VMOVUPS Y8, (AX); ADDQ R8, AX")
	}
	a.i("ADDQ $256, SI; ADDQ $32, DI; TESTQ BX, BX; JZ next; ADDQ $32, BX")
	a.label("next")
	a.i("SUBQ $8, CX; JNZ loop")
	a.ret()
}

// intPeak emits the ceiling of the integer products: the multiplication and one addition for it, on registers.
func intPeak(a *asm) {
	a.fn("does 6 independent multiplications of 32 bytes, n times.", "peakInt8", "n int", 8, 0)
	a.i("MOVQ n+0(FP), CX")
	for r := range 16 {
		a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
	}
	a.i("PCALIGN $64")
	a.label("loop")
	for r := range 6 {
		a.i("VPMADDUBSW Y14, Y15, Y%d; VPADDW Y%d, Y%d, Y%d", 6+r, 6+r, r, r)
	}
	a.i("DECQ CX; JNZ loop")
	a.ret()
}

// intType is a stored type whose codes are multiplied: values and bytes of a block, and what takes one block apart.
type intType struct {
	name         string
	values, size int
	kind         codeKind
	block        func(d *intDot)
}

// intTypes emits, for each type, what opens blocks and the products of one to four rows with blocks as they lie.
func intTypes(a *asm) {
	types := []intType{
		{"Q4_0", 32, 18, codes5, (*intDot).q4}, {"Q4_1", 32, 20, codes5, (*intDot).q4}, {"Q5_0", 32, 22, codes5, (*intDot).q5},
		{"Q5_1", 32, 24, codes5, (*intDot).q5}, {"Q8_0", 32, 34, codes8, (*intDot).q8}, {"Q4_K", 256, 144, codes5, (*intDot).q4k},
		{"Q5_K", 256, 176, codes5, (*intDot).q4k}, {"Q6_K", 256, 210, codes6, (*intDot).q6k}, {"INT4", 32, 20, codes5, (*intDot).int4},
		{"IQ4_NL", 32, 18, codes8, (*intDot).iq4nl}, {"MXFP4", 32, 17, codes5, (*intDot).mxfp4},
	}
	var opens, dots strings.Builder
	for _, t := range types {
		d := &intDot{asm: a, intType: t}
		d.open()
		fmt.Fprintf(&opens, "\ttype%s: open%s,\n", t.name, t.name)
		fmt.Fprintf(&dots, "\ttype%s: {", t.name)
		for m := 1; m <= 4; m++ {
			d := &intDot{asm: a, intType: t, m: m, chains: 2 - m/3}
			d.function()
			fmt.Fprintf(&dots, "%s%s", d.label4(), map[bool]string{true: ", ", false: ""}[m < 4])
		}
		dots.WriteString("},\n")
	}
	fmt.Fprintf(&a.g, "\n// intOpens is, by type, what writes n > 0 blocks as records, step bytes apart.\nvar intOpens = [numStored]func(dst unsafe.Pointer, step int, src unsafe.Pointer, n int){\n%s}\n", opens.String())
	fmt.Fprintf(&a.g, "\n// intDots is, by type and rows of x less one, the products with blocks as they lie.\nvar intDots = [numStored][4]intProduct{\n%s}\n", dots.String())
}

// intDot emits a product of m rows, or with m 0 the opening of blocks.
//
// Registers: sums 0..3, sums of minima 4..7, 8 and 9 scale and minimum, 10 codes, temporaries 11..13, ones 14, low nibbles 15. SI blocks
// of w, DX activations, R14 their scales, R15 their sums, R12 and R13 the bytes of one and three rows of them, DI y or the records.
type intDot struct {
	*asm
	intType
	m      int
	chains int
	turn   int
	at     int // bytes of w before the block, while unrolled
	n      int // blocks before it
}

func (d *intDot) label4() string { return fmt.Sprintf("int%sx%d", d.intType.name, d.m) }

const intFrame = 384 // scales of a block, then scales times those of the activations, 64 bytes a row

func (d *intDot) constants() {
	d.i("MOVL $0x0f0f0f0f, AX; VMOVD AX, X15; VPBROADCASTD X15, Y15")
	d.ones(true, 14)
}

func (d *intDot) open() {
	d.fn(fmt.Sprintf("writes n > 0 blocks of %s as records, step bytes apart.", d.intType.name), "open"+d.intType.name, "dst unsafe.Pointer, step int, src unsafe.Pointer, n int", 32, intFrame)
	d.i("MOVQ dst+0(FP), DI; MOVQ step+8(FP), R12; MOVQ src+16(FP), SI; MOVQ n+24(FP), CX")
	d.constants()
	d.label("loop")
	d.block(d)
	d.i("ADDQ $%d, SI; DECQ CX; JNZ loop", d.size)
	d.ret()
}

func (d *intDot) function() {
	sums := "32"
	if d.kind.group == 16 {
		sums = "16"
	}
	d.fn(fmt.Sprintf("is y[i*ldy+r] = sum of x[i][k]*w[r][k], i < %d, r < rows, over n > 0 blocks of %s; x is codes, scales and sums of %s, ldx and stride in bytes.", d.m, d.intType.name, sums),
		d.label4(), "y *float32, ldy int, x, scales, sums unsafe.Pointer, ldx int, w unsafe.Pointer, stride, n, rows int", 80, intFrame)
	d.i("MOVQ y+0(FP), DI; MOVQ ldx+40(FP), R12; LEAQ (R12)(R12*2), R13; SHLQ $2, ldy+8(FP)")
	d.constants()
	d.label("row")
	d.i("MOVQ x+16(FP), DX; MOVQ scales+24(FP), R14; MOVQ sums+32(FP), R15; MOVQ w+48(FP), SI; MOVQ n+64(FP), CX")
	for r := range 8 {
		d.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
	}
	unroll := 1
	if d.values == 32 {
		unroll = 2
		d.i("SUBQ $2, CX; JLT odd")
	}
	d.label("loop")
	for at := 0; at < unroll*d.size; at += 64 {
		d.i("PREFETCHT0 %d(SI)", ahead+at)
	}
	for u := range unroll {
		d.at, d.n = u*d.size, u
		d.block(d)
	}
	d.at, d.n = 0, 0
	next := func(n int) {
		groups := n * d.values / 32
		d.i("ADDQ $%d, SI; ADDQ $%d, DX; ADDQ $%d, R14; ADDQ $%d, R15", n*d.size, n*d.values, 4*groups, 128/d.kind.group*groups)
	}
	next(unroll)
	if unroll == 1 {
		d.i("DECQ CX; JNZ loop")
	} else {
		d.i("SUBQ $2, CX; JGE loop")
		d.label("odd")
		d.i("ADDQ $2, CX; JZ sum")
		d.block(d)
		d.label("sum")
	}
	for i := range d.m {
		d.i("VADDPS Y%d, Y%d, Y%d", 4+i, d.acc(i, 0), d.acc(i, 0))
		d.reduce(false, d.acc(i, 0), d.chains, 11)
		if i == 0 {
			d.i("MOVQ DI, AX")
		}
		d.i("VMOVSS X%d, (AX)", d.acc(i, 0))
		if i < d.m-1 {
			d.i("ADDQ ldy+8(FP), AX")
		}
	}
	d.i("ADDQ $4, DI; MOVQ stride+56(FP), AX; ADDQ AX, w+48(FP); DECQ rows+72(FP); JNZ row")
	d.ret()
}

func (d *intDot) acc(i, u int) int { return i*d.chains + u }

// src is the address of byte off of the block; act, scale and sum are those of row i's value, group of 32 and group of the kind.
func (d *intDot) src(off int) string { return fmt.Sprintf("%d(SI)", d.at+off) }
func (d *intDot) row(i int) string {
	return []string{"", "(R12*1)", "(R12*2)", "(R13*1)"}[i]
}
func (d *intDot) act(i, g int) string   { return fmt.Sprintf("%d(DX)%s", 32*(d.n+g), d.row(i)) }
func (d *intDot) scale(i, g int) string { return fmt.Sprintf("%d(R14)%s", 4*(d.n+g), d.row(i)) }
func (d *intDot) sum(i, g int) string   { return fmt.Sprintf("%d(R15)%s", 4*(d.n+g), d.row(i)) }

// frame is byte off of the scales of a block; table is that of row i's.
func (d *intDot) frame(off int) string    { return fmt.Sprintf("buf-%d(SP)", intFrame-off) }
func (d *intDot) table(i, off int) string { return d.frame(128 + 64*i + off) }

// dot leaves the sums of the codes in Y10 times row i's group g in Y11, eight dwords.
func (d *intDot) dot(i, g int) {
	if d.kind == codes8 {
		d.i("VMOVDQU %s, Y11; VPSIGNB Y10, Y11, Y11; VPMADDUBSW Y11, Y12, Y11", d.act(i, g))
	} else {
		d.i("VPMADDUBSW %s, Y10, Y11", d.act(i, g))
	}
	d.i("VPMADDWD Y14, Y11, Y11; VCVTDQ2PS Y11, Y11")
}

// one handles a block of 32: codes in Y10, scale in Y8, minimum in Y9 where the kind has one.
func (d *intDot) one() {
	if d.m == 0 {
		if d.kind == codes8 {
			d.i("VPXOR ·int8Sign(SB), Y10, Y10; VMULPS ·minus128(SB), Y8, Y9")
		}
		d.i("VMOVDQU Y10, (DI); VMOVSS X8, 32(DI); VMOVSS X9, 36(DI); ADDQ R12, DI")
		return
	}
	if d.kind == codes8 {
		d.i("VPABSB Y10, Y12")
	}
	for i := range d.m {
		d.dot(i, 0)
		d.i("VBROADCASTSS %s, Y13; VMULPS Y8, Y13, Y13; VFMADD231PS Y13, Y11, Y%d", d.scale(i, 0), d.acc(i, d.turn))
		if d.kind != codes8 {
			d.i("VFMADD231SS %s, X9, X%d", d.sum(i, 0), 4+i)
		}
	}
	d.turn = (d.turn + 1) % d.chains
}

// halves leaves the half at the block's beginning in Y8; in Y9 the one behind it, or with a table that times the first.
func (d *intDot) halves(minus string) {
	if minus == "" {
		d.i("VPBROADCASTD %s, X8; VCVTPH2PS X8, Y8; VMOVSHDUP Y8, Y9; VMOVSLDUP Y8, Y8", d.src(0))
		return
	}
	d.i("VPBROADCASTW %s, X8; VCVTPH2PS X8, Y8", d.src(0))
	if minus != "none" {
		d.i("VMULPS ·%s(SB), Y8, Y9", minus)
	}
}

// head is the bytes of the halves of a block of 32.
func (d *intDot) head(minus string) int {
	if strings.HasSuffix(d.intType.name, "_1") {
		d.halves("")
		return 4
	}
	d.halves(minus)
	return 2
}

func (d *intDot) q8() {
	d.halves("none")
	d.i("VMOVDQU %s, Y10", d.src(2))
	d.one()
}

// nibbles leaves the 32 codes of 16 bytes in Y10: low nibbles, then high ones.
func (d *intDot) nibbles(off int) {
	d.i("VBROADCASTI128 %s, Y10; VPSRLVD ·int8High(SB), Y10, Y10; VPAND Y15, Y10, Y10", d.src(off))
}

func (d *intDot) q4() {
	d.nibbles(d.head("minus8"))
	d.one()
}

// int4: the upper 24 bits of a float32 and a zero, 16 bytes of nibbles.
func (d *intDot) int4() {
	d.i("VPBROADCASTD %s, Y8; VPAND ·int8Zero(SB), Y8, Y9; VPXOR Y9, Y8, Y8; VCVTDQ2PS Y9, Y9; VMULPS Y8, Y9, Y9; VXORPS ·int8Negative(SB), Y9, Y9", d.src(0))
	d.nibbles(4)
	d.one()
}

// looked looks the nibbles in Y10 up in a table of 16 bytes, which stands there twice.
func (d *intDot) looked(table string) {
	d.i("VMOVDQU ·%s(SB), Y11; VPSHUFB Y10, Y11, Y10", table)
}

func (d *intDot) iq4nl() {
	d.halves("none")
	d.nibbles(2)
	d.looked("int8Levels")
	d.one()
}

// mxfp4: an exponent, 16 bytes of nibbles, each a float of 4 bits.
func (d *intDot) mxfp4() {
	d.i("LEAQ ·int8Exponents(SB), R10; MOVBLZX %s, AX; VBROADCASTSS (R10)(AX*4), Y8; VMULPS ·minus12(SB), Y8, Y9", d.src(0))
	d.nibbles(1)
	d.looked("int8Halves4")
	d.one()
}

// exponents are the scales of MXFP4: 2^(e-128).
func exponents() []uint32 {
	t := []uint32{0x00200000, 0x00400000} // subnormal
	for e := 2; e < 256; e++ {
		t = append(t, uint32(e-1)<<23)
	}
	return t
}

// twice packs a table of 16 bytes, two times.
func twice(x [16]int8) []uint32 {
	t := make([]uint32, 8)
	for i := range 32 {
		t[i/4] |= uint32(uint8(x[i%16])) << (i % 4 * 8)
	}
	return t
}

func (d *intDot) q5() {
	head := d.head("minus16")
	d.nibbles(head + 4)
	d.i("VPBROADCASTD %s, Y11; VPSHUFB ·int8Spread(SB), Y11, Y11; VMOVDQU ·int8Bits(SB), Y12; VPAND Y12, Y11, Y11; VPCMPEQB Y12, Y11, Y11", d.src(head))
	d.i("VPAND ·int8Sixteen(SB), Y11, Y11; VPOR Y11, Y10, Y10")
	d.one()
}

// q4k is Q4_K and Q5_K.
func (d *intDot) q4k() {
	kBits(d.asm)
	for i, reg := range []string{"AX", "BX"} {
		d.i("VMOVQ %s, X%d; VPMOVZXBD X%d, Y%d; VCVTDQ2PS Y%d, Y%d; VPBROADCASTW %s, X10; VCVTPH2PS X10, Y10; VMULPS Y10, Y%d, Y%d", reg, 8+i, 8+i, 8+i, 8+i, 8+i, d.src(2*i), 8+i, 8+i)
	}
	if d.m == 0 {
		d.i("VMOVUPS Y8, %s; VMOVUPS Y9, %s", d.frame(0), d.frame(32))
	}
	for i := range d.m {
		d.i("VMULPS %s, Y8, Y10; VMOVUPS Y10, %s; VFNMADD231PS %s, Y9, Y%d", d.scale(i, 0), d.table(i, 0), d.sum(i, 0), 4+i)
	}
	low, five := 16, d.intType.name == "Q5_K"
	if five {
		low = 48
	}
	for g := range 8 {
		d.i("VMOVDQU %s, Y10", d.src(low+g/2*32))
		if g%2 == 1 {
			d.i("VPSRLW $4, Y10, Y10")
		}
		d.i("VPAND Y15, Y10, Y10")
		if five {
			d.i("VMOVDQU %s, Y11", d.src(16))
			if g < 4 {
				d.i("VPSLLW $%d, Y11, Y11", 4-g)
			} else if g > 4 {
				d.i("VPSRLW $%d, Y11, Y11", g-4)
			}
			d.i("VPAND ·int8Sixteen(SB), Y11, Y11; VPOR Y11, Y10, Y10")
		}
		if d.m == 0 {
			d.i("VMOVDQU Y10, (DI); MOVL %s, AX; MOVL AX, 32(DI); MOVL %s, AX; XORL $0x80000000, AX; MOVL AX, 36(DI); ADDQ R12, DI", d.frame(4*g), d.frame(32+4*g))
			continue
		}
		for i := range d.m {
			d.dot(i, g)
			d.i("VBROADCASTSS %s, Y13; VFMADD231PS Y13, Y11, Y%d", d.table(i, 4*g), d.acc(i, d.turn))
		}
		d.turn = (d.turn + 1) % d.chains
	}
}

func (d *intDot) q6k() {
	d.i("VPBROADCASTW %s, X10; VCVTPH2PS X10, Y10", d.src(208))
	for h := range 2 {
		d.i("VPMOVSXBD %s, Y%d; VCVTDQ2PS Y%d, Y%d; VMULPS Y10, Y%d, Y%d", d.src(192+8*h), 8+h, 8+h, 8+h, 8+h, 8+h)
	}
	for h := range 2 {
		d.i("VMULPS ·minus32(SB), Y%d, Y%d", 8+h, 12+h)
		if d.m == 0 {
			d.i("VMOVUPS Y%d, %s; VMOVUPS Y%d, %s", 8+h, d.frame(32*h), 12+h, d.frame(64+32*h))
		}
	}
	for i := range d.m {
		for h := range 2 {
			d.i("VMOVUPS ·int8Pairs+%d(SB), Y10; VPERMPS %s, Y10, Y10; VMULPS Y10, Y%d, Y10; VMOVUPS Y10, %s", 32*h, d.scale(i, 0), 8+h, d.table(i, 32*h))
			d.i("VFMADD231PS %s, Y%d, Y%d", d.sum(i, 8*h), 12+h, 4+i)
		}
	}
	for g := range 8 {
		h, j := g/4, g%4
		d.i("VMOVDQU %s, Y10; VMOVDQU %s, Y11", d.src(64*h+32*(j%2)), d.src(128+32*h))
		if j >= 2 {
			d.i("VPSRLW $4, Y10, Y10")
		}
		if s := []string{"VPSLLW $4", "VPSLLW $2", "", "VPSRLW $2"}[j]; s != "" {
			d.i("%s, Y11, Y11", s)
		}
		d.i("VPAND Y15, Y10, Y10; VPAND ·int8Top(SB), Y11, Y11; VPOR Y11, Y10, Y10")
		if d.m == 0 {
			d.i("VMOVDQU Y10, (DI)")
			for i := range 4 {
				d.i("MOVL %s, AX; MOVL AX, %d(DI)", d.frame(i%2*64+4*(2*g+i/2)), 32+4*i)
			}
			d.i("ADDQ R12, DI")
			continue
		}
		for i := range d.m {
			d.dot(i, g)
			d.i("VBROADCASTSD %s, Y13; VPERMILPS ·int8Halves(SB), Y13, Y13; VFMADD231PS Y13, Y11, Y%d", d.table(i, 8*g), d.acc(i, d.turn))
		}
		d.turn = (d.turn + 1) % d.chains
	}
}
