// NEON forms of the five functions that take most of the time. Written by hand: see neon_arm64.go for what each computes.

//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// The assembler has no multiply-add by one lane: FMLA Vd.4S, Vn.4S, Vm.S[i].
#define FMLAE(d, n, m, i) WORD $(0x4f801000 | ((i&1)<<21) | ((i>>1)<<11) | (m<<16) | (n<<5) | d)

// Row r of the tile, sums in V(4r) to V(4r+3), times lane i of Vm and the 16 columns in V24 to V27.
#define LANE(d0, d1, d2, d3, m, i) \
	FMLAE(d0, 24, m, i)  \
	FMLAE(d1, 25, m, i)  \
	FMLAE(d2, 26, m, i)  \
	FMLAE(d3, 27, m, i)

#define SCALE4(d0, d1, d2, d3) \
	WORD $(0x4f809000 | (28<<16) | (d0<<5) | d0) \
	WORD $(0x4f809000 | (28<<16) | (d1<<5) | d1) \
	WORD $(0x4f809000 | (28<<16) | (d2<<5) | d2) \
	WORD $(0x4f809000 | (28<<16) | (d3<<5) | d3)

// FADD Vd.4S, Vd.4S, Vm.4S
#define FADD(d, m) WORD $(0x4e20d400 | (m<<16) | (d<<5) | d)
#define ADD4(d0, d1, d2, d3) \
	FADD(d0, 24) \
	FADD(d1, 25) \
	FADD(d2, 26) \
	FADD(d3, 27)

#define ZERO4(a, b, c, d) \
	VEOR a.B16, a.B16, a.B16 \
	VEOR b.B16, b.B16, b.B16 \
	VEOR c.B16, c.B16, c.B16 \
	VEOR d.B16, d.B16, d.B16

// The sums of a tile of 6 x 16.
#define ZERO_TILE \
	ZERO4(V0, V1, V2, V3) \
	ZERO4(V4, V5, V6, V7) \
	ZERO4(V8, V9, V10, V11) \
	ZERO4(V12, V13, V14, V15) \
	ZERO4(V16, V17, V18, V19) \
	ZERO4(V20, V21, V22, V23)

// Adds row "V" of add (R8, rows R9 bytes apart) and bias (R10), both optional, and stores it to c (R6, rows R7 bytes apart).
#define FINISH(d0, d1, d2, d3, v0, v1, v2, v3, noadd, nobias) \
	CBZ R8, noadd \
	VLD1 (R8), [V24.S4, V25.S4, V26.S4, V27.S4] \
	ADD R9, R8 \
	ADD4(d0, d1, d2, d3) \
noadd: \
	CBZ R10, nobias \
	VLD1 (R10), [V24.S4, V25.S4, V26.S4, V27.S4] \
	ADD4(d0, d1, d2, d3) \
nobias: \
	VST1 [v0.S4, v1.S4, v2.S4, v3.S4], (R6) \
	ADD R7, R6

// DEPTHS adds R3 depths of A (R4) times B (R5) to the tile: two depths at a time, twelve values of A in V28 to V30.
#define DEPTHS(loop, odd, done) \
loop: \
	SUBS $2, R3 \
	BLT odd \
	VLD1.P 48(R4), [V28.S4, V29.S4, V30.S4] \
	VLD1.P 64(R5), [V24.S4, V25.S4, V26.S4, V27.S4] \
	LANE(0, 1, 2, 3, 28, 0) \
	LANE(4, 5, 6, 7, 28, 1) \
	LANE(8, 9, 10, 11, 28, 2) \
	LANE(12, 13, 14, 15, 28, 3) \
	LANE(16, 17, 18, 19, 29, 0) \
	LANE(20, 21, 22, 23, 29, 1) \
	VLD1.P 64(R5), [V24.S4, V25.S4, V26.S4, V27.S4] \
	LANE(0, 1, 2, 3, 29, 2) \
	LANE(4, 5, 6, 7, 29, 3) \
	LANE(8, 9, 10, 11, 30, 0) \
	LANE(12, 13, 14, 15, 30, 1) \
	LANE(16, 17, 18, 19, 30, 2) \
	LANE(20, 21, 22, 23, 30, 3) \
	B loop \
odd: \
	ADDS $1, R3 \
	BLT done \
	VLD1.P 16(R4), [V28.S4] \
	VLD1.P 8(R4), [V29.S2] \
	VLD1.P 64(R5), [V24.S4, V25.S4, V26.S4, V27.S4] \
	LANE(0, 1, 2, 3, 28, 0) \
	LANE(4, 5, 6, 7, 28, 1) \
	LANE(8, 9, 10, 11, 28, 2) \
	LANE(12, 13, 14, 15, 28, 3) \
	LANE(16, 17, 18, 19, 29, 0) \
	LANE(20, 21, 22, 23, 29, 1) \
done:

// func tileNEON(t *tileArgs)
TEXT ·tileNEON(SB), NOSPLIT, $0-8
	MOVD t+0(FP), R0
	MOVD tileArgs_a(R0), R1
	MOVD tileArgs_a2(R0), R2
	MOVD tileArgs_c(R0), R6
	MOVD tileArgs_ldc(R0), R7
	LSL  $2, R7
	MOVD tileArgs_add(R0), R8
	MOVD tileArgs_lda(R0), R9
	LSL  $2, R9
	MOVD tileArgs_bias(R0), R10
	MOVD tileArgs_panels(R0), R11

panel:
	ZERO_TILE
	MOVD R1, R4
	MOVD tileArgs_b(R0), R5
	MOVD tileArgs_kd(R0), R3
	DEPTHS(loop, odd, done)
	ADD  $tileArgs_scale, R0, R12
	VLD1 (R12), V28.S[0]
	SCALE4(0, 1, 2, 3)
	SCALE4(4, 5, 6, 7)
	SCALE4(8, 9, 10, 11)
	SCALE4(12, 13, 14, 15)
	SCALE4(16, 17, 18, 19)
	SCALE4(20, 21, 22, 23)
	MOVD tileArgs_kd2(R0), R3
	MOVD R2, R4
	DEPTHS(loop2, odd2, done2)
	FINISH(0, 1, 2, 3, V0, V1, V2, V3, a0, b0)
	FINISH(4, 5, 6, 7, V4, V5, V6, V7, a1, b1)
	FINISH(8, 9, 10, 11, V8, V9, V10, V11, a2, b2)
	FINISH(12, 13, 14, 15, V12, V13, V14, V15, a3, b3)
	FINISH(16, 17, 18, 19, V16, V17, V18, V19, a4, b4)
	FINISH(20, 21, 22, 23, V20, V21, V22, V23, a5, b5)
	MOVD tileArgs_aStep(R0), R12
	ADD  R12, R1
	MOVD tileArgs_a2Step(R0), R12
	ADD  R12, R2
	SUBS $1, R11
	BNE  panel
	RET

// One row of the strided tile: Vx, one value in all lanes, times the 16 columns.
#define ROW(d0, d1, d2, d3, x) \
	VFMLA x.S4, V24.S4, d0.S4 \
	VFMLA x.S4, V25.S4, d1.S4 \
	VFMLA x.S4, V26.S4, d2.S4 \
	VFMLA x.S4, V27.S4, d3.S4

// A row of sums begins with f (R14, one value a row) times c (R15, rows R7 bytes apart).
#define BEGIN(d0, d1, d2, d3, v0, v1, v2, v3) \
	VLD1 (R15), [v0.S4, v1.S4, v2.S4, v3.S4] \
	ADD R7, R15 \
	VLD1.P 4(R14), V28.S[0] \
	SCALE4(d0, d1, d2, d3)

#define STORE(v0, v1, v2, v3) \
	VST1 [v0.S4, v1.S4, v2.S4, v3.S4], (R15) \
	ADD R7, R15

// func stridedNEON(t *stridedArgs)
TEXT ·stridedNEON(SB), NOSPLIT, $0-8
	MOVD t+0(FP), R0
	MOVD stridedArgs_x(R0), R1
	MOVD stridedArgs_c(R0), R2
	MOVD stridedArgs_f(R0), R3
	MOVD stridedArgs_xr(R0), R16
	LSL  $2, R16
	MOVD stridedArgs_xd(R0), R17
	LSL  $2, R17
	MOVD stridedArgs_yd(R0), R19
	LSL  $2, R19
	MOVD stridedArgs_ldc(R0), R7
	LSL  $2, R7
	MOVD stridedArgs_tiles(R0), R20

tile:
	MOVD stridedArgs_y(R0), R21
	MOVD R2, R22
	MOVD stridedArgs_cols(R0), R23

columns:
	CBZ R3, fresh
	MOVD R3, R14
	MOVD R22, R15
	BEGIN(0, 1, 2, 3, V0, V1, V2, V3)
	BEGIN(4, 5, 6, 7, V4, V5, V6, V7)
	BEGIN(8, 9, 10, 11, V8, V9, V10, V11)
	BEGIN(12, 13, 14, 15, V12, V13, V14, V15)
	BEGIN(16, 17, 18, 19, V16, V17, V18, V19)
	BEGIN(20, 21, 22, 23, V20, V21, V22, V23)
	B start

fresh:
	ZERO_TILE

start:
	MOVD R1, R4
	ADD  R16, R4, R5
	ADD  R16, R5, R6
	ADD  R16, R6, R8
	ADD  R16, R8, R9
	ADD  R16, R9, R10
	MOVD R21, R11
	MOVD stridedArgs_depth(R0), R12
	CBZ  R12, store

depth:
	VLD1 (R11), [V24.S4, V25.S4, V26.S4, V27.S4]
	ADD  R19, R11
	VLD1R.P (R4)(R17), [V28.S4]
	VLD1R.P (R5)(R17), [V29.S4]
	VLD1R.P (R6)(R17), [V30.S4]
	ROW(V0, V1, V2, V3, V28)
	ROW(V4, V5, V6, V7, V29)
	ROW(V8, V9, V10, V11, V30)
	VLD1R.P (R8)(R17), [V28.S4]
	VLD1R.P (R9)(R17), [V29.S4]
	VLD1R.P (R10)(R17), [V30.S4]
	ROW(V12, V13, V14, V15, V28)
	ROW(V16, V17, V18, V19, V29)
	ROW(V20, V21, V22, V23, V30)
	SUBS $1, R12
	BNE  depth

store:
	MOVD R22, R15
	STORE(V0, V1, V2, V3)
	STORE(V4, V5, V6, V7)
	STORE(V8, V9, V10, V11)
	STORE(V12, V13, V14, V15)
	STORE(V16, V17, V18, V19)
	STORE(V20, V21, V22, V23)
	ADD  $64, R21
	ADD  $64, R22
	SUBS $16, R23
	BNE  columns

	// The next six rows: x and c go down by six, f too where there is one.
	ADD R16<<2, R1
	ADD R16<<1, R1
	ADD R7<<2, R2
	ADD R7<<1, R2
	CBZ R3, next
	ADD $24, R3

next:
	SUBS $1, R20
	BNE  tile
	RET

// 16 values of V4 to V7 times V8 to V11, onto V0 to V3.
#define DOT16 \
	VFMLA  V4.S4, V8.S4, V0.S4 \
	VFMLA  V5.S4, V9.S4, V1.S4 \
	VFMLA  V6.S4, V10.S4, V2.S4 \
	VFMLA  V7.S4, V11.S4, V3.S4

// The sum of the four lanes of V0 to V3, in a fixed tree, to ret.
#define REDUCE(ret) \
	FADD(0, 1) \
	WORD $(0x4e20d400 | (3<<16) | (2<<5) | 2) \
	FADD(0, 2) \
	WORD $(0x6e20d400 | (0<<16) | (0<<5) | 0) \
	WORD $(0x7e30d800 | (0<<5) | 0) \
	FMOVS F0, ret

// func dotNEON(x, y *float32, n int) float32
TEXT ·dotNEON(SB), NOSPLIT, $0-28
	MOVD x+0(FP), R0
	MOVD y+8(FP), R1
	MOVD n+16(FP), R2
	ZERO4(V0, V1, V2, V3)

dot:
	VLD1.P 64(R0), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1.P 64(R1), [V8.S4, V9.S4, V10.S4, V11.S4]
	DOT16
	SUBS   $16, R2
	BNE    dot
	REDUCE(ret+24(FP))
	RET

// func dotBF16NEON(x *float32, w *uint16, n int) float32
TEXT ·dotBF16NEON(SB), NOSPLIT, $0-28
	MOVD x+0(FP), R0
	MOVD w+8(FP), R1
	MOVD n+16(FP), R2
	ZERO4(V0, V1, V2, V3)
	VEOR V12.B16, V12.B16, V12.B16

half:
	VLD1.P 64(R0), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1.P 32(R1), [V13.H8, V14.H8]
	VZIP1  V13.H8, V12.H8, V8.H8
	VZIP2  V13.H8, V12.H8, V9.H8
	VZIP1  V14.H8, V12.H8, V10.H8
	VZIP2  V14.H8, V12.H8, V11.H8
	DOT16
	SUBS   $16, R2
	BNE    half
	REDUCE(ret+24(FP))
	RET

// func axpyNEON(dst *float32, a float32, x *float32, n int)
TEXT ·axpyNEON(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD x+16(FP), R1
	MOVD n+24(FP), R2
	FMOVS a+8(FP), F12
	VDUP V12.S[0], V12.S4

axpy:
	VLD1.P 64(R1), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1   (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	VFMLA  V4.S4, V12.S4, V0.S4
	VFMLA  V5.S4, V12.S4, V1.S4
	VFMLA  V6.S4, V12.S4, V2.S4
	VFMLA  V7.S4, V12.S4, V3.S4
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS   $16, R2
	BNE    axpy
	RET

// func peakNEON(n int)
TEXT ·peakNEON(SB), NOSPLIT, $0-8
	MOVD n+0(FP), R2
	ZERO4(V24, V25, V26, V27)
	VEOR V28.B16, V28.B16, V28.B16

peak:
	LANE(0, 1, 2, 3, 28, 0)
	LANE(4, 5, 6, 7, 28, 1)
	LANE(8, 9, 10, 11, 28, 2)
	LANE(12, 13, 14, 15, 28, 3)
	LANE(16, 17, 18, 19, 28, 0)
	LANE(20, 21, 22, 23, 28, 1)
	SUBS $1, R2
	BNE  peak
	RET
