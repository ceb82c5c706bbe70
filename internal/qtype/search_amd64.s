//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// Eight searches run side by side, one in each lane, each with the operations of the plain form in the same order; no
// fused multiply-add.

DATA ·searchWords+0(SB)/4, $0x4b400000  // 1.5·2²³
DATA ·searchWords+4(SB)/4, $0x007fffff
DATA ·searchWords+8(SB)/4, $0x00400000
DATA ·searchWords+12(SB)/4, $0x7fffffff
GLOBL ·searchWords(SB), RODATA|NOPTR, $16

// CODES rounds Y4 to integers in 0 ... Y12. Y15, Y14, Y13: the words above. Y9: 0.
#define CODES(r) \
	VADDPS    Y15, r, r \
	VPAND     Y14, r, r \
	VPSUBD    Y13, r, r \
	VPMAXSD   Y9, r, r  \
	VPMINSD   Y12, r, r \
	VCVTDQ2PS r, r

#define CONSTANTS \
	VBROADCASTSS ·searchWords+0(SB), Y15 \
	VBROADCASTSS ·searchWords+4(SB), Y14 \
	VBROADCASTSS ·searchWords+8(SB), Y13 \
	VXORPS       Y9, Y9, Y9

// func affineLimitsAVX2(s *affineLanes, n int)
TEXT ·affineLimitsAVX2(SB), NOSPLIT, $0-16
	MOVQ    s+0(FP), DI
	MOVQ    n+8(FP), CX
	SHLQ    $5, CX
	VMOVUPS affineLanes_x(DI), Y0
	VMOVUPS Y0, Y1
	VMOVUPS affineLanes_w(DI), Y2
	VMULPS  Y0, Y2, Y3
	MOVQ    $32, SI
limits:
	VMOVUPS   affineLanes_x(DI)(SI*1), Y4
	VCMPPS    $0x11, Y0, Y4, Y5 // x < low
	VBLENDVPS Y5, Y4, Y0, Y0
	VCMPPS    $0x1e, Y1, Y4, Y5 // x > high
	VBLENDVPS Y5, Y4, Y1, Y1
	VMOVUPS   affineLanes_w(DI)(SI*1), Y6
	VADDPS    Y6, Y2, Y2
	VMULPS    Y4, Y6, Y6
	VADDPS    Y6, Y3, Y3
	ADDQ      $32, SI
	CMPQ      SI, CX
	JLT       limits
	VXORPS    Y5, Y5, Y5
	VCMPPS    $0x1e, Y5, Y0, Y6 // low > 0
	VANDNPS   Y0, Y6, Y0
	VMOVUPS   Y0, affineLanes_low(DI)
	VMOVUPS   Y1, affineLanes_high(DI)
	VMOVUPS   Y2, affineLanes_sumW(DI)
	VMOVUPS   Y3, affineLanes_sumX(DI)
	VZEROUPPER
	RET

// func affineStepAVX2(s *affineLanes, n int, top int32, numerator float32, absolute, start bool)
TEXT ·affineStepAVX2(SB), NOSPLIT, $0-26
	MOVQ         s+0(FP), DI
	MOVQ         n+8(FP), CX
	SHLQ         $5, CX
	CONSTANTS
	VBROADCASTSS top+16(FP), Y12
	VMOVUPS      affineLanes_low(DI), Y11
	VMOVUPS      affineLanes_high(DI), Y3
	VSUBPS       Y11, Y3, Y3
	VBROADCASTSS numerator+20(FP), Y10
	VDIVPS       Y3, Y10, Y10
	VXORPS       Y0, Y0, Y0
	VXORPS       Y1, Y1, Y1
	VXORPS       Y2, Y2, Y2
	XORQ         SI, SI
sums:
	VMOVUPS affineLanes_x(DI)(SI*1), Y3
	VSUBPS  Y11, Y3, Y4
	VMULPS  Y10, Y4, Y4
	CODES(Y4)
	VMOVUPS Y4, affineLanes_l(DI)(SI*1)
	VMULPS  affineLanes_w(DI)(SI*1), Y4, Y5
	VADDPS  Y5, Y0, Y0
	VMULPS  Y4, Y5, Y6
	VADDPS  Y6, Y1, Y1
	VMULPS  Y3, Y5, Y6
	VADDPS  Y6, Y2, Y2
	ADDQ    $32, SI
	CMPQ    SI, CX
	JLT     sums
	MOVBLZX start+25(FP), AX
	TESTL   AX, AX
	JZ      solve

	// the first grid: scale 1/inv, minimum as it is
	VPCMPEQD     Y8, Y8, Y8
	MOVL         $0x3f800000, AX
	VMOVD        AX, X4
	VPBROADCASTD X4, Y4
	VDIVPS       Y10, Y4, Y4
	VMOVUPS      Y11, Y5
	JMP          error

solve:
	VMOVUPS   affineLanes_sumW(DI), Y6
	VMOVUPS   affineLanes_sumX(DI), Y7
	VMULPS    Y1, Y6, Y3
	VMULPS    Y0, Y0, Y4
	VSUBPS    Y4, Y3, Y3       // det = sumW·l2 - l1·l1
	VMULPS    Y2, Y6, Y4
	VMULPS    Y0, Y7, Y5
	VSUBPS    Y5, Y4, Y4
	VDIVPS    Y3, Y4, Y4       // scale = (sumW·lx - sumX·l1) / det
	VMULPS    Y7, Y1, Y5
	VMULPS    Y2, Y0, Y6
	VSUBPS    Y6, Y5, Y5
	VDIVPS    Y3, Y5, Y5       // minimum = (l2·sumX - l1·lx) / det
	VCMPPS    $0x1e, Y9, Y5, Y6
	VDIVPS    Y1, Y2, Y7
	VBLENDVPS Y6, Y7, Y4, Y4   // where it is positive: 0, and scale = lx / l2
	VANDNPS   Y5, Y6, Y5
	VCMPPS    $0x1e, Y9, Y3, Y8 // det > 0

error:
	VXORPS  Y0, Y0, Y0
	XORQ    SI, SI
	MOVBLZX absolute+24(FP), AX
	TESTL   AX, AX
	JNZ     absolutes
squares:
	VMULPS affineLanes_l(DI)(SI*1), Y4, Y1
	VADDPS Y5, Y1, Y1
	VSUBPS affineLanes_x(DI)(SI*1), Y1, Y1
	VMULPS Y1, Y1, Y1
	VMULPS affineLanes_w(DI)(SI*1), Y1, Y1
	VADDPS Y1, Y0, Y0
	ADDQ   $32, SI
	CMPQ   SI, CX
	JLT    squares
	JMP    compare
absolutes:
	VBROADCASTSS ·searchWords+12(SB), Y2
absolutesLoop:
	VMULPS affineLanes_l(DI)(SI*1), Y4, Y1
	VADDPS Y5, Y1, Y1
	VSUBPS affineLanes_x(DI)(SI*1), Y1, Y1
	VANDPS Y2, Y1, Y1
	VMULPS affineLanes_w(DI)(SI*1), Y1, Y1
	VADDPS Y1, Y0, Y0
	ADDQ   $32, SI
	CMPQ   SI, CX
	JLT    absolutesLoop

compare:
	MOVBLZX   start+25(FP), AX
	TESTL     AX, AX
	JNZ       keep
	VCMPPS    $0x11, affineLanes_best(DI), Y0, Y1 // error < best
	VANDPS    Y1, Y8, Y8
keep:
	VMOVUPS   affineLanes_best(DI), Y1
	VBLENDVPS Y8, Y0, Y1, Y1
	VMOVUPS   Y1, affineLanes_best(DI)
	VMOVUPS   affineLanes_scale(DI), Y1
	VBLENDVPS Y8, Y4, Y1, Y1
	VMOVUPS   Y1, affineLanes_scale(DI)
	VBLENDVPS Y8, Y5, Y11, Y1
	VMOVUPS   Y1, affineLanes_low(DI)
	VMOVUPS   affineLanes_from(DI), Y1
	VBLENDVPS Y8, Y11, Y1, Y1
	VMOVUPS   Y1, affineLanes_from(DI)
	VMOVUPS   affineLanes_inv(DI), Y1
	VBLENDVPS Y8, Y10, Y1, Y1
	VMOVUPS   Y1, affineLanes_inv(DI)
	VZEROUPPER
	RET

// func affineCodesAVX2(s *affineLanes, n int, top int32)
TEXT ·affineCodesAVX2(SB), NOSPLIT, $0-20
	MOVQ         s+0(FP), DI
	MOVQ         n+8(FP), CX
	SHLQ         $5, CX
	CONSTANTS
	VBROADCASTSS top+16(FP), Y12
	VMOVUPS      affineLanes_from(DI), Y11
	VMOVUPS      affineLanes_inv(DI), Y10
	XORQ         SI, SI
codes:
	VMOVUPS affineLanes_x(DI)(SI*1), Y4
	VSUBPS  Y11, Y4, Y4
	VMULPS  Y10, Y4, Y4
	CODES(Y4)
	VMOVUPS Y4, affineLanes_l(DI)(SI*1)
	ADDQ    $32, SI
	CMPQ    SI, CX
	JLT     codes
	VZEROUPPER
	RET

// SYMMETRIC adds the terms of one value for eight grids. Y0 x, Y1 w, Y2 w·x; Y12 -top, Y11 top-1.
#define SYMMETRIC(offset, xl, ll) \
	VMULPS    (symmetricLanes_inv+offset)(DI), Y0, Y9 \
	VADDPS    Y15, Y9, Y9  \
	VPAND     Y14, Y9, Y9  \
	VPSUBD    Y13, Y9, Y9  \
	VPMINSD   Y11, Y9, Y9  \
	VPMAXSD   Y12, Y9, Y9  \
	VCVTDQ2PS Y9, Y9       \
	VMULPS    Y9, Y2, Y10  \
	VADDPS    Y10, xl, xl  \
	VMULPS    Y9, Y1, Y10  \
	VMULPS    Y9, Y10, Y10 \
	VADDPS    Y10, ll, ll

// func extremeAVX2(x *float32, n int) (value float32)
TEXT ·extremeAVX2(SB), NOSPLIT, $0-20
	MOVQ     x+0(FP), SI
	MOVQ     n+8(FP), CX
	VPCMPEQD Y7, Y7, Y7
	VPSRLD   $1, Y7, Y7
	VXORPS   Y0, Y0, Y0
	XORQ     AX, AX
largest:
	VANDPS (SI)(AX*4), Y7, Y1
	VMAXPS Y1, Y0, Y0
	ADDQ   $8, AX
	CMPQ   AX, CX
	JLT    largest
	VEXTRACTF128 $1, Y0, X1
	VMAXPS       X1, X0, X0
	VSHUFPS      $0x4e, X0, X0, X1
	VMAXPS       X1, X0, X0
	VSHUFPS      $0xb1, X0, X0, X1
	VMAXPS       X1, X0, X0
	VBROADCASTSS X0, Y0
	XORQ         AX, AX
first:
	VANDPS    (SI)(AX*4), Y7, Y1
	VCMPPS    $0, Y1, Y0, Y1
	VMOVMSKPS Y1, DX
	TESTL     DX, DX
	JNZ       found
	ADDQ      $8, AX
	CMPQ      AX, CX
	JLT       first
	VXORPS    X0, X0, X0          // values that are no numbers
	JMP       done
found:
	BSFL   DX, DX
	ADDQ   DX, AX
	VMOVSS (SI)(AX*4), X0
done:
	VMOVSS X0, value+16(FP)
	VZEROUPPER
	RET

// func symmetricSumsAVX2(s *symmetricLanes, x, w *float32, n int, top int32, peak float32, numerators *[24]float32)
TEXT ·symmetricSumsAVX2(SB), NOSPLIT, $0-48
	MOVQ         s+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         w+16(FP), DX
	MOVQ         n+24(FP), CX
	MOVQ         numerators+40(FP), BX
	VBROADCASTSS peak+36(FP), Y0
	VMOVUPS      0(BX), Y1
	VDIVPS       Y0, Y1, Y1
	VMOVUPS      Y1, symmetricLanes_inv(DI)
	VMOVUPS      32(BX), Y1
	VDIVPS       Y0, Y1, Y1
	VMOVUPS      Y1, (symmetricLanes_inv+32)(DI)
	VMOVUPS      64(BX), Y1
	VDIVPS       Y0, Y1, Y1
	VMOVUPS      Y1, (symmetricLanes_inv+64)(DI)
	CONSTANTS
	VBROADCASTSS top+32(FP), Y11
	VPXOR        Y12, Y12, Y12
	VPSUBD       Y11, Y12, Y12
	VPCMPEQD     Y3, Y3, Y3
	VPADDD       Y3, Y11, Y11
	VXORPS       Y3, Y3, Y3
	VXORPS       Y4, Y4, Y4
	VXORPS       Y5, Y5, Y5
	VXORPS       Y6, Y6, Y6
	VXORPS       Y7, Y7, Y7
	VXORPS       Y8, Y8, Y8
	XORQ         AX, AX
values:
	VBROADCASTSS (SI)(AX*4), Y0
	VBROADCASTSS (DX)(AX*4), Y1
	VMULPS       Y0, Y1, Y2
	SYMMETRIC(0, Y3, Y6)
	SYMMETRIC(32, Y4, Y7)
	SYMMETRIC(64, Y5, Y8)
	INCQ         AX
	CMPQ         AX, CX
	JLT          values
	VMOVUPS      Y3, symmetricLanes_xl(DI)
	VMOVUPS      Y4, (symmetricLanes_xl+32)(DI)
	VMOVUPS      Y5, (symmetricLanes_xl+64)(DI)
	VMOVUPS      Y6, symmetricLanes_ll(DI)
	VMOVUPS      Y7, (symmetricLanes_ll+32)(DI)
	VMOVUPS      Y8, (symmetricLanes_ll+64)(DI)
	VZEROUPPER
	RET

DATA ·searchLanes+0(SB)/4, $0
DATA ·searchLanes+4(SB)/4, $1
DATA ·searchLanes+8(SB)/4, $2
DATA ·searchLanes+12(SB)/4, $3
DATA ·searchLanes+16(SB)/4, $4
DATA ·searchLanes+20(SB)/4, $5
DATA ·searchLanes+24(SB)/4, $6
DATA ·searchLanes+28(SB)/4, $7
GLOBL ·searchLanes(SB), RODATA|NOPTR, $32

// APART adds w·(scaled value - x)² of dimension AX+d of eight candidates to their sums in Y3.
#define APART(d) \
	VPMOVZXBD    (8*d)(SI), Y4 \
	VPERMPS      Y8, Y4, Y4 \
	VBROADCASTSS (4*d)(R8)(AX*4), Y5 \
	VSUBPS       Y5, Y4, Y4 \
	VBROADCASTSS (4*d)(R9)(AX*4), Y5 \
	VMULPS       Y4, Y5, Y5 \
	VMULPS       Y4, Y5, Y5 \
	VADDPS       Y5, Y3, Y3

// func nearestPointAVX2(codes *uint8, blocks, dims int, x, w *float32, value *[8]float32, scale float32) (place int32)
TEXT ·nearestPointAVX2(SB), NOSPLIT, $0-60
	MOVQ         codes+0(FP), SI
	MOVQ         blocks+8(FP), CX
	MOVQ         dims+16(FP), DX
	MOVQ         x+24(FP), R8
	MOVQ         w+32(FP), R9
	MOVQ         value+40(FP), R10
	VBROADCASTSS scale+48(FP), Y8
	VMULPS       (R10), Y8, Y8           // scaled values by code
	MOVL         $0x7f7fffff, AX
	VMOVD        AX, X0
	VPBROADCASTD X0, Y0                  // least sums: the largest float32
	VMOVDQU      ·searchLanes(SB), Y2    // places of this block
	VMOVDQA      Y2, Y1                  // places of the least sums
	MOVL         $8, AX
	VMOVD        AX, X7
	VPBROADCASTD X7, Y7
blocks:
	VXORPS       Y3, Y3, Y3
	XORQ         AX, AX
dims:
	APART(0)
	APART(1)
	APART(2)
	APART(3)
	ADDQ         $32, SI
	ADDQ         $4, AX
	CMPQ         AX, DX
	JLT          dims
	VCMPPS       $0x11, Y0, Y3, Y4
	VBLENDVPS    Y4, Y3, Y0, Y0
	VPBLENDVB    Y4, Y2, Y1, Y1
	VPADDD       Y7, Y2, Y2
	DECQ         CX
	JNZ          blocks

	// the least sum, and of the lanes that have it the lowest place
	VEXTRACTF128 $1, Y0, X3
	VMINPS       X3, X0, X3
	VPERMILPS    $0x4e, X3, X4
	VMINPS       X4, X3, X3
	VPERMILPS    $0xb1, X3, X4
	VMINPS       X4, X3, X3
	VBROADCASTSS X3, Y3
	CMPQ         blocks+8(FP), $1
	JNE          several
	VCMPPS       $0x00, Y0, Y3, Y3
	VMOVMSKPS    Y3, AX
	BSFL         AX, AX
	MOVL         AX, place+56(FP)
	VZEROUPPER
	RET
several:
	VCMPPS       $0x04, Y0, Y3, Y3       // other lanes: the largest place, all ones
	VPOR         Y3, Y1, Y1
	VEXTRACTI128 $1, Y1, X2
	VPMINUD      X2, X1, X1
	VPSHUFD      $0x4e, X1, X2
	VPMINUD      X2, X1, X1
	VPSHUFD      $0xb1, X1, X2
	VPMINUD      X2, X1, X1
	VMOVD        X1, AX
	MOVL         AX, place+56(FP)
	VZEROUPPER
	RET

// SPLIT leaves in Y6 where a split beats the best. Y0, Y1: sums of the middle run; Y2: factor; Y5: best.
#define SPLIT(first, last) \
	VMULPS       Y2, Y0, Y3 \
	VBROADCASTSS (splitRun_firstX+first)(DI), Y4 \
	VADDPS       Y3, Y4, Y3 \
	VADDPS       (splitRun_lastX+last)(DI)(AX*4), Y3, Y3 \
	VMULPS       Y2, Y1, Y4 \
	VMULPS       Y2, Y4, Y4 \
	VBROADCASTSS (splitRun_firstW+first)(DI), Y6 \
	VADDPS       Y4, Y6, Y4 \
	VADDPS       (splitRun_lastW+last)(DI)(AX*4), Y4, Y4 \
	VMULPS       Y3, Y3, Y3 \
	VMULPS       Y4, Y5, Y6 \
	VCMPPS       $0x1e, Y6, Y3, Y6 \
	VCMPPS       $0x1e, Y9, Y4, Y4 \
	VANDPS       Y4, Y6, Y6

// func splitScanAVX2(s *splitRun, from int, best float32) (at int)
TEXT ·splitScanAVX2(SB), NOSPLIT, $0-32
	MOVQ         s+0(FP), DI
	MOVQ         from+8(FP), AX
	VBROADCASTSS best+16(FP), Y5
	VXORPS       Y9, Y9, Y9
	MOVL         $0x3e000000, BX     // 1/8
	VMOVD        BX, X7
	VPBROADCASTD X7, Y7
	VSUBPS       Y7, Y9, Y8          // -1/8
	VBROADCASTSS splitRun_x(DI), Y10
	VBROADCASTSS splitRun_w(DI), Y11
scan:
	VMOVUPS      splitRun_sumX(DI)(AX*4), Y0
	VSUBPS       Y10, Y0, Y0
	VMOVUPS      splitRun_sumW(DI)(AX*4), Y1
	VSUBPS       Y11, Y1, Y1
	VMOVAPS      Y7, Y2
	SPLIT(0, 0)
	VMOVAPS      Y6, Y12
	VMOVAPS      Y8, Y2
	SPLIT(4, 160)
	VORPS        Y12, Y6, Y6
	VMOVMSKPS    Y6, BX
	TESTL        BX, BX
	JNZ          found
	ADDQ         $8, AX
	CMPQ         AX, $33
	JLT          scan
found:
	MOVQ         AX, at+24(FP)
	VZEROUPPER
	RET

// func roundGroupAVX2(codes *uint8, x *float32, n int, add, scale float32, low, high int32)
TEXT ·roundGroupAVX2(SB), NOSPLIT, $0-40
	MOVQ         codes+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         n+16(FP), CX
	CONSTANTS
	VBROADCASTSS add+24(FP), Y8
	VBROADCASTSS scale+28(FP), Y10
	VBROADCASTSS low+32(FP), Y9
	VBROADCASTSS high+36(FP), Y12
group:
	VADDPS       (SI), Y8, Y0
	VADDPS       32(SI), Y8, Y1
	VDIVPS       Y10, Y0, Y0
	VDIVPS       Y10, Y1, Y1
	VADDPS       Y15, Y0, Y0
	VADDPS       Y15, Y1, Y1
	VPAND        Y14, Y0, Y0
	VPAND        Y14, Y1, Y1
	VPSUBD       Y13, Y0, Y0
	VPSUBD       Y13, Y1, Y1
	VPMINSD      Y12, Y0, Y0
	VPMINSD      Y12, Y1, Y1
	VPMAXSD      Y9, Y0, Y0
	VPMAXSD      Y9, Y1, Y1
	VPSUBD       Y9, Y0, Y0              // from 0 on
	VPSUBD       Y9, Y1, Y1
	VPACKUSDW    Y1, Y0, Y0
	VPERMQ       $0xd8, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPACKUSWB    X1, X0, X0
	VMOVDQU      X0, (DI)
	ADDQ         $16, DI
	ADDQ         $64, SI
	SUBQ         $16, CX
	JG           group
	VZEROUPPER
	RET

// INTEGERS rounds r to integers in Y11 ... Y12.
#define INTEGERS(r) \
	VADDPS    Y15, r, r \
	VPAND     Y14, r, r \
	VPSUBD    Y13, r, r \
	VPMINSD   Y12, r, r \
	VPMAXSD   Y11, r, r

// ROUND rounds r to integers in Y11 ... Y12, as floats.
#define ROUND(r) \
	INTEGERS(r) \
	VCVTDQ2PS r, r

// func refineSymmetricAVX2(s *refineLanes, top int32)
TEXT ·refineSymmetricAVX2(SB), NOSPLIT, $0-12
	MOVQ         s+0(FP), DI
	CONSTANTS
	VBROADCASTSS top+8(FP), Y12
	VPSUBD       Y12, Y9, Y11     // -top
	VPCMPEQD     Y0, Y0, Y0
	VPADDD       Y0, Y12, Y12     // top - 1
	VMOVUPS      refineLanes_inv(DI), Y10
	VXORPS       Y0, Y0, Y0       // xl
	VXORPS       Y1, Y1, Y1       // ll
	XORQ         SI, SI
start:
	VMOVUPS refineLanes_x(DI)(SI*1), Y2
	VMULPS  Y2, Y10, Y3
	ROUND(Y3)
	VMOVUPS Y3, refineLanes_l(DI)(SI*1)
	VMULPS  Y2, Y2, Y4
	VMOVUPS Y4, refineLanes_w(DI)(SI*1)
	VMULPS  Y2, Y4, Y5
	VMOVUPS Y5, refineLanes_wx(DI)(SI*1)
	VMULPS  Y3, Y5, Y5
	VADDPS  Y5, Y0, Y0
	VMULPS  Y3, Y4, Y4
	VMULPS  Y3, Y4, Y4
	VADDPS  Y4, Y1, Y1
	ADDQ    $32, SI
	CMPQ    SI, $512
	JLT     start
	MOVQ    $5, CX
round:
	VXORPS Y10, Y10, Y10          // what has changed
	XORQ   SI, SI
step:
	VMOVUPS   refineLanes_l(DI)(SI*1), Y2
	VMOVUPS   refineLanes_wx(DI)(SI*1), Y3
	VMOVUPS   refineLanes_w(DI)(SI*1), Y4
	VMULPS    Y2, Y3, Y5
	VSUBPS    Y5, Y0, Y5          // xl without the element
	VMULPS    Y2, Y4, Y7
	VMULPS    Y2, Y7, Y7
	VSUBPS    Y7, Y1, Y7          // ll without it
	VMULPS    refineLanes_x(DI)(SI*1), Y7, Y8
	VDIVPS    Y5, Y8, Y8
	ROUND(Y8)                     // its best code
	VXORPS    Y9, Y9, Y9
	VCMPPS    $0x1e, Y9, Y5, Y6
	VCMPPS    $0x04, Y2, Y8, Y9
	VANDPS    Y9, Y6, Y6
	VMOVMSKPS Y6, AX
	TESTL     AX, AX
	JZ        next
	VMULPS    Y8, Y3, Y9
	VADDPS    Y9, Y5, Y5
	VMULPS    Y8, Y4, Y9
	VMULPS    Y8, Y9, Y9
	VADDPS    Y9, Y7, Y7
	VXORPS    Y9, Y9, Y9
	VCMPPS    $0x1e, Y9, Y7, Y9
	VANDPS    Y9, Y6, Y6
	VMULPS    Y5, Y5, Y9
	VMULPS    Y1, Y9, Y9
	VMULPS    Y0, Y0, Y3
	VMULPS    Y7, Y3, Y3
	VCMPPS    $0x1e, Y3, Y9, Y9   // xl²/ll grows
	VANDPS    Y9, Y6, Y6
	VORPS     Y6, Y10, Y10
	VBLENDVPS Y6, Y8, Y2, Y2
	VMOVUPS   Y2, refineLanes_l(DI)(SI*1)
	VBLENDVPS Y6, Y5, Y0, Y0
	VBLENDVPS Y6, Y7, Y1, Y1
next:
	ADDQ      $32, SI
	CMPQ      SI, $512
	JLT       step
	VMOVMSKPS Y10, AX
	TESTL     AX, AX
	JZ        done
	SUBQ      $1, CX
	JNZ       round
done:
	VMOVUPS Y0, refineLanes_xl(DI)
	VMOVUPS Y1, refineLanes_ll(DI)
	VZEROUPPER
	RET

// func roundOddAVX2(codes *uint8, x *float32, n int, inv float32, high int32)
TEXT ·roundOddAVX2(SB), NOSPLIT, $0-32
	MOVQ         codes+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         n+16(FP), CX
	CONSTANTS
	VPXOR        Y11, Y11, Y11
	VBROADCASTSS inv+24(FP), Y8
	VBROADCASTSS high+28(FP), Y12
	MOVL         $0x3f800000, AX         // 1
	VMOVD        AX, X10
	VPBROADCASTD X10, Y10
	MOVL         $0x3f000000, AX         // 1/2
	VMOVD        AX, X7
	VPBROADCASTD X7, Y7
odds:
	VMULPS       (SI), Y8, Y0
	VMULPS       32(SI), Y8, Y1
	VSUBPS       Y10, Y0, Y0
	VSUBPS       Y10, Y1, Y1
	VMULPS       Y7, Y0, Y0
	VMULPS       Y7, Y1, Y1
	INTEGERS(Y0)
	INTEGERS(Y1)
	VPACKUSDW    Y1, Y0, Y0
	VPERMQ       $0xd8, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPACKUSWB    X1, X0, X0
	VMOVDQU      X0, (DI)
	ADDQ         $16, DI
	ADDQ         $64, SI
	SUBQ         $16, CX
	JG           odds
	VZEROUPPER
	RET
