package main

import "fmt"

// mr is the rows of a register tile and of a packed panel of A, at every level; tall is how many panels a tile of 16 columns takes at
// once, whose six sums alone would wait for each other.
const (
	mr   = 6
	tall = 3
)

// gemm emits what a matrix product is made of.
func gemm(a *asm) {
	pairs := make([]uint16, 32) // VPERMW: 16 words of one row and 16 of the next, interleaved
	for i := range pairs {
		pairs[i] = uint16(i/2 + i%2*16)
	}
	a.table("pairWords", words(pairs))
	a.table("zip6", zip6())
	for nv := 1; nv <= 4; nv++ {
		tile(a, "BF16", nv, 1)
	}
	tile(a, "BF16", 1, tall)
	for nv := 1; nv <= 4; nv++ {
		tile(a, "F32", nv, 1)
	}
	tile(a, "F32", 1, tall)
	for nv := 1; nv <= 2; nv++ {
		tile(a, "AVX2", nv, 1)
	}
	transposes(a)
	interleaves(a)
	vectors(a)
	fours(a)
	peaks(a)
}

// tile emits the register tile of mr rows, of high panels at once (t.panels is a multiple of it), by nv vectors: for each of t.panels panels of A
//
//	C[mr][nr] = scale·(A panel x B panel) + A2 panel x B2 panel + add + bias
//
// where a unit of depth is four bytes, two bf16 or one float32, and B2 follows B. C and add move mr rows down per panel.
func tile(a *asm, kind string, nv, high int) {
	rows, reg, width := mr*high, "Z", 16
	if kind == "AVX2" {
		reg, width = "Y", 8
	}
	nr, bytes := nv*width, width*4
	name := fmt.Sprintf("tile%sx%d", kind, nr)
	if high > 1 {
		name += "Tall"
	}
	a.fn(fmt.Sprintf("is the tile of %d rows and %d columns.", rows, nr), name, "t *tileArgs", 8, 0)
	a.i("MOVQ t+0(FP), R11; MOVQ tileArgs_a(R11), R12; MOVQ tileArgs_a2(R11), R13; MOVQ tileArgs_c(R11), DX; MOVQ tileArgs_add(R11), BX")
	a.i("MOVQ tileArgs_ldc(R11), R8; MOVQ tileArgs_lda(R11), R10; MOVQ tileArgs_panels(R11), R9; SHLQ $2, R8; SHLQ $2, R10")
	a.label("panel")
	a.i("MOVQ DX, AX")
	for r := range rows { // C is needed only at the end: ask for it now, into L2 (rows a power of two apart collide in L1)
		for b := 0; b < nr*4; b += 64 {
			a.i("PREFETCHT1 %d(AX)", b)
		}
		if r < rows-1 {
			a.i("ADDQ R8, AX")
		}
	}
	for r := range rows * nv {
		if kind == "AVX2" {
			a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
		} else {
			a.i("VPXORD Z%d, Z%d, Z%d", r, r, r)
		}
	}
	step := func(u int) { tileStep(a, kind, reg, nv, high, u, bytes) }
	const unroll = 4
	if high > 1 {
		a.i("MOVQ tileArgs_aStep(R11), AX")
	}
	a.i("MOVQ R12, SI; MOVQ tileArgs_b(R11), DI; MOVQ tileArgs_kd(R11), CX; SUBQ $%d, CX; JLT tail; PCALIGN $64", unroll)
	a.label("loop")
	for u := range unroll {
		step(u)
	}
	a.i("ADDQ $%d, SI; ADDQ $%d, DI; SUBQ $%d, CX; JGE loop", unroll*mr*4, unroll*nr*4, unroll)
	a.label("tail")
	a.i("ADDQ $%d, CX; JZ scale", unroll)
	a.label("one")
	step(0)
	a.i("ADDQ $%d, SI; ADDQ $%d, DI; DECQ CX; JNZ one", mr*4, nr*4)
	tileEnd(a, kind, reg, nv, high, bytes)
}

// tileStep emits unit u of depth: a row of the panel of B, times a value of each row of the panels of A.
func tileStep(a *asm, kind, reg string, nv, high, u, bytes int) {
	rows, from := mr*high, []string{"(SI)", "(SI)(AX*1)", "(SI)(AX*2)"} // AX is the step from panel to panel
	b, bc := rows*nv, rows*nv+nv                                        // registers of B; the broadcast value of A
	for v := range nv {
		a.i("VMOVUPS %d(DI), %s%d", (u*nv+v)*bytes, reg, b+v)
	}
	for r := range rows {
		a.i("VBROADCASTSS %d%s, %s%d", (u*mr+r%mr)*4, from[r/mr], reg, bc)
		for v := range nv {
			if kind == "BF16" {
				a.dpbf16(r*nv+v, bc, b+v)
			} else {
				a.i("VFMADD231PS %s%d, %s%d, %s%d", reg, b+v, reg, bc, reg, r*nv+v)
			}
		}
	}
}

// tileEnd emits what follows the sum over depth, whose results lie row by row in the registers from 0 on.
func tileEnd(a *asm, kind, reg string, nv, high, bytes int) {
	rows, nr := mr*high, nv*bytes/4
	bc := rows*nv + nv
	a.label("scale")
	a.i("MOVL tileArgs_scale(R11), AX; CMPL AX, $0x3f800000; JEQ second; VBROADCASTSS tileArgs_scale(R11), %s%d", reg, bc)
	for r := range rows * nv {
		a.i("VMULPS %s%d, %s%d, %s%d", reg, bc, reg, r, reg, r)
	}
	a.label("second")
	a.i("MOVQ tileArgs_kd2(R11), CX; TESTQ CX, CX; JZ add; MOVQ R13, SI")
	if high > 1 {
		a.i("MOVQ tileArgs_a2Step(R11), AX")
	}
	a.label("more")
	tileStep(a, kind, reg, nv, high, 0, bytes)
	a.i("ADDQ $%d, SI; ADDQ $%d, DI; DECQ CX; JNZ more", mr*4, nr*4)
	a.label("add")
	a.i("TESTQ BX, BX; JZ bias")
	for r := range rows {
		for v := range nv {
			a.i("VADDPS %d(BX), %s%d, %s%d", v*bytes, reg, r*nv+v, reg, r*nv+v)
		}
		a.i("ADDQ R10, BX")
	}
	a.label("bias")
	a.i("MOVQ tileArgs_bias(R11), AX; TESTQ AX, AX; JZ store")
	for v := range nv {
		a.i("VMOVUPS %d(AX), %s%d", v*bytes, reg, rows*nv+v)
		for r := range rows {
			a.i("VADDPS %s%d, %s%d, %s%d", reg, rows*nv+v, reg, r*nv+v, reg, r*nv+v)
		}
	}
	a.label("store")
	for r := range rows {
		for v := range nv {
			a.i("VMOVUPS %s%d, %d(DX)", reg, r*nv+v, v*bytes)
		}
		a.i("ADDQ R8, DX")
	}
	for range high {
		a.i("ADDQ tileArgs_aStep(R11), R12; ADDQ tileArgs_a2Step(R11), R13")
	}
	a.i("SUBQ $%d, R9; JNZ panel", high)
	a.ret()
}

// peaks emits loops that touch registers only, the ceiling figures are divided by, and the pause of a spinning worker.
func peaks(a *asm) {
	for _, p := range []struct {
		name string
		accs int
		op   func(int)
	}{
		{"peakBF16", 16, func(r int) { a.dpbf16(r, 30, 31) }},
		{"peakF32", 16, func(r int) { a.i("VFMADD231PS Z30, Z31, Z%d", r) }},
		{"peakAVX2", 12, func(r int) { a.i("VFMADD231PS Y14, Y15, Y%d", r) }},
		{"peakVNNI", 16, func(r int) { a.i("VPDPBUSD Z30, Z31, Z%d", r) }},
		{"peakInt8", 6, func(r int) { a.i("VPMADDUBSW Y14, Y15, Y%d; VPADDW Y%d, Y%d, Y%d", 6+r, 6+r, r, r) }}, // one addition for each
	} {
		a.fn(fmt.Sprintf("does %d independent multiply-adds of full vectors, n times.", p.accs), p.name, "n int", 8, 0)
		a.i("MOVQ n+0(FP), CX")
		for r := range 16 {
			a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
		}
		if p.name != "peakAVX2" && p.name != "peakInt8" {
			for r := 16; r < 32; r++ {
				a.i("VPXORD Z%d, Z%d, Z%d", r, r, r)
			}
		}
		a.i("PCALIGN $64")
		a.label("loop")
		for r := range p.accs {
			p.op(r)
		}
		a.i("DECQ CX; JNZ loop")
		a.ret()
	}
	a.fn("waits some 40 ns.", "pause", "", 0, 0)
	a.i("PAUSE; RET")
	a.fn("asks for 512 bytes of memory.", "askFor", "at uintptr", 8, 0)
	a.i("MOVQ at+0(FP), AX")
	for i := range 8 {
		a.i("PREFETCHT1 %d(AX)", 64*i)
	}
	a.i("RET")
	a.fn("asks for rows > 0 rows of n > 0 bytes, stride bytes apart.", "askRows", "at unsafe.Pointer, stride, n, rows int", 32, 0)
	a.i("MOVQ at+0(FP), SI; MOVQ stride+8(FP), R8; MOVQ n+16(FP), R9; MOVQ rows+24(FP), CX")
	a.label("row")
	a.i("MOVQ SI, AX; MOVQ R9, DX")
	a.label("line")
	a.i("PREFETCHT0 (AX); ADDQ $64, AX; SUBQ $64, DX; JGT line; ADDQ R8, SI; DECQ CX; JNZ row")
	a.i("RET")
}
