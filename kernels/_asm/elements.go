package main

import "strings"

// elements emits the kernels without a sum or an exponential.
func elements(a *asm, z bool) {
	binary(a, z)
	scaled(a, z)
	normGradient(a, z)
	rotation(a, z)
}

// binary emits add and mul.
func binary(a *asm, z bool) {
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
}

// scaled emits the kernels with one factor: scale, axpy, scaleMul, axpyMul.
func scaled(a *asm, z bool) {
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
}

// normGradient emits normGrad.
func normGradient(a *asm, z bool) {
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
}

// rotation emits rope.
func rotation(a *asm, z bool) {
	v := &vec{asm: a, z: z}
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
