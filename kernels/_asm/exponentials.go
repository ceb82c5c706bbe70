package main

import "fmt"

// expBits are constants of exp: those of exp2 (C1 ... C6 and 1), the range, log₂e and its rest. The table ends with the integer 127.
var expBits = append(append([]float32{}, exp2Bits...), -110, 88.37626, 1.44269502162933349609375, 1.92596299e-8)

// Indices into expBits and the table.
const (
	expOne = 6 + iota
	expLow
	expHigh
	expLog2
	expLog2Rest
	expInt127
)

// exp emits r = eʳ with scratch registers n and p. AVX-512 keeps the constants in Z16 ... (see expSetup), AVX2 in memory.
func (v *vec) exp(r, n, p int) {
	k := func(i int) any {
		if v.z {
			return 16 + i
		}
		return fmt.Sprintf("·expTable+%d(SB)", i*32)
	}
	bound := func(op string, i int) { // the constant first: a NaN in r stays
		if v.z {
			v.op(op, r, 16+i, r)
			return
		}
		v.op("VMOVUPS", k(i), n)
		v.op(op, r, n, r)
	}
	bound("VMAXPS", expLow)
	bound("VMINPS", expHigh)
	if v.z {
		v.op("VMULPS", k(expLog2), r, n)
		v.op("VRNDSCALEPS", "$8", n, n)
		v.op("VMOVAPS", n, p)
		v.op("VFMSUB231PS", k(expLog2), r, p) // x·log₂e - n
		v.op("VFMADD132PS", k(expLog2Rest), p, r)
		v.op("VMOVAPS", k(5), p)
	} else {
		v.op("VMULPS", k(expLog2), r, n)
		v.op("VROUNDPS", "$8", n, n)
		v.op("VMOVAPS", n, p)
		v.op("VFMSUB231PS", k(expLog2), r, p)
		v.op("VFMADD132PS", k(expLog2Rest), p, r)
		v.op("VMOVUPS", k(5), p)
	}
	for i := 4; i >= 0; i-- {
		v.op("VFMADD213PS", k(i), r, p)
	}
	v.op("VFMADD213PS", k(expOne), r, p)
	if v.z {
		v.op("VSCALEFPS", n, p, r)
		return
	}
	// 2ⁿ for n from -159 to 127: exponents at or below zero become 0.
	v.op("VCVTPS2DQ", n, n)
	v.op("VPADDD", k(expInt127), n, n)
	v.op("VPSRAD", "$31", n, r)
	v.op("VPANDN", n, r, n)
	v.op("VPSLLD", "$23", n, n)
	v.op("VMULPS", n, p, r)
}

func (v *vec) expSetup() {
	if v.z {
		for i := range expBits {
			v.i("VBROADCASTSS ·expTable+%d(SB), Z%d", i*32, 16+i)
		}
	}
}

// exponentials emits sumExp, expSum, scaleExp, swiGLU and its backward.
func exponentials(a *asm, z bool) {
	sumOfExp(a, z, "sumExp")
	sumOfExp(a, z, "expSum")
	scaledExp(a, z)
	gated(a, z)
	gatedBackward(a, z)
}

// sumOfExp emits the sum of exponentials; expSum leaves them in x.
func sumOfExp(a *asm, z bool, name string) {
	v := &vec{asm: a, z: z}
	v.fn("is "+name+"Plain over n > 0 elements.", v.name(name), "x *float32, n int, m float32) (s float64", 32, 0)
	v.i("MOVQ x+0(FP), SI; MOVQ n+8(FP), CX")
	v.expSetup()
	v.op("VBROADCASTSS", "m+16(FP)", 14)
	v.zero(4)
	v.each(2, func(u int) {
		r := 4 + 4*u
		v.load("SI", u, r)
		v.op("VSUBPS", 14, r, r)
		v.exp(r, r+1, r+2)
		if name == "expSum" {
			v.store(r, "SI", u)
		}
		if z {
			if v.masked {
				v.op("VMOVAPS.Z", r, "K1", r)
			}
			v.i("VEXTRACTF64X4 $1, Z%d, Y%d; VCVTPS2PD Y%d, Z%d; VADDPD Z%d, Z%d, Z%d; VCVTPS2PD Y%d, Z%d; VADDPD Z%d, Z%d, Z%d",
				r, r+1, r, r, r, 2*u, 2*u, r+1, r+1, r+1, 2*u+1, 2*u+1)
			return
		}
		if v.masked {
			v.op("VANDPS", 15, r, r)
		}
		v.i("VEXTRACTF128 $1, Y%d, X%d; VCVTPS2PD X%d, Y%d; VADDPD Y%d, Y%d, Y%d; VCVTPS2PD X%d, Y%d; VADDPD Y%d, Y%d, Y%d",
			r, r+1, r, r, r, 2*u, 2*u, r+1, r+1, r+1, 2*u+1, 2*u+1)
	})
	v.op("VADDPD", 1, 0, 0)
	v.op("VADDPD", 3, 2, 2)
	v.op("VADDPD", 2, 0, 0)
	if z {
		v.i("VEXTRACTF64X4 $1, Z0, Y1; VADDPD Y1, Y0, Y0")
	}
	v.i("VEXTRACTF128 $1, Y0, X1; VADDPD X1, X0, X0; VPERMILPD $1, X0, X1; VADDSD X1, X0, X0; VMOVSD X0, s+24(FP)")
	v.ret()
}

func scaledExp(a *asm, z bool) {
	v := &vec{asm: a, z: z}
	v.fn("is scaleExpPlain over n > 0 elements.", v.name("scaleExp"), "x *float32, n int, m, by float32", 24, 0)
	v.i("MOVQ x+0(FP), SI; MOVQ n+8(FP), CX")
	v.expSetup()
	v.op("VBROADCASTSS", "m+16(FP)", 14)
	v.op("VBROADCASTSS", "by+20(FP)", 13)
	v.each(4, func(u int) {
		v.load("SI", u, 3*u)
		v.op("VSUBPS", 14, 3*u, 3*u)
		v.exp(3*u, 3*u+1, 3*u+2)
		v.op("VMULPS", 13, 3*u, 3*u)
		v.store(3*u, "SI", u)
	})
	v.ret()
}

// sigmoid emits register r+1 = 1 + e^-g, of g in register r; scratch r+2, r+3.
func (v *vec) sigmoid(r int) {
	v.op("VXORPS", r+1, r+1, r+1)
	v.op("VSUBPS", r, r+1, r+1)
	v.exp(r+1, r+2, r+3)
	if v.z {
		v.op("VADDPS", 16+expOne, r+1, r+1)
	} else {
		v.op("VADDPS", fmt.Sprintf("·expTable+%d(SB)", expOne*32), r+1, r+1)
	}
}

func gated(a *asm, z bool) {
	v := &vec{asm: a, z: z}
	v.fn("is swiGLUPlain over n > 0 elements.", v.name("swiGLU"), "y, gate, up *float32, n int", 32, 0)
	v.i("MOVQ y+0(FP), DI; MOVQ gate+8(FP), SI; MOVQ up+16(FP), R8; MOVQ n+24(FP), CX")
	v.expSetup()
	v.each(2, func(u int) {
		r := 5 * u
		v.load("SI", u, r)
		v.sigmoid(r)
		v.load("R8", u, r+2)
		v.op("VDIVPS", r+1, r, r)
		v.op("VMULPS", r+2, r, r)
		v.store(r, "DI", u)
	})
	v.ret()
}

func gatedBackward(a *asm, z bool) {
	v := &vec{asm: a, z: z}
	v.fn("is swiGLUBackwardPlain over n > 0 elements.", v.name("swiGLUBackward"), "dgate, dup, dy, gate, up *float32, n int", 48, 0)
	v.i("MOVQ dgate+0(FP), DI; MOVQ dup+8(FP), R9; MOVQ dy+16(FP), R10; MOVQ gate+24(FP), SI; MOVQ up+32(FP), R8; MOVQ n+40(FP), CX")
	v.expSetup()
	v.each(2, func(u int) {
		r := 5 * u
		v.load("SI", u, r)
		v.sigmoid(r)
		one := any(16 + expOne)
		if !z {
			one = 14
			v.op("VMOVUPS", fmt.Sprintf("·expTable+%d(SB)", expOne*32), 14)
		}
		v.op("VDIVPS", r+1, one, r+1) // s
		v.op("VMULPS", r+1, r, r+2)   // g·s
		v.load("R10", u, r+3)
		v.load("R8", u, r+4)
		v.op("VSUBPS", r+1, one, r)      // 1 - s
		v.op("VMULPS", r+3, r+4, r+4)    // dy·up
		v.op("VFMADD213PS", r+1, r+2, r) // g·s·(1-s) + s = s·(1 + g·(1-s))
		v.op("VMULPS", r+2, r+3, r+3)
		v.op("VMULPS", r, r+4, r+4)
		v.store(r+3, "R9", u)
		v.store(r+4, "DI", u)
	})
	v.ret()
}
