package main

import "fmt"

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
	a.table("int8Three", repeat(0x03030303, 8))
	a.table("int8Four", repeat(0x04040404, 8))
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
	roundPanel(a)
	vnniTiles(a)
	storeLines(a)
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
	a.roundGroup()
	a.i("VBROADCASTSS X5, Y5")
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
	a.fn(fmt.Sprintf("is acc[c*8+r] += sum over n > 0 groups g of d·scale[r]·(sum of 32 codes times activations) + low·sum[r] for rows r < 8 and columns c < cols; a is what packInt8AVX2 wrote, w has cols records of %d bytes for each group, step bytes apart.", k.record),
		"tileCodes"+k.name, "acc *float32, a, w unsafe.Pointer, step, n, cols int", 48, tileFrame)
	a.i("MOVQ a+8(FP), DX; MOVQ n+32(FP), R9")
	a.ones(true, 15)
	a.label("group")
	a.i("MOVQ acc+0(FP), DI; MOVQ w+16(FP), SI; MOVQ cols+40(FP), CX")
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
	a.i("MOVQ step+24(FP), AX; ADDQ AX, w+16(FP); ADDQ $384, DX; DECQ R9; JNZ group")
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

// roundGroup rounds the 32 values at SI to integers in Y0 to Y3; their scale, the largest magnitude over that of the codes, is left in X5
// and at R8. X12 is the largest code, X11 the least magnitude that has one, Y10 the mask of magnitudes. Clobbers Y4 to Y7.
func (a *asm) roundGroup() {
	for v := range 4 {
		a.i("VMOVUPS %d(SI), Y%d; VPAND Y%d, Y10, Y%d", 32*v, v, v, 4+v)
	}
	a.i("VPMAXSD Y4, Y5, Y4; VPMAXSD Y6, Y7, Y6; VPMAXSD Y4, Y6, Y4") // as integers, so that a NaN is the largest
	a.i("VEXTRACTI128 $1, Y4, X5; VPMAXSD X5, X4, X4; VPSHUFD $0x4e, X4, X5; VPMAXSD X5, X4, X4; VPSHUFD $0xb1, X4, X5; VPMAXSD X5, X4, X4")
	a.i("VDIVSS X12, X4, X5; VMOVSS X5, (R8); VCMPSS $13, X11, X4, X6; VDIVSS X4, X12, X7; VANDPS X6, X7, X7; VBROADCASTSS X7, Y7")
	for v := range 4 {
		a.i("VMULPS Y%d, Y7, Y%d; VCVTPS2DQ Y%d, Y%d", v, v, v, v)
	}
}
