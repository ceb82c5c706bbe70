package main

import "math"

// Decoders of 8-bit floats and of the blocks that package packed makes, whose scale is a float32. The CPU's conversion to bf16 takes
// subnormal numbers for zero, so blocks with a scale below 2^-95 are rounded as integers, elsewhere.

// packedLevels emits what codes stand for.
func (a *asm) packedLevels() {
	a.floats("levelsNF4", -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
		-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
		0.5626170039176941, 0.7229568362236023, 1)
	a.floats("levelsFP4B", 0, 0.0052083334, 0.6666667, 1, 0.33333334, 0.5, 0.16666667, 0.25,
		0, -0.0052083334, -0.6666667, -1, -0.33333334, -0.5, -0.16666667, -0.25)
	a.floats("levelsE2M1", 0, 0.5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6)
	a.dwords("count2", func(i int) int { return i % 4 })
	a.dwords("count3", func(i int) int { return i % 8 })
	a.dwords("count4", func(i int) int { return i })
	a.lanes("laneShifts2", func(i int) int { return i / 8 * 2 })
	a.lanes("laneShifts3", func(i int) int { return i % 8 * 3 % 8 })
	a.lanes("lanes3", func(i int) int { // bytes of the 3 of lane i/8, behind a header of 4, that code i%8 begins in
		at := 4 + i/8*3 + i%8*3/8
		return at | min(at+1, 15)<<8
	})
	t := make([]uint16, 128)
	for i := range t {
		v := math.Ldexp(float64(8+i&7), i>>3-10)
		switch {
		case i == 127:
			v = math.NaN()
		case i < 8:
			v = math.Ldexp(float64(i), -9)
		}
		t[i] = uint16(f32bits(float32(v)) >> 16)
	}
	a.table("valuesE4M3", words(t))
}

// rounded makes 32 bf16 in Z[d] of the float32 in Z[hi] and Z[lo] under the block's scale at (SI), and goes on at the label next.
// Clobbers AX, Z6, Z7. tiny is the other half of it, behind the loop.
func (a *asm) rounded(d, hi, lo int, then func()) {
	a.i("MOVL (SI), AX; ANDL $0x7f800000, AX; CMPL AX, $0x10000000; JLT tiny")
	a.cvt2(d, hi, lo)
	a.label("store")
	then()
	a.label("tiny")
	for i, r := range []int{lo, hi} {
		a.i("VPSRLD $16, Z%d, Z%d; VPANDD Z20, Z%d, Z%d; VPADDD Z21, Z%d, Z%d; VPADDD Z%d, Z%d, Z%d; VPSRLD $16, Z%d, Z%d; VPMOVDW Z%d, Y%d",
			r, 6+i, 6+i, 6+i, 6+i, 6+i, r, 6+i, 6+i, 6+i, 6+i, 6+i, 6+i)
	}
	a.i("VINSERTI64X4 $1, Y7, Z6, Z%d; JMP store", d)
}

// packedDecoder begins a decoder with the constants of rounded.
func (a *asm) packedDecoder(name string) {
	a.blockDecoder(name, 0)
	a.dword(1, 20)
	a.dword(0x7fff, 21)
}

// header puts the scale of a block into Z0 and its zero into Z1. Z22 is 255.
func (a *asm) header() {
	a.i("VPBROADCASTD (SI), Z0; VPANDD Z22, Z0, Z1; VPANDND Z0, Z22, Z0")
}

// integerTable makes the words of all codes, scale·(code - zero), and goes on with then.
func (a *asm) integerTable(name, count string, setup, then func()) {
	a.packedDecoder(name)
	a.dword(255, 22)
	a.i("VMOVDQU32 ·%s(SB), Z30", count)
	setup()
	a.label("loop")
	a.header()
	a.i("VPSUBD Z1, Z30, Z1; VCVTDQ2PS Z1, Z1; VMULPS Z1, Z0, Z1")
	a.rounded(1, 1, 1, then)
}

// int2: scale and zero, byte j holds values j, j+8, j+16 and j+24.
func int2(a *asm) {
	a.integerTable("INT2", "count2", func() { a.i("VMOVDQU32 ·laneShifts2(SB), Z29") }, func() {
		a.i("VPMOVZXBW 4(SI), X2; VSHUFI64X2 $0, Z2, Z2, Z2; VPSRLVW Z29, Z2, Z2; VPERMW Z1, Z2, Z2; VMOVDQU32 Z2, (DI)")
		a.next(12, 32)
	})
}

// int3: scale and zero, four times 24 bits of eight codes.
func int3(a *asm) {
	a.integerTable("INT3", "count3", func() { a.i("VMOVDQU32 ·laneShifts3(SB), Z29; VMOVDQU32 ·lanes3(SB), Z28") }, func() {
		a.i("VBROADCASTI32X4 (SI), Z2; VPSHUFB Z28, Z2, Z2; VPSRLVW Z29, Z2, Z2; VPERMW Z1, Z2, Z2; VMOVDQU32 Z2, (DI)")
		a.next(16, 32)
	})
}

// int4: scale and zero, 16 bytes of nibbles.
func int4(a *asm) {
	a.integerTable("INT4", "count4", func() {}, a.nibbles)
}

// nibbles looks 16 bytes of nibbles behind a scale up in Z1 and ends the loop.
func (a *asm) nibbles() {
	a.i("VPMOVZXBW 4(SI), Y2; VPERMW Y1, Y2, Y3; VPSRLW $4, Y2, Y2; VPERMW Y1, Y2, Y4; VMOVDQU Y3, (DI); VMOVDQU Y4, 32(DI)")
	a.next(20, 32)
}

// levelTable: float32 scale, then codes of 16 levels.
func (a *asm) levelTable(name, levels string, then func()) {
	a.packedDecoder(name)
	a.i("VMOVUPS ·%s(SB), Z30", levels)
	a.label("loop")
	a.i("VBROADCASTSS (SI), Z0; VMULPS Z30, Z0, Z1")
	a.rounded(1, 1, 1, then)
}

func nf4(a *asm) { a.levelTable("NF4", "levelsNF4", a.nibbles) }
func fp4(a *asm) { a.levelTable("FP4", "levelsFP4B", a.nibbles) }

// e2m1: float32 scale, 8 bytes of nibbles for 16 values.
func e2m1(a *asm) {
	a.levelTable("E2M1", "levelsE2M1", func() {
		a.i("VPMOVZXBW 4(SI), X2; VPSRLW $4, X2, X3; VINSERTI128 $1, X3, Y2, Y2; VPERMW Y1, Y2, Y2; VMOVDQU Y2, (DI)")
		a.next(12, 16)
	})
}

// int8codes: scale and zero, 32 codes.
func int8codes(a *asm) {
	a.packedDecoder("INT8")
	a.dword(255, 22)
	a.label("loop")
	a.header()
	for h := range 2 {
		a.i("VPMOVZXBD %d(SI), Z%d; VPSUBD Z1, Z%d, Z%d; VCVTDQ2PS Z%d, Z%d; VMULPS Z%d, Z0, Z%d", 4+16*h, 2+h, 2+h, 2+h, 2+h, 2+h, 2+h, 2+h)
	}
	a.rounded(2, 3, 2, func() {
		a.i("VMOVDQU32 Z2, (DI)")
		a.next(36, 32)
	})
}

// e4m3Tables are the constants of e4m3Words.
func (a *asm) e4m3Tables() {
	for i := range 4 {
		a.i("VMOVDQU32 ·valuesE4M3+%d(SB), Z%d", 64*i, 24+i)
	}
	a.words(64, 28)
	a.words(0x8000, 29)
}

// e4m3Words looks 32 bytes up, the magnitudes in four registers, and makes bf16 in Z[r]. Clobbers K1, Z[r+1], Z[r+2].
func (a *asm) e4m3Words(addr string, r int) {
	a.i("VPMOVSXBW %s, Z%d; VPTESTMW Z28, Z%d, K1; VMOVDQA32 Z%d, Z%d; VMOVDQA32 Z%d, Z%d", addr, r, r, r, r+1, r, r+2)
	a.i("VPERMI2W Z25, Z24, Z%d; VPERMI2W Z27, Z26, Z%d; VPBLENDMW Z%d, Z%d, K1, Z%d; VPTERNLOGD $0xe4, Z29, Z%d, Z%d", r+1, r+2, r+2, r+1, r+1, r+1, r)
}

func f8e4m3(a *asm) {
	a.blockDecoder("F8_E4M3", 0)
	a.e4m3Tables()
	a.label("loop")
	a.e4m3Words("(SI)", 0)
	a.i("VMOVDQU32 Z0, (DI)")
	a.next(32, 32)
}

// f8e5m2: upper bytes of halves.
func f8e5m2(a *asm) {
	a.blockDecoder("F8_E5M2", 0)
	a.label("loop")
	a.i("VPMOVZXBW (SI), Y0; VPMOVZXBW 16(SI), Y1; VPSLLW $8, Y0, Y0; VPSLLW $8, Y1, Y1; VCVTPH2PS Y0, Z0; VCVTPH2PS Y1, Z1")
	a.cvt2(0, 1, 0)
	a.i("VMOVDQU32 Z0, (DI)")
	a.next(32, 32)
}

// fp8: float32 scale, 32 floats of 8 bits.
func fp8(a *asm) {
	a.packedDecoder("FP8")
	a.e4m3Tables()
	a.label("loop")
	a.e4m3Words("4(SI)", 1)
	a.i("VBROADCASTSS (SI), Z0; VEXTRACTI64X4 $1, Z1, Y2")
	for h := range 2 {
		a.i("VPMOVZXWD Y%d, Z%d; VPSLLD $16, Z%d, Z%d; VMULPS Z%d, Z0, Z%d", 1+h, 1+h, 1+h, 1+h, 1+h, 1+h)
	}
	a.rounded(1, 2, 1, func() {
		a.i("VMOVDQU32 Z1, (DI)")
		a.next(36, 32)
	})
}
