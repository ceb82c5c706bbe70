package main

import "fmt"

// The three ways four bytes of depth come about.
type unit struct {
	name string
	doc  string
	per  int  // values per unit
	cvt  bool // float32 in memory, bf16 in the unit
}

var units = []unit{
	{"F32", "float32 values", 1, false},
	{"Words", "bf16 values, two to a unit", 2, false},
	{"Cvt", "float32 values, rounded to bf16, two to a unit", 2, true},
}

// memory is the bytes of a value where it comes from.
func (u unit) memory() int {
	if u.per == 2 && !u.cvt {
		return 2
	}
	return 4
}

// transpose16 emits the 16x16 transpose of 32-bit elements: rows in Z0..Z15, result register of column i in the returned array.
// Z16..Z31 are scratch. 64 shuffles.
func transpose16(a *asm) [16]int {
	for i := 0; i < 16; i += 2 {
		a.i("VPUNPCKLDQ Z%d, Z%d, Z%d; VPUNPCKHDQ Z%d, Z%d, Z%d", i+1, i, 16+i, i+1, i, 17+i)
	}
	for i := 0; i < 16; i += 4 {
		a.i("VPUNPCKLQDQ Z%d, Z%d, Z%d; VPUNPCKHQDQ Z%d, Z%d, Z%d", 18+i, 16+i, i, 18+i, 16+i, i+1)
		a.i("VPUNPCKLQDQ Z%d, Z%d, Z%d; VPUNPCKHQDQ Z%d, Z%d, Z%d", 19+i, 17+i, i+2, 19+i, 17+i, i+3)
	}
	var out [16]int
	for c := range 4 {
		lo, hi := 16+c*4, 16+c*4+2
		a.i("VSHUFI32X4 $0x88, Z%d, Z%d, Z%d; VSHUFI32X4 $0xdd, Z%d, Z%d, Z%d", c+4, c, lo, c+4, c, lo+1)
		a.i("VSHUFI32X4 $0x88, Z%d, Z%d, Z%d; VSHUFI32X4 $0xdd, Z%d, Z%d, Z%d", c+12, c+8, hi, c+12, c+8, hi+1)
		a.i("VSHUFI32X4 $0x88, Z%d, Z%d, Z%d; VSHUFI32X4 $0xdd, Z%d, Z%d, Z%d", hi, lo, c, hi, lo, c+8)
		a.i("VSHUFI32X4 $0x88, Z%d, Z%d, Z%d; VSHUFI32X4 $0xdd, Z%d, Z%d, Z%d", hi+1, lo+1, c+4, hi+1, lo+1, c+12)
		out[c], out[c+8], out[c+4], out[c+12] = c, c+8, c+4, c+12
	}
	return out
}

// transposes emits the packs of rows into panels whose columns they become.
func transposes(a *asm) {
	for _, u := range units {
		a.fn(fmt.Sprintf("packs n values of 16 rows, %s: unit p of row i goes to dst[p*stride+i].", u.doc),
			"packB"+u.name, "dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int", 32, 0)
		a.i("MOVQ dst+0(FP), DI; MOVQ stride+8(FP), R8; MOVQ rows+16(FP), SI; MOVQ n+24(FP), CX; SHLQ $2, R8")
		transpose(a, u, func(r int) { a.i("VMOVDQU32 Z%d, (DI); ADDQ R8, DI", r) })
	}
	for _, u := range []unit{units[0], units[2]} {
		packA(a, u)
	}
	transpose8(a)
}

// zip6 is the constants of packA: dwords of two rows to pairs (low and high half), then qwords of three pairs of rows to their order
// in a panel: three times the lanes of the first two, three times those of the third.
func zip6() []uint32 {
	var t []uint32
	for half := range uint32(2) {
		for d := range uint32(8) {
			t = append(t, 8*half+d, 16+8*half+d)
		}
	}
	for pass := range 2 { // first the pairs 0 and 1, then pair 2
		for i := range uint32(24) {
			d, pair := i/3, i%3
			switch {
			case pass == 0 && pair == 1:
				d += 8
			case (pass == 0) == (pair == 2):
				d = 0 // not wanted
			}
			t = append(t, d, 0)
		}
	}
	return t
}

// packA emits the pack of 6 rows into one panel. Whole vectors are stored: 16 units of 6 rows are 6 vectors.
func packA(a *asm, u unit) {
	a.fn(fmt.Sprintf("packs n values of 6 rows, %s: unit p of row i goes to dst[p*6+i].", u.doc),
		"packA"+u.name, "dst unsafe.Pointer, rows *[16]unsafe.Pointer, n int", 24, 0)
	a.i("MOVQ dst+0(FP), DI; MOVQ rows+8(FP), SI; MOVQ n+16(FP), CX")
	for r, reg := range []string{"R8", "R9", "R10", "R11", "R12", "R13"} {
		a.i("MOVQ %d(SI), %s", r*8, reg)
	}
	for i := range 8 {
		a.i("VMOVDQU32 ·zip6+%d(SB), Z%d", 64*i, 20+i)
	}
	for k, m := range []int{0x24, 0x49, 0x92} { // lanes of the third pair
		a.i("MOVL $0x%x, AX; KMOVW AX, K%d", m, 4+k)
	}
	a.i("XORQ DX, DX")
	body := func(masked bool) {
		z, k := "", [2]string{"", ""}
		if masked {
			z, k = ".Z", [2]string{"K1, ", "K3, "}
		}
		for r, reg := range []string{"R8", "R9", "R10", "R11", "R12", "R13"} {
			if u.cvt {
				a.i("VMOVUPS%s (%s)(DX*1), %sZ16; VMOVUPS%s 64(%s)(DX*1), %sZ17", z, reg, k[0], z, reg, k[1])
				a.cvt2(r, 17, 16)
			} else {
				a.i("VMOVDQU32%s (%s)(DX*1), %sZ%d", z, reg, k[0], r)
			}
		}
		for p := range 3 {
			a.i("VMOVDQA32 Z%d, Z%d; VPERMT2D Z%d, Z20, Z%d; VPERMT2D Z%d, Z21, Z%d", 2*p, 6+p, 2*p+1, 6+p, 2*p+1, 2*p)
		}
		for half, first := range [][3]int{{6, 7, 8}, {0, 2, 4}} {
			for o := range 3 {
				t := 9 + 3*half + o
				a.i("VMOVDQA32 Z%d, Z%d; VPERMT2Q Z%d, Z%d, Z%d; VPERMQ Z%d, Z%d, K%d, Z%d", first[0], t, first[1], 22+o, t, first[2], 25+o, 4+o, t)
			}
		}
	}
	block := 16 * u.per
	a.i("SUBQ $%d, CX; JLT tail", block)
	a.label("loop")
	body(false)
	for o := range 6 {
		a.i("VMOVDQU32 Z%d, %d(DI)", 9+o, 64*o)
	}
	a.i("ADDQ $384, DI; ADDQ $%d, DX; SUBQ $%d, CX; JGE loop", block*u.memory(), block)
	a.label("tail")
	a.i("ADDQ $%d, CX; JZ end; MOVQ $1, AX; SHLQ CX, AX; DECQ AX; KMOVW AX, K1; SHRQ $16, AX; KMOVW AX, K3", block)
	if u.per == 2 {
		a.i("INCQ CX; SHRQ $1, CX")
	}
	a.i("LEAQ (CX)(CX*2), BX; SHLQ $1, BX") // units to write
	body(true)
	for o := range 6 {
		a.i("MOVL $0xffff, AX; KMOVW AX, K1; CMPQ BX, $16; JGE full%d; MOVQ BX, CX; MOVL $1, AX; SHLL CX, AX; DECL AX; KMOVW AX, K1", o)
		a.label(fmt.Sprintf("full%d", o))
		a.i("VMOVDQU32 Z%d, K1, %d(DI); SUBQ $16, BX; JLE end", 9+o, 64*o)
	}
	a.label("end")
	a.ret()
}

// transpose emits the loop over units: SI the row addresses, CX values, store writes the units of one depth.
func transpose(a *asm, u unit, store func(r int)) {
	load := func(masked bool) {
		op, z, k := "VMOVDQU32", "", [2]string{"", ""}
		if u.memory() == 2 {
			op = "VMOVDQU16"
		}
		if masked {
			z, k = ".Z", [2]string{"K1, ", "K3, "}
		}
		for r := range 16 {
			a.i("MOVQ %d(SI), AX", r*8)
			if u.cvt {
				a.i("VMOVUPS%s (AX)(R9*1), %sZ16; VMOVUPS%s 64(AX)(R9*1), %sZ17", z, k[0], z, k[1])
				a.cvt2(r, 17, 16)
			} else {
				a.i("%s%s (AX)(R9*1), %sZ%d", op, z, k[0], r)
			}
		}
	}
	block := 16 * u.per
	a.i("XORQ R9, R9; SUBQ $%d, CX; JLT tail", block)
	a.label("loop")
	load(false)
	for _, r := range transpose16(a) {
		store(r)
	}
	a.i("ADDQ $%d, R9; SUBQ $%d, CX; JGE loop", block*u.memory(), block)
	a.label("tail")
	a.i("ADDQ $%d, CX; JZ end; MOVQ CX, R10; MOVQ $1, AX; SHLQ CX, AX; DECQ AX", block) // masks of the values still to read
	switch {
	case u.cvt:
		a.i("KMOVW AX, K1; SHRQ $16, AX; KMOVW AX, K3")
	case u.per == 2:
		a.i("KMOVD AX, K1")
	default:
		a.i("KMOVW AX, K1")
	}
	if u.per == 2 {
		a.i("INCQ R10; SHRQ $1, R10")
	}
	load(true)
	for _, r := range transpose16(a) {
		store(r)
		a.i("DECQ R10; JZ end")
	}
	a.label("end")
	a.ret()
}

// transpose8 emits the AVX2 packs of float32: 8 rows, n a multiple of 8.
func transpose8(a *asm) {
	body := func(store func(c int)) {
		a.i("XORQ R9, R9")
		a.label("loop")
		for r := range 8 {
			a.i("MOVQ %d(SI), AX; VMOVUPS (AX)(R9*1), Y%d", r*8, r)
		}
		for i := 0; i < 8; i += 2 {
			a.i("VUNPCKLPS Y%d, Y%d, Y%d; VUNPCKHPS Y%d, Y%d, Y%d", i+1, i, 8+i, i+1, i, 9+i)
		}
		for i := 0; i < 8; i += 4 {
			a.i("VUNPCKLPD Y%d, Y%d, Y%d; VUNPCKHPD Y%d, Y%d, Y%d; VUNPCKLPD Y%d, Y%d, Y%d", 10+i, 8+i, i, 10+i, 8+i, i+1, 11+i, 9+i, i+2)
			a.i("VUNPCKHPD Y%d, Y%d, Y%d", 11+i, 9+i, i+3)
		}
		for c := range 4 {
			a.i("VPERM2F128 $0x20, Y%d, Y%d, Y%d; VPERM2F128 $0x31, Y%d, Y%d, Y%d", c+4, c, 8+c, c+4, c, 12+c)
		}
		for c := range 8 {
			store(8 + c)
		}
		a.i("ADDQ $32, R9; SUBQ $8, CX; JNZ loop")
		a.ret()
	}
	a.fn("packs n float32 of 8 rows, n a positive multiple of 8: value p of row i goes to dst[p*stride+i].",
		"packB8", "dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int", 32, 0)
	a.i("MOVQ dst+0(FP), DI; MOVQ stride+8(FP), R8; MOVQ rows+16(FP), SI; MOVQ n+24(FP), CX; SHLQ $2, R8")
	body(func(c int) { a.i("VMOVUPS Y%d, (DI); ADDQ R8, DI", c) })
	a.fn("packs n float32 of the first 6 of 8 rows, n a positive multiple of 8: value p of row i goes to dst[p*6+i].",
		"packA8", "dst unsafe.Pointer, rows *[16]unsafe.Pointer, n int", 24, 0)
	a.i("MOVQ dst+0(FP), DI; MOVQ rows+8(FP), SI; MOVQ n+16(FP), CX")
	body(func(c int) {
		a.i("VMOVUPS X%d, (DI); VEXTRACTF128 $1, Y%d, X0; VMOVSD X0, 16(DI); ADDQ $24, DI", c, c)
	})
}

// interleaves emits the packs of rows that are depths: pairs of rows become units.
func interleaves(a *asm) {
	// load brings 16 values of one row, masked, as what join wants of it.
	load := func(u unit, addr string, k, r int) {
		if u.memory() == 2 {
			a.i("VPMOVZXWD.Z %s, K%d, Z%d", addr, k, r)
		} else {
			a.i("VMOVDQU32.Z %s, K%d, Z%d", addr, k, r)
		}
	}
	// join makes units of the rows in Z0 and Z1, in Z2.
	join := func(u unit) {
		switch {
		case u.cvt:
			a.cvt2(2, 1, 0)
			a.i("VPERMW Z2, Z31, Z2")
		case u.per == 2:
			a.i("VPSLLD $16, Z1, Z2; VPORD Z0, Z2, Z2")
		default:
			a.i("VMOVDQA32 Z0, Z2")
		}
	}
	for _, u := range units {
		a.fn(fmt.Sprintf("packs rows as depths, %s: column j of row p*per goes to dst[p*width+j], for j < cols <= width, a multiple of 16 up to 64; stride in bytes.", u.doc),
			"packN"+u.name, "dst unsafe.Pointer, width int, src unsafe.Pointer, stride, cols, rows int", 48, 0)
		a.i("MOVQ dst+0(FP), DI; MOVQ width+8(FP), R8; MOVQ src+16(FP), SI; MOVQ stride+24(FP), R9; MOVQ cols+32(FP), CX; MOVQ rows+40(FP), R10")
		a.i("NEGQ CX; ADDQ $64, CX; MOVQ $-1, AX; SHRQ CX, AX") // one bit per column
		for v := range 4 {
			a.i("KMOVW AX, K%d; SHRQ $16, AX", v+1)
		}
		a.i("MOVQ R8, R11; SHRQ $4, R11; SHLQ $2, R8") // vectors, bytes of a depth
		a.i("VMOVDQU32 ·pairWords(SB), Z31")
		body := func(suffix string, second bool) {
			for v := range 4 {
				off := v * 16 * u.memory()
				load(u, fmt.Sprintf("%d(SI)", off), v+1, 0)
				if u.per == 2 {
					if second {
						load(u, fmt.Sprintf("%d(SI)(R9*1)", off), v+1, 1)
					} else {
						a.i("VPXORD Z1, Z1, Z1")
					}
				}
				join(u)
				a.i("VMOVDQU32 Z2, %d(DI)", v*64)
				if v < 3 {
					a.i("CMPQ R11, $%d; JEQ next%s", v+1, suffix)
				}
			}
			a.label("next" + suffix)
		}
		depths(a, u, "LEAQ (SI)(R9*%d), SI; ADDQ R8, DI", body)
	}
	for _, u := range []unit{units[0], units[2]} {
		a.fn(fmt.Sprintf("packs rows as depths, %s, into two panels of 6: column j of row p*per goes to dst[p*6+j] or dst2[p*6+j-6], for j < cols <= 12; stride in bytes.", u.doc),
			"packAT"+u.name, "dst, dst2, src unsafe.Pointer, stride, cols, rows int", 48, 0)
		a.i("MOVQ dst+0(FP), DI; MOVQ dst2+8(FP), R11; MOVQ src+16(FP), SI; MOVQ stride+24(FP), R9; MOVQ cols+32(FP), CX; MOVQ rows+40(FP), R10")
		a.i("MOVL $1, AX; SHLL CX, AX; DECL AX; KMOVW AX, K1; MOVL $0x3f, BX; KMOVW BX, K2; SUBQ $24, R11")
		a.i("XORL BX, BX; MOVL $0xfc0, R8; CMPQ CX, $6; CMOVLGT R8, BX; KMOVW BX, K4; VMOVDQU32 ·pairWords(SB), Z31")
		body := func(_ string, second bool) {
			load(u, "(SI)", 1, 0)
			if u.per == 2 {
				if second {
					load(u, "(SI)(R9*1)", 1, 1)
				} else {
					a.i("VPXORD Z1, Z1, Z1")
				}
			}
			join(u)
			a.i("VMOVDQU32 Z2, K2, (DI); VMOVDQU32 Z2, K4, (R11)")
		}
		depths(a, u, "LEAQ (SI)(R9*%d), SI; ADDQ $24, DI; ADDQ $24, R11", body)
		packAT8(a, u)
	}
}

// packAT8 emits the pack of 48 columns of rows that are depths into eight panels of 6: 24 bytes of a panel per depth, written as 32
// where the next depth overwrites the rest.
func packAT8(a *asm, u unit) {
	a.fn(fmt.Sprintf("packs rows as depths, %s, 48 columns into eight panels of 6, step bytes apart: column j of row p*per goes to element p*6+j%%6 of panel j/6; stride in bytes, rows > 0.", u.doc),
		"packAT8"+u.name, "dst unsafe.Pointer, step int, src unsafe.Pointer, stride, rows int", 40, 0)
	a.i("MOVQ dst+0(FP), DI; MOVQ step+8(FP), R8; MOVQ src+16(FP), SI; MOVQ stride+24(FP), R10; MOVQ rows+32(FP), CX")
	a.i("LEAQ (R8)(R8*2), R9; LEAQ (DI)(R9*1), BX; MOVL $0x3f, AX; KMOVW AX, K1; VMOVDQU32 ·pairWords(SB), Z31")
	panel := []string{"(DI)", "(DI)(R8*1)", "(DI)(R8*2)", "(BX)", "(DI)(R8*4)", "(BX)(R8*2)", "(BX)(R9*1)", "(BX)(R8*4)"}
	body := func(second, last bool) {
		for v := range 3 {
			switch {
			case !u.cvt:
				a.i("VMOVDQU32 %d(SI), Z%d", 64*v, v)
				continue
			case second:
				a.i("VMOVUPS %d(SI)(R10*1), Z4", 64*v)
			default:
				a.i("VPXORD Z4, Z4, Z4")
			}
			a.i("VMOVUPS %d(SI), Z3", 64*v)
			a.cvt2(v, 4, 3)
			a.i("VPERMW Z%d, Z31, Z%d", v, v)
		}
		for q := range 8 {
			lo, shift := 6*q/16, 6*q%16
			r := lo
			if shift != 0 { // lanes shift.. of register lo, then those of the next
				r = 8 + q
				a.i("VALIGND $%d, Z%d, Z%d, Z%d", shift, lo, min(lo+1, 2), r)
			}
			if last {
				a.i("VMOVDQU32 Y%d, K1, %s", r, panel[q])
			} else {
				a.i("VMOVDQU Y%d, %s", r, panel[q])
			}
		}
	}
	a.label("loop")
	a.i("CMPQ CX, $%d; JLE last", u.per)
	body(true, false)
	a.i("LEAQ (SI)(R10*%d), SI; ADDQ $24, DI; ADDQ $24, BX; SUBQ $%d, CX; JMP loop", u.per, u.per)
	a.label("last")
	if u.per == 2 {
		a.i("CMPQ CX, $1; JEQ odd")
	}
	body(true, true)
	a.ret()
	if u.per == 2 {
		a.label("odd")
		body(false, true)
		a.ret()
	}
}

// depths emits the loop over R10 rows, per of them at a time; a last row without a partner is paired with zero.
func depths(a *asm, u unit, advance string, body func(suffix string, second bool)) {
	a.i("SUBQ $%d, R10; JLT tail", u.per)
	a.label("loop")
	body("", true)
	a.i(advance+"; SUBQ $%d, R10; JGE loop", u.per, u.per)
	a.label("tail")
	if u.per == 2 {
		a.i("ADDQ $2, R10; JZ end")
		body("Tail", false)
	}
	a.label("end")
	a.ret()
}
