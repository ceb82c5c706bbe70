package main

import "fmt"

// halves emits the conversions of 16-bit floats. The AVX2 forms take multiples of 8.
func halves(a *asm) {
	const toSig, fromSig = "dst *uint16, src *float32, n int", "dst *float32, src *uint16, n int"
	begin := func(name, sig, doc string) {
		a.fn(doc, name, sig, 24, 0)
		a.i("MOVQ dst+0(FP), DI; MOVQ src+8(FP), SI; MOVQ n+16(FP), CX")
	}
	type conv struct {
		name   string
		narrow bool
		z, y   func()
		setup  func(z bool)
	}
	bits := func(x uint32, r string) { a.i("MOVL $0x%x, AX; VMOVD AX, X15; VPBROADCASTD X15, %s", x, r) }
	for _, c := range []conv{
		{"bf16FromF32", true, func() {
			a.i("VPSRLD $16, Z0, Z1; VPANDD Z10, Z1, Z2; VPADDD Z11, Z2, Z2; VPADDD Z0, Z2, Z2; VPSRLD $16, Z2, Z2")
			a.i("VCMPPS $3, Z0, Z0, K2; VPORD Z12, Z1, K2, Z2; VPMOVDW Z2, Y0")
		}, func() {
			a.i("VPSRLD $16, Y0, Y1; VPAND Y10, Y1, Y2; VPADDD Y11, Y2, Y2; VPADDD Y0, Y2, Y2; VPSRLD $16, Y2, Y2; VPOR Y12, Y1, Y1")
			a.i("VCMPPS $3, Y0, Y0, Y3; VBLENDVPS Y3, Y1, Y2, Y2; VEXTRACTF128 $1, Y2, X1; VPACKUSDW X1, X2, X0")
		}, func(z bool) {
			for i, x := range []uint32{1, 0x7fff, 0x40} {
				bits(x, fmt.Sprintf("%s%d", map[bool]string{true: "Z", false: "Y"}[z], 10+i))
			}
		}},
		{"f16FromF32", true, func() { a.i("VCVTPS2PH $0, Z0, Y0") }, func() { a.i("VCVTPS2PH $0, Y0, X0") }, func(bool) {}},
		{"f32FromBF16", false, func() { a.i("VPMOVZXWD Y0, Z0; VPSLLD $16, Z0, Z0") }, func() { a.i("VPMOVZXWD X0, Y0; VPSLLD $16, Y0, Y0") }, func(bool) {}},
		{"f32FromF16", false, func() { a.i("VCVTPH2PS Y0, Z0") }, func() { a.i("VCVTPH2PS X0, Y0") }, func(bool) {}},
	} {
		sig, from, to := fromSig, 2, 4
		if c.narrow {
			sig, from, to = toSig, 4, 2
		}
		begin(c.name+"AVX512", sig, "is "+c.name+"Plain over n > 0 elements.")
		c.setup(true)
		load, store := "VMOVDQU16.Z (SI), K1, Y0", "VMOVUPS Z0, K1, (DI)"
		if c.narrow {
			load, store = "VMOVUPS.Z (SI), K1, Z0", "VMOVDQU16 Y0, K1, (DI)"
		}
		a.i("MOVL $0xffff, AX; KMOVW AX, K1")
		a.label("loop")
		a.i("CMPQ CX, $16; JGE full; MOVL $1, AX; SHLL CX, AX; DECL AX; KMOVW AX, K1")
		a.label("full")
		a.i(load)
		c.z()
		a.i(store)
		a.i("ADDQ $%d, SI; ADDQ $%d, DI; SUBQ $16, CX; JGT loop", 16*from, 16*to)
		a.ret()

		begin(c.name+"AVX2", sig, "is "+c.name+"Plain over n elements, n a positive multiple of 8.")
		c.setup(false)
		load, store = "VMOVUPS (SI), X0", "VMOVUPS Y0, (DI)"
		if c.narrow {
			load, store = "VMOVUPS (SI), Y0", "VMOVUPS X0, (DI)"
		}
		a.label("loop")
		a.i(load)
		c.y()
		a.i(store)
		a.i("ADDQ $%d, SI; ADDQ $%d, DI; SUBQ $8, CX; JNZ loop", 8*from, 8*to)
		a.ret()
	}
}
