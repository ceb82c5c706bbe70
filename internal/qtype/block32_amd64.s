//go:build !purego

#include "textflag.h"

// Blocks of 32 values with one scale: all values of a block at once, no fused multiply-add.

DATA ·blockAbs+0(SB)/4, $0x7fffffff
GLOBL ·blockAbs(SB), RODATA|NOPTR, $4
DATA ·blockByte+0(SB)/4, $0x000000ff
GLOBL ·blockByte(SB), RODATA|NOPTR, $4
DATA ·blockHalf+0(SB)/4, $0x3f000000
GLOBL ·blockHalf(SB), RODATA|NOPTR, $4
DATA ·block127+0(SB)/4, $0x42fe0000
GLOBL ·block127(SB), RODATA|NOPTR, $4
DATA ·blockOne+0(SB)/4, $0x3f800000
GLOBL ·blockOne(SB), RODATA|NOPTR, $4

// the order in which packing leaves groups of four bytes
DATA ·blockOrder+0(SB)/4, $0
DATA ·blockOrder+4(SB)/4, $4
DATA ·blockOrder+8(SB)/4, $1
DATA ·blockOrder+12(SB)/4, $5
DATA ·blockOrder+16(SB)/4, $2
DATA ·blockOrder+20(SB)/4, $6
DATA ·blockOrder+24(SB)/4, $3
DATA ·blockOrder+28(SB)/4, $7
GLOBL ·blockOrder(SB), RODATA|NOPTR, $32

// LOAD brings the block into Y0 ... Y3.
#define LOAD \
	VMOVUPS (SI), Y0   \
	VMOVUPS 32(SI), Y1 \
	VMOVUPS 64(SI), Y2 \
	VMOVUPS 96(SI), Y3

// SPREAD reduces Y4 with an operation and puts the result into all its lanes.
#define SPREAD(OP, a, xa, xb) \
	VEXTRACTF128 $1, a, xb    \
	OP           xb, xa, xa   \
	VPERMILPS    $0x4e, xa, xb \
	OP           xb, xa, xa   \
	VPERMILPS    $0xb1, xa, xb \
	OP           xb, xa, xa   \
	VBROADCASTSS xa, a

// MAGNITUDE puts the largest magnitude into Y4 and the magnitudes into Y5 ... Y8.
#define MAGNITUDE \
	VBROADCASTSS ·blockAbs(SB), Y9 \
	VANDPS Y9, Y0, Y5 \
	VANDPS Y9, Y1, Y6 \
	VANDPS Y9, Y2, Y7 \
	VANDPS Y9, Y3, Y8 \
	VMAXPS Y6, Y5, Y4 \
	VMAXPS Y7, Y4, Y4 \
	VMAXPS Y8, Y4, Y4 \
	SPREAD(VMAXPS, Y4, X4, X9)

// INVERSE puts 1/Y4, 0 for 0, into Y5.
#define INVERSE \
	VBROADCASTSS ·blockOne(SB), Y5 \
	VDIVPS  Y4, Y5, Y5 \
	VXORPS  Y6, Y6, Y6 \
	VCMPPS  $0, Y6, Y4, Y6 \
	VANDNPS Y5, Y6, Y5

// AWAY rounds r half away from zero to integers; t, u are scratch.
#define AWAY(r, t, u) \
	VROUNDPS   $3, r, t \
	VSUBPS     t, r, u  \
	VADDPS     u, u, u  \
	VCVTTPS2DQ t, t     \
	VCVTTPS2DQ u, u     \
	VPADDD     u, t, r

// func codesQ8AVX2(x *float32, codes *byte) (d float32)
TEXT ·codesQ8AVX2(SB), NOSPLIT, $0-20
	MOVQ x+0(FP), SI
	MOVQ codes+8(FP), DI
	LOAD
	MAGNITUDE
	VBROADCASTSS ·block127(SB), Y5
	VDIVPS       Y5, Y4, Y4
	VMOVSS       X4, d+16(FP)
	INVERSE
	VMULPS       Y5, Y0, Y0
	VMULPS       Y5, Y1, Y1
	VMULPS       Y5, Y2, Y2
	VMULPS       Y5, Y3, Y3
	AWAY(Y0, Y6, Y7)
	AWAY(Y1, Y8, Y9)
	AWAY(Y2, Y6, Y7)
	AWAY(Y3, Y8, Y9)
	VPACKSSDW    Y1, Y0, Y0
	VPACKSSDW    Y3, Y2, Y2
	VPACKSSWB    Y2, Y0, Y0
	VMOVDQU      ·blockOrder(SB), Y1
	VPERMD       Y0, Y1, Y0
	VMOVDQU      Y0, (DI)
	VZEROUPPER
	RET

// CODE turns r into the integer part of r·Y5 + Y6, at most Y7, in a byte.
#define CODE(r) \
	VMULPS     Y5, r, r \
	VADDPS     Y6, r, r \
	VCVTTPS2DQ r, r     \
	VPMINSD    Y7, r, r \
	VPAND      Y8, r, r

#define STORE \
	CODE(Y0) \
	CODE(Y1) \
	CODE(Y2) \
	CODE(Y3) \
	VPACKSSDW Y1, Y0, Y0 \
	VPACKSSDW Y3, Y2, Y2 \
	VPACKUSWB Y2, Y0, Y0 \
	VMOVDQU   ·blockOrder(SB), Y1 \
	VPERMD    Y0, Y1, Y0 \
	VMOVDQU   Y0, (DI)

// func codesSymmetricAVX2(x *float32, codes *[32]uint8, limit int32, divisor, half float32) (d float32)
TEXT ·codesSymmetricAVX2(SB), NOSPLIT, $0-36
	MOVQ x+0(FP), SI
	MOVQ codes+8(FP), DI
	LOAD
	MAGNITUDE
	VCMPPS    $0, Y4, Y8, Y8
	VMOVMSKPS Y8, AX
	SHLL      $8, AX
	VCMPPS    $0, Y4, Y7, Y7
	VMOVMSKPS Y7, BX
	ORL       BX, AX
	SHLL      $8, AX
	VCMPPS    $0, Y4, Y6, Y6
	VMOVMSKPS Y6, BX
	ORL       BX, AX
	SHLL      $8, AX
	VCMPPS    $0, Y4, Y5, Y5
	VMOVMSKPS Y5, BX
	ORL       BX, AX
	ORL       $0x80000000, AX // something where nothing equals a NaN
	BSFL      AX, AX
	VXORPS       Y5, Y5, Y5
	VUCOMISS     X5, X4
	JEQ          scale        // zeros, of whatever sign: +0
	VBROADCASTSS (SI)(AX*4), Y4
scale:
	VBROADCASTSS divisor+20(FP), Y5
	VDIVPS       Y5, Y4, Y4
	VMOVSS       X4, d+32(FP)
	INVERSE
	VBROADCASTSS half+24(FP), Y6
	VBROADCASTSS limit+16(FP), Y7
	VBROADCASTSS ·blockByte(SB), Y8
	STORE
	VZEROUPPER
	RET

// func codesAffineAVX2(x *float32, codes *[32]uint8, limit int32, divisor float32) (d, low float32)
TEXT ·codesAffineAVX2(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), SI
	MOVQ codes+8(FP), DI
	LOAD
	VMINPS Y1, Y0, Y10
	VMINPS Y2, Y10, Y10
	VMINPS Y3, Y10, Y10
	SPREAD(VMINPS, Y10, X10, X9)
	VMAXPS Y1, Y0, Y4
	VMAXPS Y2, Y4, Y4
	VMAXPS Y3, Y4, Y4
	SPREAD(VMAXPS, Y4, X4, X9)
	VMOVSS       X10, low+28(FP)
	VSUBPS       Y10, Y4, Y4
	VBROADCASTSS divisor+20(FP), Y5
	VDIVPS       Y5, Y4, Y4
	VMOVSS       X4, d+24(FP)
	INVERSE
	VSUBPS       Y10, Y0, Y0
	VSUBPS       Y10, Y1, Y1
	VSUBPS       Y10, Y2, Y2
	VSUBPS       Y10, Y3, Y3
	VBROADCASTSS ·blockHalf(SB), Y6
	VBROADCASTSS limit+16(FP), Y7
	VBROADCASTSS ·blockByte(SB), Y8
	STORE
	VZEROUPPER
	RET

// ABOVE counts in cnt the middles that the magnitude a is above.
#define ABOVE(offset, a, cnt) \
	VBROADCASTSS offset(BX), Y8 \
	VCMPPS       $0x1e, Y8, a, Y8 \
	VPSUBD       Y8, cnt, cnt

// FOUR turns eight values in x into codes; cnt and Y4, Y8 are scratch. Y9: mask of magnitudes; Y10: 8.
#define FOUR(x, cnt) \
	VANDPS    Y9, x, Y4      \
	VPXOR     cnt, cnt, cnt  \
	ABOVE(0, Y4, cnt)        \
	ABOVE(4, Y4, cnt)        \
	ABOVE(8, Y4, cnt)        \
	ABOVE(12, Y4, cnt)       \
	ABOVE(16, Y4, cnt)       \
	ABOVE(20, Y4, cnt)       \
	ABOVE(24, Y4, cnt)       \
	VPXOR     Y8, Y8, Y8     \
	VPCMPGTD  Y8, cnt, Y8    \
	VPSRAD    $31, x, Y4     \
	VPAND     Y4, Y8, Y8     \
	VPAND     Y10, Y8, Y8    \
	VPADDD    Y8, cnt, cnt

// func codesFP4AVX2(codes *uint8, x *float32, n int, middle *[7]float32)
TEXT ·codesFP4AVX2(SB), NOSPLIT, $0-32
	MOVQ         codes+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         n+16(FP), CX
	MOVQ         middle+24(FP), BX
	VBROADCASTSS ·blockAbs(SB), Y9
	MOVL         $8, AX
	VMOVD        AX, X10
	VPBROADCASTD X10, Y10
values:
	VMOVUPS      (SI), Y0
	VMOVUPS      32(SI), Y1
	FOUR(Y0, Y2)
	FOUR(Y1, Y3)
	VPACKUSDW    Y3, Y2, Y2
	VPERMQ       $0xd8, Y2, Y2
	VEXTRACTI128 $1, Y2, X3
	VPACKUSWB    X3, X2, X2
	VMOVDQU      X2, (DI)
	ADDQ         $16, DI
	ADDQ         $64, SI
	SUBQ         $16, CX
	JG           values
	VZEROUPPER
	RET

// Q4_0: eight blocks at a time, so that their extremes become lanes of one vector and two divisions serve all of them.

DATA ·q4Sign+0(SB)/4, $0x80000000
GLOBL ·q4Sign(SB), RODATA|NOPTR, $4
DATA ·q4Divisor+0(SB)/4, $0xc1000000 // -8
GLOBL ·q4Divisor(SB), RODATA|NOPTR, $4
DATA ·q4Half+0(SB)/4, $0x41080000 // 8.5
GLOBL ·q4Half(SB), RODATA|NOPTR, $4
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
	INVERSE
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
