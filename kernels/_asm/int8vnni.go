package main

import (
	"fmt"
	"strings"
)

// vnniTile emits the product of 16 rows of activations, the lanes, or of twice as many, with opened weights in registers of 512 bits:
// VPDPBUSD multiplies four codes, unsigned and broadcast, with four values of each row and adds them up in 32 bits.
//
// Types whose codes are centred on one zero begin their sums at -zero times the sum of the activations, so that d is all that is left to
// multiply by; the others add low times that sum in float32. Of the two pipes that multiply, 32 values of 16 rows take 8 products of bytes
// and, in float32, 2 (centred), 3 (not), 3 (centred, a scale per 16) or 5: 80, 73, 73 and 62 % of the peak are the most there can be.
//
// Columns go together, 4 of them or 2, because a chain of 8 products takes 32 cycles and registers hold 8 chains.
//
// Registers: 32 values of the rows from 0, their scales 16 and 17, what sums begin at (or the sums of activations) from 18, sums and codes
// above. DX activations, R10 bytes from the first 16 rows to the others, SI records, DI sums.
type vnniTile struct {
	*asm
	group   int  // values of a scale
	centred bool // around a zero
	panels  int  // of 16 rows
	record  int  // bytes
	columns int
}

// vnniTiles emits all of them.
func vnniTiles(a *asm) {
	text := ""
	for _, k := range []codeKind{codes5, codes6} {
		for _, centred := range []bool{false, true} {
			for panels := 1; panels <= 2; panels++ {
				t := &vnniTile{a, k.group, centred, panels, k.record, k.group / 8}
				t.function()
				text += t.name() + ", "
			}
		}
	}
	fmt.Fprintf(&a.g, "\n// vnniTiles are the tiles, of 32 values with one scale, then of 16: of codes that are not centred on a zero, then of those that are; of one panel of 16 rows and of two.\nvar vnniTiles = [8]vnniTile{%s}\n", strings.TrimSuffix(text, ", "))
}

func (t *vnniTile) name() string {
	return fmt.Sprintf("tile%d%sx%d", t.group, map[bool]string{true: "Centred", false: "Affine"}[t.centred], t.panels)
}

func (t *vnniTile) value(p, s int) int { return 8*p + s }
func (t *vnniTile) scale(p int) int    { return 16 + p }
func (t *vnniTile) begin(p, h int) int { return 18 + p*32/t.group + h }

// sum is half h of the codes of a column times panel p.
func (t *vnniTile) sum(p, c, h int) int {
	if t.group == 32 {
		return 20 + 4*p + c
	}
	return 22 + 4*h + 2*p + c
}

// code is broadcast codes of a column, then a temporary.
func (t *vnniTile) code(c int) int { return 32 - t.columns + c }

func (t *vnniTile) function() {
	low, begin := "low·sum[r]", ""
	if t.centred {
		low, begin = "0", " less zero"
	}
	t.fn(fmt.Sprintf("is acc[c*%d+r] += sum over n > 0 groups of d·scale[r]·(sum of 32 codes%s times activations) + %s for rows r < %d and columns c < cols, a multiple of %d, with %d scales to 32 values; a is what roundInt8x16 wrote, lda bytes apart; w has cols records of %d bytes for each group, step bytes apart.",
		16*t.panels, begin, low, 16*t.panels, t.columns, 32/t.group, t.record), t.name(), "acc *float32, a unsafe.Pointer, lda int, w unsafe.Pointer, step, n, cols, zero int", 64, 0)
	t.i("MOVQ a+8(FP), DX; MOVQ lda+16(FP), R10; MOVQ w+24(FP), R8; MOVQ step+32(FP), R11; MOVQ n+40(FP), R9; MOVQ zero+56(FP), AX")
	t.label("group")
	t.i("MOVQ acc+0(FP), DI; MOVQ R8, SI; MOVQ cols+48(FP), CX")
	for p := range t.panels {
		t.load(p)
	}
	t.i("PCALIGN $64")
	t.label("column")
	for h := range 32 / t.group {
		t.products(h)
		t.scaled(h)
	}
	t.i("ADDQ $%d, SI; ADDQ $%d, DI; SUBQ $%d, CX; JNZ column", t.columns*t.record, t.columns*64*t.panels, t.columns)
	t.i("ADDQ $768, DX; ADDQ R11, R8; DECQ R9; JNZ group")
	t.ret()
}

// a is the address of byte off of panel p of activations.
func (t *vnniTile) a(p, off int) string {
	return fmt.Sprintf("%d(DX)%s", off, []string{"", "(R10*1)"}[p])
}

// load loads 32 values of a panel and what goes with them.
func (t *vnniTile) load(p int) {
	for s := range 8 {
		t.i("VMOVDQU32 %s, Z%d", t.a(p, 64*s), t.value(p, s))
	}
	t.i("VMOVUPS %s, Z%d", t.a(p, 512), t.scale(p))
	for h := range 32 / t.group {
		r := t.begin(p, h)
		if !t.centred {
			t.i("VMOVUPS %s, Z%d", t.a(p, 576+(32/t.group-1)*64+64*h), r)
			continue
		}
		t.i("VPBROADCASTB AX, Z31; VPXORD Z30, Z30, Z30; VPXORD Z%d, Z%d, Z%d", r, r, r)
		for s := range t.group / 4 {
			t.i("VPDPBUSD Z%d, Z31, Z30", t.value(p, h*t.group/4+s))
		}
		t.i("VPSUBD Z30, Z%d, Z%d", r, r)
	}
}

// products adds up half h of the codes of all columns.
func (t *vnniTile) products(h int) {
	for c := range t.columns {
		for p := range t.panels {
			if r := t.sum(p, c, h); t.centred {
				t.i("VMOVDQA32 Z%d, Z%d", t.begin(p, h), r)
			} else {
				t.i("VPXORD Z%d, Z%d, Z%d", r, r, r)
			}
		}
	}
	for s := range t.group / 4 {
		for c := range t.columns {
			t.i("VPBROADCASTD %d(SI), Z%d", c*t.record+h*t.group+4*s, t.code(c))
			for p := range t.panels {
				t.i("VPDPBUSD Z%d, Z%d, Z%d", t.value(p, h*t.group/4+s), t.code(c), t.sum(p, c, h))
			}
		}
	}
}

// scaled multiplies the sums by the scales and, after the last half, adds them to what is in memory.
func (t *vnniTile) scaled(h int) {
	for c := range t.columns {
		for p := range t.panels {
			first, r, at := t.sum(p, c, 0), t.sum(p, c, h), c*t.record+32
			acc := fmt.Sprintf("%d(DI)", c*64*t.panels+64*p)
			t.i("VCVTDQ2PS Z%d, Z%d", r, r)
			switch {
			case t.group == 32:
				t.i("VMULPS.BCST %d(SI), Z%d, Z%d; VFMADD213PS %s, Z%d, Z%d", at, t.scale(p), t.code(c), acc, t.code(c), r)
			case h == 0:
				t.i("VMULPS.BCST %d(SI), Z%d, Z%d", at, r, r)
				continue
			default:
				t.i("VFMADD231PS.BCST %d(SI), Z%d, Z%d; VFMADD213PS %s, Z%d, Z%d", at+8, r, first, acc, t.scale(p), first)
			}
			for i := 0; i <= h && !t.centred; i++ {
				t.i("VFMADD231PS.BCST %d(SI), Z%d, Z%d", at+8*i+4, t.begin(p, i), first)
			}
			t.i("VMOVUPS Z%d, %s", first, acc)
		}
	}
}

// roundPanel emits the rounding of 16 rows of activations and their transpose: what the tile holds in registers. Maxima, scales and sums are
// those of all rows at once.
//
// Registers: magnitudes of the rows, then their codes, from 0, temporaries 16 to 18, scales 19; constants from 28.
func roundPanel(a *asm) {
	a.fn("rounds n > 0 groups of 32 values of 16 rows as quantizeAVX2 does and packs them: of each group the eight dwords of codes of all rows, then their scales, sums of 32, and both sums of 16.",
		"roundInt8x16", "dst unsafe.Pointer, rows *[16]unsafe.Pointer, n int", 24, 64)
	a.i("MOVQ dst+0(FP), DI; MOVQ rows+8(FP), SI; MOVQ n+16(FP), CX; XORQ R9, R9; MOVL $1, AX; VPBROADCASTB AX, Z28")
	a.i("VBROADCASTSS ·int8Limits+4(SB), Z29; VBROADCASTSS ·int8Limits(SB), Z30; VBROADCASTSS ·int8Abs(SB), Z31")
	a.label("loop")
	for r := range 16 {
		a.i("MOVQ %d(SI), AX; VPANDD (AX)(R9*1), Z31, Z%d; VPANDD 64(AX)(R9*1), Z31, Z16; VPMAXSD Z16, Z%d, Z%d", 8*r, r, r, r) // as integers, so that a NaN is the largest
	}
	for step, op := range []string{"VPUNPCKLDQ,VPUNPCKHDQ", "VPUNPCKLQDQ,VPUNPCKHQDQ", "VSHUFI32X4 $0x88,VSHUFI32X4 $0xdd", "VSHUFI32X4 $0x88,VSHUFI32X4 $0xdd"} {
		low, high, _ := strings.Cut(op, ",")
		sep := map[bool]string{true: ",", false: ""}[step > 1]
		for r := 0; r < 16; r += 2 << step {
			s := r + 1<<step
			a.i("%s%s Z%d, Z%d, Z16; %s%s Z%d, Z%d, Z17; VPMAXSD Z17, Z16, Z%d", low, sep, s, r, high, sep, s, r, r)
		}
	}
	a.i("VDIVPS Z30, Z0, Z19; VMOVUPS Z19, 512(DI); VCMPPS $13, Z29, Z0, K1; VDIVPS.Z Z0, Z30, K1, Z16; VMOVUPS Z16, buf-64(SP)")
	for r := range 16 { // 16 values of rows 4 apart lie in a register
		a.i("MOVQ %d(SI), AX; VBROADCASTSS buf-%d(SP), Z18", 8*r, 64-4*r)
		for h := range 2 {
			a.i("VMULPS %d(AX)(R9*1), Z18, Z16; VCVTPS2DQ Z16, Z16", 64*h)
			if to := 4*h + r%4; r < 4 {
				a.i("VPMOVSDB Z16, X%d", to)
			} else {
				a.i("VPMOVSDB Z16, X16; VINSERTI32X4 $%d, X16, Z%d, Z%d", r/4, to, to)
			}
		}
	}
	for h := range 2 {
		in, out, sum := 4*h, 8+4*h, 22+h
		a.i("VPUNPCKLDQ Z%d, Z%d, Z16; VPUNPCKHDQ Z%d, Z%d, Z17; VPUNPCKLDQ Z%d, Z%d, Z20; VPUNPCKHDQ Z%d, Z%d, Z21", in+1, in, in+1, in, in+3, in+2, in+3, in+2)
		a.i("VPUNPCKLQDQ Z20, Z16, Z%d; VPUNPCKHQDQ Z20, Z16, Z%d; VPUNPCKLQDQ Z21, Z17, Z%d; VPUNPCKHQDQ Z21, Z17, Z%d", out, out+1, out+2, out+3)
		a.i("VPXORD Z%d, Z%d, Z%d", sum, sum, sum)
		for i := range 4 {
			a.i("VPDPBUSD Z%d, Z28, Z%d; VMOVDQU32 Z%d, %d(DI)", out+i, sum, out+i, 64*(4*h+i))
		}
	}
	a.i("VPADDD Z23, Z22, Z21")
	for i := range 3 {
		a.i("VCVTDQ2PS Z%d, Z%d; VMULPS Z19, Z%d, Z%d; VMOVUPS Z%d, %d(DI)", 21+i, 21+i, 21+i, 21+i, 21+i, 576+64*i)
	}
	a.i("ADDQ $128, R9; ADDQ $768, DI; DECQ CX; JNZ loop")
	a.ret()
}

// storeLines emits the way of a tile of 16 rows into C.
func storeLines(a *asm) {
	a.fn("is c[r*ldc+j] = scale·acc[j*lanes+r] + add[r*lda+j] + bias[j] for r < rows, 1 to 16, and j < cols; acc is as long as cols up to a multiple of 16; add and bias may be nil.",
		"storeInt8x16", "c *float32, ldc int, add *float32, lda int, bias, acc *float32, lanes, rows, cols int, scale float32", 76, 0)
	a.i("MOVQ c+0(FP), DI; MOVQ ldc+8(FP), R8; SHLQ $2, R8; MOVQ add+16(FP), BX; MOVQ lda+24(FP), R9; SHLQ $2, R9; MOVQ bias+32(FP), R10; MOVQ acc+40(FP), SI; MOVQ lanes+48(FP), R11; SHLQ $2, R11; MOVQ cols+64(FP), R12")
	a.label("loop")
	a.i("MOVQ $-1, AX; CMPQ R12, $16; JGE load; MOVQ R12, CX; MOVQ $1, AX; SHLQ CX, AX; DECQ AX")
	a.label("load")
	a.i("KMOVW AX, K1")
	for j := range 16 {
		a.i("VMOVUPS (SI), Z%d; ADDQ R11, SI", j)
	}
	out := transpose16(a)
	a.i("VBROADCASTSS scale+72(FP), Z16; VPXORD Z17, Z17, Z17; TESTQ R10, R10; JZ rows; VMOVUPS.Z (R10), K1, Z17; ADDQ $64, R10")
	a.label("rows")
	a.i("MOVQ DI, AX; MOVQ BX, DX; MOVQ rows+56(FP), CX")
	for r, z := range out {
		a.i("VFMADD213PS Z17, Z16, Z%d; TESTQ BX, BX; JZ store%d; VADDPS (DX), Z%d, K1, Z%d; ADDQ R9, DX", z, r, z, z)
		a.label(fmt.Sprintf("store%d", r))
		a.i("VMOVUPS Z%d, K1, (AX); ADDQ R8, AX; DECQ CX; JZ next", z)
	}
	a.label("next")
	a.i("ADDQ $64, DI; TESTQ BX, BX; JZ more; ADDQ $64, BX")
	a.label("more")
	a.i("SUBQ $16, R12; JGT loop")
	a.ret()
}
