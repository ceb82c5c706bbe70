package main

import (
	"fmt"
	"strings"
)

// rows emits the kernels over slices: sums, element by element, exponentials, AdamW, conversions; each for AVX-512 and AVX2.
func rows(a *asm) {
	edge := make([]uint32, 16) // a window of 8 words of it masks the first lanes of a register
	for i := range 8 {
		edge[i] = ^uint32(0)
	}
	a.table("edgeMask", edge)
	var t []uint32
	for _, c := range expBits {
		for range 8 {
			t = append(t, f32bits(c))
		}
	}
	for range 8 {
		t = append(t, 127)
	}
	a.table("expTable", t)
	for _, z := range []bool{true, false} {
		sums(a, z)
		sumOfSquares(a, z)
		elements(a, z)
		exponentials(a, z)
		adam(a, z)
		largest(a, z)
	}
	halves(a)
}

// vec is one kernel under construction for one width of registers. The running byte offset is BX, what is left CX.
type vec struct {
	*asm
	z      bool
	masked bool // in the body of the last, partial register
}

func (v *vec) width() int {
	if v.z {
		return 16
	}
	return 8
}

// r is the name of vector register i.
func (v *vec) r(i int) string {
	if v.z {
		return fmt.Sprintf("Z%d", i)
	}
	return fmt.Sprintf("Y%d", i)
}

// op emits one vector instruction: an argument that is a number names a register.
func (v *vec) op(name string, args ...any) {
	var s []string
	for _, x := range args {
		if i, ok := x.(int); ok {
			s = append(s, v.r(i))
		} else {
			s = append(s, x.(string))
		}
	}
	v.i("%s %s", name, strings.Join(s, ", "))
}

// at is the address of vector u of the slice at ptr.
func (v *vec) at(ptr string, u int) string { return fmt.Sprintf("%d(%s)(BX*1)", u*v.width()*4, ptr) }

// load brings vector u of the slice at ptr, lanes past the end 0; store writes it.
func (v *vec) load(ptr string, u, r int) {
	switch {
	case !v.masked:
		v.op("VMOVUPS", v.at(ptr, u), r)
	case v.z:
		v.op("VMOVUPS.Z", v.at(ptr, u), "K1", r)
	default:
		v.op("VMASKMOVPS", v.at(ptr, u), 15, r)
	}
}

func (v *vec) store(r int, ptr string, u int) {
	switch {
	case !v.masked:
		v.op("VMOVUPS", r, v.at(ptr, u))
	case v.z:
		v.op("VMOVUPS", r, "K1", v.at(ptr, u))
	default:
		v.op("VMASKMOVPS", r, 15, v.at(ptr, u))
	}
}

// name is the function's name at this width.
func (v *vec) name(base string) string {
	if v.z {
		return base + "AVX512"
	}
	return base + "AVX2"
}

// each emits the loop over CX elements, unroll vectors at a time, then one, then the masked rest; body is one vector.
func (v *vec) each(unroll int, body func(u int)) {
	w := v.width()
	v.i("XORQ BX, BX; SUBQ $%d, CX; JLT tail; PCALIGN $32", unroll*w)
	v.label("loop")
	for u := range unroll {
		body(u)
	}
	v.i("ADDQ $%d, BX; SUBQ $%d, CX; JGE loop", unroll*w*4, unroll*w)
	v.label("tail")
	v.i("ADDQ $%d, CX; JZ end", unroll*w)
	v.label("one")
	v.i("SUBQ $%d, CX; JLT rest", w)
	body(0)
	v.i("ADDQ $%d, BX; JMP one", w*4)
	v.label("rest")
	v.i("ADDQ $%d, CX; JZ end", w)
	if v.z {
		v.i("MOVL $1, AX; SHLL CX, AX; DECL AX; KMOVW AX, K1")
	} else {
		v.i("LEAQ ·edgeMask+32(SB), AX; SHLQ $2, CX; SUBQ CX, AX; VMOVUPS (AX), Y15")
	}
	v.masked = true
	body(0)
	v.masked = false
	v.label("end")
}

// zero clears registers 0 ... n-1.
func (v *vec) zero(n int) {
	for r := range n {
		v.i("VXORPS X%d, X%d, X%d", r, r, r)
	}
}

// sums emits dot and dot3: four chains, added in a tree.
func sums(a *asm, z bool) {
	for _, three := range []bool{false, true} {
		v := &vec{asm: a, z: z}
		if three {
			v.fn("is dot3Plain over n > 0 elements.", v.name("dot3"), "x, y, z *float32, n int) (s float32", 36, 0)
			v.i("MOVQ x+0(FP), SI; MOVQ y+8(FP), DI; MOVQ z+16(FP), R8; MOVQ n+24(FP), CX")
		} else {
			v.fn("is dotPlain over n > 0 elements.", v.name("dot"), "x, y *float32, n int) (s float32", 28, 0)
			v.i("MOVQ x+0(FP), SI; MOVQ y+8(FP), DI; MOVQ n+16(FP), CX")
		}
		v.zero(4)
		v.each(4, func(u int) {
			v.load("SI", u, 4+u)
			v.load("DI", u, 8+u)
			if three {
				v.op("VMULPS", 8+u, 4+u, 4+u)
				v.load("R8", u, 8+u)
			}
			v.op("VFMADD231PS", 8+u, 4+u, u)
		})
		v.op("VADDPS", 2, 0, 0)
		v.op("VADDPS", 3, 1, 1)
		v.op("VADDPS", 1, 0, 0)
		across(a, "VADDPS", z, 0, 1)
		if three {
			v.i("VMOVSS X0, s+32(FP)")
		} else {
			v.i("VMOVSS X0, s+24(FP)")
		}
		v.ret()
	}
}

// sumOfSquares emits SumSquares: 16 lanes of float64, so that the bits are those of sumSquaresPlain.
func sumOfSquares(a *asm, z bool) {
	v := &vec{asm: a, z: z}
	v.fn("is sumSquaresPlain over n > 0 elements.", v.name("sumSquares"), "x *float32, n int) (s float64", 24, 0)
	v.i("MOVQ x+0(FP), SI; MOVQ n+8(FP), CX")
	v.zero(4)
	if z {
		v.each(1, func(int) {
			v.load("SI", 0, 4)
			v.i("VEXTRACTF64X4 $1, Z4, Y5; VCVTPS2PD Y4, Z6; VCVTPS2PD Y5, Z7; VFMADD231PD Z6, Z6, Z0; VFMADD231PD Z7, Z7, Z1")
		})
		v.i("VADDPD Z1, Z0, Z0; VEXTRACTF64X4 $1, Z0, Y1; VADDPD Y1, Y0, Y0")
	} else {
		v.i("XORQ BX, BX; SUBQ $16, CX; JLT tail")
		v.label("loop")
		quarter := func(i int, src string) {
			v.i("VCVTPS2PD %s, Y4; VFMADD231PD Y4, Y4, Y%d", src, i)
		}
		for i := range 4 {
			quarter(i, fmt.Sprintf("%d(SI)(BX*1)", i*16))
		}
		v.i("ADDQ $64, BX; SUBQ $16, CX; JGE loop")
		v.label("tail")
		v.i("ADDQ $16, CX; JZ end; LEAQ ·edgeMask+32(SB), AX; CMPQ CX, $8; JLT part")
		quarter(0, "(SI)(BX*1)")
		quarter(1, "16(SI)(BX*1)")
		half := func(to int) {
			v.i("SHLQ $2, CX; SUBQ CX, AX; VMOVUPS (AX), Y15; VMASKMOVPS (SI)(BX*1), Y15, Y5; VEXTRACTF128 $1, Y5, X6")
			quarter(to, "X5")
			quarter(to+1, "X6")
		}
		v.i("ADDQ $32, BX; SUBQ $8, CX; JZ end")
		half(2)
		v.i("JMP end")
		v.label("part")
		half(0)
		v.label("end")
		v.i("VADDPD Y2, Y0, Y0; VADDPD Y3, Y1, Y1; VADDPD Y1, Y0, Y0")
	}
	v.i("VEXTRACTF128 $1, Y0, X1; VADDPD X1, X0, X0; VPERMILPD $1, X0, X1; VADDSD X1, X0, X0; VMOVSD X0, s+16(FP)")
	v.ret()
}

// elements emits the kernels without a sum.
func elements(a *asm, z bool) {
	for _, op := range []string{"add", "mul"} {
		v := &vec{asm: a, z: z}
		v.fn("is "+op+"Plain over n > 0 elements.", v.name(op), "dst, x, y *float32, n int", 32, 0)
		v.i("MOVQ dst+0(FP), DI; MOVQ x+8(FP), SI; MOVQ y+16(FP), R8; MOVQ n+24(FP), CX")
		v.each(4, func(u int) {
			v.load("SI", u, 2*u)
			v.load("R8", u, 2*u+1)
			v.op("V"+strings.ToUpper(op)+"PS", 2*u+1, 2*u, 2*u)
			v.store(2*u, "DI", u)
		})
		v.ret()
	}
	for _, op := range []string{"scale", "axpy"} {
		v := &vec{asm: a, z: z}
		v.fn("is "+op+"Plain over n > 0 elements.", v.name(op), "dst *float32, c float32, x *float32, n int", 32, 0)
		v.i("MOVQ dst+0(FP), DI; MOVQ x+16(FP), SI; MOVQ n+24(FP), CX")
		v.op("VBROADCASTSS", "c+8(FP)", 14)
		v.each(4, func(u int) {
			v.load("SI", u, 2*u)
			if op == "scale" {
				v.op("VMULPS", 14, 2*u, 2*u)
				v.store(2*u, "DI", u)
				return
			}
			v.load("DI", u, 2*u+1)
			v.op("VFMADD231PS", 14, 2*u, 2*u+1)
			v.store(2*u+1, "DI", u)
		})
		v.ret()
	}
	for _, op := range []string{"scaleMul", "axpyMul"} {
		v := &vec{asm: a, z: z}
		v.fn("is "+op+"Plain over n > 0 elements.", v.name(op), "dst *float32, c float32, x, y *float32, n int", 40, 0)
		v.i("MOVQ dst+0(FP), DI; MOVQ x+16(FP), SI; MOVQ y+24(FP), R8; MOVQ n+32(FP), CX")
		v.op("VBROADCASTSS", "c+8(FP)", 14)
		v.each(4, func(u int) {
			v.load("SI", u, 2*u)
			v.load("R8", u, 2*u+1)
			if op == "scaleMul" {
				v.op("VMULPS", 14, 2*u, 2*u)
				v.op("VMULPS", 2*u+1, 2*u, 2*u)
				v.store(2*u, "DI", u)
				return
			}
			v.op("VMULPS", 2*u+1, 2*u, 2*u)
			v.load("DI", u, 2*u+1)
			v.op("VFMADD231PS", 14, 2*u, 2*u+1)
			v.store(2*u+1, "DI", u)
		})
		v.ret()
	}
	v := &vec{asm: a, z: z}
	v.fn("is normGradPlain over n > 0 elements.", v.name("normGrad"), "dst *float32, p float32, x, w *float32, c float32, z *float32, n int", 56, 0)
	v.i("MOVQ dst+0(FP), DI; MOVQ x+16(FP), SI; MOVQ w+24(FP), R8; MOVQ z+40(FP), R9; MOVQ n+48(FP), CX")
	v.op("VBROADCASTSS", "p+8(FP)", 14)
	v.op("VBROADCASTSS", "c+32(FP)", 13)
	v.each(4, func(u int) {
		v.load("SI", u, 3*u)
		v.load("R8", u, 3*u+1)
		v.load("R9", u, 3*u+2)
		v.op("VMULPS", 3*u+1, 3*u, 3*u)
		v.op("VMULPS", 13, 3*u+2, 3*u+2)
		v.op("VFMADD231PS", 14, 3*u, 3*u+2)
		v.store(3*u+2, "DI", u)
	})
	v.ret()
	v = &vec{asm: a, z: z}
	v.fn("is ropePlain over n > 0 pairs.", v.name("rope"), "y0, y1, x0, x1, cos, sin *float32, n int, sign float32", 60, 0)
	v.i("MOVQ y0+0(FP), DI; MOVQ y1+8(FP), SI; MOVQ x0+16(FP), R8; MOVQ x1+24(FP), R9; MOVQ cos+32(FP), R10; MOVQ sin+40(FP), R11; MOVQ n+48(FP), CX")
	v.op("VBROADCASTSS", "sign+56(FP)", 14)
	v.each(1, func(u int) {
		v.load("R8", u, 0)
		v.load("R9", u, 1)
		v.load("R10", u, 2)
		v.load("R11", u, 3)
		v.op("VMULPS", 14, 3, 3)
		v.op("VMULPS", 3, 1, 4)
		v.op("VFMSUB231PS", 2, 0, 4) // x0·cos - x1·sin
		v.op("VMULPS", 3, 0, 5)
		v.op("VFMADD231PS", 2, 1, 5)
		v.store(4, "DI", u)
		v.store(5, "SI", u)
	})
	v.ret()
}

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

// exponentials emits sumExp, scaleExp, swiGLU and its backward.
func exponentials(a *asm, z bool) {
	v := &vec{asm: a, z: z}
	v.fn("is sumExpPlain over n > 0 elements.", v.name("sumExp"), "x *float32, n int, m float32) (s float64", 32, 0)
	v.i("MOVQ x+0(FP), SI; MOVQ n+8(FP), CX")
	v.expSetup()
	v.op("VBROADCASTSS", "m+16(FP)", 14)
	v.zero(4)
	v.each(2, func(u int) {
		r := 4 + 4*u
		v.load("SI", u, r)
		v.op("VSUBPS", 14, r, r)
		v.exp(r, r+1, r+2)
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

	v = &vec{asm: a, z: z}
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

	// sigmoid: register r+1 = 1 + e^-g, of g in register r; scratch r+2, r+3.
	sigmoid := func(r int) {
		v.op("VXORPS", r+1, r+1, r+1)
		v.op("VSUBPS", r, r+1, r+1)
		v.exp(r+1, r+2, r+3)
		if z {
			v.op("VADDPS", 16+expOne, r+1, r+1)
		} else {
			v.op("VADDPS", fmt.Sprintf("·expTable+%d(SB)", expOne*32), r+1, r+1)
		}
	}
	v = &vec{asm: a, z: z}
	v.fn("is swiGLUPlain over n > 0 elements.", v.name("swiGLU"), "y, gate, up *float32, n int", 32, 0)
	v.i("MOVQ y+0(FP), DI; MOVQ gate+8(FP), SI; MOVQ up+16(FP), R8; MOVQ n+24(FP), CX")
	v.expSetup()
	v.each(2, func(u int) {
		r := 5 * u
		v.load("SI", u, r)
		sigmoid(r)
		v.load("R8", u, r+2)
		v.op("VDIVPS", r+1, r, r)
		v.op("VMULPS", r+2, r, r)
		v.store(r, "DI", u)
	})
	v.ret()

	v = &vec{asm: a, z: z}
	v.fn("is swiGLUBackwardPlain over n > 0 elements.", v.name("swiGLUBackward"), "dgate, dup, dy, gate, up *float32, n int", 48, 0)
	v.i("MOVQ dgate+0(FP), DI; MOVQ dup+8(FP), R9; MOVQ dy+16(FP), R10; MOVQ gate+24(FP), SI; MOVQ up+32(FP), R8; MOVQ n+40(FP), CX")
	v.expSetup()
	v.each(2, func(u int) {
		r := 5 * u
		v.load("SI", u, r)
		sigmoid(r)
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

// adam emits adamW; the factors come from an adamConst.
func adam(a *asm, z bool) {
	v := &vec{asm: a, z: z}
	v.fn("is adamWPlain over n > 0 elements.", v.name("adamW"), "p, grad, m, v *float32, n int, c *adamConst", 48, 0)
	v.i("MOVQ p+0(FP), DI; MOVQ grad+8(FP), SI; MOVQ m+16(FP), R8; MOVQ v+24(FP), R9; MOVQ n+32(FP), CX; MOVQ c+40(FP), R10")
	fields := []string{"scale", "keep", "b1", "a1", "b2", "a2", "rate", "root", "eps"}
	k := func(i int) int { return 6 + i }
	for i, f := range fields {
		v.op("VBROADCASTSS", "adamConst_"+f+"(R10)", k(i))
	}
	v.each(1, func(u int) {
		v.load("SI", u, 0)
		v.load("R8", u, 1)
		v.load("R9", u, 2)
		v.load("DI", u, 3)
		v.op("VMULPS", k(0), 0, 0)
		v.op("VMULPS", k(2), 1, 1)
		v.op("VFMADD231PS", k(3), 0, 1) // m
		v.op("VMULPS", k(4), 2, 2)
		v.op("VMULPS", 0, 0, 0)
		v.op("VFMADD231PS", k(5), 0, 2) // v
		v.store(1, "R8", u)
		v.store(2, "R9", u)
		v.op("VSQRTPS", 2, 2)
		v.op("VFMADD213PS", k(8), k(7), 2)
		v.op("VDIVPS", 2, 1, 1)
		v.op("VMULPS", k(1), 3, 3)
		v.op("VFNMADD231PS", k(6), 1, 3)
		v.store(3, "DI", u)
	})
	v.ret()
}

// largest emits maxNum, the largest value that is not NaN, and indexOf, where a value is.
func largest(a *asm, z bool) {
	v := &vec{asm: a, z: z}
	v.fn("is maxNumPlain over n > 0 elements.", v.name("maxNum"), "x *float32, n int) (m float32", 20, 0)
	v.i("MOVQ x+0(FP), SI; MOVQ n+8(FP), CX; MOVL $0xff800000, AX; VMOVD AX, X13")
	v.op("VBROADCASTSS", "X13", 13)
	for r := range 4 {
		v.op("VMOVAPS", 13, r)
	}
	v.each(4, func(u int) {
		switch {
		case !v.masked:
			v.load("SI", u, 4+u)
			v.op("VMAXPS", u, 4+u, u) // the running value last in Intel's order: NaN loses
		case z:
			v.load("SI", u, 4)
			v.op("VMAXPS", u, 4, "K1", u)
		default:
			v.load("SI", u, 4)
			v.op("VBLENDVPS", 15, 4, 13, 4)
			v.op("VMAXPS", u, 4, u)
		}
	})
	v.op("VMAXPS", 2, 0, 0)
	v.op("VMAXPS", 3, 1, 1)
	v.op("VMAXPS", 1, 0, 0)
	across(a, "VMAXPS", z, 0, 1)
	v.i("VMOVSS X0, m+16(FP)")
	v.ret()

	v = &vec{asm: a, z: z}
	v.fn("returns the first i < n with x_i = m, or n.", v.name("indexOf"), "x *float32, n int, m float32) (i int", 32, 0)
	v.i("MOVQ x+0(FP), SI; MOVQ n+8(FP), CX; XORQ BX, BX")
	v.op("VBROADCASTSS", "m+16(FP)", 0)
	v.label("loop")
	v.i("CMPQ CX, $%d; JLT tail", v.width())
	if z {
		v.i("VCMPPS $0, (SI)(BX*4), Z0, K1; KMOVW K1, AX; TESTL AX, AX; JNZ found")
	} else {
		v.i("VCMPPS $0, (SI)(BX*4), Y0, Y1; VMOVMSKPS Y1, AX; TESTL AX, AX; JNZ found")
	}
	v.i("ADDQ $%d, BX; SUBQ $%d, CX; JMP loop", v.width(), v.width())
	v.label("found")
	v.i("BSFL AX, AX; ADDQ AX, BX; JMP end")
	v.label("tail")
	v.i("TESTQ CX, CX; JZ end; VUCOMISS (SI)(BX*4), X0; JNE next; JPC end")
	v.label("next")
	v.i("INCQ BX; DECQ CX; JMP tail")
	v.label("end")
	v.i("MOVQ BX, i+24(FP)")
	v.ret()
}

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
