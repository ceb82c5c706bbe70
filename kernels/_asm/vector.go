package main

import "fmt"

// vectors emits the products of a few rows: y[i*ldy+r] = sum over k < n of x[i*ldx+k]·w[r][k] for i < m, r < rows. The row of W is
// read once for all m rows of x. stride is the bytes between rows of W, the other steps count values.
func vectors(a *asm) {
	for _, kind := range []string{"BF16", "F32", "F16"} {
		for _, zmm := range []bool{true, false} {
			for m := 1; m <= 4; m++ {
				vector(a, kind, zmm, m)
			}
		}
	}
}

func vector(a *asm, kind string, zmm bool, m int) {
	name, reg, width, size := "vec"+kind, "Y", 8, 2
	if kind == "F32" {
		size = 4
	}
	if zmm {
		reg, width = "Z", 16
	} else {
		name += "AVX2"
	}
	chains := []int{0, 4, 2, 2, 2}[m]
	acc := func(i, u int) int { return i*chains + u }
	w := func(u int) int { return m*chains + u }
	a.fn(fmt.Sprintf("is y[i*ldy+r] = sum of x[i*ldx+k]*w[r][k], i < %d, r < rows, k < n; stride in bytes.", m), fmt.Sprintf("%sx%d", name, m),
		"y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int", 64, 0)
	a.i("MOVQ y+0(FP), DI; MOVQ ldy+8(FP), R8; MOVQ ldx+24(FP), R9; MOVQ w+32(FP), DX; MOVQ n+48(FP), R12; MOVQ rows+56(FP), R13")
	a.i("SHLQ $2, R8; SHLQ $2, R9; LEAQ (R9)(R9*2), R11")
	x := func(i, off int) string {
		return fmt.Sprintf("%d(AX)%s", off, []string{"", "(R9*1)", "(R9*2)", "(R11*1)"}[i])
	}
	load := func(u, off int, mask string) {
		switch {
		case kind == "F16":
			a.i("VCVTPH2PS%s %d(BX), %s%s%d", zero(mask), off*2, mask, reg, w(u))
		case kind == "BF16":
			a.i("VPMOVZXWD%s %d(BX), %s%s%d; VPSLLD $16, %s%d, %s%d", zero(mask), off*2, mask, reg, w(u), reg, w(u), reg, w(u))
		default:
			a.i("VMOVUPS%s %d(BX), %s%s%d", zero(mask), off*4, mask, reg, w(u))
		}
	}
	a.label("row")
	a.i("MOVQ x+16(FP), AX; MOVQ DX, BX; MOVQ R12, CX")
	for r := range m * chains {
		a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
	}
	a.i("SUBQ $%d, CX; JLT tail", chains*width)
	a.label("loop")
	for at := 0; at < chains*width*size; at += 64 {
		a.i("PREFETCHT0 %d(BX)", ahead+at)
	}
	for u := range chains {
		load(u, u*width, "")
		for i := range m {
			a.i("VFMADD231PS %s, %s%d, %s%d", x(i, u*width*4), reg, w(u), reg, acc(i, u))
		}
	}
	a.i("ADDQ $%d, AX; ADDQ $%d, BX; SUBQ $%d, CX; JGE loop", chains*width*4, chains*width*size, chains*width)
	a.label("tail")
	a.i("ADDQ $%d, CX; JZ sum", chains*width)
	if zmm {
		a.label("rest")
		a.i("MOVL $0xffff, R10; KMOVW R10, K1; CMPQ CX, $16; JGE full; MOVL $1, R10; SHLL CX, R10; DECL R10; KMOVW R10, K1")
		a.label("full")
		load(0, 0, "K1, ")
		for i := range m {
			t := m*chains + chains
			a.i("VMOVUPS.Z %s, K1, Z%d; VFMADD231PS Z%d, Z%d, Z%d", x(i, 0), t, t, w(0), acc(i, 0))
		}
		a.i("ADDQ $64, AX; ADDQ $%d, BX; SUBQ $16, CX; JGT rest", 16*size)
	} else {
		a.label("rest")
		a.i("CMPQ CX, $8; JLT sum")
		load(0, 0, "")
		for i := range m {
			a.i("VFMADD231PS %s, Y%d, Y%d", x(i, 0), w(0), acc(i, 0))
		}
		a.i("ADDQ $32, AX; ADDQ $%d, BX; SUBQ $8, CX; JMP rest", 8*size)
	}
	a.label("sum")
	t := w(0)
	for i := range m {
		a.reduce(zmm, acc(i, 0), chains, t)
	}
	if !zmm {
		a.label("one")
		a.i("TESTQ CX, CX; JZ store")
		switch kind {
		case "F16":
			a.i("MOVWLZX (BX), R10; VMOVD R10, X%d; VCVTPH2PS X%d, X%d", t, t, t)
		case "BF16":
			a.i("MOVWLZX (BX), R10; SHLL $16, R10; VMOVD R10, X%d", t)
		default:
			a.i("VMOVSS (BX), X%d", t)
		}
		for i := range m {
			a.i("VFMADD231SS %s, X%d, X%d", x(i, 0), t, acc(i, 0))
		}
		a.i("ADDQ $4, AX; ADDQ $%d, BX; DECQ CX; JMP one", size)
	}
	a.label("store")
	a.i("MOVQ DI, R10")
	for i := range m {
		a.i("VMOVSS X%d, (R10)", acc(i, 0))
		if i < m-1 {
			a.i("ADDQ R8, R10")
		}
	}
	a.i("ADDQ $4, DI; ADDQ stride+40(FP), DX; DECQ R13; JNZ row")
	a.ret()
}

// fours emits the products of two to four rows of x with rows of W of whole vectors, four rows of W at a time: their sums over lanes are made
// together. The last four are as many as there are, the last of them again for those that are not.
//
// Registers: sums 0..15, W 16..19, x 20; DX W, BX R10 R12 R13 four rows of it, AX bytes of a value's place in x, CX of the same in W.
func fours(a *asm) {
	for _, kind := range []string{"BF16", "F32"} {
		for m := 2; m <= 4; m++ {
			four(a, kind, m)
		}
	}
}

func four(a *asm, kind string, m int) {
	a.fn(fmt.Sprintf("is y[i*ldy+r] = sum of x[i*ldx+k]*w[r][k], i < %d, r < rows, k < n, n a multiple of 16; stride in bytes.", m), fmt.Sprintf("fours%sx%d", kind, m),
		"y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int", 64, 0)
	size := 4
	if kind == "BF16" {
		size = 2
	}
	sum := func(i, r int) int { return 4*i + r }
	rows := []string{"BX", "R10", "R12", "R13"}
	a.i("MOVQ y+0(FP), DI; MOVQ ldy+8(FP), R8; MOVQ x+16(FP), SI; MOVQ ldx+24(FP), R9; MOVQ w+32(FP), DX; SHLQ $2, R8; SHLQ $2, R9; LEAQ (R9)(R9*2), R11")
	a.label("rows")
	a.i("MOVQ rows+56(FP), CX; MOVL $15, AX; CMPQ CX, $4; JGE whole; MOVL $1, AX; SHLL CX, AX; DECL AX")
	a.label("whole")
	a.i("KMOVW AX, K1; MOVQ DX, BX")
	for r := 1; r < 4; r++ {
		a.i("MOVQ %s, %s; CMPQ CX, $%d; JLE same%d; ADDQ stride+40(FP), %s", rows[r-1], rows[r], r, r, rows[r])
		a.label(fmt.Sprintf("same%d", r))
	}
	for r := range 4 * m {
		a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
	}
	a.i("MOVQ SI, AX; MOVQ n+48(FP), CX; PCALIGN $32")
	a.label("loop")
	for r := range 4 {
		if kind == "BF16" {
			a.i("VPMOVZXWD (%s), Z%d; VPSLLD $16, Z%d, Z%d", rows[r], 16+r, 16+r, 16+r)
		} else {
			a.i("VMOVUPS (%s), Z%d", rows[r], 16+r)
		}
		a.i("ADDQ $%d, %s", 16*size, rows[r])
	}
	for i := range m {
		a.i("VMOVUPS (AX)%s, Z20", []string{"", "(R9*1)", "(R9*2)", "(R11*1)"}[i])
		for r := range 4 {
			a.i("VFMADD231PS Z20, Z%d, Z%d", 16+r, sum(i, r))
		}
	}
	a.i("ADDQ $64, AX; SUBQ $16, CX; JGT loop; MOVQ DI, AX")
	for i := range m {
		for r := 0; r < 4; r += 2 {
			x, y := sum(i, r), sum(i, r+1)
			a.i("VUNPCKLPS Z%d, Z%d, Z16; VUNPCKHPS Z%d, Z%d, Z17; VADDPS Z17, Z16, Z%d", y, x, y, x, 18+r/2)
		}
		a.i("VUNPCKLPD Z19, Z18, Z16; VUNPCKHPD Z19, Z18, Z17; VADDPS Z17, Z16, Z16")
		a.i("VEXTRACTF64X4 $1, Z16, Y17; VADDPS Y17, Y16, Y16; VEXTRACTF32X4 $1, Y16, X17; VADDPS X17, X16, X16; VMOVUPS X16, K1, (AX)")
		if i < m-1 {
			a.i("ADDQ R8, AX")
		}
	}
	a.i("MOVQ stride+40(FP), AX; LEAQ (DX)(AX*4), DX; ADDQ $16, DI; SUBQ $4, rows+56(FP); JGT rows")
	a.ret()
}

// zero is the suffix of a load that clears the lanes its mask leaves out.
func zero(mask string) string {
	if mask == "" {
		return ""
	}
	return ".Z"
}
