package main

import "fmt"

// laneStride is the bytes from column to column of opened rows: laneStride of package kernels in values, times four.
const laneStride = 4 * 912

// lanes emits the tiles of few rows of A, whose rows are the lanes of the registers: B is read row by row, and every value of it is
// broadcast. nv registers hold the rows; 12/nv columns keep twelve sums under way, as the latency of two multiply-adds a
// cycle asks for.
//
// Registers: sums 0..11, A from 12, the broadcast value last. SI A, DI B, R12 memory asked for ahead.
func lanes(a *asm) {
	for nv := 1; nv <= 3; nv++ {
		laneTile(a, nv)
		wideLaneTile(a, "F32", nv)
		wideLaneTile(a, "BF16", nv)
	}
}

// wideTile is laneTile with registers of 512 bits, 24 sums, and B anywhere in memory: so bf16 and float32 rows are read where they lie. A
// unit of depth is four bytes, two bf16 or one float32.
//
// Registers: sums 0..23, A from 24, broadcast values behind it (one register of rows takes them from memory). SI A; DI, BX and DX columns
// 0, 8 and 16 of B; R8, R9, R10, AX one, three, five and seven steps from column to column; R12 memory asked for ahead.
type wideTile struct {
	*asm
	kind     string
	nv, cols int
	bases    []string // registers of columns 0, 8, 16
}

const wideSums = 24

// columns loads the addresses of an operand.
func (w *wideTile) columns(b, step string) {
	w.i("MOVQ laneArgs_%s(R11), DI; MOVQ laneArgs_%s(R11), R8; LEAQ (R8)(R8*2), R9; LEAQ (R8)(R8*4), R10; LEAQ (R9)(R8*4), AX", b, step)
	for i := 1; i < len(w.bases); i++ {
		w.i("LEAQ (%s)(R8*8), %s", w.bases[i-1], w.bases[i])
	}
}

// at is unit u of column c.
func (w *wideTile) at(u, c int) address {
	r := []address{{}, {index: "R8", scale: 1}, {index: "R8", scale: 2}, {index: "R9", scale: 1}, {index: "R8", scale: 4},
		{index: "R10", scale: 1}, {index: "R9", scale: 2}, {index: "AX", scale: 1}}[c%8]
	r.off, r.base = 4*u, w.bases[c/8]
	return r
}

// step multiplies a unit of depth.
func (w *wideTile) step(u int) {
	for v := range w.nv {
		w.i("VMOVUPS %d(SI), Z%d", 64*(u*w.nv+v), wideSums+v)
	}
	for c := range w.cols {
		switch b := wideSums + w.nv + c%(8-w.nv); {
		case w.nv == 1 && w.kind == "BF16":
			w.dpbf16Broadcast(c, wideSums, w.at(u, c))
		case w.nv == 1:
			w.i("VFMADD231PS.BCST %s, Z%d, Z%d", w.at(u, c), wideSums, c)
		default:
			w.i("VBROADCASTSS %s, Z%d", w.at(u, c), b)
			for v := range w.nv {
				if w.kind == "BF16" {
					w.dpbf16(c*w.nv+v, b, wideSums+v)
				} else {
					w.i("VFMADD231PS Z%d, Z%d, Z%d", wideSums+v, b, c*w.nv+v)
				}
			}
		}
	}
}

// next goes on by n units.
func (w *wideTile) next(n int) {
	w.i("ADDQ $%d, SI", n*w.nv*64)
	for _, b := range w.bases {
		w.i("ADDQ $%d, %s", 4*n, b)
	}
}

func wideLaneTile(a *asm, kind string, nv int) {
	cols := wideSums / nv
	w := &wideTile{a, kind, nv, cols, []string{"DI", "BX", "DX"}[:(cols+7)/8]}
	a.fn(fmt.Sprintf("is the tile of %d rows, the lanes, and %d columns.", 16*nv, cols), fmt.Sprintf("tileLanes%sx%d", kind, 16*nv), "t *laneArgs", 8, 0)
	a.i("MOVQ t+0(FP), R11; MOVQ laneArgs_a(R11), SI; MOVQ laneArgs_ahead(R11), R12; MOVQ laneArgs_aheadStep(R11), R13")
	w.columns("b", "bStep")
	for r := range wideSums {
		a.i("VPXORD Z%d, Z%d, Z%d", r, r, r)
	}
	const unroll = 4
	a.i("MOVQ laneArgs_kd(R11), CX; SUBQ $%d, CX; JLT tail; PCALIGN $64", unroll)
	a.label("loop")
	for u := range unroll {
		for range cols/4*(u+1)/unroll - cols/4*u/unroll { // one request for four columns
			a.i("PREFETCHT0 (R12); ADDQ R13, R12")
		}
		w.step(u)
	}
	w.next(unroll)
	a.i("SUBQ $%d, CX; JGE loop", unroll)
	a.label("tail")
	a.i("ADDQ $%d, CX; JZ scale", unroll)
	a.label("one")
	w.step(0)
	w.next(1)
	a.i("DECQ CX; JNZ one")
	a.label("scale")
	a.i("MOVL laneArgs_scale(R11), CX; CMPL CX, $0x3f800000; JEQ second; VBROADCASTSS laneArgs_scale(R11), Z%d", wideSums)
	for r := range wideSums {
		a.i("VMULPS Z%d, Z%d, Z%d", wideSums, r, r)
	}
	a.label("second")
	a.i("MOVQ laneArgs_kd2(R11), CX; TESTQ CX, CX; JZ spill; MOVQ laneArgs_a2(R11), SI")
	w.columns("b2", "b2Step")
	a.label("more")
	w.step(0)
	w.next(1)
	a.i("DECQ CX; JNZ more")
	a.label("spill")
	a.i("MOVQ laneArgs_sums(R11), SI")
	for r := range wideSums {
		a.i("VMOVUPS Z%d, %d(SI)", r, 64*r)
	}
	a.i("MOVQ laneArgs_ldc(R11), R8; MOVQ laneArgs_lda(R11), R10; SHLQ $2, R8; SHLQ $2, R10")
	for c := 0; c < cols; c += 4 {
		laneStore(a, func(at int) string { return fmt.Sprintf("%d(SI)", at) }, 4*nv, c, 4)
	}
	a.ret()
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
		laneStore(a, func(at int) string { return fmt.Sprintf("buf-%d(SP)", 12*32-at) }, 2*nv, c, min(4, cols-c))
	}
	a.ret()
}

// laneStore writes columns c ... c+n-1, four or two of them, of the sums in memory, four times quads rows each: as many rows as there are,
// with what is added to them.
func laneStore(a *asm, sums func(at int) string, quads, c, n int) {
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
	for q := range quads {
		for i := range n {
			a.i("VMOVUPS %s, X%d", sums((c+i)*quads*16+16*q), i)
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
