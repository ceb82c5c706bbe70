package main

import "fmt"

// doubleRows is the most rows of a tile of doubles: 12 sums, 2 of B and 2 of A in 16 registers.
const doubleRows = 6

// doubles emits the tiles of SubTN64: C -= Aᵀ·B for 1 to 6 rows and 8 columns of C.
func doubles(a *asm) {
	for rows := 1; rows <= doubleRows; rows++ {
		a.fn(fmt.Sprintf("is subTN64Plain for %d rows, 8 columns and k > 0; strides in bytes.", rows), fmt.Sprintf("subTN64x%dAVX2", rows),
			"c *float64, ldc int, a *float64, lda int, b *float64, ldb int, k int", 56, 0)
		a.i("MOVQ c+0(FP), DI; MOVQ ldc+8(FP), DX; MOVQ a+16(FP), SI; MOVQ lda+24(FP), R8; MOVQ b+32(FP), R9; MOVQ ldb+40(FP), R10; MOVQ k+48(FP), CX")
		a.i("MOVQ DI, R11")
		for r := range rows {
			a.i("VMOVUPD (R11), Y%d; VMOVUPD 32(R11), Y%d", 2*r, 2*r+1)
			if r+1 < rows {
				a.i("ADDQ DX, R11")
			}
		}
		a.i("PCALIGN $32")
		a.label("loop")
		a.i("VMOVUPD (R9), Y12; VMOVUPD 32(R9), Y13")
		for r := range rows {
			x := 14 + r%2
			a.i("VBROADCASTSD %d(SI), Y%d; VFNMADD231PD Y12, Y%d, Y%d; VFNMADD231PD Y13, Y%d, Y%d", 8*r, x, x, 2*r, x, 2*r+1)
		}
		a.i("ADDQ R8, SI; ADDQ R10, R9; DECQ CX; JNE loop")
		for r := range rows {
			a.i("VMOVUPD Y%d, (DI); VMOVUPD Y%d, 32(DI)", 2*r, 2*r+1)
			if r+1 < rows {
				a.i("ADDQ DX, DI")
			}
		}
		a.ret()
	}
}
