package main

import "fmt"

// Decoders of types with a codebook: a point is 8 values of 2 bits or 4 of 3 bits. The indices of a block's points go through the frame
// where they are more than a byte; each is a load of the grid, a byte for a coordinate. The values that coordinates stand for under each
// scale of the block are made at once, 32 words to a register, and every coordinate is an index to them (VPERMW), with the number of its
// scale in the bits above. Signs are added to the results.
//
// What a block needs before its first value takes some 60 cycles from end to end: it is made while the block before is decoded.

// gridDecoder is a decoder of blocks of 256 values.
type gridDecoder struct {
	name, levels string
	bytes, n     int    // of a block; of registers of values
	points       int    // of 32 values, 4 or 8
	coordinates  int    // values under a scale, 4 or 8
	offsets      string // tables of the bits of an index above the coordinate
	count        int    // of them
	setup        func() // constants, in Z6, Z7, Z24 to Z28 and from Z8 on what offsets leave
	head         func() // makes Z20 to Z20+n-1 and what chunks find at (R12), there at (R13), of the block at R11
	index        func(i int, reg string)
	signs        func(c int) string // where those of 32 values are; nil: none
	extra        func(c int)        // more for the index in Z4
}

func (a *asm) grid(d gridDecoder) {
	a.blockDecoder(d.name, 512)
	a.i("LEAQ buf-449(SP), R12; ANDQ $~63, R12; LEAQ 192(R12), R13; LEAQ 192(R13), R10") // two places of 192 bytes, one of 64 for scales
	each := "each4"
	if d.coordinates == 8 {
		each = "each8"
	}
	a.i("VMOVUPS ·%s(SB), Z30; VMOVDQU32 ·%s(SB), Z29", d.levels, each)
	a.words(0x8000, 31)
	for i := range d.count {
		a.i("VMOVDQU32 ·%s+%d(SB), Z%d", d.offsets, 64*i, 8+i)
	}
	d.setup()
	turn := func() {
		for i := range d.n {
			a.i("VMOVDQA32 Z%d, Z%d", 20+i, 16+i)
		}
		a.i("XCHGQ R12, R13")
	}
	a.i("MOVQ SI, R11")
	d.head()
	turn()
	a.label("loop")
	a.i("LEAQ %d(SI), R11; CMPQ CX, $1; CMOVQEQ SI, R11", d.bytes) // none behind the last: the last again
	d.head()
	for c := range 8 {
		a.pointBytes(d.points, func(i int, reg string) { d.index(d.points*c+i, reg) })
		a.i("VPMOVZXBW Y4, Z4; VPORD Z%d, Z4, Z4", 8+c%d.count)
		if d.extra != nil {
			d.extra(c)
		}
		if d.signs != nil {
			a.i("KMOVD %s, K1", d.signs(c))
		}
		a.i("VPERMW Z%d, Z4, Z4", 16+c*d.n/8)
		if d.signs != nil {
			a.i("VPADDW Z31, Z4, K1, Z4")
		}
		a.i("VMOVDQU32 Z4, %d(DI)", 64*c)
	}
	turn()
	a.i("MOVQ R11, SI; ADDQ $512, DI; DECQ CX; JNZ loop")
	a.ret()
}

// pointBytes loads n points into the bytes of Y4, 8 bytes each for 4 points, else 4 for 8. Clobbers Y5, AX, BX, DX, R9.
func (a *asm) pointBytes(n int, load func(i int, reg string)) {
	regs := []string{"AX", "BX", "DX", "R9"}
	first, next, size := "VMOVQ", "VPINSRQ", 8
	if n == 8 {
		first, next, size = "VMOVD", "VPINSRD", 4
	}
	for h := range 2 {
		for i := range n / 2 {
			load(n/2*h+i, regs[i])
		}
		a.i("%s (R8)(AX*%d), X%d", first, size, 4+h)
		for i := 1; i < n/2; i++ {
			a.i("%s $%d, (R8)(%s*%d), X%d, X%d", next, i, regs[i], size, 4+h, 4+h)
		}
	}
	a.i("VINSERTI128 $1, X5, Y4, Y4")
}

// tables multiplies scales at (R10), four or two at a time, with the values of 4 or 8 coordinates in Z30, and rounds them, n registers
// of 32 words from Z20 on. Z29 has the number of the scale of each value. Clobbers Z0, Z1.
func (a *asm) tables(coordinates, n int) {
	broadcast, step := "VBROADCASTF32X4", 16
	if coordinates == 8 {
		broadcast, step = "VBROADCASTSD", 8
	}
	for t := range n {
		for h := range 2 {
			a.i("%s %d(R10), Z%d; VPERMILPS Z29, Z%d, Z%d; VMULPS Z30, Z%d, Z%d", broadcast, step*(2*t+h), h, h, h, h, h)
		}
		a.cvt2(20+t, 1, 0)
	}
}

// oddScales turns the codes c in r into scales d·(2·c + 1) and leaves them at (R10). Z0 is d, Z6 is 1.
func (a *asm) oddScales(z string, r int) {
	a.i("VPADDD %s%d, %s%d, %s%d; VPADDD %s6, %s%d, %s%d; VCVTDQ2PS %s%d, %s%d; VMULPS %s0, %s%d, %s%d; VMOVUPS %s%d, (R10)",
		z, r, z, r, z, r, z, z, r, z, r, z, r, z, r, z, z, r, z, r, z, r)
}

// evenSigns sets bit 7 of the bytes of r where the other seven have an odd number of ones. Z7 is 0x80 in every byte.
func (a *asm) evenSigns(r, t, u string) {
	a.i("VPSRLD $4, %s, %s; VPXORD %s, %s, %s; VPSRLD $2, %s, %s; VPXORD %s, %s, %s; VPSRLD $1, %s, %s; VPXORD %s, %s, %s",
		r, t, r, t, t, t, u, u, t, t, t, u, u, t, t)
	a.i("VPSLLD $7, %s, %s; VPTERNLOGD $0xf8, %s7, %s, %s", t, t, r[:1], t, r)
}

// spreadSigns makes bytes of the four times 7 bits of every dword of Y1 and leaves them at 128(R13). Clobbers Y1 to Y3.
func (a *asm) spreadSigns() {
	a.i("VPANDD Y24, Y1, Y2")
	for k := 1; k < 4; k++ {
		a.i("VPSLLD $%d, Y1, Y3; VPTERNLOGD $0xf8, Y%d, Y3, Y2", k, 24+k)
	}
	a.evenSigns("Y2", "Y3", "Y1")
	a.i("VMOVDQU Y2, 128(R13)")
}

// spreadMasks are the constants of spreadSigns, and of oddScales.
func (a *asm) spreadMasks() {
	for k := range 4 {
		a.dword(0x7f<<(8*k), 24+k)
	}
	a.dword(0x80808080, 7)
	a.dword(1, 6)
}

func (a *asm) indexByte(at int) func(i int, reg string) {
	return func(i int, reg string) { a.i("MOVBLZX %d(SI), %s", at+i, reg) }
}

func (a *asm) indexWord(i int, reg string) { a.i("MOVWLZX %d(R12), %s", 2*i, reg) }

// signsAt are those of every 32 values, four bytes, from a place on.
func signsAt(at int, base string) func(c int) string {
	return func(c int) string { return fmt.Sprintf("%d(%s)", at+4*c, base) }
}

// iq2s: d f16, 32 bytes of points, 32 of signs, 8 of the points' upper 2 bits, 16 scales in nibbles.
func iq2s(a *asm) {
	a.grid(gridDecoder{"IQ2_S", "levelsIQ2", 82, 2, 4, 4, "offsets44", 4, func() {
		a.i("VMOVDQU32 ·byteHigh(SB), Z25; VMOVDQU32 ·shifts2(SB), Z24")
		a.dword(1, 6)
		a.words(0x300, 26)
		a.dword(15, 27)
	}, func() {
		a.i("VPMOVZXBW 2(R11), Z1; VPBROADCASTQ 66(R11), Z2; VPSHUFB Z25, Z2, Z2; VPSRLVW Z24, Z2, Z2")
		a.i("VPTERNLOGD $0xf8, Z26, Z2, Z1; VMOVDQU32 Z1, (R13)")
		a.half("(R11)", 0)
		a.eachNibble("74(R11)", "Z1", "Z2", "Z27")
		a.oddScales("Z", 1)
		a.tables(4, 2)
	}, a.indexWord, signsAt(34, "SI"), nil})
}

// iq2xs: d f16, 32 words of a point (9 bits) and 7 signs, 16 scales in nibbles.
func iq2xs(a *asm) {
	a.grid(gridDecoder{"IQ2_XS", "levelsIQ2", 74, 2, 4, 4, "offsets44", 4, func() {
		a.dword(1, 6)
		a.dword(0x80808080, 7)
		a.words(511, 26)
		a.dword(15, 27)
	}, func() {
		a.i("VMOVDQU32 2(R11), Z1; VPANDD Z26, Z1, Z2; VMOVDQU32 Z2, (R13); VPSRLW $9, Z1, Z1")
		a.evenSigns("Z1", "Z2", "Z3")
		a.i("VPMOVWB Z1, Y1; VMOVDQU Y1, 128(R13)")
		a.half("(R11)", 0)
		a.eachNibble("66(R11)", "Z1", "Z2", "Z27")
		a.oddScales("Z", 1)
		a.tables(4, 2)
	}, a.indexWord, signsAt(128, "R12"), nil})
}

// iq2xxs: d f16; for 32 values four bytes of points and a word of 4·7 signs and the scale.
func iq2xxs(a *asm) {
	a.grid(gridDecoder{"IQ2_XXS", "levelsIQ2", 66, 1, 4, 4, "offsets4", 8, a.spreadMasks, func() {
		a.i("VMOVDQU32 2(R11), Z1; VPSRLQ $32, Z1, Z1; VPMOVQD Z1, Y1; VPSRLD $28, Y1, Y4")
		a.spreadSigns()
		a.half("(R11)", 0)
		a.oddScales("Y", 4)
		a.tables(4, 1)
	}, func(i int, reg string) { a.i("MOVBLZX %d(SI), %s", 2+i/4*8+i%4, reg) }, signsAt(128, "R12"), nil})
}

// iq3xxs: d f16, 64 bytes of points; for 32 values a word of 4·7 signs and the scale.
func iq3xxs(a *asm) {
	a.grid(gridDecoder{"IQ3_XXS", "levelsIQ3", 98, 2, 8, 8, "offsets8", 4, a.spreadMasks, func() {
		a.i("VMOVDQU 66(R11), Y1; VPSRLD $28, Y1, Y4")
		a.spreadSigns()
		a.half("(R11)", 0)
		a.oddScales("Y", 4)
		a.tables(8, 2)
	}, a.indexByte(2), signsAt(128, "R12"), nil})
}

// iq3s: d f16, 64 bytes of points, 8 of the points' ninth bits, 32 of signs, 8 scales in nibbles.
func iq3s(a *asm) {
	a.grid(gridDecoder{"IQ3_S", "levelsOdd", 110, 2, 8, 8, "offsets8", 4, func() {
		a.dword(1, 6)
		a.words(0x100, 26)
		a.dword(15, 27)
	}, func() {
		for h := range 2 {
			a.i("VPMOVZXBW %d(R11), Z1; KMOVD %d(R11), K1; VPADDW Z26, Z1, K1, Z1; VMOVDQU32 Z1, %d(R13)", 2+32*h, 66+4*h, 64*h)
		}
		a.half("(R11)", 0)
		a.eachNibble("106(R11)", "Y1", "Y2", "Y27")
		a.oddScales("Y", 1)
		a.tables(8, 2)
	}, a.indexWord, signsAt(74, "SI"), nil})
}

// iq1s: d f16, 32 bytes of points; for 32 values a word of the points' 3 upper bits, the scale, and the sign of the shift.
func iq1s(a *asm) {
	a.grid(gridDecoder{"IQ1_S", "levelsIQ1", 50, 1, 4, 4, "offsets4", 8, func() {
		a.i("VMOVDQU32 ·wordLanes(SB), Z25; VMOVDQU32 ·shifts3(SB), Z24")
		a.dword(1, 6)
		a.words(0x700, 26)
		a.dword(14, 27) // twice the scale
		a.dword(1<<31, 28)
		a.dword(f32bits(0.125), 7)
	}, func() {
		a.i("VPMOVZXBW 2(R11), Z1; VBROADCASTI32X4 34(R11), Z2; VPSHUFB Z25, Z2, Z2; VPSRLVW Z24, Z2, Z2; VPSLLW $8, Z2, Z2")
		a.i("VPTERNLOGD $0xf8, Z26, Z2, Z1; VMOVDQU32 Z1, (R13)")
		a.half("(R11)", 0)
		a.i("VPMOVZXWD 34(R11), Y1; VPSLLD $16, Y1, Y2; VPANDD Y28, Y2, Y2; VPORD Y7, Y2, Y2; VMOVUPS Y2, 32(R10)")
		a.i("VPSRLD $11, Y1, Y1; VPANDD Y27, Y1, Y1; VPORD Y6, Y1, Y1; VCVTDQ2PS Y1, Y1; VMULPS Y0, Y1, Y1; VMOVUPS Y1, (R10)")
		for h := range 2 { // scale·(coordinate - 1 + shift) of four groups
			a.i("VBROADCASTF32X4 %d(R10), Z%d; VPERMILPS Z29, Z%d, Z%d; VADDPS Z30, Z%d, Z%d", 32+16*h, h, h, h, h, h)
			a.i("VBROADCASTF32X4 %d(R10), Z2; VPERMILPS Z29, Z2, Z2; VMULPS Z2, Z%d, Z%d", 16*h, h, h)
		}
		a.cvt2(20, 1, 0)
	}, a.indexWord, nil, nil})
}

// iq1m: 32 bytes of points, 16 of their 3 upper bits with the sign of the shift above them; four words of four scales with a nibble of d.
func iq1m(a *asm) {
	a.grid(gridDecoder{"IQ1_M", "levelsIQ1M", 56, 4, 4, 8, "offsets88", 2, func() {
		a.i("VMOVDQU32 ·wordEach4(SB), Z25; VMOVDQU32 ·shifts3d(SB), Z24")
		a.dword(1, 6)
		a.words(0x700, 26)
		a.dword(7, 27)
		a.words(8, 28)
		a.words(4, 7)
		a.dword(0x000f000f, 15)
		a.i("MOVQ $0xf000f000f000f000, R15")
	}, func() {
		a.i("VPMOVZXBD 32(R11), Z1; VPSLLD $12, Z1, Z2; VPORD Z1, Z2, Z1; VPANDD Z15, Z1, Z1") // a nibble for each point
		a.i("VPTESTMW Z28, Z1, K1; VPMOVM2B K1, Y2; VMOVDQU Y2, 128(R13)")
		a.i("VPMOVZXBW (R11), Z2; VPSLLW $8, Z1, Z1; VPTERNLOGD $0xf8, Z26, Z1, Z2; VMOVDQU32 Z2, (R13)")
		a.i("MOVQ 48(R11), AX; PEXTQ R15, AX, AX; VPBROADCASTW AX, Y0; VCVTPH2PS Y0, Z0")
		a.i("VPBROADCASTQ 48(R11), Z1; VPSHUFB Z25, Z1, Z1; VPSRLVD Z24, Z1, Z1; VPANDD Z27, Z1, Z1")
		a.oddScales("Z", 1)
		a.tables(8, 4)
	}, a.indexWord, nil, func(c int) {
		a.i("KMOVD %d(R12), K1; VPADDW Z7, Z4, K1, Z4", 128+4*c) // the other four values
	}})
}
