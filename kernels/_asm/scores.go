package main

import "fmt"

// scores emits what blocked attention is made of: tiles of strided operands, online softmax, its backward, packs.
func scores(a *asm) {
	pairs := make([]uint16, 32) // VPERMW: 16 words of one row and 16 of the next, interleaved
	for i := range pairs {
		pairs[i] = uint16(i/2 + i%2*16)
	}
	a.table("scorePairs", words(pairs))
	bits := make([]uint32, 8)
	for i := range bits {
		bits[i] = 1 << i
	}
	a.table("laneBits", bits)
	for _, kind := range []string{"BF16", "F32"} {
		for nv := 1; nv <= 4; nv++ {
			strided(a, kind, mr, nv)
		}
	}
	for _, kind := range []string{"F32", "Words"} {
		for nv := 1; nv <= 4; nv++ {
			strided(a, kind, fewRows, nv)
		}
	}
	strided(a, "AVX2", mr, 2)
	softmaxStep(a, false)
	softmaxStep(a, true)
	softmaxStepAVX2(a)
	softmaxGradient(a, false)
	softmaxGradient(a, true)
	softmaxGradientAVX2(a)
	halfRows(a)
	halfPairs(a)
}

// fewRows is the rows of a tile of attention over cached keys, query heads of a key head.
const fewRows = 4

// strided emits the register tile of some rows and nv vectors, for t.tiles tiles one below the other:
//
//	c[r][j] = f[r]·c[r][j] + sum over u < depth of x[r·xr + u·xd]·y[u·yd + j]        (f 0: without c)
//
// where a unit of depth is four bytes, two bf16 or one float32; Words: x is float32 and y bf16, yd of which go from row to row. The AVX2 form walks t.cols columns, two vectors at a time.
func strided(a *asm, kind string, mr, nv int) {
	reg, width := "Z", 16
	if kind == "AVX2" {
		reg, width = "Y", 8
	}
	bytes := width * 4
	acc := func(r, v int) int { return r*nv + v }
	bv := func(v int) int { return mr*nv + v }
	bc := mr*nv + nv
	name, frame := fmt.Sprintf("strided%sx%d", kind, nv*width), 0
	switch {
	case kind == "AVX2":
		name, frame = "stridedAVX2", 8
	case mr == fewRows:
		name = fmt.Sprintf("few%sx%d", kind, nv*width)
	}
	a.fn(fmt.Sprintf("is mulTilePlain for tiles of %d rows and %d columns.", mr, nv*width), name, "t *stridedArgs", 8, frame)
	a.i("MOVQ t+0(FP), R11; MOVQ stridedArgs_xr(R11), R8; MOVQ stridedArgs_xd(R11), R12; MOVQ stridedArgs_yd(R11), R13")
	a.i("MOVQ stridedArgs_ldc(R11), BX; SHLQ $2, R8; SHLQ $2, R12; SHLQ $%d, R13; SHLQ $2, BX; LEAQ (R8)(R8*2), R9; LEAQ (R8)(R8*4), R10", map[bool]int{true: 1, false: 2}[kind == "Words"])
	if kind == "AVX2" {
		a.i("MOVQ stridedArgs_cols(R11), AX; MOVQ AX, left-8(SP)")
		a.label("columns")
	}
	a.i("MOVQ stridedArgs_tiles(R11), R15; MOVQ stridedArgs_x(R11), SI; MOVQ stridedArgs_c(R11), DX; MOVQ stridedArgs_f(R11), R11")
	a.label("tile")
	for r := range mr * nv {
		if kind == "AVX2" {
			a.i("VXORPS Y%d, Y%d, Y%d", r, r, r)
		} else {
			a.i("VPXORD Z%d, Z%d, Z%d", r, r, r)
		}
	}
	a.i("MOVQ t+0(FP), CX; MOVQ stridedArgs_y(CX), DI; MOVQ stridedArgs_depth(CX), CX; MOVQ SI, AX")
	rows := []string{"(AX)", "(AX)(R8*1)", "(AX)(R8*2)", "(AX)(R9*1)", "(AX)(R8*4)", "(AX)(R10*1)"}
	step := func() {
		for v := range nv {
			if kind == "Words" {
				a.i("VPMOVZXWD %d(DI), Z%d; VPSLLD $16, Z%d, Z%d", v*bytes/2, bv(v), bv(v), bv(v))
			} else {
				a.i("VMOVUPS %d(DI), %s%d", v*bytes, reg, bv(v))
			}
		}
		a.i("ADDQ R13, DI")
		for r := range mr {
			a.i("VBROADCASTSS %s, %s%d", rows[r], reg, bc)
			for v := range nv {
				if kind == "BF16" {
					a.dpbf16(acc(r, v), bc, bv(v))
				} else {
					a.i("VFMADD231PS %s%d, %s%d, %s%d", reg, bv(v), reg, bc, reg, acc(r, v))
				}
			}
		}
		a.i("ADDQ R12, AX")
	}
	a.i("SUBQ $2, CX; JLT tail; PCALIGN $64")
	a.label("loop")
	step()
	step()
	a.i("SUBQ $2, CX; JGE loop")
	a.label("tail")
	a.i("ADDQ $2, CX; JZ end")
	step()
	stridedStore(a, reg, mr, nv, bytes)
	a.i("LEAQ (SI)(R8*%d), SI; LEAQ (SI)(R8*2), SI; DECQ R15; JNZ tile", mr-2)
	if kind == "AVX2" {
		a.i("MOVQ t+0(FP), R11; ADDQ $64, stridedArgs_y(R11); ADDQ $64, stridedArgs_c(R11); SUBQ $16, left-8(SP); JNZ columns")
	}
	a.ret()
}

// stridedStore emits the end of a tile: c·f + the sums in registers 0 ... of mr rows and nv vectors, one row of c after another.
func stridedStore(a *asm, reg string, mr, nv, bytes int) {
	acc, bc := func(r, v int) int { return r*nv + v }, mr*nv+nv
	a.label("end")
	a.i("TESTQ R11, R11; JZ store; MOVQ DX, AX")
	for r := range mr {
		a.i("VBROADCASTSS %d(R11), %s%d", r*4, reg, bc)
		for v := range nv {
			a.i("VFMADD231PS %d(AX), %s%d, %s%d", v*bytes, reg, bc, reg, acc(r, v))
		}
		if r < mr-1 {
			a.i("ADDQ BX, AX")
		}
	}
	a.i("ADDQ $%d, R11", mr*4)
	a.label("store")
	for r := range mr {
		for v := range nv {
			a.i("VMOVUPS %s%d, %d(DX)", reg, acc(r, v), v*bytes)
		}
		a.i("ADDQ BX, DX")
	}
}

// exp2Bits are the constants of exp2: C1 ... C6 of the polynomial and 1, as in attention_tile.go.
var exp2Bits = []float32{0.6931471806, 0.2402265070, 0.0555041087, 0.0096181291, 0.0013333558, 0.0001540353, 1}

// exp2Z emits Zx = 2^Zx for every register of xs; t is the first of 2·len(xs) scratch registers, c of the constants. The
// polynomial is cut to the given degree. K(mask) and the next are the lanes to keep, others become 0.
func exp2Z(a *asm, xs []int, t, c, mask, degree int) {
	each := func(f func(i, x, n, p int)) {
		for i, x := range xs {
			f(i, x, t+2*i, t+2*i+1)
		}
	}
	each(func(_, x, n, p int) { a.i("VRNDSCALEPS $8, Z%d, Z%d", x, n) })
	each(func(_, x, n, p int) { a.i("VSUBPS Z%d, Z%d, Z%d; VMOVAPS Z%d, Z%d", n, x, x, c+degree-1, p) })
	for k := degree - 2; k >= 0; k-- {
		each(func(_, x, n, p int) { a.i("VFMADD213PS Z%d, Z%d, Z%d", c+k, x, p) })
	}
	each(func(_, x, n, p int) { a.i("VFMADD213PS Z%d, Z%d, Z%d", c+6, x, p) })
	each(func(i, x, n, p int) {
		a.i("VSCALEFPS.Z Z%d, Z%d, K%d, Z%d", n, p, mask+i, x)
	})
}

// exp2Y emits Yx = 2^Yx with scratch registers n and p; constants come from the table exp2Table.
func exp2Y(a *asm, x, n, p int) {
	at := func(i int) string { return fmt.Sprintf("·exp2Table+%d(SB)", i*32) }
	a.i("VMOVUPS %s, Y%d; VMAXPS Y%d, Y%d, Y%d; VMOVUPS %s, Y%d; VMINPS Y%d, Y%d, Y%d", at(7), n, x, n, x, at(8), n, x, n, x)
	a.i("VROUNDPS $8, Y%d, Y%d; VSUBPS Y%d, Y%d, Y%d; VMOVUPS %s, Y%d", x, n, n, x, x, at(5), p)
	for k := 4; k >= 0; k-- {
		a.i("VFMADD213PS %s, Y%d, Y%d", at(k), x, p)
	}
	a.i("VFMADD213PS %s, Y%d, Y%d", at(6), x, p)
	a.i("VCVTPS2DQ Y%d, Y%d; VPADDD %s, Y%d, Y%d; VPSLLD $23, Y%d, Y%d; VMULPS Y%d, Y%d, Y%d", n, n, at(9), n, n, n, n, n, p, x)
}

// masks loads the 64 bits at (R8) into K1 ... K4, 16 lanes each.
func masks(a *asm) {
	a.i("MOVQ (R8), AX; KMOVW AX, K1; SHRQ $16, AX; KMOVW AX, K2; SHRQ $16, AX; KMOVW AX, K3; SHRQ $16, AX; KMOVW AX, K4")
}

// across emits the reduction of a register to its lowest lane, with scratch register t.
func across(a *asm, op string, z bool, r, t int) {
	if z {
		a.i("VEXTRACTF64X4 $1, Z%d, Y%d; %s Y%d, Y%d, Y%d", r, t, op, t, r, r)
	}
	a.i("VEXTRACTF128 $1, Y%d, X%d; %s X%d, X%d, X%d", r, t, op, t, r, r)
	a.i("VPERMILPS $0x4e, X%d, X%d; %s X%d, X%d, X%d", r, t, op, t, r, r)
	a.i("VPERMILPS $0xb1, X%d, X%d; %s X%d, X%d, X%d", r, t, op, t, r, r)
}

// softmaxStep emits softmaxRowsPlain for AVX-512, in three passes over the rows: their maxima, the powers of what these rose by
// (16 rows at a time), the powers of the scores.
func softmaxStep(a *asm, half bool) {
	name := "softmaxRowsF32"
	if half {
		name = "softmaxRowsHalf"
	}
	a.fn("is softmaxRowsPlain over rows rows.", name, "s *float32, mask *uint64, rows int, top, sum, keep *float32", 48, 0)
	exp2ConstsAt(a, 24)
	a.i("MOVQ s+0(FP), DI; MOVQ mask+8(FP), R8; MOVQ rows+16(FP), CX; MOVQ top+24(FP), R9; MOVQ keep+40(FP), R11")
	a.label("high")
	masks(a)
	a.i("VBROADCASTSS (R9), Z4; VMOVAPS X4, X5; VMAXPS (DI), Z4, K1, Z4; VBROADCASTSS (R9), Z6; VMAXPS 64(DI), Z6, K2, Z6")
	a.i("VMAXPS 128(DI), Z4, K3, Z4; VMAXPS 192(DI), Z6, K4, Z6; VMAXPS Z6, Z4, Z4")
	across(a, "VMAXPS", true, 4, 6)
	a.i("VMOVSS X4, (R9); VSUBSS X4, X5, X5; VMOVSS X5, (R11)")
	a.i("ADDQ $256, DI; ADDQ $8, R8; ADDQ $4, R9; ADDQ $4, R11; DECQ CX; JNZ high")
	a.i("MOVQ rows+16(FP), CX; MOVQ keep+40(FP), R11; MOVL $0xffff, AX; KMOVW AX, K1")
	a.label("rise")
	tailMask(a)
	a.i("VMOVUPS.Z (R11), K1, Z0")
	exp2Z(a, []int{0}, 8, 24, 1, 6)
	a.i("VMOVUPS Z0, K1, (R11); ADDQ $64, R11; SUBQ $16, CX; JGT rise")
	a.i("MOVQ s+0(FP), DI; MOVQ mask+8(FP), R8; MOVQ rows+16(FP), CX; MOVQ top+24(FP), R9; MOVQ sum+32(FP), R10; MOVQ keep+40(FP), R11")
	a.label("row")
	masks(a)
	a.i("VBROADCASTSS (R9), Z4; VBROADCASTSS (R11), Z5")
	for v := range 4 {
		a.i("VMOVUPS %d(DI), Z%d; VSUBPS Z4, Z%d, Z%d", v*64, v, v, v)
	}
	degree := 6
	if half { // probabilities are rounded to 8 bits
		degree = 4
	}
	exp2Z(a, []int{0, 1, 2, 3}, 8, 24, 1, degree)
	a.i("VADDPS Z1, Z0, Z6; VADDPS Z3, Z2, Z7; VADDPS Z7, Z6, Z6; VFMADD231PS (R10), Z5, Z6; VMOVUPS Z6, (R10)")
	if half {
		a.cvt2(0, 1, 0)
		a.cvt2(2, 3, 2)
		a.i("VMOVUPS Z0, (DI); VMOVUPS Z2, 64(DI)")
	} else {
		for v := range 4 {
			a.i("VMOVUPS Z%d, %d(DI)", v, v*64)
		}
	}
	a.i("ADDQ $256, DI; ADDQ $8, R8; ADDQ $4, R9; ADDQ $64, R10; ADDQ $4, R11; DECQ CX; JNZ row")
	a.ret()
}

// exp2ConstsAt loads the constants of exp2 into Z registers from first on.
func exp2ConstsAt(a *asm, first int) {
	for i, c := range exp2Bits {
		a.i("MOVL $0x%08x, AX; VPBROADCASTD AX, Z%d", f32bits(c), first+i)
	}
}

// lane emits Ym = all ones in the lanes whose bit is set in byte b of the row's mask; the bits come from laneBits.
func lane(a *asm, b, m int) {
	a.i("VPBROADCASTB %d(R8), Y%d; VPAND ·laneBits(SB), Y%d, Y%d; VPCMPEQD ·laneBits(SB), Y%d, Y%d", b, m, m, m, m, m)
}

// softmaxStepAVX2 emits softmaxRowsPlain for AVX2: Y0..Y7 the row.
func softmaxStepAVX2(a *asm) {
	var t []uint32
	for _, c := range append(append([]float32{}, exp2Bits...), -127, 128) {
		for range 8 {
			t = append(t, f32bits(c))
		}
	}
	for range 8 {
		t = append(t, 127)
	}
	a.table("exp2Table", t)
	a.fn("is softmaxRowsPlain over rows rows.", "softmaxRowsAVX2", "s *float32, mask *uint64, rows int, top, sum, keep *float32", 48, 0)
	a.i("MOVQ s+0(FP), DI; MOVQ mask+8(FP), R8; MOVQ rows+16(FP), CX; MOVQ top+24(FP), R9; MOVQ sum+32(FP), R10; MOVQ keep+40(FP), R11")
	a.label("row")
	a.i("VBROADCASTSS (R9), Y8; VMOVAPS Y8, Y9")
	for v := range 8 {
		a.i("VMOVUPS %d(DI), Y%d", v*32, v)
		lane(a, v, 10)
		a.i("VBLENDVPS Y10, Y%d, Y8, Y11; VMAXPS Y11, Y9, Y9", v)
	}
	across(a, "VMAXPS", false, 9, 10)
	a.i("VMOVSS X9, (R9); VBROADCASTSS X9, Y9; VSUBPS Y9, Y8, Y8; VXORPS Y12, Y12, Y12")
	for v := range 8 {
		a.i("VSUBPS Y9, Y%d, Y%d", v, v)
		exp2Y(a, v, 10, 11)
		lane(a, v, 10)
		a.i("VANDPS Y10, Y%d, Y%d; VADDPS Y%d, Y12, Y12; VMOVUPS Y%d, %d(DI)", v, v, v, v, v*32)
	}
	exp2Y(a, 8, 10, 11)
	a.i("VMOVSS X8, (R11); VFMADD231PS (R10), Y8, Y12; VMOVUPS Y12, (R10)")
	a.i("ADDQ $256, DI; ADDQ $8, R8; ADDQ $4, R9; ADDQ $64, R10; ADDQ $4, R11; DECQ CX; JNZ row")
	a.ret()
}

// softmaxGradient emits softmaxBackPlain for AVX-512. Z0..Z3 a row of s, Z4..Z7 of d; the row above it stays in Z8..Z15.
func softmaxGradient(a *asm, half bool) {
	name := "softmaxBackF32"
	if half {
		name = "softmaxBackHalf"
	}
	a.fn("is softmaxBackPlain over rows rows, an even number.", name, "s, d *float32, mask *uint64, rows int, lse, delta *float32", 48, 0)
	exp2ConstsAt(a, 24)
	if half {
		a.i("VMOVDQU32 ·scorePairs(SB), Z31")
	}
	a.i("MOVQ s+0(FP), DI; MOVQ d+8(FP), SI; MOVQ mask+16(FP), R8; MOVQ rows+24(FP), CX; MOVQ lse+32(FP), R9; MOVQ delta+40(FP), R10")
	degree := 6
	if half {
		degree = 4
	}
	one := func(off, to int) { // the row off bytes on: p in Z0..Z3, ds in Z4..Z7, or both moved up by to
		masks(a)
		a.i("VBROADCASTSS (R9), Z16; VBROADCASTSS (R10), Z17")
		for v := range 4 {
			a.i("VMOVUPS %d(DI), Z%d; VSUBPS Z16, Z%d, Z%d", off+v*64, to+v, to+v, to+v)
		}
		exp2Z(a, []int{to, to + 1, to + 2}, 18, 24, 1, degree)
		exp2Z(a, []int{to + 3}, 18, 24, 4, degree) // alone, for want of registers
		for v := range 4 {
			a.i("VMOVUPS %d(SI), Z%d; VSUBPS Z17, Z%d, Z%d; VMULPS.Z Z%d, Z%d, K%d, Z%d", off+v*64, to+4+v, to+4+v, to+4+v, to+v, to+4+v, v+1, to+4+v)
		}
		a.i("ADDQ $8, R8; ADDQ $4, R9; ADDQ $4, R10")
	}
	a.label("row")
	if !half {
		one(0, 0)
		for v := range 4 {
			a.i("VMOVUPS Z%d, %d(DI); VMOVUPS Z%d, %d(SI)", v, v*64, 4+v, v*64)
		}
		a.i("ADDQ $256, DI; ADDQ $256, SI; DECQ CX; JNZ row")
		a.ret()
		return
	}
	one(0, 0)
	one(256, 8)
	for v := range 4 {
		a.cvt2(16, 8+v, v)
		a.cvt2(17, 12+v, 4+v)
		a.i("VPERMW Z16, Z31, Z16; VPERMW Z17, Z31, Z17; VMOVUPS Z16, %d(DI); VMOVUPS Z17, %d(DI)", v*64, 256+v*64)
	}
	for _, r := range []int{0, 8} {
		a.cvt2(16, r+5, r+4)
		a.cvt2(17, r+7, r+6)
		a.i("VMOVUPS Z16, %d(SI); VMOVUPS Z17, %d(SI)", r*32, r*32+64)
	}
	a.i("ADDQ $512, DI; ADDQ $512, SI; SUBQ $2, CX; JNZ row")
	a.ret()
}

// softmaxGradientAVX2 emits softmaxBackPlain for AVX2.
func softmaxGradientAVX2(a *asm) {
	a.fn("is softmaxBackPlain over rows rows.", "softmaxBackAVX2", "s, d *float32, mask *uint64, rows int, lse, delta *float32", 48, 0)
	a.i("MOVQ s+0(FP), DI; MOVQ d+8(FP), SI; MOVQ mask+16(FP), R8; MOVQ rows+24(FP), CX; MOVQ lse+32(FP), R9; MOVQ delta+40(FP), R10")
	a.label("row")
	a.i("VBROADCASTSS (R9), Y14; VBROADCASTSS (R10), Y15")
	for v := range 8 {
		b := v % 2 * 6 // two chains
		a.i("VMOVUPS %d(DI), Y%d; VSUBPS Y14, Y%d, Y%d", v*32, b, b, b)
		exp2Y(a, b, b+1, b+2)
		lane(a, v, b+3)
		a.i("VANDPS Y%d, Y%d, Y%d; VMOVUPS %d(SI), Y%d; VSUBPS Y15, Y%d, Y%d; VMULPS Y%d, Y%d, Y%d; VANDPS Y%d, Y%d, Y%d", b+3, b, b, v*32, b+4, b+4, b+4, b, b+4, b+4, b+3, b+4, b+4)
		a.i("VMOVUPS Y%d, %d(DI); VMOVUPS Y%d, %d(SI)", b, v*32, b+4, v*32)
	}
	a.i("ADDQ $256, DI; ADDQ $256, SI; ADDQ $8, R8; ADDQ $4, R9; ADDQ $4, R10; DECQ CX; JNZ row")
	a.ret()
}

// tailMask emits K1 = the lanes left of CX values, at most 16.
func tailMask(a *asm) {
	a.i("MOVL $0xffff, AX; CMPQ CX, $16; JGE full; MOVL $1, AX; SHLL CX, AX; DECL AX")
	a.label("full")
	a.i("KMOVW AX, K1")
}

// halfRows emits the pack of float32 rows into rows of bf16 pairs, 16 values at a time; what is behind d values is zero.
func halfRows(a *asm) {
	a.fn("is packRowsPlain for n rows of d values, half; the rows of dst are whole blocks of 8 units.", "packRowsHalf",
		"dst *float32, stride int, src *float32, ld, n, d int, factor float32", 52, 0)
	a.i("MOVQ dst+0(FP), DI; MOVQ stride+8(FP), R8; MOVQ src+16(FP), SI; MOVQ ld+24(FP), R9; MOVQ n+32(FP), R10; SHLQ $2, R8; SHLQ $2, R9")
	a.i("VBROADCASTSS factor+48(FP), Z2")
	a.label("row")
	a.i("MOVQ d+40(FP), CX; MOVQ SI, BX; MOVQ DI, DX")
	a.label("loop")
	tailMask(a)
	a.i("PREFETCHT0 (BX)(R9*4); VMOVUPS.Z (BX), K1, Z0; VMULPS Z2, Z0, Z0") // rows lie far apart: the hardware does not see them coming
	a.cvt1(0, 0)
	a.i("VMOVUPS Y0, (DX); ADDQ $64, BX; ADDQ $32, DX; SUBQ $16, CX; JGT loop")
	a.i("ADDQ R9, SI; ADDQ R8, DI; DECQ R10; JNZ row")
	a.ret()
}

// halfPairs emits the pack of float32 rows into pairs of rows; a last odd row is paired with zero.
func halfPairs(a *asm) {
	a.fn("is packPairsPlain for n rows of d values, half; the rows of dst are whole blocks of 16 units.", "packPairsHalf",
		"dst *float32, stride int, src *float32, ld, n, d int, factor float32", 52, 0)
	a.i("MOVQ dst+0(FP), DI; MOVQ stride+8(FP), R8; MOVQ src+16(FP), SI; MOVQ ld+24(FP), R9; MOVQ n+32(FP), R10; SHLQ $2, R8; SHLQ $2, R9")
	a.i("VBROADCASTSS factor+48(FP), Z2; VMOVDQU32 ·scorePairs(SB), Z31")
	a.label("row")
	a.i("MOVQ d+40(FP), CX; MOVQ SI, BX; MOVQ DI, DX")
	a.label("loop")
	tailMask(a)
	a.i("VMOVUPS.Z (BX), K1, Z0; VMULPS Z2, Z0, Z0; VPXORD Z1, Z1, Z1; CMPQ R10, $1; JEQ odd; VMOVUPS.Z (BX)(R9*1), K1, Z1; VMULPS Z2, Z1, Z1")
	a.label("odd")
	a.cvt2(0, 1, 0)
	a.i("VPERMW Z0, Z31, Z0; VMOVUPS Z0, (DX); ADDQ $64, BX; ADDQ $64, DX; SUBQ $16, CX; JGT loop")
	a.i("LEAQ (SI)(R9*2), SI; ADDQ R8, DI; SUBQ $2, R10; JGT row")
	a.ret()
}
