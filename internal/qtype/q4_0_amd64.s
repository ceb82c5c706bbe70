//go:build !purego

#include "textflag.h"

// Q4_0: eight blocks at a time, so that their extremes become lanes of one vector and two divisions serve all of them.

DATA ·q4Sign+0(SB)/4, $0x80000000
GLOBL ·q4Sign(SB), RODATA|NOPTR, $4
DATA ·q4Divisor+0(SB)/4, $0xc1000000 // -8
GLOBL ·q4Divisor(SB), RODATA|NOPTR, $4
DATA ·q4Half+0(SB)/4, $0x41080000 // 8.5
GLOBL ·q4Half(SB), RODATA|NOPTR, $4
DATA ·q4One+0(SB)/4, $0x3f800000
GLOBL ·q4One(SB), RODATA|NOPTR, $4
DATA ·q4Limit+0(SB)/4, $0x0f0f0f0f
GLOBL ·q4Limit(SB), RODATA|NOPTR, $4

// EXTREMES puts the lanewise largest and smallest values of the block at an offset into mx and mn.
#define EXTREMES(at, mx, mn) \
	VMOVUPS at(SI), Y0       \
	VMOVUPS at+32(SI), Y1    \
	VMAXPS  Y1, Y0, mx       \
	VMINPS  Y1, Y0, mn       \
	VMOVUPS at+64(SI), Y0    \
	VMOVUPS at+96(SI), Y1    \
	VMAXPS  Y0, mx, mx       \
	VMINPS  Y0, mn, mn       \
	VMAXPS  Y1, mx, mx       \
	VMINPS  Y1, mn, mn

// PAIR leaves four candidates of each of two blocks: those of the first in the low half of mx and mn.
#define PAIR(a, b, mx, mn) \
	EXTREMES(a, Y2, Y3)            \
	EXTREMES(b, Y4, Y5)            \
	VINSERTF128 $1, X4, Y2, Y0     \
	VPERM2F128  $0x31, Y4, Y2, Y1  \
	VMAXPS      Y1, Y0, mx         \
	VINSERTF128 $1, X5, Y3, Y0     \
	VPERM2F128  $0x31, Y5, Y3, Y1  \
	VMINPS      Y1, Y0, mn

// HALVE halves the candidates of the blocks in a and b; low and high say which elements meet.
#define HALVE(VOP, low, high, a, b) \
	VSHUFPS low, b, a, Y0  \
	VSHUFPS high, b, a, Y1 \
	VOP     Y1, Y0, a

// EQUAL is the mask of the values of the block at R8 that equal y.
#define EQUAL(y, mask, part) \
	VCMPPS    $0, 96(R8), y, Y2 \
	VMOVMSKPS Y2, mask          \
	SHLL      $8, mask          \
	VCMPPS    $0, 64(R8), y, Y2 \
	VMOVMSKPS Y2, part          \
	ORL       part, mask        \
	SHLL      $8, mask          \
	VCMPPS    $0, 32(R8), y, Y2 \
	VMOVMSKPS Y2, part          \
	ORL       part, mask        \
	SHLL      $8, mask          \
	VCMPPS    $0, (R8), y, Y2   \
	VMOVMSKPS Y2, part          \
	ORL       part, mask

// BLOCK writes block i: Y6 8.5, Y7 the largest codes, Y8 the order in which packing leaves groups of four bytes.
#define BLOCK(i) \
	VBROADCASTSS 32+4*i(SP), Y5         \
	VMULPS       128*i(SI), Y5, Y0      \
	VMULPS       128*i+32(SI), Y5, Y1   \
	VMULPS       128*i+64(SI), Y5, Y2   \
	VMULPS       128*i+96(SI), Y5, Y3   \
	VADDPS       Y6, Y0, Y0             \
	VADDPS       Y6, Y1, Y1             \
	VADDPS       Y6, Y2, Y2             \
	VADDPS       Y6, Y3, Y3             \
	VCVTTPS2DQ   Y0, Y0                 \
	VCVTTPS2DQ   Y1, Y1                 \
	VCVTTPS2DQ   Y2, Y2                 \
	VCVTTPS2DQ   Y3, Y3                 \
	VPACKSSDW    Y1, Y0, Y0             \
	VPACKSSDW    Y3, Y2, Y2             \
	VPACKUSWB    Y2, Y0, Y0             \
	VPMINUB      Y7, Y0, Y0             \
	VPERMD       Y0, Y8, Y0             \
	VEXTRACTI128 $1, Y0, X1             \
	VPSLLW       $4, X1, X1             \
	VPOR         X1, X0, X0             \
	MOVW         64+2*i(SP), AX         \
	MOVW         AX, 18*i(DI)           \
	VMOVDQU      X0, 18*i+2(DI)

// func encodeQ4_0AVX2(dst *byte, x *float32, groups int)
//
// Locals: extremes 0(SP), inverses 32(SP), scales as halves 64(SP).
TEXT ·encodeQ4_0AVX2(SB), NOSPLIT, $80-24
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ groups+16(FP), DX

group:
	PAIR(0, 512, Y8, Y12)
	PAIR(128, 640, Y9, Y13)
	PAIR(256, 768, Y10, Y14)
	PAIR(384, 896, Y11, Y15)
	HALVE(VMAXPS, $0x44, $0xee, Y8, Y9)
	HALVE(VMAXPS, $0x44, $0xee, Y10, Y11)
	HALVE(VMAXPS, $0x88, $0xdd, Y8, Y10)   // the largest of block i in lane i
	HALVE(VMINPS, $0x44, $0xee, Y12, Y13)
	HALVE(VMINPS, $0x44, $0xee, Y14, Y15)
	HALVE(VMINPS, $0x88, $0xdd, Y12, Y14)  // the smallest

	// the value of the largest magnitude; +0 for zeros of whatever sign
	VBROADCASTSS ·q4Sign(SB), Y1
	VXORPS       Y1, Y12, Y2
	VCMPPS       $0x1e, Y2, Y8, Y3
	VBLENDVPS    Y3, Y8, Y12, Y4
	VXORPS       Y0, Y0, Y0
	VADDPS       Y0, Y4, Y4
	VMOVUPS      Y4, 0(SP)
	VCMPPS       $0, Y2, Y8, Y3
	VCMPPS       $0, Y0, Y4, Y5
	VANDNPS      Y3, Y5, Y3
	VMOVMSKPS    Y3, AX
	TESTL        AX, AX
	JNE          tie

scale:
	VMOVUPS      0(SP), Y4
	VBROADCASTSS ·q4Divisor(SB), Y5
	VDIVPS       Y5, Y4, Y4
	VCVTPS2PH    $0, Y4, X6
	VMOVDQU      X6, 64(SP)
	VBROADCASTSS ·q4One(SB), Y5
	VDIVPS       Y4, Y5, Y5
	VXORPS       Y6, Y6, Y6
	VCMPPS       $0, Y6, Y4, Y6
	VANDNPS      Y5, Y6, Y5
	VMOVUPS      Y5, 32(SP)
	VBROADCASTSS ·q4Half(SB), Y6
	VPBROADCASTD ·q4Limit(SB), Y7
	VMOVDQU      ·blockOrder(SB), Y8
	BLOCK(0)
	BLOCK(1)
	BLOCK(2)
	BLOCK(3)
	BLOCK(4)
	BLOCK(5)
	BLOCK(6)
	BLOCK(7)
	ADDQ         $1024, SI
	ADDQ         $144, DI
	DECQ         DX
	JNZ          group
	VZEROUPPER
	RET

	// AX: blocks whose largest is the opposite of their smallest, which was taken; the first of both is wanted
tie:
	BSFL         AX, CX
	MOVQ         CX, R8
	SHLQ         $7, R8
	ADDQ         SI, R8
	VBROADCASTSS 0(SP)(CX*4), Y0
	VBROADCASTSS ·q4Sign(SB), Y1
	VXORPS       Y1, Y0, Y1
	EQUAL(Y0, BX, R9)
	EQUAL(Y1, R10, R9)
	BSFL         BX, BX
	BSFL         R10, R10
	CMPL         BX, R10
	JLT          first
	XORL         $0x80000000, 0(SP)(CX*4)

first:
	LEAL -1(AX), R9
	ANDL R9, AX
	JNE  tie
	JMP  scale
