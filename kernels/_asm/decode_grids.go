package main

import "fmt"

// Decoders of types with a codebook: a point is 8 values of 2 bits or 4 of 3 bits. The indices of a block's points go through the stack
// where they are more than a byte; each is a load of the grid, a byte for a coordinate. The values that coordinates stand for under each
// scale of the block are made at once, 32 words to a register, and every coordinate is an index to them (VPERMW), with the number of its
// scale in the bits above. Signs are added to the results.

// pointBytes loads n points into the bytes of Y[r], 8 bytes each for 4 points, else 4 for 8; index i comes from addr(i).
// Clobbers the registers below r+2, AX, BX, DX, R9.
func (a *asm) pointBytes(n, r int, load func(i int, reg string)) {
	regs := []string{"AX", "BX", "DX", "R9"}
	for h := range 2 {
		x := r + h
		for i := range n / 2 {
			load(n/2*h+i, regs[i])
		}
		for i := range n / 2 {
			reg := regs[i]
			switch {
			case n == 4 && i == 0:
				a.i("VMOVQ (R8)(%s*8), X%d", reg, x)
			case n == 4:
				a.i("VPINSRQ $%d, (R8)(%s*8), X%d, X%d", i, reg, x, x)
			case i == 0:
				a.i("VMOVD (R8)(%s*4), X%d", reg, x)
			default:
				a.i("VPINSRD $%d, (R8)(%s*4), X%d, X%d", i, reg, x, x)
			}
		}
	}
	a.i("VINSERTI128 $1, X%d, Y%d, Y%d", r+1, r, r)
}

// grid32 writes 32 values, number c of the block: values are in Z[table], the bits above the coordinate in table offsets of 32 words
// at off; signs is where 32 bits are, "": none.
func (a *asm) grid32(c, table int, offsets, signs string) {
	a.i("VPMOVZXBW Y4, Z4; VPORD %s, Z4, Z4", offsets)
	if signs == "" {
		a.i("VPERMW Z%d, Z4, Z4; VMOVDQU32 Z4, %d(DI)", table, 64*c)
		return
	}
	a.i("KMOVD %s, K1; VPERMW Z%d, Z4, Z4; VPADDW Z31, Z4, K1, Z4; VMOVDQU32 Z4, %d(DI)", signs, table, 64*c)
}

// tables multiplies scales in the frame, four or two at a time, with the values of 4 or 8 coordinates in Z30, and rounds them, n registers
// of 32 words from Z16 on. Z29 has the number of the scale of each value. Clobbers Z0, Z1.
func (a *asm) tables(coordinates, n int) {
	broadcast, step := "VBROADCASTF32X4", 16
	if coordinates == 8 {
		broadcast, step = "VBROADCASTSD", 8
	}
	for t := range n {
		for h := range 2 {
			a.i("%s buf-%d(SP), Z%d; VPERMILPS Z29, Z%d, Z%d; VMULPS Z30, Z%d, Z%d", broadcast, 64-step*(2*t+h), h, h, h, h, h)
		}
		a.cvt2(16+t, 1, 0)
	}
}

// halfScales turns the codes c in r into scales d·(c + 1/2)·factor, d from (SI), and leaves them in the frame.
// Z28 is 1/2 and Z27 the factor.
func (a *asm) halfScales(z string, r int) {
	a.half("(SI)", 0)
	a.i("VCVTDQ2PS %s%d, %s%d; VADDPS %s28, %s%d, %s%d; VMULPS %s0, %s%d, %s%d; VMULPS %s27, %s%d, %s%d; VMOVUPS %s%d, buf-64(SP)",
		z, r, z, r, z, z, r, z, r, z, z, r, z, r, z, z, r, z, r, z, r)
}

// oddScales does it for d·(2·c + 1). Z28 is 1.
func (a *asm) oddScales(z string, r int) {
	a.i("VPADDD %s%d, %s%d, %s%d; VPADDD %s28, %s%d, %s%d; VCVTDQ2PS %s%d, %s%d; VMULPS %s0, %s%d, %s%d; VMOVUPS %s%d, buf-64(SP)",
		z, r, z, r, z, r, z, z, r, z, r, z, r, z, r, z, z, r, z, r, z, r)
}

// evenSigns sets bit 7 of the bytes of r where the other seven have an odd number of ones. Z26 is 0x80 in every byte.
func (a *asm) evenSigns(r, t, u string) {
	a.i("VPSRLD $4, %s, %s; VPXORD %s, %s, %s; VPSRLD $2, %s, %s; VPXORD %s, %s, %s; VPSRLD $1, %s, %s; VPXORD %s, %s, %s",
		r, t, r, t, t, t, u, u, t, t, t, u, u, t, t)
	a.i("VPSLLD $7, %s, %s; VPTERNLOGD $0xf8, %s26, %s, %s", t, t, r[:1], t, r)
}

// spreadSigns makes bytes of the four times 7 bits of every dword of Y[r]. Clobbers Y2, Y3.
func (a *asm) spreadSigns(r int) {
	a.i("VPANDD Y22, Y%d, Y2", r)
	for k := 1; k < 4; k++ {
		a.i("VPSLLD $%d, Y%d, Y3; VPTERNLOGD $0xf8, Y%d, Y3, Y2", k, r, 22+k)
	}
	a.evenSigns("Y2", "Y3", fmt.Sprintf("Y%d", r))
}

// spreadMasks are the constants of spreadSigns.
func (a *asm) spreadMasks() {
	for k := range 4 {
		a.dword(0x7f<<(8*k), 22+k)
	}
	a.dword(0x80808080, 26)
}

// signed begins a decoder whose values have signs apart.
func (a *asm) signed(name, levels, each string, frame int) {
	a.blockDecoder(name, frame)
	a.i("VMOVUPS ·%s(SB), Z30; VMOVDQU32 ·%s(SB), Z29", levels, each)
	a.words(0x8000, 31)
}

// from loads index i of a chunk's points: bytes at the block, or words in the frame.
func (a *asm) fromBlock(at int) func(i int, reg string) {
	return func(i int, reg string) { a.i("MOVBLZX %d(SI), %s", at+i, reg) }
}

func (a *asm) fromFrame(at int) func(i int, reg string) {
	return func(i int, reg string) { a.i("MOVWLZX buf-%d(SP), %s", at-2*i, reg) }
}

// iq2s: d f16, 32 bytes of points, 32 of signs, 8 of the points' upper 2 bits, 16 scales in nibbles.
func iq2s(a *asm) {
	a.signed("IQ2_S", "levelsIQ2", "each4", 128)
	a.dword(f32bits(0.5), 28)
	a.dword(f32bits(0.25), 27)
	a.i("VMOVDQU32 ·byteHigh(SB), Z25; VMOVDQU32 ·shifts2(SB), Z24")
	a.words(0x300, 23)
	a.dword(15, 22)
	a.label("loop")
	a.i("VPMOVZXBW 2(SI), Z1; VPBROADCASTQ 66(SI), Z2; VPSHUFB Z25, Z2, Z2; VPSRLVW Z24, Z2, Z2; VPTERNLOGD $0xf8, Z23, Z2, Z1; VMOVDQU32 Z1, buf-128(SP)")
	a.eachNibble("74(SI)", "Z1", "Z2", "Z22")
	a.halfScales("Z", 1)
	a.tables(4, 2)
	for c := range 8 {
		a.pointBytes(4, 4, a.fromFrame(128-8*c))
		a.grid32(c, 16+c/4, fmt.Sprintf("·offsets44+%d(SB)", c%4*64), fmt.Sprintf("%d(SI)", 34+4*c))
	}
	a.next(82, 256)
}

// iq2xs: d f16, 32 words of a point (9 bits) and 7 signs, 16 scales in nibbles.
func iq2xs(a *asm) {
	a.signed("IQ2_XS", "levelsIQ2", "each4", 160)
	a.dword(f32bits(0.5), 28)
	a.dword(f32bits(0.25), 27)
	a.dword(0x80808080, 26)
	a.words(511, 25)
	a.dword(15, 22)
	a.label("loop")
	a.i("VMOVDQU32 2(SI), Z1; VPANDD Z25, Z1, Z2; VMOVDQU32 Z2, buf-128(SP); VPSRLW $9, Z1, Z1")
	a.evenSigns("Z1", "Z2", "Z3")
	a.i("VPMOVWB Z1, Y1; VMOVDQU Y1, buf-160(SP)")
	a.eachNibble("66(SI)", "Z1", "Z2", "Z22")
	a.halfScales("Z", 1)
	a.tables(4, 2)
	for c := range 8 {
		a.pointBytes(4, 4, a.fromFrame(128-8*c))
		a.grid32(c, 16+c/4, fmt.Sprintf("·offsets44+%d(SB)", c%4*64), fmt.Sprintf("buf-%d(SP)", 160-4*c))
	}
	a.next(74, 256)
}

// iq2xxs: d f16; for 32 values four bytes of points and a word of 4·7 signs and the scale.
func iq2xxs(a *asm) {
	a.signed("IQ2_XXS", "levelsIQ2", "each4", 96)
	a.dword(f32bits(0.5), 28)
	a.dword(f32bits(0.25), 27)
	a.spreadMasks()
	a.label("loop")
	a.i("VMOVDQU32 2(SI), Z1; VPSRLQ $32, Z1, Z1; VPMOVQD Z1, Y1; VPSRLD $28, Y1, Y4")
	a.spreadSigns(1)
	a.i("VMOVDQU Y2, buf-96(SP)")
	a.halfScales("Y", 4)
	a.tables(4, 1)
	for c := range 8 {
		a.pointBytes(4, 4, a.fromBlock(2+8*c))
		a.grid32(c, 16, fmt.Sprintf("·offsets4+%d(SB)", c*64), fmt.Sprintf("buf-%d(SP)", 96-4*c))
	}
	a.next(66, 256)
}

// iq3xxs: d f16, 64 bytes of points; for 32 values a word of 4·7 signs and the scale.
func iq3xxs(a *asm) {
	a.signed("IQ3_XXS", "levelsIQ3", "each8", 96)
	a.dword(f32bits(0.5), 28)
	a.dword(f32bits(0.5), 27)
	a.spreadMasks()
	a.label("loop")
	a.i("VMOVDQU 66(SI), Y1; VPSRLD $28, Y1, Y4")
	a.spreadSigns(1)
	a.i("VMOVDQU Y2, buf-96(SP)")
	a.halfScales("Y", 4)
	a.tables(8, 2)
	for c := range 8 {
		a.pointBytes(8, 4, a.fromBlock(2+8*c))
		a.grid32(c, 16+c/4, fmt.Sprintf("·offsets8+%d(SB)", c%4*64), fmt.Sprintf("buf-%d(SP)", 96-4*c))
	}
	a.next(98, 256)
}

// iq3s: d f16, 64 bytes of points, 8 of the points' ninth bits, 32 of signs, 8 scales in nibbles.
func iq3s(a *asm) {
	a.signed("IQ3_S", "levelsOdd", "each8", 192)
	a.dword(1, 28)
	a.dword(15, 22)
	a.words(0x100, 25)
	a.label("loop")
	for h := range 2 {
		a.i("VPMOVZXBW %d(SI), Z1; KMOVD %d(SI), K1; VPADDW Z25, Z1, K1, Z1; VMOVDQU32 Z1, buf-%d(SP)", 2+32*h, 66+4*h, 192-64*h)
	}
	a.half("(SI)", 0)
	a.eachNibble("106(SI)", "Y1", "Y2", "Y22")
	a.oddScales("Y", 1)
	a.tables(8, 2)
	for c := range 8 {
		a.pointBytes(8, 4, a.fromFrame(192-16*c))
		a.grid32(c, 16+c/4, fmt.Sprintf("·offsets8+%d(SB)", c%4*64), fmt.Sprintf("%d(SI)", 74+4*c))
	}
	a.next(110, 256)
}

// iq1s: d f16, 32 bytes of points; for 32 values a word of the points' 3 upper bits, the scale, and the sign of the shift.
func iq1s(a *asm) {
	a.blockDecoder("IQ1_S", 160)
	a.i("VMOVUPS ·levelsIQ1(SB), Z30; VMOVDQU32 ·each4(SB), Z29; VMOVDQU32 ·wordLanes(SB), Z25; VMOVDQU32 ·shifts3(SB), Z24")
	a.dword(1, 28)
	a.words(0x700, 23)
	a.dword(14, 22) // twice the scale
	a.dword(1<<31, 21)
	a.dword(f32bits(0.125), 20)
	a.label("loop")
	a.i("VPMOVZXBW 2(SI), Z1; VBROADCASTI32X4 34(SI), Z2; VPSHUFB Z25, Z2, Z2; VPSRLVW Z24, Z2, Z2; VPSLLW $8, Z2, Z2")
	a.i("VPTERNLOGD $0xf8, Z23, Z2, Z1; VMOVDQU32 Z1, buf-128(SP)")
	a.half("(SI)", 0)
	a.i("VPMOVZXWD 34(SI), Y1; VPSLLD $16, Y1, Y2; VPANDD Y21, Y2, Y2; VPORD Y20, Y2, Y2; VMOVUPS Y2, buf-160(SP)")
	a.i("VPSRLD $11, Y1, Y1; VPANDD Y22, Y1, Y1; VPORD Y28, Y1, Y1; VCVTDQ2PS Y1, Y1; VMULPS Y0, Y1, Y1; VMOVUPS Y1, buf-64(SP)")
	for h := range 2 { // scale·(coordinate - 1 + shift) of four groups
		a.i("VBROADCASTF32X4 buf-%d(SP), Z%d; VPERMILPS Z29, Z%d, Z%d; VADDPS Z30, Z%d, Z%d", 160-16*h, h, h, h, h, h)
		a.i("VBROADCASTF32X4 buf-%d(SP), Z2; VPERMILPS Z29, Z2, Z2; VMULPS Z2, Z%d, Z%d", 64-16*h, h, h)
	}
	a.cvt2(16, 1, 0)
	for c := range 8 {
		a.pointBytes(4, 4, a.fromFrame(128-8*c))
		a.grid32(c, 16, fmt.Sprintf("·offsets4+%d(SB)", c*64), "")
	}
	a.next(50, 256)
}

// iq1m: 32 bytes of points, 16 of their 3 upper bits with the sign of the shift above them; four words of four scales with a nibble of d.
func iq1m(a *asm) {
	a.blockDecoder("IQ1_M", 160)
	a.i("VMOVUPS ·levelsIQ1M(SB), Z30; VMOVDQU32 ·each8(SB), Z29; VMOVDQU32 ·wordEach4(SB), Z25; VMOVDQU32 ·shifts3d(SB), Z24")
	a.dword(1, 28)
	a.words(0x700, 23)
	a.dword(7, 22)
	a.words(8, 21)
	a.words(4, 20)
	a.dword(0x000f000f, 27)
	a.i("MOVQ $0xf000f000f000f000, R10")
	a.label("loop")
	a.i("VPMOVZXBD 32(SI), Z1; VPSLLD $12, Z1, Z2; VPORD Z1, Z2, Z1; VPANDD Z27, Z1, Z1") // a nibble for each point
	a.i("VPTESTMW Z21, Z1, K1; VPMOVM2B K1, Y2; VMOVDQU Y2, buf-160(SP)")
	a.i("VPMOVZXBW (SI), Z2; VPSLLW $8, Z1, Z1; VPTERNLOGD $0xf8, Z23, Z1, Z2; VMOVDQU32 Z2, buf-128(SP)")
	a.i("MOVQ 48(SI), AX; PEXTQ R10, AX, AX; VPBROADCASTW AX, Y0; VCVTPH2PS Y0, Z0")
	a.i("VPBROADCASTQ 48(SI), Z1; VPSHUFB Z25, Z1, Z1; VPSRLVD Z24, Z1, Z1; VPANDD Z22, Z1, Z1")
	a.oddScales("Z", 1)
	a.tables(8, 4)
	for c := range 8 {
		a.pointBytes(4, 4, a.fromFrame(128-8*c))
		a.i("VPMOVZXBW Y4, Z4; VPORD ·offsets88+%d(SB), Z4, Z4; KMOVD buf-%d(SP), K1; VPADDW Z20, Z4, K1, Z4", c%2*64, 160-4*c)
		a.i("VPERMW Z%d, Z4, Z4; VMOVDQU32 Z4, %d(DI)", 16+c/2, 64*c)
	}
	a.next(56, 256)
}
