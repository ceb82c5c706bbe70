package main

import "fmt"

// blockDecoders are the decoders that package qtype asks for by name: what their points are stored with, and how they are written.
var blockDecoders = []struct {
	name         string
	block, bytes int // values and bytes of a block
	bits         int // of a coordinate of a point; 0: no codebook
	emit         func(a *asm)
}{
	{"IQ4_NL", 32, 18, 0, iq4nl},
	{"IQ4_XS", 256, 136, 0, iq4xs},
	{"MXFP4", 32, 17, 0, mxfp4},
	{"NVFP4", 64, 36, 0, nvfp4},
	{"IQ3_S", 256, 110, 3, iq3s},
	{"IQ3_XXS", 256, 98, 3, iq3xxs},
	{"IQ2_S", 256, 82, 2, iq2s},
	{"IQ2_XS", 256, 74, 2, iq2xs},
	{"IQ2_XXS", 256, 66, 2, iq2xxs},
	{"IQ1_S", 256, 50, 2, iq1s},
	{"IQ1_M", 256, 56, 2, iq1m},
	{"TQ1_0", 256, 54, 0, tq10},
	{"TQ2_0", 256, 66, 0, tq20},
	{"Q1_0", 128, 18, 0, q10},
	{"Q2_0", 64, 18, 0, q20},
	{"F8_E4M3", 32, 32, 0, f8e4m3},
	{"F8_E5M2", 32, 32, 0, f8e5m2},
	{"INT2", 32, 12, 0, int2},
	{"INT3", 32, 16, 0, int3},
	{"INT4", 32, 20, 0, int4},
	{"INT8", 32, 36, 0, int8codes},
	{"NF4", 32, 20, 0, nf4},
	{"FP4", 32, 20, 0, fp4},
	{"E2M1", 16, 12, 0, e2m1},
	{"FP8", 32, 36, 0, fp8},
}

// moreDecoders emits them, with the table they are found in.
func moreDecoders(a *asm) {
	a.levels()
	a.packedLevels()
	fmt.Fprintf(&a.g, "\n// blockDecoders are, by type, decoders to bf16 of n > 0 blocks; grid has a byte for each coordinate of a point.\nvar blockDecoders = map[string]blockDecoder{\n")
	for _, d := range blockDecoders {
		fmt.Fprintf(&a.g, "%q: {%d, %d, %d, dec%s},\n", d.name, d.block, d.bytes, d.bits, d.name)
	}
	a.g.WriteString("}\n")
	for _, d := range blockDecoders {
		d.emit(a)
	}
}

// floats emits a table of 16 float32, the given ones again and again; lanes one of 32 words.
func (a *asm) floats(name string, x ...float32) {
	t := make([]uint32, 16)
	for i := range t {
		t[i] = f32bits(x[i%len(x)])
	}
	a.table(name, t)
}

func (a *asm) lanes(name string, f func(i int) int) {
	t := make([]uint16, 32)
	for i := range t {
		t[i] = uint16(f(i))
	}
	a.table(name, words(t))
}

// runs emits n tables of 32 words.
func (a *asm) runs(name string, n int, f func(c, i int) int) {
	t := make([]uint16, 32*n)
	for i := range t {
		t[i] = uint16(f(i/32, i%32))
	}
	a.table(name, words(t))
}

// dwords emits a table of 16 numbers.
func (a *asm) dwords(name string, f func(i int) int) {
	t := make([]uint32, 16)
	for i := range t {
		t[i] = uint32(f(i))
	}
	a.table(name, t)
}

// levels emits the constants: what codes stand for (those of IQ types are ggml's, MIT License, see internal/qtype/iqgrids.go), and how
// bits are spread over words.
func (a *asm) levels() {
	a.floats("levelsIQ4", -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
	a.floats("levelsFP4", 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
	a.floats("levelsIQ3", 1, 3, 5, 7, 9, 11, 13, 15.5) // under scales d·(2·c + 1), four times smaller than under d·(c + 1/2)/2
	a.floats("levelsOdd", 1, 3, 5, 7, 9, 11, 13, 15)
	a.floats("levelsIQ2", 1, 25.0/8, 43.0/8, 0) // and here eight times
	a.floats("levelsIQ1", -1, 0, 1, 0)
	a.floats("levelsIQ1M", -0.875, 0.125, 1.125, 0, -1.125, -0.125, 0.875, 0)
	a.floats("fromMinus1", -1, 0, 1, 2)
	// The number of the scale of each value, for groups of 4 and of 8.
	a.dwords("each4", func(i int) int { return i / 4 })
	a.dwords("each8", func(i int) int { return i / 8 })
	a.lanes("shifts4", func(i int) int { return i / 8 % 2 * 4 })
	a.lanes("shifts2", func(i int) int { return i % 4 * 2 })
	a.lanes("shifts3", func(i int) int { return i % 4 * 3 })
	a.dwords("shifts2d", func(i int) int { return i % 8 * 2 })
	a.dwords("shifts3d", func(i int) int { return i % 4 * 3 })
	a.lanes("second16", func(i int) int { return i / 16 * 16 })
	// What VPSHUFB takes from eight or 16 bytes in every lane: for word i byte i/4, low or high, or word i/4; for dword i word i/4.
	a.lanes("byteLow", func(i int) int { return 0x8000 | i/4 })
	a.lanes("byteHigh", func(i int) int { return i/4<<8 | 0x80 })
	a.lanes("wordLanes", func(i int) int { return i/4*2 | (i/4*2+1)<<8 })
	a.dwords("wordEach4", func(i int) int { return i/4*2 | (i/4*2+1)<<8 | 0x80800000 })
	// The bits of an index above the coordinate, for each 32 values: those with one scale, 4 or 8 coordinates; 16 values to a scale.
	a.runs("offsets4", 8, func(c, i int) int { return 4 * c })
	a.runs("offsets8", 4, func(c, i int) int { return 8 * c })
	a.runs("offsets44", 4, func(c, i int) int { return 8*c + i/16*4 })
	a.runs("offsets88", 2, func(c, i int) int { return 16*c + i/16*8 })
	a.lanes("powers3", func(i int) int { return []int{1, 3}[i/16] })
	a.lanes("powers27", func(i int) int { return []int{9, 27}[i/16] })
	a.lanes("powers81", func(i int) int {
		if i < 16 {
			return 81
		}
		return []int{1, 3, 9, 27}[(i-16)/4]
	})
}

// blockDecoder begins a function: DI the bf16 to write, SI the blocks, CX their number, R8 the grid.
func (a *asm) blockDecoder(name string, frame int) {
	a.fn("decodes n blocks, n > 0.", "dec"+name, "dst *uint16, src *byte, n int, grid *byte", 32, frame)
	a.i("MOVQ dst+0(FP), DI; MOVQ src+8(FP), SI; MOVQ n+16(FP), CX; MOVQ grid+24(FP), R8")
}

// dword sets all dwords of Z[r].
func (a *asm) dword(v uint32, r int) { a.i("MOVL $0x%08x, AX; VPBROADCASTD AX, Z%d", v, r) }

// eachNibble opens bytes at addr, four for Y and eight for Z, to dwords, a nibble each; fifteen has 15 in all of them.
func (a *asm) eachNibble(addr, r, t, fifteen string) {
	a.i("VPMOVZXBQ %s, %s; VPSLLQ $28, %s, %s; VPORD %s, %s, %s; VPANDD %s, %s, %s", addr, r, r, t, r, t, r, fifteen, r, r)
}

// iq4nl: d f16, 16 bytes of nibbles.
func iq4nl(a *asm) {
	a.blockDecoder("IQ4_NL", 0)
	a.i("VMOVUPS ·levelsIQ4(SB), Z30")
	a.label("loop")
	a.half("(SI)", 0)
	a.i("VMULPS Z30, Z0, Z1")
	a.cvt1(1, 1)
	a.i("VPMOVZXBW 2(SI), Y2; VPERMW Y1, Y2, Y3; VPSRLW $4, Y2, Y2; VPERMW Y1, Y2, Y4; VMOVDQU Y3, (DI); VMOVDQU Y4, 32(DI)")
	a.next(18, 32)
}

// iq4xs: d f16, 16 high bits of 8 scales, 4 bytes of low nibbles of them, 128 bytes of nibbles.
func iq4xs(a *asm) {
	a.blockDecoder("IQ4_XS", 64)
	a.i("VMOVUPS ·levelsIQ4(SB), Z30; VMOVDQU32 ·shifts2d(SB), Z29")
	a.dword(0x30, 28)
	a.dword(15, 27)
	a.dword(32, 26)
	a.label("loop")
	a.half("(SI)", 0)
	a.eachNibble("4(SI)", "Y1", "Y2", "Y27")
	a.i("VPBROADCASTW 2(SI), Y2; VPSLLD $16, Y2, Y2; VPSRLD $12, Y2, Y2") // the high bits, 4 to the left
	a.i("VPSRLVD Y29, Y2, Y2; VPTERNLOGD $0xf8, Y28, Y2, Y1; VPSUBD Y26, Y1, Y1; VCVTDQ2PS Y1, Y1; VMULPS Y1, Y0, Y1; VMOVUPS Y1, buf-64(SP)")
	for j := range 8 {
		a.i("VBROADCASTSS buf-%d(SP), Z2; VMULPS Z30, Z2, Z2", 64-4*j)
		a.cvt1(2, 2)
		a.i("VPMOVZXBW %d(SI), Y3; VPERMW Y2, Y3, Y4; VPSRLW $4, Y3, Y3; VPERMW Y2, Y3, Y5; VMOVDQU Y4, %d(DI); VMOVDQU Y5, %d(DI)", 8+16*j, 64*j, 64*j+32)
	}
	a.next(136, 256)
}

// mxfp4: exponent byte, 16 bytes of nibbles. All products have few bits and may be subnormal: they are cut, not rounded.
func mxfp4(a *asm) {
	a.blockDecoder("MXFP4", 0)
	a.i("VMOVUPS ·levelsFP4(SB), Z30")
	a.label("loop")
	a.i("MOVBLZX (SI), AX; SUBL $128, AX; VPBROADCASTD AX, Z0; VCVTDQ2PS Z0, Z0; VSCALEFPS Z0, Z30, Z1; VPSRLD $16, Z1, Z1; VPMOVDW Z1, Y1")
	a.i("VPMOVZXBW 1(SI), Y2; VPERMW Y1, Y2, Y3; VPSRLW $4, Y2, Y2; VPERMW Y1, Y2, Y4; VMOVDQU Y3, (DI); VMOVDQU Y4, 32(DI)")
	a.next(17, 32)
}

// nvfp4: 4 scales of 8 bits, as halves 2^-7 of what they stand for and 0x7f for zero; for each 16 values 8 bytes, low nibbles first.
func nvfp4(a *asm) {
	a.blockDecoder("NVFP4", 64)
	a.i("VMOVUPS ·levelsFP4(SB), Z30; VMOVDQU32 ·shifts4(SB), Z29; VMOVDQU32 ·second16(SB), Z28")
	a.words(15, 27)
	a.words(0x7f, 26)
	a.dword(f32bits(128), 25)
	a.label("loop")
	a.i("VPMOVZXBW (SI), X1; VPCMPEQW X26, X1, K1; VPANDD X26, X1, X1; VPSLLW $7, X1, X1")
	a.i("KNOTW K1, K1; VCVTPH2PS X1, X1; VMULPS.Z X25, X1, K1, X1; VMOVUPS X1, buf-64(SP)")
	for h := range 2 {
		a.i("VBROADCASTSS buf-%d(SP), Z2; VBROADCASTSS buf-%d(SP), Z3; VMULPS Z30, Z2, Z2; VMULPS Z30, Z3, Z3", 64-8*h, 60-8*h)
		a.cvt2(2, 3, 2)
		a.i("VPMOVZXBW %d(SI), Y4; VSHUFI64X2 $0x50, Z4, Z4, Z4; VPSRLVW Z29, Z4, Z4; VPANDD Z27, Z4, Z4; VPORD Z28, Z4, Z4", 4+16*h)
		a.i("VPERMW Z2, Z4, Z4; VMOVDQU32 Z4, %d(DI)", 64*h)
	}
	a.next(36, 64)
}

// tq10: 52 bytes of five trits each, 32, 16 and 4 of them in a run, d f16. Words have a byte in their upper half: times 3^n the product
// modulo 2^16 begins with trit n, which times 3 brings into the next 16 bits.
func tq10(a *asm) {
	a.blockDecoder("TQ1_0", 0)
	a.i("VMOVUPS ·fromMinus1(SB), Z30; VMOVDQU32 ·powers3(SB), Z29; VMOVDQU32 ·powers27(SB), Z28; VMOVDQU32 ·powers81(SB), Z27")
	a.words(3, 26)
	a.label("loop")
	a.scaled("52(SI)")
	trit := func(x, at int) { a.i("VPMULHUW Z26, Z%d, Z4; VPERMW Z0, Z4, Z4; VMOVDQU32 Z4, %d(DI)", x, 2*at) }
	a.i("VPMOVZXBW (SI), Z1; VPSLLW $8, Z1, Z1")
	for n := range 5 {
		trit(1, 32*n)
		if n < 4 {
			a.i("VPMULLW Z26, Z1, Z1")
		}
	}
	a.i("VPMOVZXBW 32(SI), Y1; VMOVD 48(SI), X2; VPMOVZXBW X2, X2; VPBROADCASTQ X2, Y2; VPSLLW $8, Y1, Y1; VPSLLW $8, Y2, Y2")
	a.i("VINSERTI64X4 $1, Y2, Z1, Z2; VINSERTI64X4 $1, Y1, Z1, Z1; VPMULLW Z29, Z1, Z3")
	trit(3, 160)
	a.i("VPMULLW Z28, Z1, Z3")
	trit(3, 192)
	a.i("VPMULLW Z27, Z2, Z3")
	trit(3, 224)
	a.next(54, 256)
}

// scaled leaves the values in Z30 times the half at addr in Z0, as 16 words twice.
func (a *asm) scaled(addr string) {
	a.half(addr, 0)
	a.i("VMULPS Z30, Z0, Z0")
	a.cvt2(0, 0, 0)
}

// tq20: 64 bytes, bits 2n of 32 hold 32 values, d f16. The four values of a code are repeated, so that other bits do not matter.
func tq20(a *asm) {
	a.blockDecoder("TQ2_0", 0)
	a.i("VMOVUPS ·fromMinus1(SB), Z30")
	a.label("loop")
	a.scaled("64(SI)")
	for g := range 8 {
		if g%4 == 0 {
			a.i("VPMOVZXBW %d(SI), Z1", 8*g)
		} else {
			a.i("VPSRLW $2, Z1, Z1")
		}
		a.i("VPERMW Z0, Z1, Z2; VMOVDQU32 Z2, %d(DI)", 64*g)
	}
	a.next(66, 256)
}

// q10: d f16, 128 bits: -d, where set d.
func q10(a *asm) {
	a.blockDecoder("Q1_0", 0)
	a.words(0x8000, 30)
	a.label("loop")
	a.half("(SI)", 0)
	a.cvt2(0, 0, 0)
	a.i("VPADDW Z30, Z0, Z0")
	for g := range 4 {
		a.i("KMOVD %d(SI), K1; VMOVDQA32 Z0, Z1; VPADDW Z30, Z0, K1, Z1; VMOVDQU32 Z1, %d(DI)", 2+4*g, 64*g)
	}
	a.next(18, 128)
}

// q20: d f16, 16 bytes of 2-bit codes.
func q20(a *asm) {
	a.blockDecoder("Q2_0", 0)
	a.i("VMOVUPS ·fromMinus1(SB), Z30; VMOVDQU32 ·byteLow(SB), Z29; VMOVDQU32 ·shifts2(SB), Z28")
	a.label("loop")
	a.scaled("(SI)")
	for h := range 2 {
		a.i("VPBROADCASTQ %d(SI), Z1; VPSHUFB Z29, Z1, Z1; VPSRLVW Z28, Z1, Z1; VPERMW Z0, Z1, Z1; VMOVDQU32 Z1, %d(DI)", 2+8*h, 64*h)
	}
	a.next(18, 64)
}
