package main

import (
	"fmt"
	"strings"
)

// fusedDots emits the products of a few rows with block types, decoded on the way: y[i*ldy+r] = sum over k of x[i*ldx+k]·w[r][k] for
// i < m, r < rows, where a row of w is n blocks. Values are the float32 of the type's formula, bit for bit: the products of a half, a
// scale and a code fit in 24 bits, so that a fused multiply-add rounds once where the formula does.
//
// With 512 bits the 16 values of a group of 4-bit codes are made once and looked up (VPERMPS reads the low four bits of an index);
// with 256 bits codes are converted.
//
// Registers: sums from 0, temporaries from 8, constants from 14 (256 bits) or 28 (512). SI blocks of w, DX x, R12 and R13 the bytes
// of one and three rows of x, DI y, CX blocks left.
func fusedDots(a *asm) {
	a.table("minus8", repeat(f32bits(-8), 8))
	a.table("minus16", repeat(f32bits(-16), 8))
	a.table("minus32", repeat(f32bits(-32), 8))
	bits := make([]uint32, 32)
	for i := range bits {
		bits[i] = 1 << i
	}
	a.table("bits", bits)
	types := []fusedType{
		{"Q4_0", 32, 18, (*dot).q4}, {"Q4_1", 32, 20, (*dot).q4}, {"Q5_0", 32, 22, (*dot).q5}, {"Q5_1", 32, 24, (*dot).q5},
		{"Q8_0", 32, 34, (*dot).q8}, {"Q4_K", 256, 144, (*dot).q4k}, {"Q5_K", 256, 176, (*dot).q4k}, {"Q6_K", 256, 210, (*dot).q6k},
	}
	for _, zmm := range []bool{true, false} {
		var rows strings.Builder
		for _, t := range types {
			fmt.Fprintf(&rows, "\ttype%s: {", t.name)
			for m := 1; m <= 4; m++ {
				d := newDot(a, t, zmm, m)
				d.function()
				fmt.Fprintf(&rows, "%s, ", d.name)
			}
			text := strings.TrimSuffix(rows.String(), ", ")
			rows.Reset()
			rows.WriteString(text + "},\n")
		}
		name, bits := "fused256", 256
		if zmm {
			name, bits = "fused512", 512
		}
		fmt.Fprintf(&a.g, "\n// %s is, by type and rows of x less one, the products in registers of %d bits.\nvar %s = [numStored][4]fusedProduct{\n%s}\n", name, bits, name, rows.String())
	}
	var rows strings.Builder
	for _, t := range types {
		d := newDot(a, t, false, 0)
		d.decoder()
		fmt.Fprintf(&rows, "\ttype%s: %s,\n", t.name, d.name)
	}
	fmt.Fprintf(&a.g, "\n// floats256 is, by type, what decodes rows of blocks to float32.\nvar floats256 = [numStored]floatRows{\n%s}\n", rows.String())
	for _, t := range []fusedType{{"BF16", 16, 32, (*dot).widen}, {"F16", 16, 32, (*dot).widen}} {
		newDot(a, t, false, 0).decoder()
	}
}

// decoder emits the decoding alone: what would be multiplied is stored.
func (d *dot) decoder() {
	d.name = "floats" + d.fusedType.name
	d.fn(fmt.Sprintf("decodes rows of n > 0 blocks of %d values of %s to float32: stride bytes from row to row, ld values in dst.", d.values, d.fusedType.name),
		d.name, "dst *float32, ld int, src *byte, stride, n, rows int", 48, 64)
	d.constants()
	d.i("MOVQ dst+0(FP), R12; MOVQ src+16(FP), R13; SHLQ $2, ld+8(FP)")
	d.label("row")
	d.i("MOVQ R12, DI; MOVQ R13, SI; MOVQ n+32(FP), CX")
	d.label("loop")
	d.block(d)
	d.i("ADDQ $%d, SI; ADDQ $%d, DI; DECQ CX; JNZ loop", d.size, 4*d.values)
	d.i("ADDQ ld+8(FP), R12; ADDQ stride+24(FP), R13; DECQ rows+40(FP); JNZ row")
	d.ret()
}

// widen: 16 values of 16 bits.
func (d *dot) widen() {
	for i := range 2 {
		if d.fusedType.name == "F16" {
			d.i("VCVTPH2PS %d(SI), Y%d", 16*i, 8+i)
		} else {
			d.i("VPMOVZXWD %d(SI), Y%d; VPSLLD $16, Y%d, Y%d", 16*i, 8+i, 8+i, 8+i)
		}
		d.fma(8*i, 8+i)
	}
}

// ahead is how many bytes of w are asked for before they are needed: far enough for a page's translation to be looked up too. Past the
// end that is harmless.
const ahead = 8192

func repeat(v uint32, n int) []uint32 {
	t := make([]uint32, n)
	for i := range t {
		t[i] = v
	}
	return t
}

// fusedType is a stored type: values and bytes of a block, and what multiplies one block.
type fusedType struct {
	name         string
	values, size int
	block        func(d *dot)
}

// dot emits the function of one type, register size and number of rows of x.
type dot struct {
	*asm
	fusedType
	zmm    bool
	m      int
	name   string
	reg    string // Z or Y
	lanes  int
	chains int // sums per row of x
	turn   int
	at     int // bytes of w and
	atX    int // values of x before the block, while unrolled
}

func newDot(a *asm, t fusedType, zmm bool, m int) *dot {
	d := &dot{asm: a, fusedType: t, zmm: zmm, m: m, reg: "Y", lanes: 8, chains: []int{0, 4, 2, 2, 2}[m]}
	d.name = fmt.Sprintf("fused%sx%d", t.name, m)
	if zmm {
		d.reg, d.lanes = "Z", 16
	} else {
		d.name = fmt.Sprintf("fused%sAVX2x%d", t.name, m)
	}
	return d
}

func (d *dot) acc(i, u int) int { return i*d.chains + u }

// function emits all of it: for each row of w two blocks of 32 at a time, or one of 256.
func (d *dot) function() {
	d.fn(fmt.Sprintf("is y[i*ldy+r] = sum of x[i*ldx+k]*w[r][k], i < %d, r < rows, over n > 0 blocks of %s; stride in bytes.", d.m, d.fusedType.name), d.name,
		"y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int", 64, 64)
	d.i("MOVQ y+0(FP), DI; MOVQ ldx+24(FP), R12; SHLQ $2, R12; LEAQ (R12)(R12*2), R13; SHLQ $2, ldy+8(FP)")
	d.constants()
	d.label("row")
	d.i("MOVQ x+16(FP), DX; MOVQ w+32(FP), SI; MOVQ n+48(FP), CX")
	for r := range d.m * d.chains {
		d.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
	}
	d.blocks(d.values, d.size, func(u int) {
		d.at, d.atX = u*d.size, u*d.values
		d.block(d)
	}, func(n int) {
		d.i("ADDQ $%d, SI; ADDQ $%d, DX", n*d.size, 4*n*d.values)
	})
	for i := range d.m {
		d.reduce(d.zmm, d.acc(i, 0), d.chains, 8)
		d.storeSum(i, d.m, d.acc(i, 0))
	}
	d.i("ADDQ $4, DI; MOVQ stride+40(FP), AX; ADDQ AX, w+32(FP); DECQ rows+56(FP); JNZ row")
	d.ret()
}

// blocks is the loop over CX stored blocks at SI, two of 32 values at a time or one that is longer. block emits the one that lies u blocks on,
// next goes on by n.
func (a *asm) blocks(values, size int, block, next func(n int)) {
	unroll := 1
	if values == 32 {
		unroll = 2
		a.i("SUBQ $2, CX; JLT odd")
	}
	a.label("loop")
	for at := 0; at < unroll*size; at += 64 { // the CPU alone stays behind
		a.i("PREFETCHT0 %d(SI)", ahead+at)
	}
	for u := range unroll {
		block(u)
	}
	next(unroll)
	if unroll == 1 {
		a.i("DECQ CX; JNZ loop")
		return
	}
	a.i("SUBQ $2, CX; JGE loop")
	a.label("odd")
	a.i("ADDQ $2, CX; JZ sum")
	block(0)
	a.label("sum")
}

// storeSum stores lane 0 of register r as the sum of row i of m.
func (a *asm) storeSum(i, m, r int) {
	if i == 0 {
		a.i("MOVQ DI, AX")
	}
	a.i("VMOVSS X%d, (AX)", r)
	if i < m-1 {
		a.i("ADDQ ldy+8(FP), AX")
	}
}

// reduce adds the chains of one sum, then their lanes, into lane 0 of register r; t is free.
func (a *asm) reduce(zmm bool, r, chains, t int) {
	reg := "Y"
	if zmm {
		reg = "Z"
	}
	for s := chains / 2; s > 0; s /= 2 {
		for u := range s {
			a.i("VADDPS %s%d, %s%d, %s%d", reg, r+u+s, reg, r+u, reg, r+u)
		}
	}
	if zmm {
		a.i("VEXTRACTF64X4 $1, Z%d, Y%d; VADDPS Y%d, Y%d, Y%d", r, t, t, r, r)
	}
	a.i("VEXTRACTF128 $1, Y%d, X%d; VADDPS X%d, X%d, X%d", r, t, t, r, r)
	a.i("VPSHUFD $0x4e, X%d, X%d; VADDPS X%d, X%d, X%d; VPSHUFD $0xb1, X%d, X%d; VADDPS X%d, X%d, X%d", r, t, t, r, r, r, t, t, r, r)
}

// fma adds the product of register w and x from value off of the block on to the sums; a decoder stores register w.
func (d *dot) fma(off, w int) {
	if d.m == 0 {
		d.i("VMOVUPS %s%d, %d(DI)", d.reg, w, 4*off)
		return
	}
	for i := range d.m {
		row := []string{"", "(R12*1)", "(R12*2)", "(R13*1)"}[i]
		d.i("VFMADD231PS %d(DX)%s, %s%d, %s%d", 4*(d.atX+off), row, d.reg, w, d.reg, d.acc(i, d.turn))
	}
	d.turn = (d.turn + 1) % d.chains
}

// src is the address of byte off of the block.
func (d *dot) src(off int) string { return fmt.Sprintf("%d(SI)", d.at+off) }

// half1 loads a half into all lanes of register r as float32.
func (d *dot) half1(off, r int) {
	if d.zmm {
		d.half(d.src(off), r)
	} else {
		d.i("VPBROADCASTW %s, X%d; VCVTPH2PS X%d, Y%d", d.src(off), r, r, r)
	}
}

// half2 loads two neighbouring halves into all lanes of registers r and r+1.
func (d *dot) half2(off, r int) {
	if d.zmm {
		d.i("VPBROADCASTD %s, Y%d; VCVTPH2PS Y%d, Z%d", d.src(off), r, r, r)
	} else {
		d.i("VPBROADCASTD %s, X%d; VCVTPH2PS X%d, Y%d", d.src(off), r, r, r)
	}
	d.i("VMOVSHDUP %s%d, %s%d; VMOVSLDUP %s%d, %s%d", d.reg, r, d.reg, r+1, d.reg, r, d.reg, r)
}

// dwords sets all lanes of register r.
func (d *dot) dwords(v, r int) {
	d.i("MOVL $0x%x, AX; VMOVD AX, X%d; VPBROADCASTD X%d, %s%d", v, r, r, d.reg, r)
}

// min tells whether the type adds a minimum of its own.
func (d *dot) min() bool { return strings.HasSuffix(d.fusedType.name, "_1") }

func (d *dot) constants() {
	switch name := d.fusedType.name; {
	case d.zmm && name == "Q4_0":
		d.i("VMOVUPS ·fromMinus8(SB), Z30")
	case d.zmm && name == "Q5_0":
		d.i("VMOVUPS ·fromMinus16(SB), Z30; VMOVUPS ·from0(SB), Z31")
	case d.zmm && name == "Q6_K":
		d.asm.bytes(15, 28)
		d.asm.bytes(63, 29)
		d.asm.bytes(32, 30)
	case d.zmm:
		d.i("VMOVUPS ·from0(SB), Z30; VMOVUPS ·from0+64(SB), Z31")
		for j := range 8 {
			if name == "Q5_K" {
				d.asm.bytes(1<<j, 20+j)
			}
		}
	default:
		d.dwords(15, 14)
		if name == "Q6_K" {
			d.dwords(0x30, 15)
		} else {
			d.dwords(16, 15)
		}
	}
}

// q8: half d, 32 signed bytes.
func (d *dot) q8() {
	d.half1(0, 8)
	for c := 0; c < 32; c += d.lanes {
		r := 9 + c/d.lanes
		d.i("VPMOVSXBD %s, %s%d; VCVTDQ2PS %s%d, %s%d; VMULPS %s8, %s%d, %s%d", d.src(2+c), d.reg, r, d.reg, r, d.reg, r, d.reg, d.reg, r, d.reg, r)
		d.fma(c, r)
	}
}

// affine leaves the factor of a code in register 8 and what is added in 9 (256 bits).
func (d *dot) affine(zero string) {
	if d.min() {
		d.half2(0, 8)
		return
	}
	d.half1(0, 8)
	d.i("VMULPS ·%s(SB), Y8, Y9", zero)
}

// q4: half d, with a min also half m; 16 bytes, low nibbles are values 0..15, high nibbles 16..31.
func (d *dot) q4() {
	head := 2
	if d.min() {
		head = 4
	}
	if !d.zmm {
		d.affine("minus8")
		for c := 0; c < 16; c += 8 {
			d.i("VPMOVZXBD %s, Y10; VPAND Y14, Y10, Y11; VPSRLD $4, Y10, Y10", d.src(head+c))
			d.codes(c, 11)
			d.codes(16+c, 10)
		}
		return
	}
	if d.min() {
		d.half2(0, 8)
		d.i("VFMADD231PS Z30, Z8, Z9")
	} else {
		d.half1(0, 8)
		d.i("VMULPS Z30, Z8, Z9")
	}
	d.i("VPMOVZXBD %s, Z10; VPERMPS Z9, Z10, Z11; VPSRLD $4, Z10, Z10; VPERMPS Z9, Z10, Z12", d.src(head))
	d.fma(0, 11)
	d.fma(16, 12)
}

// codes multiplies eight codes of register r, as factor 8 and addend 9 say (256 bits).
func (d *dot) codes(off, r int) {
	d.i("VCVTDQ2PS Y%d, Y%d; VFMADD213PS Y9, Y8, Y%d", r, r, r)
	d.fma(off, r)
}

// q5: half d, with a min also half m; 32 fifth bits, 16 bytes as above.
func (d *dot) q5() {
	head := 2
	if d.min() {
		head = 4
	}
	if !d.zmm {
		d.affine("minus16")
		d.i("VPBROADCASTD %s, Y12", d.src(head))
		for c := 0; c < 16; c += 8 {
			d.i("VPMOVZXBD %s, Y10; VPAND Y14, Y10, Y11; VPSRLD $4, Y10, Y10", d.src(head+4+c))
			for i, r := range []int{11, 10} {
				bit := 4 * (16*i + c)
				d.i("VPAND ·bits+%d(SB), Y12, Y13; VPCMPEQD ·bits+%d(SB), Y13, Y13; VPAND Y15, Y13, Y13; VPOR Y13, Y%d, Y%d", bit, bit, r, r)
				d.codes(16*i+c, r)
			}
		}
		return
	}
	if d.min() {
		d.half2(0, 8)
		d.i("VMOVAPS Z9, Z10; VFMADD231PS Z30, Z8, Z9; VFMADD231PS Z31, Z8, Z10")
	} else {
		d.half1(0, 8)
		d.i("VMULPS Z30, Z8, Z9; VMULPS Z31, Z8, Z10")
	}
	d.i("KMOVW %s, K1; KMOVW %s, K2", d.src(head), d.src(head+2))
	d.i("VPMOVZXBD %s, Z11; VPERMPS Z9, Z11, Z12; VPERMPS Z10, Z11, K1, Z12", d.src(head+4))
	d.i("VPSRLD $4, Z11, Z11; VPERMPS Z9, Z11, Z13; VPERMPS Z10, Z11, K2, Z13")
	d.fma(0, 12)
	d.fma(16, 13)
}

// groups leaves eight d·scale and eight dmin·min of a Q4_K or Q5_K block in the frame.
func (d *dot) groups() {
	kBits(d.asm, "")
	for i, reg := range []string{"AX", "BX"} {
		d.i("VMOVQ %s, X8; VPMOVZXBD X8, Y8; VCVTDQ2PS Y8, Y8; VPBROADCASTW %d(SI), X9; VCVTPH2PS X9, Y9; VMULPS Y9, Y8, Y8; VMOVUPS Y8, buf-%d(SP)",
			reg, 2*i, 64-32*i)
	}
}

// q4k: halves d and dmin, 12 bytes of 6-bit scales and mins, with Q5_K 32 bytes of fifth bits (bit j of byte i: value i of group j),
// 128 bytes: 32 low nibbles of group 2p, 32 high ones of group 2p+1.
func (d *dot) q4k() {
	d.groups()
	five := d.fusedType.name == "Q5_K"
	nibbles := 16
	if five {
		nibbles = 48
		if d.zmm {
			d.i("VMOVDQU32 16(SI), Y19")
		}
	}
	for j := range 8 {
		low, table := nibbles+j/2*32, 64-4*j
		if !d.zmm {
			d.i("VBROADCASTSS buf-%d(SP), Y8; VBROADCASTSS buf-%d(SP), Y9", table, table-32)
			for c := 0; c < 32; c += 8 {
				d.i("VPMOVZXBD %d(SI), Y10", low+c)
				d.nibble(j%2 == 1, 10)
				if five {
					d.i("VPMOVZXBD %d(SI), Y11", 16+c)
					d.shift(4-j, 11)
					d.i("VPAND Y15, Y11, Y11; VPOR Y11, Y10, Y10")
				}
				d.i("VCVTDQ2PS Y10, Y10; VFMSUB213PS Y9, Y8, Y10")
				d.fma(32*j+c, 10)
			}
			continue
		}
		d.i("VBROADCASTSS buf-%d(SP), Z8", table)
		if five {
			d.i("VMOVAPS Z8, Z9; VFMSUB213PS.BCST buf-%d(SP), Z31, Z9; VPTESTMB Y%d, Y19, K1; KSHIFTRD $16, K1, K2", table-32, 20+j)
		}
		d.i("VFMSUB213PS.BCST buf-%d(SP), Z30, Z8", table-32)
		for h := range 2 {
			r := 10 + h
			if j%2 == 0 {
				d.i("VPMOVZXBD %d(SI), Z%d", low+16*h, r)
			} else {
				d.i("VPSRLD $4, Z%d, Z%d", r, r)
			}
			d.i("VPERMPS Z8, Z%d, Z%d", r, 12+h)
			if five {
				d.i("VPERMPS Z9, Z%d, K%d, Z%d", r, 1+h, 12+h)
			}
			d.fma(32*j+16*h, 12+h)
		}
	}
}

// nibble keeps the low or high nibble of the bytes in the lanes of Y[r].
func (d *dot) nibble(high bool, r int) {
	if high {
		d.i("VPSRLD $4, Y%d, Y%d", r, r)
	} else {
		d.i("VPAND Y14, Y%d, Y%d", r, r)
	}
}

// shift moves the bits of Y[r] to the left, or right when by is negative.
func (d *dot) shift(by, r int) {
	switch {
	case by > 0:
		d.i("VPSLLD $%d, Y%d, Y%d", by, r, r)
	case by < 0:
		d.i("VPSRLD $%d, Y%d, Y%d", -by, r, r)
	}
}

// q6k: 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 int8 scales, half d.
func (d *dot) q6k() {
	d.half1(208, 8)
	for c := 0; c < 16; c += d.lanes {
		d.i("VPMOVSXBD %d(SI), %s9; VCVTDQ2PS %s9, %s9; VMULPS %s9, %s8, %s9; VMOVUPS %s9, buf-%d(SP)", 192+c, d.reg, d.reg, d.reg, d.reg, d.reg, d.reg, d.reg, 64-4*c)
	}
	for g := range 8 { // 32 values each
		h, j := g/4, g%4
		low, high := 64*h+32*(j%2), 128+32*h
		if !d.zmm {
			for c := 0; c < 32; c += 8 {
				if c%16 == 0 {
					d.i("VBROADCASTSS buf-%d(SP), Y8; VMULPS ·minus32(SB), Y8, Y9", 64-4*(2*g+c/16))
				}
				d.i("VPMOVZXBD %d(SI), Y10; VPMOVZXBD %d(SI), Y11", low+c, high+c)
				d.nibble(j >= 2, 10)
				d.shift(4-2*j, 11)
				d.i("VPAND Y15, Y11, Y11; VPOR Y11, Y10, Y10")
				d.codes(32*g+c, 10)
			}
			continue
		}
		d.i("VMOVDQU %d(SI), Y10; VMOVDQU %d(SI), Y11", low, high)
		if j >= 2 {
			d.i("VPSRLW $4, Y10, Y10")
		}
		if s := []string{"VPSLLW $4", "VPSLLW $2", "", "VPSRLW $2"}[j]; s != "" {
			d.i("%s, Y11, Y11", s)
		}
		d.i("VPTERNLOGD $0xe4, Y28, Y11, Y10; VPANDD Y29, Y10, Y10; VPSUBB Y30, Y10, Y10") // low where the mask is set, else high
		d.i("VPMOVSXBD X10, Z12; VEXTRACTI128 $1, Y10, X13; VPMOVSXBD X13, Z13")
		for i := range 2 {
			d.i("VCVTDQ2PS Z%d, Z%d; VMULPS.BCST buf-%d(SP), Z%d, Z%d", 12+i, 12+i, 64-4*(2*g+i), 12+i, 12+i)
			d.fma(32*g+16*i, 12+i)
		}
	}
}
