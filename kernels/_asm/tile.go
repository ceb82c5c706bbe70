package main

import "fmt"

// mr is the rows of a register tile and of a packed panel of A, at every level.
const mr = 6

// gemm emits what a matrix product is made of.
func gemm(a *asm) {
	pairs := make([]uint16, 32) // VPERMW: 16 words of one row and 16 of the next, interleaved
	for i := range pairs {
		pairs[i] = uint16(i/2 + i%2*16)
	}
	a.table("pairWords", words(pairs))
	a.table("zip6", zip6())
	for nv := 1; nv <= 4; nv++ {
		tile(a, "BF16", nv)
	}
	for nv := 1; nv <= 4; nv++ {
		tile(a, "F32", nv)
	}
	for nv := 1; nv <= 2; nv++ {
		tile(a, "AVX2", nv)
	}
	transposes(a)
	interleaves(a)
	vectors(a)
	peaks(a)
}

// tile emits the register tile mr x (nv vectors): for each of t.panels panels of A
//
//	C[mr][nr] = scale·(A panel x B panel) + A2 panel x B2 panel + add + bias
//
// where a unit of depth is four bytes, two bf16 or one float32, and B2 follows B. C and add move mr rows down per panel.
func tile(a *asm, kind string, nv int) {
	reg, width := "Z", 16
	if kind == "AVX2" {
		reg, width = "Y", 8
	}
	nr, bytes := nv*width, width*4
	acc := func(r, v int) int { return r*nv + v }
	bv := func(v int) int { return mr*nv + v }
	bc := mr*nv + nv // the broadcast value of A
	a.fn(fmt.Sprintf("is the tile of %d rows and %d columns.", mr, nr), fmt.Sprintf("tile%sx%d", kind, nr), "t *tileArgs", 8, 0)
	a.i("MOVQ t+0(FP), R11; MOVQ tileArgs_a(R11), R12; MOVQ tileArgs_a2(R11), R13; MOVQ tileArgs_c(R11), DX; MOVQ tileArgs_add(R11), BX")
	a.i("MOVQ tileArgs_ldc(R11), R8; MOVQ tileArgs_lda(R11), R10; MOVQ tileArgs_panels(R11), R9; SHLQ $2, R8; SHLQ $2, R10")
	a.label("panel")
	a.i("MOVQ DX, AX")
	for r := range mr { // C is needed only at the end: ask for it now, into L2 (rows a power of two apart collide in L1)
		for b := 0; b < nr*4; b += 64 {
			a.i("PREFETCHT1 %d(AX)", b)
		}
		if r < mr-1 {
			a.i("ADDQ R8, AX")
		}
	}
	for r := range mr * nv {
		if kind == "AVX2" {
			a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
		} else {
			a.i("VPXORD Z%d, Z%d, Z%d", r, r, r)
		}
	}
	step := func(u int) {
		for v := range nv {
			a.i("VMOVUPS %d(DI), %s%d", u*nr*4+v*bytes, reg, bv(v))
		}
		for r := range mr {
			a.i("VBROADCASTSS %d(SI), %s%d", (u*mr+r)*4, reg, bc)
			for v := range nv {
				if kind == "BF16" {
					a.dpbf16(acc(r, v), bc, bv(v))
				} else {
					a.i("VFMADD231PS %s%d, %s%d, %s%d", reg, bv(v), reg, bc, reg, acc(r, v))
				}
			}
		}
	}
	const unroll = 4
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
	a.label("scale")
	a.i("MOVL tileArgs_scale(R11), AX; CMPL AX, $0x3f800000; JEQ second; VBROADCASTSS tileArgs_scale(R11), %s%d", reg, bc)
	for r := range mr * nv {
		a.i("VMULPS %s%d, %s%d, %s%d", reg, bc, reg, r, reg, r)
	}
	a.label("second")
	a.i("MOVQ tileArgs_kd2(R11), CX; TESTQ CX, CX; JZ add; MOVQ R13, SI")
	a.label("more")
	step(0)
	a.i("ADDQ $%d, SI; ADDQ $%d, DI; DECQ CX; JNZ more", mr*4, nr*4)
	a.label("add")
	a.i("TESTQ BX, BX; JZ bias")
	for r := range mr {
		for v := range nv {
			a.i("VADDPS %d(BX), %s%d, %s%d", v*bytes, reg, acc(r, v), reg, acc(r, v))
		}
		a.i("ADDQ R10, BX")
	}
	a.label("bias")
	a.i("MOVQ tileArgs_bias(R11), AX; TESTQ AX, AX; JZ store")
	for v := range nv {
		a.i("VMOVUPS %d(AX), %s%d", v*bytes, reg, bv(v))
		for r := range mr {
			a.i("VADDPS %s%d, %s%d, %s%d", reg, bv(v), reg, acc(r, v), reg, acc(r, v))
		}
	}
	a.label("store")
	for r := range mr {
		for v := range nv {
			a.i("VMOVUPS %s%d, %d(DX)", reg, acc(r, v), v*bytes)
		}
		a.i("ADDQ R8, DX")
	}
	a.i("ADDQ tileArgs_aStep(R11), R12; ADDQ tileArgs_a2Step(R11), R13; DECQ R9; JNZ panel")
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
	} {
		a.fn(fmt.Sprintf("does %d independent multiply-adds of full vectors, n times.", p.accs), p.name, "n int", 8, 0)
		a.i("MOVQ n+0(FP), CX")
		for r := range 16 {
			a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
		}
		if p.name != "peakAVX2" {
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
}
