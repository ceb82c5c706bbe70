//go:build !purego

#include "textflag.h"

// Decoders of the types that no file has: products of small integers or table values and a scale, one rounding each.

DATA ·memoryLow+0(SB)/1, $0x0f
GLOBL ·memoryLow(SB), RODATA|NOPTR, $1
DATA ·memorySign+0(SB)/4, $0x80
GLOBL ·memorySign(SB), RODATA|NOPTR, $4
DATA ·memoryRest+0(SB)/4, $0x7f
GLOBL ·memoryRest(SB), RODATA|NOPTR, $4
DATA ·memoryPower+0(SB)/4, $0x7b800000 // 2^120
GLOBL ·memoryPower(SB), RODATA|NOPTR, $4

// HEADER puts the scale into Y0 and the zero into Y1.
#define HEADER \
	MOVL (SI), AX       \
	MOVL AX, BX         \
	ANDL $0xff, BX      \
	ANDL $0xffffff00, AX \
	VMOVD AX, X0        \
	VMOVD BX, X1        \
	VBROADCASTSS X0, Y0 \
	VPBROADCASTD X1, Y1

// INTEGERS makes eight numbers at off of the low bytes of x.
#define INTEGERS(x, y, off) \
	VPMOVZXBD x, y      \
	VPSUBD Y1, y, y     \
	VCVTDQ2PS y, y      \
	VMULPS Y0, y, y     \
	VMOVUPS y, off(DI)

// func decodeINT4AVX2(dst *float32, src *byte, blocks int)
TEXT ·decodeINT4AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTB ·memoryLow(SB), X15
int4:
	HEADER
	VMOVDQU 4(SI), X2
	VPSRLW $4, X2, X3
	VPAND X15, X2, X2
	VPAND X15, X3, X3
	VPSRLDQ $8, X2, X4
	VPSRLDQ $8, X3, X5
	INTEGERS(X2, Y6, 0)
	INTEGERS(X4, Y7, 32)
	INTEGERS(X3, Y8, 64)
	INTEGERS(X5, Y9, 96)
	ADDQ $20, SI
	ADDQ $128, DI
	DECQ CX
	JNE int4
	VZEROUPPER
	RET

// func decodeINT8AVX2(dst *float32, src *byte, blocks int)
TEXT ·decodeINT8AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
int8:
	HEADER
	INTEGERS(4(SI), Y6, 0)
	INTEGERS(12(SI), Y7, 32)
	INTEGERS(20(SI), Y8, 64)
	INTEGERS(28(SI), Y9, 96)
	ADDQ $36, SI
	ADDQ $128, DI
	DECQ CX
	JNE int8
	VZEROUPPER
	RET

// LOOKUP takes eight numbers at off from the table in Y10 (0 to 7) and Y11 (8 to 15), by the low bytes of x.
#define LOOKUP(x, y, z, off) \
	VPMOVZXBD x, y      \
	VPERMPS Y10, y, z   \
	VPSLLD $28, y, Y13  \
	VPERMPS Y11, y, y   \
	VBLENDVPS Y13, y, z, z \
	VMOVUPS z, off(DI)

// TABLE multiplies the table in Y8 and Y9 with the scale of a block.
#define TABLE \
	VBROADCASTSS (SI), Y0 \
	VMULPS Y0, Y8, Y10    \
	VMULPS Y0, Y9, Y11

// func decodeTableAVX2(dst *float32, src *byte, blocks int, table *[16]float32)
TEXT ·decodeTableAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVQ table+24(FP), DX
	VMOVUPS (DX), Y8
	VMOVUPS 32(DX), Y9
	VPBROADCASTB ·memoryLow(SB), X15
table:
	TABLE
	VMOVDQU 4(SI), X2
	VPSRLW $4, X2, X3
	VPAND X15, X2, X2
	VPAND X15, X3, X3
	VPSRLDQ $8, X2, X4
	VPSRLDQ $8, X3, X5
	LOOKUP(X2, Y6, Y7, 0)
	LOOKUP(X4, Y6, Y7, 32)
	LOOKUP(X3, Y6, Y7, 64)
	LOOKUP(X5, Y6, Y7, 96)
	ADDQ $20, SI
	ADDQ $128, DI
	DECQ CX
	JNE table
	VZEROUPPER
	RET

// func decodeE2M1AVX2(dst *float32, src *byte, blocks int, table *[16]float32)
TEXT ·decodeE2M1AVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVQ table+24(FP), DX
	VMOVUPS (DX), Y8
	VMOVUPS 32(DX), Y9
	VPBROADCASTB ·memoryLow(SB), X15
e2m1:
	TABLE
	VMOVQ 4(SI), X2
	VPSRLW $4, X2, X3
	VPAND X15, X2, X2
	VPAND X15, X3, X3
	LOOKUP(X2, Y6, Y7, 0)
	LOOKUP(X3, Y6, Y7, 32)
	ADDQ $12, SI
	ADDQ $64, DI
	DECQ CX
	JNE e2m1
	VZEROUPPER
	RET

// FLOATS makes eight numbers at off of 8-bit floats: exponent and mantissa moved to where a float32 has them, times 2^120.
#define FLOATS(mem, off) \
	VPMOVZXBD mem, Y1     \
	VPAND Y14, Y1, Y2     \
	VPAND Y13, Y1, Y3     \
	VPCMPEQD Y13, Y3, Y4  \
	VPSLLD $24, Y2, Y2    \
	VPSLLD $20, Y3, Y3    \
	VMULPS Y12, Y3, Y3    \
	VORPS Y2, Y3, Y3      \
	VORPS Y4, Y3, Y3      \
	VMULPS Y0, Y3, Y3     \
	VMOVUPS Y3, off(DI)

// func decodeFP8AVX2(dst *float32, src *byte, blocks int)
TEXT ·decodeFP8AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTD ·memorySign(SB), Y14
	VPBROADCASTD ·memoryRest(SB), Y13
	VBROADCASTSS ·memoryPower(SB), Y12
fp8:
	VBROADCASTSS (SI), Y0
	FLOATS(4(SI), 0)
	FLOATS(12(SI), 32)
	FLOATS(20(SI), 64)
	FLOATS(28(SI), 96)
	ADDQ $36, SI
	ADDQ $128, DI
	DECQ CX
	JNE fp8
	VZEROUPPER
	RET
