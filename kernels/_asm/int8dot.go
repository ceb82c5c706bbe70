package main

import (
	"fmt"
	"strings"
)

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
		{"Q5_K", 256, 176, codes5, (*intDot).q4k}, {"Q6_K", 256, 210, codes6, (*intDot).q6k}, {"Q2_K", 256, 84, codes6, (*intDot).q2k}, {"Q3_K", 256, 110, codes6, (*intDot).q3k}, {"INT4", 32, 20, codes5, (*intDot).int4},
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
	for at := 0; at < d.size; at += 64 { // rows follow each other: this asks for those that come next
		d.i("PREFETCHT0 %d(SI)", ahead+at)
	}
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
	d.blocks(d.values, d.size, func(u int) {
		d.at, d.n = u*d.size, u
		d.block(d)
	}, func(n int) {
		groups := n * d.values / 32
		d.i("ADDQ $%d, SI; ADDQ $%d, DX; ADDQ $%d, R14; ADDQ $%d, R15", n*d.size, n*d.values, 4*groups, 128/d.kind.group*groups)
	})
	for i := range d.m {
		d.i("VADDPS Y%d, Y%d, Y%d", 4+i, d.acc(i, 0), d.acc(i, 0))
		d.reduce(false, d.acc(i, 0), d.chains, 11)
		d.storeSum(i, d.m, d.acc(i, 0))
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
	kBits(d.asm, "")
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
			d.shift(4-g, 11)
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

// q2k: 16 scales and minima of 4 bits, 64 bytes of 2-bit codes, halves d and dmin.
func (d *intDot) q2k() {
	for h := range 2 {
		d.i("VPMOVZXBD %s, Y%d; VPSRLD $4, Y%d, Y%d; VPAND Y15, Y%d, Y%d", d.src(8*h), 8+h, 8+h, 12+h, 8+h, 8+h)
		for i, r := range []int{8 + h, 12 + h} {
			d.i("VCVTDQ2PS Y%d, Y%d; VPBROADCASTW %s, X10; VCVTPH2PS X10, Y10; VMULPS Y10, Y%d, Y%d", r, r, d.src(80+2*i), r, r)
		}
		d.i("VXORPS ·int8Negative(SB), Y%d, Y%d", 12+h, 12+h)
	}
	d.sixteenths(func(g int) {
		d.crumbs(16, g)
	})
}

// q3k: 32 bytes of third bits, 64 bytes of 2-bit codes, 12 of 6-bit scales, half d.
func (d *intDot) q3k() {
	q3Bits(d.asm, 12)
	d.i("VPBROADCASTW %s, X10; VCVTPH2PS X10, Y10", d.src(108))
	for h := range 2 {
		d.i("VPSRLDQ $%d, X12, X%d; VPMOVZXBD X%d, Y%d; VCVTDQ2PS Y%d, Y%d; VADDPS ·minus32(SB), Y%d, Y%d; VMULPS Y10, Y%d, Y%d", 8*h, 8+h, 8+h, 8+h, 8+h, 8+h, 8+h, 8+h, 8+h, 8+h)
	}
	for h := range 2 {
		d.i("VMULPS ·minus4(SB), Y%d, Y%d", 8+h, 12+h)
	}
	d.sixteenths(func(g int) {
		d.crumbs(32, g)
		d.i("VMOVDQU %s, Y11", d.src(0))
		d.shift(2-g, 11)
		d.i("VPAND ·int8Four(SB), Y11, Y11; VPOR Y11, Y10, Y10")
	})
}

// crumbs leaves the 2-bit codes of group g in Y10, whose block has them from a byte on.
func (d *intDot) crumbs(at, g int) {
	d.i("VMOVDQU %s, Y10", d.src(at+32*(g/4)))
	if j := g % 4; j > 0 {
		d.i("VPSRLW $%d, Y10, Y10", 2*j)
	}
	d.i("VPAND ·int8Three(SB), Y10, Y10")
}

// q6k: 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 int8 scales, half d.
func (d *intDot) q6k() {
	d.i("VPBROADCASTW %s, X10; VCVTPH2PS X10, Y10", d.src(208))
	for h := range 2 {
		d.i("VPMOVSXBD %s, Y%d; VCVTDQ2PS Y%d, Y%d; VMULPS Y10, Y%d, Y%d", d.src(192+8*h), 8+h, 8+h, 8+h, 8+h, 8+h)
	}
	for h := range 2 {
		d.i("VMULPS ·minus32(SB), Y%d, Y%d", 8+h, 12+h)
	}
	d.sixteenths(func(g int) {
		h, j := g/4, g%4
		d.i("VMOVDQU %s, Y10; VMOVDQU %s, Y11", d.src(64*h+32*(j%2)), d.src(128+32*h))
		if j >= 2 {
			d.i("VPSRLW $4, Y10, Y10")
		}
		if s := []string{"VPSLLW $4", "VPSLLW $2", "", "VPSRLW $2"}[j]; s != "" {
			d.i("%s, Y11, Y11", s)
		}
		d.i("VPAND Y15, Y10, Y10; VPAND ·int8Top(SB), Y11, Y11; VPOR Y11, Y10, Y10")
	})
}

// sixteenths handles a block of 256 with a scale (Y8 and Y9) and a minimum (Y12 and Y13) of each 16; codes leaves those of a group of 32 in
// Y10 and may use Y11.
func (d *intDot) sixteenths(codes func(g int)) {
	for h := 0; h < 2 && d.m == 0; h++ {
		d.i("VMOVUPS Y%d, %s; VMOVUPS Y%d, %s", 8+h, d.frame(32*h), 12+h, d.frame(64+32*h))
	}
	for i := range d.m {
		for h := range 2 {
			d.i("VMOVUPS ·int8Pairs+%d(SB), Y10; VPERMPS %s, Y10, Y10; VMULPS Y10, Y%d, Y10; VMOVUPS Y10, %s", 32*h, d.scale(i, 0), 8+h, d.table(i, 32*h))
			d.i("VFMADD231PS %s, Y%d, Y%d", d.sum(i, 8*h), 12+h, 4+i)
		}
	}
	for g := range 8 {
		codes(g)
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
