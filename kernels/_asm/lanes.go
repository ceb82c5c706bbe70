package main

import "fmt"

// laneStride is the bytes from column to column of opened rows: laneStride of package kernels in values, times four.
const laneStride = 4 * 912

// lanes emits the tiles of few rows of A, whose rows are the lanes of the registers: B is read as it was opened, row by row, and every
// value of it is broadcast. nv registers hold the rows; 12/nv columns keep twelve sums under way, as the latency of two multiply-adds a
// cycle asks for.
//
// Registers: sums 0..11, A from 12, the broadcast value last. SI A, DI B, R12 memory asked for ahead.
func lanes(a *asm) {
	for nv := 1; nv <= 3; nv++ {
		laneTile(a, nv)
	}
}

func laneTile(a *asm, nv int) {
	cols := 12 / nv
	a.fn(fmt.Sprintf("is the tile of %d rows, the lanes, and %d columns.", 8*nv, cols), fmt.Sprintf("tileLanes%d", 8*nv), "t *laneArgs", 8, 12*32)
	a.i("MOVQ t+0(FP), R11; MOVQ laneArgs_a(R11), SI; MOVQ laneArgs_b(R11), DI; MOVQ laneArgs_ahead(R11), R12; MOVQ laneArgs_aheadStep(R11), R13")
	for r := range 12 {
		a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
	}
	step := func(u int) {
		for v := range nv {
			a.i("VMOVUPS %d(SI), Y%d", 32*(u*nv+v), 12+v)
		}
		for c := range cols {
			b := 12 + nv + c%(4-nv)
			a.i("VBROADCASTSS %d(DI), Y%d", c*laneStride+4*u, b)
			for v := range nv {
				a.i("VFMADD231PS Y%d, Y%d, Y%d", 12+v, b, c*nv+v)
			}
		}
	}
	const unroll = 4
	a.i("MOVQ laneArgs_kd(R11), CX; SUBQ $%d, CX; JLT tail; PCALIGN $64", unroll)
	a.label("loop")
	a.i("PREFETCHT0 (R12); ADDQ R13, R12")
	for u := range unroll {
		step(u)
	}
	a.i("ADDQ $%d, SI; ADDQ $%d, DI; SUBQ $%d, CX; JGE loop", unroll*nv*32, unroll*4, unroll)
	a.label("tail")
	a.i("ADDQ $%d, CX; JZ scale", unroll)
	a.label("one")
	step(0)
	a.i("ADDQ $%d, SI; ADDQ $4, DI; DECQ CX; JNZ one", nv*32)
	a.label("scale")
	a.i("MOVL laneArgs_scale(R11), AX; CMPL AX, $0x3f800000; JEQ second; VBROADCASTSS laneArgs_scale(R11), Y12")
	for r := range 12 {
		a.i("VMULPS Y12, Y%d, Y%d", r, r)
	}
	a.label("second")
	a.i("MOVQ laneArgs_kd2(R11), CX; TESTQ CX, CX; JZ spill; MOVQ laneArgs_a2(R11), SI")
	a.label("more")
	step(0)
	a.i("ADDQ $%d, SI; ADDQ $4, DI; DECQ CX; JNZ more", nv*32)
	a.label("spill")
	for r := range 12 {
		a.i("VMOVUPS Y%d, buf-%d(SP)", r, 12*32-32*r)
	}
	a.i("MOVQ laneArgs_ldc(R11), R8; MOVQ laneArgs_lda(R11), R10; SHLQ $2, R8; SHLQ $2, R10")
	for c := 0; c < cols; c += 4 {
		laneStore(a, nv, c, min(4, cols-c))
	}
	a.ret()
}

// laneStore writes columns c ... c+n-1, four or two of them, of the sums in the frame: as many rows as there are, with what is added to them.
func laneStore(a *asm, nv, c, n int) {
	load, store := "VMOVUPS", "VMOVUPS"
	if n == 2 {
		load, store = "VMOVSD", "VMOVSD"
	}
	next := fmt.Sprintf("stored%d", c)
	a.i("MOVQ laneArgs_c(R11), DX; MOVQ laneArgs_add(R11), BX; MOVQ laneArgs_bias(R11), AX; MOVQ laneArgs_rows(R11), R9; ADDQ $%d, DX", 4*c)
	a.i("TESTQ AX, AX; JZ nobias%d; %s %d(AX), X14", c, load, 4*c)
	a.label(fmt.Sprintf("nobias%d", c))
	a.i("TESTQ BX, BX; JZ noadd%d; ADDQ $%d, BX", c, 4*c)
	a.label(fmt.Sprintf("noadd%d", c))
	for q := range 2 * nv {
		for i := range n {
			a.i("VMOVUPS buf-%d(SP), X%d", 12*32-(c+i)*nv*32-16*q, i)
		}
		if n == 4 {
			a.i("VUNPCKLPS X1, X0, X4; VUNPCKLPS X3, X2, X5; VUNPCKHPS X1, X0, X6; VUNPCKHPS X3, X2, X7")
			a.i("VUNPCKLPD X5, X4, X0; VUNPCKHPD X5, X4, X1; VUNPCKLPD X7, X6, X2; VUNPCKHPD X7, X6, X3")
		} else {
			a.i("VUNPCKHPS X1, X0, X2; VUNPCKLPS X1, X0, X0; VUNPCKHPD X0, X0, X1; VUNPCKHPD X2, X2, X3")
		}
		for r := range 4 {
			at := fmt.Sprintf("%d_%d", c, 4*q+r)
			a.i("TESTQ BX, BX; JZ plain%s; %s (BX), X5; VADDPS X5, X%d, X%d; ADDQ R10, BX", at, load, r, r)
			a.label("plain" + at)
			a.i("TESTQ AX, AX; JZ put%s; VADDPS X14, X%d, X%d", at, r, r)
			a.label("put" + at)
			a.i("%s X%d, (DX); ADDQ R8, DX; DECQ R9; JZ %s", store, r, next)
		}
	}
	a.label(next)
}
