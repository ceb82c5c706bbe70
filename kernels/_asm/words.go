package main

import (
	"fmt"
	"strings"
)

// wordType is a stored type whose codes are multiplied by activations of 16 bits.
type wordType struct {
	name         string
	values, size int
	block        func(d *wordDot)
}

// wordDot emits the product of one row of activations, rounded to 16 bits, with stored blocks: VPMADDWD multiplies 16 codes, widened to
// words, at a time. Two products of 16 by 8 bits and the sum of sixteen such pairs are far from the 32 bits they are added in.
//
// Four rows of w go together, so that the end of one does not keep the others waiting and their scales are made at once.
//
// Registers: sums of four rows from 0, of their minima 4, blocks of 32: activations 5 and 6, 8 the scale, 9 to 12 codes and temporaries,
// constants 13 to 15. SI blocks of w, R12 and R13 the bytes of one and three rows of it, DX activations, R14 pairs of their scales and
// scales times sums, R15 memory asked for, DI y.
type wordDot struct {
	*asm
	wordType
	r int // row of w
}

// words16 emits the rounding and the products.
func words16(a *asm) {
	bits := make([]uint16, 16)
	for i := range bits {
		bits[i] = 1 << i
	}
	a.table("wordBits", words(bits))
	a.table("wordPairs", []uint32{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7})
	a.table("wordAbs", repeat(0x7fffffff, 8))
	a.table("wordLimits", []uint32{f32bits(32767), f32bits(1e-30)})
	roundWords(a)
	types := []wordType{
		{"Q4_0", 32, 18, (*wordDot).q4}, {"Q4_1", 32, 20, (*wordDot).q4}, {"Q5_0", 32, 22, (*wordDot).q4}, {"Q5_1", 32, 24, (*wordDot).q4},
		{"Q8_0", 32, 34, (*wordDot).q8}, {"Q4_K", 256, 144, (*wordDot).q4k}, {"Q5_K", 256, 176, (*wordDot).q4k}, {"Q6_K", 256, 210, (*wordDot).q6k},
	}
	var rows strings.Builder
	for _, t := range types {
		d := &wordDot{asm: a, wordType: t}
		a.rowDots(t, "words", "", wordFrame, d)
		fmt.Fprintf(&rows, "\ttype%s: words%s,\n", t.name, t.name)
	}
	fmt.Fprintf(&a.g, "\n// wordDots is, by type, the product of a row rounded to 16 bits with blocks as they lie.\nvar wordDots = [numStored]wordProduct{\n%s}\n", rows.String())
}

// roundWords emits the rounding of activations to 16 bits, 32 values to a scale.
func roundWords(a *asm) {
	a.fn("rounds n > 0 groups of 32 values to codes in -32767..32767 with a scale each: of each group, pairs gets the scale, the largest magnitude over 32767, and the scale times the sum of the codes.",
		"roundWordsAVX2", "q *int16, pairs, x *float32, n int", 32, 0)
	a.i("MOVQ q+0(FP), DI; MOVQ pairs+8(FP), R8; MOVQ x+16(FP), SI; MOVQ n+24(FP), CX")
	a.i("VMOVSS ·wordLimits(SB), X12; VMOVSS ·wordLimits+4(SB), X11; VMOVUPS ·wordAbs(SB), Y10")
	a.label("loop")
	a.roundGroup()
	a.i("VPADDD Y1, Y0, Y8; VPADDD Y3, Y2, Y9; VPADDD Y8, Y9, Y8; VEXTRACTI128 $1, Y8, X9; VPADDD X9, X8, X8")
	a.i("VPSHUFD $0x4e, X8, X9; VPADDD X9, X8, X8; VPSHUFD $0xb1, X8, X9; VPADDD X9, X8, X8; VCVTDQ2PS X8, X8; VMULSS X5, X8, X8; VMOVSS X8, 4(R8)")
	for v := 0; v < 4; v += 2 {
		a.i("VPACKSSDW Y%d, Y%d, Y%d; VPERMQ $0xd8, Y%d, Y%d; VMOVDQU Y%d, %d(DI)", v+1, v, v, v, v, v, 16*v)
	}
	a.i("ADDQ $128, SI; ADDQ $64, DI; ADDQ $8, R8; DECQ CX; JNZ loop")
	a.ret()
}

// rowDot is how the product of a rounded row with rows of w is made: rows multiplies n of them, whose sums joined leaves in the lanes of X0.
type rowDot interface {
	constants()
	rows(n int)
	joined(n int)
}

// rowDots emits the product of a rounded row with stored blocks, four rows of w at a time and then one by one: DI y, R12 and R13 the bytes
// of one and three rows of w.
func (a *asm) rowDots(t wordType, prefix, wrote string, frame int, d rowDot) {
	a.fn(fmt.Sprintf("is y[r] = sum of x[k]*w[r][k] for r < rows over n > 0 blocks of %s; stride in bytes%s.", t.name, wrote), prefix+t.name,
		"y *float32, x, pairs, w unsafe.Pointer, stride, n, rows int", 56, frame)
	a.i("MOVQ y+0(FP), DI; MOVQ stride+32(FP), R12; LEAQ (R12)(R12*2), R13")
	d.constants()
	a.label("four")
	a.i("SUBQ $4, rows+48(FP); JLT few")
	d.rows(4)
	d.joined(4)
	a.i("VMOVUPS X0, (DI); ADDQ $16, DI; LEAQ (R12*4), AX; ADDQ AX, w+24(FP); JMP four")
	a.label("few")
	a.i("ADDQ $4, rows+48(FP); JZ end")
	a.label("one")
	d.rows(1)
	d.joined(1)
	a.i("VMOVSS X0, (DI); ADDQ $4, DI; ADDQ R12, w+24(FP); DECQ rows+48(FP); JNZ one")
	a.label("end")
	a.ret()
}

func (d *wordDot) constants() {
	d.wordwise(15, 15)
	if d.wordType.name == "Q6_K" {
		d.wordwise(0x30, 14)
		d.wordwise(32, 13)
	} else {
		d.wordwise(16, 14)
		d.i("VMOVDQU ·wordBits(SB), Y13")
	}
}

func (d *wordDot) joined(n int) {
	if n == 4 {
		d.i("VHADDPS Y1, Y0, Y0; VHADDPS Y3, Y2, Y2; VHADDPS Y2, Y0, Y0; VEXTRACTF128 $1, Y0, X1; VADDPS X1, X0, X0")
	} else {
		d.i("VEXTRACTF128 $1, Y0, X1; VADDPS X1, X0, X0; VHADDPS X0, X0, X0; VHADDPS X0, X0, X0")
	}
	d.minima()
}

// rows multiplies so many rows of w at a time, which leave their sums in registers from 0, and those of their minima in the odd lanes
// of 4, or added to the sums.
func (d *wordDot) rows(n int) {
	d.i("MOVQ x+8(FP), DX; MOVQ pairs+16(FP), R14; MOVQ w+24(FP), SI; MOVQ n+40(FP), CX; LEAQ %d(SI), R15", ahead)
	for r := range 5 {
		d.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
	}
	d.label(fmt.Sprintf("blocks%d", n))
	for at := 0; at < n*d.size; at += 64 { // rows follow each other: this asks for those that come next
		d.i("PREFETCHT0 %d(R15)", at)
	}
	if d.values == 32 {
		d.scales(n)
		d.i("VMOVDQU (DX), Y5; VMOVDQU 32(DX), Y6")
	}
	for d.r = range n {
		d.block(d)
	}
	groups := d.values / 32
	d.i("ADDQ $%d, R15; ADDQ $%d, SI; ADDQ $%d, DX; ADDQ $%d, R14; DECQ CX; JNZ blocks%d", n*d.size, d.size, 64*groups, 8*groups, n)
}

// scales leaves the halves of a block of n rows, times the scale of the activations and their sum, in the frame.
func (d *wordDot) scales(n int) {
	for d.r = range n {
		d.i("VMOVD %s, X%d", d.src(0), 8+d.r)
	}
	if n == 4 {
		d.i("VPUNPCKLDQ X9, X8, X8; VPUNPCKLDQ X11, X10, X10; VPUNPCKLQDQ X10, X8, X8")
	}
	d.i("VCVTPH2PS X8, Y8; VBROADCASTSD (R14), Y9")
	if !strings.HasSuffix(d.wordType.name, "_1") { // the minimum is so many times the scale
		d.i("VMOVSLDUP Y8, Y8")
	}
	d.i("VMULPS Y9, Y8, Y8; VMOVUPS Y8, %s", d.frame(0))
	if d.wordType.name != "Q8_0" {
		d.i("VADDPS Y8, Y4, Y4")
	}
}

// minima adds the sums of minima of four rows to X0.
func (d *wordDot) minima() {
	table := map[string]string{"Q4_0": "minus8", "Q5_0": "minus16"}[d.wordType.name]
	switch {
	case d.values != 32 || d.wordType.name == "Q8_0":
		return
	case table != "":
		d.i("VMULPS ·%s(SB), Y4, Y4", table)
	}
	d.i("VEXTRACTF128 $1, Y4, X5; VSHUFPS $0xdd, X5, X4, X4; VADDPS X4, X0, X0")
}

const wordFrame = 64 // scales of a block times those of the activations

// wordwise sets all words of a register.
func (d *wordDot) wordwise(v, r int) {
	d.i("MOVL $0x%x, AX; VMOVD AX, X%d; VPBROADCASTW X%d, Y%d", v, r, r, r)
}

func (d *wordDot) row() string        { return []string{"", "(R12*1)", "(R12*2)", "(R13*1)"}[d.r] }
func (d *wordDot) src(off int) string { return fmt.Sprintf("%d(SI)%s", off, d.row()) }

// act is half h of group g of the block's activations.
func (d *wordDot) act(g, h int) string { return fmt.Sprintf("%d(DX)", 64*g+32*h) }
func (d *wordDot) frame(off int) string {
	return fmt.Sprintf("buf-%d(SP)", wordFrame-off)
}

// multiplied adds the codes in Y10 and Y11 times 32 activations and the scale in Y8.
func (d *wordDot) multiplied(low, high string) {
	d.i("VPMADDWD %s, Y10, Y10; VPMADDWD %s, Y11, Y11; VPADDD Y11, Y10, Y10; VCVTDQ2PS Y10, Y10; VFMADD231PS Y8, Y10, Y%d", low, high, d.r)
}

// q8: half d, 32 signed bytes.
func (d *wordDot) q8() {
	d.i("VBROADCASTSS %s, Y8; VPMOVSXBW %s, Y10; VPMOVSXBW %s, Y11", d.frame(8*d.r), d.src(2), d.src(18))
	d.multiplied("Y5", "Y6")
}

// q4 is Q4_0, Q4_1, Q5_0 and Q5_1: half d, half m or none, 32 fifth bits or none, 16 bytes of nibbles.
func (d *wordDot) q4() {
	name, head := d.wordType.name, 2
	if strings.HasSuffix(name, "_1") {
		head = 4
	}
	codes := head
	if name[1] == '5' {
		codes += 4
	}
	d.i("VBROADCASTSS %s, Y8; VPMOVZXBW %s, Y11; VPAND Y15, Y11, Y10; VPSRLW $4, Y11, Y11", d.frame(8*d.r), d.src(codes))
	for h := 0; h < 2 && name[1] == '5'; h++ {
		d.i("VPBROADCASTW %s, Y12; VPAND Y13, Y12, Y12; VPCMPEQW Y13, Y12, Y12; VPAND Y14, Y12, Y12; VPOR Y12, Y%d, Y%d", d.src(head+2*h), 10+h, 10+h)
	}
	d.multiplied("Y5", "Y6")
}

// q4k is Q4_K and Q5_K.
func (d *wordDot) q4k() {
	d.parted()
	kBits(d.asm, d.row())
	for i, reg := range []string{"AX", "BX"} {
		d.i("VMOVQ %s, X%d; VPMOVZXBD X%d, Y%d; VCVTDQ2PS Y%d, Y%d; VPBROADCASTW %s, X10; VCVTPH2PS X10, Y10; VMULPS Y10, Y%d, Y%d", reg, 8+i, 8+i, 8+i, 8+i, 8+i, d.src(2*i), 8+i, 8+i)
	}
	d.i("VMULPS Y5, Y8, Y8; VMOVUPS Y8, %s; VFNMADD231PS Y6, Y9, Y%d", d.frame(0), d.r)
	low, five := 16, d.wordType.name == "Q5_K"
	if five {
		low = 48
	}
	for g := range 8 {
		for h := range 2 {
			r := 10 + h
			d.i("VPMOVZXBW %s, Y%d", d.src(low+g/2*32+16*h), r)
			if g%2 == 1 {
				d.i("VPSRLW $4, Y%d, Y%d", r, r)
			} else {
				d.i("VPAND Y15, Y%d, Y%d", r, r)
			}
			if five {
				d.i("VPMOVZXBW %s, Y12", d.src(16+16*h))
				d.shift(4-g, 12)
				d.i("VPAND Y14, Y12, Y12; VPOR Y12, Y%d, Y%d", r, r)
			}
		}
		d.i("VBROADCASTSS %s, Y8", d.frame(4*g))
		d.multiplied(d.act(g, 0), d.act(g, 1))
	}
}

// parted leaves the scales of eight groups of activations in Y5, their sums in Y6.
func (d *wordDot) parted() {
	d.i("VMOVUPS (R14), Y5; VMOVUPS 32(R14), Y6; VSHUFPS $0xdd, Y6, Y5, Y7; VSHUFPS $0x88, Y6, Y5, Y5; VPERMQ $0xd8, Y5, Y5; VPERMQ $0xd8, Y7, Y6")
}

// q6k: 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 int8 scales, half d.
func (d *wordDot) q6k() {
	d.parted()
	d.i("VPBROADCASTW %s, X10; VCVTPH2PS X10, Y10", d.src(208))
	for h := range 2 {
		d.i("VPMOVSXBD %s, Y8; VCVTDQ2PS Y8, Y8; VMULPS Y10, Y8, Y8", d.src(192+8*h))
		d.i("VMOVUPS ·wordPairs+%d(SB), Y9; VPERMPS Y5, Y9, Y9; VMULPS Y9, Y8, Y8; VMOVUPS Y8, %s", 32*h, d.frame(32*h))
	}
	for g := range 8 {
		part, j := g/4, g%4
		for h := range 2 {
			d.i("VPMOVZXBW %s, Y10; VPMOVZXBW %s, Y11", d.src(64*part+32*(j%2)+16*h), d.src(128+32*part+16*h))
			if j >= 2 {
				d.i("VPSRLW $4, Y10, Y10")
			} else {
				d.i("VPAND Y15, Y10, Y10")
			}
			d.shift(4-2*j, 11)
			d.i("VPAND Y14, Y11, Y11; VPOR Y11, Y10, Y10; VPSUBW Y13, Y10, Y10; VPMADDWD %s, Y10, Y10; VCVTDQ2PS Y10, Y10", d.act(g, h))
			d.i("VBROADCASTSS %s, Y8; VFMADD231PS Y8, Y10, Y%d", d.frame(4*(2*g+h)), d.r)
		}
	}
}
