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
