package main

// decoders emits what turns n blocks of a stored type into bf16, rounded to nearest even from the float32 the type's formula gives
// with one rounding per operation: no fused multiply-adds here.
//
// Types of 4 and 5 bits make the 16 or 32 values of a group once and look them up (VPERMW); the others compute value by value.
func decoders(a *asm) {
	floats := func(name string, from float32, n int) {
		t := make([]uint32, n)
		for i := range t {
			t[i] = f32bits(from + float32(i))
		}
		a.table(name, t)
	}
	floats("from0", 0, 32)
	floats("fromMinus8", -8, 16)
	floats("fromMinus16", -16, 32)
	f16(a)
	q80(a)
	q40(a, "Q4_0", false)
	q40(a, "Q4_1", true)
	q50(a, "Q5_0", false)
	q50(a, "Q5_1", true)
	q2k(a)
	q3k(a)
	q4k(a)
	q5k(a)
	q6k(a)
}

// decoder begins a function: DI the bf16 of a row to write, SI its blocks, CX their number.
func (a *asm) decoder(name string, frame int) {
	a.fn("decodes rows of n blocks, both positive: ld values from row to row of dst, stride bytes of src.", "dec"+name,
		"dst *uint16, ld int, src *byte, stride, n, rows int", 48, frame)
	a.i("SHLQ $1, ld+8(FP)")
	a.label("row")
	a.i("MOVQ dst+0(FP), DI; MOVQ src+16(FP), SI; MOVQ n+32(FP), CX")
}

// nextRow closes the loops over the blocks of a row and over rows.
func (a *asm) nextRow(src, values int) {
	a.i("ADDQ $%d, SI; ADDQ $%d, DI; DECQ CX; JNZ loop", src, 2*values)
	a.i("MOVQ ld+8(FP), AX; ADDQ AX, dst+0(FP); MOVQ stride+24(FP), AX; ADDQ AX, src+16(FP); DECQ rows+40(FP); JNZ row")
	a.ret()
}

// next closes the loop over blocks.
func (a *asm) next(src, values int) {
	a.i("ADDQ $%d, SI; ADDQ $%d, DI; DECQ CX; JNZ loop", src, 2*values)
	a.ret()
}

// half loads one f16 from memory into all 16 lanes of Z[r] as float32.
func (a *asm) half(addr string, r int) {
	a.i("VPBROADCASTW %s, Y%d; VCVTPH2PS Y%d, Z%d", addr, r, r, r)
}

// bytes sets all bytes of Y[r], words all words of Z[r].
func (a *asm) bytes(v, r int) { a.i("MOVL $0x%02x, AX; VPBROADCASTB AX, Y%d", v, r) }
func (a *asm) words(v, r int) { a.i("MOVL $0x%04x, AX; VPBROADCASTW AX, Z%d", v, r) }

// small turns the 32 signed bytes of Y[q] into 32 bf16 at off(DI): scale·q - min, scale and min of 16 values each at 4-byte
// offsets into the frame; min < 0: none. Clobbers Z8..Z13.
func (a *asm) small(q, off, frame, scale, min int) {
	a.i("VPMOVSXBD X%d, Z8; VEXTRACTI128 $1, Y%d, X9; VPMOVSXBD X9, Z9", q, q)
	for h := range 2 {
		a.i("VBROADCASTSS buf-%d(SP), Z%d; VCVTDQ2PS Z%d, Z%d; VMULPS Z%d, Z%d, Z%d", frame-scale-4*h, 10+h, 8+h, 8+h, 10+h, 8+h, 8+h)
		if min >= 0 {
			a.i("VBROADCASTSS buf-%d(SP), Z%d; VSUBPS Z%d, Z%d, Z%d", frame-min-4*h, 12+h, 12+h, 8+h, 8+h)
		}
	}
	a.cvt2(8, 9, 8)
	a.i("VMOVDQU32 Z8, %d(DI)", off)
}

// f16 decodes n groups of 32 halves.
func f16(a *asm) {
	a.decoder("F16", 0)
	a.label("loop")
	a.i("VCVTPH2PS (SI), Z0; VCVTPH2PS 32(SI), Z1")
	a.cvt2(0, 1, 0)
	a.i("VMOVDQU32 Z0, (DI)")
	a.nextRow(64, 32)
}

// q80: d f16, 32 x int8.
func q80(a *asm) {
	a.decoder("Q8_0", 0)
	a.label("loop")
	a.half("(SI)", 0)
	for h := range 2 {
		a.i("VPMOVSXBD %d(SI), Z%d; VCVTDQ2PS Z%d, Z%d; VMULPS Z0, Z%d, Z%d", 2+16*h, 1+h, 1+h, 1+h, 1+h, 1+h)
	}
	a.cvt2(3, 2, 1)
	a.i("VMOVDQU32 Z3, (DI)")
	a.nextRow(34, 32)
}

// q40: d f16, with a min also m f16; 16 bytes, low nibbles are values 0..15, high nibbles 16..31.
func q40(a *asm, name string, min bool) {
	a.decoder(name, 0)
	head := 2
	if min {
		head = 4
		a.i("VMOVUPS ·from0(SB), Z30")
	} else {
		a.i("VMOVUPS ·fromMinus8(SB), Z30")
	}
	a.label("loop")
	a.half("(SI)", 0)
	a.i("VMULPS Z30, Z0, Z1")
	if min {
		a.half("2(SI)", 2)
		a.i("VADDPS Z2, Z1, Z1")
	}
	a.cvt1(1, 1)
	a.i("VPMOVZXBW %d(SI), Y2; VPERMW Y1, Y2, Y3", head) // only the low 4 bits of an index count
	a.i("VPSRLW $4, Y2, Y2; VPERMW Y1, Y2, Y4; VMOVDQU Y3, (DI); VMOVDQU Y4, 32(DI)")
	a.nextRow(head+16, 32)
}

// q50: d f16, with a min also m f16; 32 fifth bits, 16 bytes as above.
func q50(a *asm, name string, min bool) {
	a.decoder(name, 0)
	table, head := "fromMinus16", 2
	if min {
		table, head = "from0", 4
	}
	a.i("VMOVUPS ·%s(SB), Z30; VMOVUPS ·%s+64(SB), Z31", table, table)
	a.words(16, 29)
	a.words(15, 28)
	a.label("loop")
	a.half("(SI)", 0)
	a.i("VMULPS Z30, Z0, Z1; VMULPS Z31, Z0, Z2")
	if min {
		a.half("2(SI)", 3)
		a.i("VADDPS Z3, Z1, Z1; VADDPS Z3, Z2, Z2")
	}
	a.cvt2(1, 2, 1)
	a.i("VPMOVZXBW %d(SI), Y2; VPSRLW $4, Y2, Y3; VINSERTI64X4 $1, Y3, Z2, Z2; VPANDD Z28, Z2, Z2", head+4)
	a.i("KMOVD %d(SI), K1; VPADDW Z29, Z2, K1, Z2; VPERMW Z1, Z2, Z2; VMOVDQU32 Z2, (DI)", head)
	a.nextRow(head+20, 32)
}

// q2k: 16 bytes scale | min<<4, 64 bytes of 2 bits, d f16, dmin f16.
func q2k(a *asm) {
	a.decoder("Q2_K", 128)
	a.bytes(3, 7)
	a.i("MOVL $15, AX; VPBROADCASTD AX, Z6")
	a.label("loop")
	a.half("80(SI)", 0)
	a.half("82(SI)", 1)
	a.i("VPMOVZXBD (SI), Z2; VPSRLD $4, Z2, Z3; VPANDD Z6, Z2, Z2; VCVTDQ2PS Z2, Z2; VCVTDQ2PS Z3, Z3")
	a.i("VMULPS Z2, Z0, Z2; VMULPS Z3, Z1, Z3; VMOVUPS Z2, buf-128(SP); VMOVUPS Z3, buf-64(SP)")
	for h := range 2 {
		a.i("VMOVDQU %d(SI), Y4", 16+32*h)
		for j := range 4 {
			a.i("VPSRLW $%d, Y4, Y5; VPAND Y7, Y5, Y5", 2*j)
			a.small(5, 256*h+64*j, 128, 32*h+8*j, 64+32*h+8*j)
		}
	}
	a.nextRow(84, 256)
}

// q3k: 32 bytes of high bits, 64 bytes of 2 bits, 12 bytes of 6-bit scales + 32, d f16.
func q3k(a *asm) {
	a.decoder("Q3_K", 64)
	a.bytes(3, 7)
	a.bytes(4, 6)
	a.i("MOVL $32, AX; VPBROADCASTB AX, X15")
	for m := range 8 {
		a.bytes(1<<m, 16+m)
	}
	a.label("loop")
	q3Bits(a, 0)
	a.i("VPSUBB X15, X0, X0; VPMOVSXBD X0, Z0; VCVTDQ2PS Z0, Z0")
	a.half("108(SI)", 1)
	a.i("VMULPS Z0, Z1, Z0; VMOVUPS Z0, buf-64(SP); VMOVDQU (SI), Y3")
	for h := range 2 {
		a.i("VMOVDQU %d(SI), Y4", 32+32*h)
		for j := range 4 {
			a.i("VPSRLW $%d, Y4, Y5; VPAND Y7, Y5, Y5; VPTESTNMB Y%d, Y3, K1; VPSUBB Y6, Y5, K1, Y5", 2*j, 16+4*h+j)
			a.small(5, 256*h+64*j, 64, 32*h+8*j, -1)
		}
	}
	a.nextRow(110, 256)
}

// q3Bits unpacks the twelve 6-bit scale bytes of the Q3_K block at SI into X[r], each 32 more than the scale. Clobbers AX, BX, R8..R10.
func q3Bits(a *asm, r int) {
	a.i("MOVL 96(SI), R8; MOVL 100(SI), R9; MOVL 104(SI), R10")
	for i, reg := range []string{"R8", "R9", "R8", "R9"} { // four scales: a nibble each of 96(SI) or 100(SI), two bits of 104(SI)
		a.i("MOVL %s, AX; SHRL $%d, AX; ANDL $0x0f0f0f0f, AX; MOVL R10, BX; SHRL $%d, BX; ANDL $0x03030303, BX; SHLL $4, BX; ORL BX, AX", reg, i/2*4, 2*i)
		a.i("VPINSRD $%d, AX, X%d, X%d", i, r, r)
	}
}

// kBits unpacks the twelve 6-bit scale bytes of the Q4_K or Q5_K block at SI: eight scales into AX, eight minima into BX.
// row is added to its address. Clobbers R8..R11.
func kBits(a *asm, row string) {
	a.i("MOVL 4(SI)%s, R8; MOVL 8(SI)%s, R9; MOVL 12(SI)%s, R10", row, row, row)
	a.i("MOVL R8, AX; ANDL $0x3f3f3f3f, AX")    // scales 0..3
	a.i("MOVL R9, BX; ANDL $0x3f3f3f3f, BX")    // mins 0..3
	a.i("MOVL R10, R11; ANDL $0x0f0f0f0f, R11") // scales 4..7
	a.i("SHRL $2, R8; ANDL $0x30303030, R8; ORL R8, R11")
	a.i("SHRL $4, R10; ANDL $0x0f0f0f0f, R10") // mins 4..7
	a.i("SHRL $2, R9; ANDL $0x30303030, R9; ORL R9, R10")
	a.i("SHLQ $32, R11; ORQ R11, AX; SHLQ $32, R10; ORQ R10, BX")
}

// kScales leaves eight d*scale, eight dmin*min of the Q4_K or Q5_K block at SI in the frame.
// K1 must be 0xff00. Clobbers AX, BX, R8..R11, Z0..Z2.
func kScales(a *asm) {
	kBits(a, "")
	a.i("VMOVQ AX, X0; VPINSRQ $1, BX, X0, X0; VPMOVZXBD X0, Z0; VCVTDQ2PS Z0, Z0")
	a.half("(SI)", 1)
	a.half("2(SI)", 2)
	a.i("VMOVAPS Z2, K1, Z1; VMULPS Z1, Z0, Z0; VMOVUPS Z0, buf-64(SP)")
}

// q4k: d f16, dmin f16, 12 bytes of 6-bit scales and mins, 128 bytes: 32 low nibbles with scale 2p, 32 high with scale 2p+1.
func q4k(a *asm) {
	a.decoder("Q4_K", 64)
	a.i("MOVL $0xff00, AX; KMOVW AX, K1; VMOVUPS ·from0(SB), Z30")
	a.label("loop")
	kScales(a)
	for p := range 4 {
		a.i("VPMOVZXBW %d(SI), Z5", 16+32*p)
		for h := range 2 {
			j := 2*p + h
			a.i("VBROADCASTSS buf-%d(SP), Z6; VBROADCASTSS buf-%d(SP), Z7; VMULPS Z30, Z6, Z6; VSUBPS Z7, Z6, Z6", 64-4*j, 32-4*j)
			a.cvt2(6, 6, 6) // the 16 values twice, so bit 4 of an index does not matter
			a.i("VPERMW Z6, Z5, Z8; VMOVDQU32 Z8, %d(DI)", 64*j)
			if h == 0 {
				a.i("VPSRLW $4, Z5, Z5")
			}
		}
	}
	a.nextRow(144, 256)
}

// q5k: as Q4_K, with 32 bytes of fifth bits (bit j of byte i: value i of group j) before the nibbles.
func q5k(a *asm) {
	a.decoder("Q5_K", 64)
	a.i("MOVL $0xff00, AX; KMOVW AX, K1; VMOVUPS ·from0(SB), Z30; VMOVUPS ·from0+64(SB), Z31")
	a.words(16, 29)
	a.words(15, 28)
	for j := range 8 {
		a.bytes(1<<j, 16+j)
	}
	a.label("loop")
	kScales(a)
	a.i("VMOVDQU 16(SI), Y4")
	for p := range 4 {
		a.i("VPMOVZXBW %d(SI), Z5", 48+32*p)
		for h := range 2 {
			j := 2*p + h
			a.i("VBROADCASTSS buf-%d(SP), Z6; VBROADCASTSS buf-%d(SP), Z8; VMULPS Z31, Z6, Z7; VMULPS Z30, Z6, Z6", 64-4*j, 32-4*j)
			a.i("VSUBPS Z8, Z7, Z7; VSUBPS Z8, Z6, Z6")
			a.cvt2(6, 7, 6)
			a.i("VPANDD Z28, Z5, Z8; VPTESTMB Y%d, Y4, K2; VPADDW Z29, Z8, K2, Z8; VPERMW Z6, Z8, Z8; VMOVDQU32 Z8, %d(DI)", 16+j, 64*j)
			if h == 0 {
				a.i("VPSRLW $4, Z5, Z5")
			}
		}
	}
	a.nextRow(176, 256)
}

// q6k: 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 int8 scales, d f16.
func q6k(a *asm) {
	a.decoder("Q6_K", 64)
	a.bytes(15, 7)
	a.bytes(0x30, 6)
	a.bytes(32, 15)
	a.label("loop")
	a.half("208(SI)", 0)
	a.i("VPMOVSXBD 192(SI), Z1; VCVTDQ2PS Z1, Z1; VMULPS Z1, Z0, Z1; VMOVUPS Z1, buf-64(SP)")
	for h := range 2 {
		a.i("VMOVDQU %d(SI), Y3", 128+32*h)
		for j := range 4 {
			a.i("VMOVDQU %d(SI), Y4", 64*h+j%2*32)
			if j >= 2 {
				a.i("VPSRLW $4, Y4, Y4")
			}
			shift := []string{"VPSLLW $4", "VPSLLW $2", "", "VPSRLW $2"}[j]
			high := "Y3"
			if shift != "" {
				a.i("%s, Y3, Y5", shift)
				high = "Y5"
			}
			a.i("VPAND Y7, Y4, Y4; VPAND Y6, %s, Y5; VPOR Y4, Y5, Y5; VPSUBB Y15, Y5, Y5", high)
			a.small(5, 256*h+64*j, 64, 32*h+8*j, -1)
		}
	}
	a.nextRow(210, 256)
}
