package main

import "fmt"

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
				text += fmt.Sprintf("\t\t{%d, %v, %d}: %s,\n", t.group, centred, panels, t.name())
			}
		}
	}
	fmt.Fprintf(&a.g, "\n// vnniTiles are the tiles by values of a scale, whether codes are centred on a zero, and panels of 16 rows.\nvar vnniTiles = map[vnniKey]vnniTile{\n%s}\n", text)
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
	t.fn(fmt.Sprintf("is acc[c*%d+r] += sum over n > 0 groups of d·scale[r]·(sum of 32 codes%s times activations) + %s for rows r < %d and columns c < cols, a multiple of %d, with %d scales to 32 values; a is what packInt8x16 wrote, lda bytes apart; w has cols records of %d bytes for each group.",
		16*t.panels, begin, low, 16*t.panels, t.columns, 32/t.group, t.record), t.name(), "acc *float32, a unsafe.Pointer, lda int, w unsafe.Pointer, n, cols, zero int", 56, 0)
	t.i("MOVQ a+8(FP), DX; MOVQ lda+16(FP), R10; MOVQ w+24(FP), SI; MOVQ n+32(FP), R9; MOVQ zero+48(FP), AX")
	t.label("group")
	t.i("MOVQ acc+0(FP), DI; MOVQ cols+40(FP), CX")
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
	t.i("ADDQ $768, DX; DECQ R9; JNZ group")
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
