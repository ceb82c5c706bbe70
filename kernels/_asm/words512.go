package main

import (
	"fmt"
	"strings"
)

// split emits the product of one row of activations, rounded to 16 bits, with stored blocks in registers of 512 bits: VPDPBUSD multiplies
// 64 codes by the low bytes of the activations, which are unsigned, and by the high bytes, which are signed, so that codes of up to 7 bits
// need not be widened. A lane adds up four products of at most 16 by 8 bits: 4·32767·127 is exact in float32.
//
// Two groups of 32 lie in a register: with blocks of 32 those of two rows of w, else two of the same row, whose nibbles share bytes.
//
// Registers: sums of four rows from 0 (blocks of 32: of two rows in 0 and in 2), of their minima from 4, temporaries from 8, constants
// from 16. SI blocks of w, R12 and R13 the bytes of one and three rows of it, DX and R8 low and high bytes of activations, R14 pairs of
// their scales and scales times sums, R9 scales times sums of 16, R15 memory asked for, DI y.
type split struct {
	*asm
	wordType
	r int // row of w
}

// The constants of all of them.
const (
	splitShift  = 16 + iota // 0 and 4: which nibble of a dword
	splitNibble             // 15 in all bytes
	splitLanes              // four tables of lanes that scales are looked up in, for 64 values each
	_
	_
	_
	splitBits  // what moves bits of codes to their place, or 16 in all bytes
	splitCodes // all bits of a code
	splitHead  // which two bytes of the head a scale or minimum is made of, how far each is shifted, what of it is kept
	splitDown
	splitAcross
	splitLow
	splitHigh
)

// words512 emits the rounding and the products.
func words512(a *asm) {
	lanes := func(of func(lane int) int) []uint32 {
		t := make([]uint32, 16)
		for i := range t {
			t[i] = uint32(of(i))
		}
		return t
	}
	a.table("splitShift32", lanes(func(i int) int { return i / 4 % 2 * 4 }))
	a.table("splitShift64", lanes(func(i int) int { return i / 8 * 4 }))
	a.table("splitShiftCrumbs", lanes(func(i int) int { return i / 8 * 2 }))
	var rows, groups, halves []uint32
	for p := range 4 {
		rows = append(rows, lanes(func(i int) int { return 4*(p%2) + 2*(i/8) })...)
		groups = append(groups, lanes(func(i int) int { return 4*p + 2*(i/8) })...)
		halves = append(halves, lanes(func(i int) int { return 4*p + i/4 })...)
	}
	a.table("splitRows", rows)
	a.table("splitGroups", groups)
	a.table("splitHalves", halves)
	a.table("splitBitsK5", lanes(func(i int) int { return 4 - i/8 }))
	a.table("splitBitsK6", lanes(func(i int) int { return 4 - i/8*2 }))
	a.table("splitBitsK3", lanes(func(i int) int { return 2 - i/8 }))
	// Q4_K and Q5_K: even lanes are scales, odd ones minima.
	a.table("splitHeadK4", lanes(headBytes))
	a.table("splitDownK4", lanes(func(i int) int { return i / 8 * (i % 2) * 4 }))
	a.table("splitAcrossK4", lanes(func(int) int { return 10 }))
	a.table("splitLowK4", lanes(func(i int) int { return 63 - i/8*48 }))
	a.table("splitHighK4", lanes(func(i int) int { return i / 8 * 48 }))
	// Q3_K, whose 12 bytes of scales begin at the third of what is loaded.
	a.table("splitHeadK3", lanes(func(i int) int { return 2 + i%8 | (10+i%4)<<8 }))
	a.table("splitDownK3", lanes(func(i int) int { return i / 8 * 4 }))
	a.table("splitAcrossK3", lanes(func(i int) int { return 4 + i/4*2 }))
	a.table("splitLowK3", lanes(func(int) int { return 15 }))
	a.table("splitHighK3", lanes(func(int) int { return 48 }))
	a.table("minus4", repeat(f32bits(-4), 8))
	roundSplit(a)
	types := []wordType{
		{"Q4_0", 32, 18, nil}, {"Q4_1", 32, 20, nil}, {"Q5_0", 32, 22, nil}, {"Q5_1", 32, 24, nil},
		{"INT4", 32, 20, nil}, {"IQ4_NL", 32, 18, nil}, {"MXFP4", 32, 17, nil},
		{"Q2_K", 256, 84, nil}, {"Q3_K", 256, 110, nil}, {"Q4_K", 256, 144, nil}, {"Q5_K", 256, 176, nil}, {"Q6_K", 256, 210, nil},
	}
	var names strings.Builder
	for _, t := range types {
		d := &split{asm: a, wordType: t}
		a.rowDots(t, "split", "; x and pairs are what roundSplit wrote", 0, d)
		fmt.Fprintf(&names, "\ttype%s: split%s,\n", t.name, t.name)
	}
	fmt.Fprintf(&a.g, "\n// splitDots is, by type, the product of a row rounded to 16 bits, its bytes apart, with blocks as they lie.\nvar splitDots = [numStored]wordProduct{\n%s}\n", names.String())
}

// headBytes are the bytes of the 16 at the beginning of a Q4_K block that scale (even i) or minimum (odd) of group i/2 is made of: the one with
// its low bits first.
func headBytes(i int) int {
	g, min := i/2, i%2
	if g < 4 {
		return 4 + 4*min + g
	}
	return 4 + 4 + g | (4+4*min+g-4)<<8
}

// roundSplit emits the rounding of activations to 16 bits, 32 values to a scale.
func roundSplit(a *asm) {
	a.fn("rounds n > 0 groups of 32 values as roundWordsAVX2 does and writes the low bytes of all codes, then the high bytes; behind the pairs, scales times sums of 16 codes.",
		"roundSplit", "q *byte, pairs, x *float32, n int", 32, 0)
	a.i("MOVQ q+0(FP), DI; MOVQ pairs+8(FP), R8; MOVQ x+16(FP), SI; MOVQ n+24(FP), CX; MOVQ CX, R9; SHLQ $5, R9; ADDQ DI, R9; LEAQ (R8)(CX*8), R10")
	a.i("VMOVSS ·wordLimits(SB), X12; VMOVSS ·wordLimits+4(SB), X11; VMOVUPS ·wordAbs(SB), Y10")
	a.label("loop")
	a.roundGroup()
	for h := range 2 {
		a.i("VPADDD Y%d, Y%d, Y%d; VEXTRACTI128 $1, Y%d, X9; VPADDD X9, X%d, X%d", 2*h+1, 2*h, 7+h, 7+h, 7+h, 7+h)
	}
	a.i("VPHADDD X8, X7, X8; VPHADDD X8, X8, X8; VPHADDD X8, X8, X9; VCVTDQ2PS X9, X9; VMULSS X5, X9, X9; VMOVSS X9, 4(R8)")
	a.i("VBROADCASTSS X5, X5; VCVTDQ2PS X8, X8; VMULPS X5, X8, X8; VMOVLPS X8, (R10)")
	for v := range 4 {
		a.i("VPMOVDB Y%d, %d(DI); VPSRAD $8, Y%d, Y%d; VPMOVDB Y%d, %d(R9)", v, 8*v, v, v, v, 8*v)
	}
	a.i("ADDQ $128, SI; ADDQ $32, DI; ADDQ $32, R9; ADDQ $8, R8; ADDQ $8, R10; DECQ CX; JNZ loop")
	a.ret()
}

// has tells whether the type's name begins or ends so.
func (d *split) has(s string) bool {
	return strings.HasPrefix(d.wordType.name, s) || strings.HasSuffix(d.wordType.name, s)
}

// wide sets register r to a table.
func (d *split) wide(table string, at, r int) { d.i("VMOVDQU32 ·%s+%d(SB), Z%d", table, at, r) }

// each sets all bytes of Z[r].
func (d *split) each(v, r int) { d.i("MOVL $0x%02x, AX; VPBROADCASTB AX, Z%d", v, r) }

func (d *split) constants() {
	nibble, codes, shift, lanes, count := 15, 0, "64", "splitGroups", 4
	switch {
	case d.values == 32:
		shift, lanes, count = "32", "splitRows", 2
		d.i("MOVL $0xff00, AX; KMOVW AX, K1")
		d.each(16, splitBits)
	case d.has("Q2"), d.has("Q3"):
		nibble, codes, shift, lanes = 3, 7, "Crumbs", "splitHalves"
	case d.has("Q6"):
		codes, lanes = 63, "splitHalves"
	default:
		codes = 31
		d.i("MOVL $0xaaaa, AX; KMOVW AX, K1")
	}
	d.each(nibble, splitNibble)
	d.each(codes, splitCodes)
	d.wide("splitShift"+shift, 0, splitShift)
	for p := range count {
		d.wide(lanes, 64*p, splitLanes+p)
	}
	if name := d.wordType.name; name == "Q3_K" || name == "Q5_K" || name == "Q6_K" {
		d.wide("splitBitsK"+name[1:2], 0, splitBits)
	}
	switch name := d.wordType.name; name {
	case "Q3_K", "Q4_K", "Q5_K":
		k := map[bool]string{true: "K3", false: "K4"}[name == "Q3_K"]
		for i, t := range []string{"Head", "Down", "Across", "Low", "High"} {
			d.wide("split"+t+k, 0, splitHead+i)
		}
	case "IQ4_NL":
		d.i("VBROADCASTI32X4 ·int8Levels(SB), Z%d", splitBits)
		d.each(128, splitCodes)
	case "MXFP4":
		d.i("VBROADCASTI32X4 ·int8Halves4(SB), Z%d; LEAQ ·int8Exponents(SB), R10", splitBits)
	case "INT4":
		d.i("MOVL $0xaa, AX; KMOVW AX, K2")
	}
}

// sixteenths tells whether a scale is of 16 values.
func (d *split) sixteenths() bool { return d.has("Q2") || d.has("Q3") || d.has("Q6") }

// rows multiplies so many rows of w at a time.
func (d *split) rows(n int) {
	d.i("MOVQ x+8(FP), DX; MOVQ pairs+16(FP), R14; MOVQ w+24(FP), SI; MOVQ n+40(FP), CX; LEAQ %d(SI), R15", ahead)
	shift := map[int]int{32: 5, 256: 8}[d.values]
	d.i("MOVQ CX, R8; SHLQ $%d, R8; ADDQ DX, R8", shift)
	if d.sixteenths() {
		d.i("MOVQ CX, R9; SHLQ $6, R9; ADDQ R14, R9")
	}
	for r := range 8 {
		d.i("VPXORD Z%d, Z%d, Z%d", r, r, r)
	}
	d.label(fmt.Sprintf("blocks%d", n))
	for at := 0; at < n*d.size; at += 64 { // rows follow each other: this asks for those that come next
		d.i("PREFETCHT0 %d(R15)", at)
	}
	if d.values == 32 {
		d.scales(n)
		d.i("VBROADCASTI64X4 (DX), Z12; VBROADCASTI64X4 (R8), Z13")
		if d.has("IQ4_NL") { // 128 is added to codes, by the high bytes
			d.i("VPXORD Z14, Z14, Z14; VPDPBUSD Z13, Z%d, Z14; VPXORD Z15, Z15, Z15; VPSUBD Z14, Z15, Z14", splitCodes)
		}
		for d.r = 0; d.r < n; d.r += 2 {
			d.pair(n > 1)
		}
	} else {
		for d.r = range n {
			d.block256()
		}
	}
	groups := d.values / 32
	d.i("ADDQ $%d, R15; ADDQ $%d, SI; ADDQ $%d, DX; ADDQ $%d, R8; ADDQ $%d, R14", n*d.size, d.size, d.values, d.values, 8*groups)
	if d.sixteenths() {
		d.i("ADDQ $64, R9")
	}
	d.i("DECQ CX; JNZ blocks%d", n)
}

// joined adds the lanes of the sums of n rows, with those of their minima, up to n lanes of X0.
func (d *split) joined(n int) {
	if d.values == 32 {
		d.i("VEXTRACTF64X4 $1, Z0, Y1; VEXTRACTF64X4 $1, Z2, Y3")
	}
	for r := range n {
		switch {
		case d.has("Q2"):
			d.i("VSUBPS Z%d, Z%d, Z%d", 4+r, r, r)
		case d.sixteenths():
			d.i("VFMADD231PS.BCST ·%s(SB), Z%d, Z%d", map[bool]string{true: "minus4", false: "minus32"}[d.has("Q3")], 4+r, r)
		}
		if d.values == 256 {
			d.i("VEXTRACTF64X4 $1, Z%d, Y8; VADDPS Y8, Y%d, Y%d", r, r, r)
		}
	}
	if n == 4 {
		d.i("VHADDPS Y1, Y0, Y0; VHADDPS Y3, Y2, Y2; VHADDPS Y2, Y0, Y0; VEXTRACTF128 $1, Y0, X1; VADDPS X1, X0, X0")
	} else {
		d.i("VEXTRACTF128 $1, Y0, X1; VADDPS X1, X0, X0; VHADDPS X0, X0, X0; VHADDPS X0, X0, X0")
	}
	if d.values != 32 || d.has("IQ4_NL") {
		return
	}
	if table := map[string]string{"Q4_0": "minus8", "Q5_0": "minus16", "MXFP4": "minus12"}[d.wordType.name]; table != "" {
		d.i("VMULPS ·%s(SB), Y4, Y4", table)
	}
	op := map[bool]string{true: "VSUBPS", false: "VADDPS"}[d.has("INT4")]
	d.i("VEXTRACTF128 $1, Y4, X5; VSHUFPS $0xdd, X5, X4, X4; %s X4, X0, X0", op)
}

func (d *split) row(r int) string      { return []string{"", "(R12*1)", "(R12*2)", "(R13*1)"}[r] }
func (d *split) src(r, off int) string { return fmt.Sprintf("%d(SI)%s", off, d.row(r)) }

// scales leaves, for each of n rows, the scale of a block times that of the activations in the even lanes of Z8 and what the minimum adds in
// the odd ones.
func (d *split) scales(n int) {
	for r := range n {
		head := d.src(r, 0)
		if d.has("MXFP4") {
			d.i("MOVBLZX %s, AX", head)
			head = "(R10)(AX*4)"
		}
		if r == 0 {
			d.i("VMOVD %s, X8", head)
		} else {
			d.i("VPINSRD $%d, %s, X8, X8", r, head)
		}
	}
	switch {
	case d.has("INT4"): // the upper 24 bits of a float32, then a zero
		d.i("VPMOVZXDQ X8, Y8; VMOVSLDUP Y8, Y8; VPAND ·int8Zero(SB), Y8, Y9; VPXOR Y9, Y8, Y8; VCVTDQ2PS Y9, Y9; VMULPS Y9, Y8, K2, Y8")
	case d.has("MXFP4"):
		d.i("VPMOVZXDQ X8, Y8; VMOVSLDUP Y8, Y8")
	case d.has("_1"):
		d.i("VCVTPH2PS X8, Y8")
	default: // the minimum is so many times the scale
		d.i("VCVTPH2PS X8, Y8; VMOVSLDUP Y8, Y8")
	}
	d.i("VBROADCASTSD (R14), Y9; VMULPS Y9, Y8, Y8; VADDPS Y8, Y4, Y4")
}

// multiplied adds the codes in Z10 times 64 activations, whose low and high bytes are low and high, times the scales that lanes looks up in
// Z8, to Z[sum].
func (d *split) multiplied(low, high string, lanes, sum int) {
	if d.has("IQ4_NL") {
		d.i("VMOVDQA32 Z14, Z11; VPXORD Z%d, Z10, Z9; VPDPBUSD %s, Z9, Z11; VPSLLD $8, Z11, Z11", splitCodes, high)
	} else {
		d.i("VPXORD Z11, Z11, Z11; VPDPBUSD %s, Z10, Z11; VPSLLD $8, Z11, Z11", high)
	}
	if low[0] == 'Z' {
		d.i("VPDPBUSD Z10, %s, Z11", low)
	} else {
		d.i("VMOVDQU32 %s, Z9; VPDPBUSD Z10, Z9, Z11", low)
	}
	d.i("VCVTDQ2PS Z11, Z11; VPERMPS Z8, Z%d, Z9; VFMADD231PS Z9, Z11, Z%d", lanes, sum)
}

// pair is a block of 32 of row r and, if there are two, of the next: halves, 32 fifth bits or none, 16 bytes of nibbles.
func (d *split) pair(two bool) {
	head := 2
	switch {
	case d.has("_1"), d.has("INT4"):
		head = 4
	case d.has("MXFP4"):
		head = 1
	}
	codes := head
	if d.has("Q5") {
		codes += 4
		d.i("MOVL %s, AX", d.src(d.r, head))
		if two {
			d.i("MOVL %s, BX; SHLQ $32, BX; ORQ BX, AX", d.src(d.r+1, head))
		}
		d.i("KMOVQ AX, K2")
	}
	d.i("VBROADCASTI32X4 %s, Z10", d.src(d.r, codes))
	if two {
		d.i("VBROADCASTI32X4 %s, K1, Z10", d.src(d.r+1, codes))
	}
	d.i("VPSRLVD Z%d, Z10, Z10; VPANDD Z%d, Z10, Z10", splitShift, splitNibble)
	if d.has("Q5") {
		d.i("VPADDB Z%d, Z10, K2, Z10", splitBits)
	}
	if d.has("IQ4_NL") || d.has("MXFP4") {
		d.i("VPSHUFB Z10, Z%d, Z10", splitBits)
	}
	d.multiplied("Z12", "Z13", splitLanes+d.r/2, d.r)
}

// block256 is a block of 256 of row r.
func (d *split) block256() {
	switch {
	case d.has("Q2"), d.has("Q3"):
		d.crumbs()
	case d.has("Q6"):
		d.q6k()
	default:
		d.q4k()
	}
}

// head leaves 16 scales (or scales and minima) of 6 bits, made of 16 bytes of the block, in Z8.
func (d *split) head(at int) {
	d.i("VBROADCASTI32X4 %s, Z8; VPSHUFB Z%d, Z8, Z8; VPSRLVD Z%d, Z8, Z10; VPSRLVD Z%d, Z8, Z8", d.src(d.r, at), splitHead, splitAcross, splitDown)
	d.i("VPANDD Z%d, Z8, Z8; VPTERNLOGD $0xf8, Z%d, Z10, Z8; VCVTDQ2PS Z8, Z8", splitLow, splitHigh) // 8 or (10 and mask)
}

// half loads a half into all lanes of Z[r].
func (d *split) half(at, r int) { d.asm.half(d.src(d.r, at), r) }

// crumbs is Q2_K, 16 scales and minima of 4 bits, 64 bytes of 2-bit codes, halves d and dmin, and Q3_K: 32 bytes of third bits, 64 of 2-bit codes,
// 12 of 6-bit scales, half d.
func (d *split) crumbs() {
	codes := 16
	if d.has("Q3") {
		codes = 32
		d.head(94)
		d.half(108, 9)
		d.i("VADDPS.BCST ·minus32(SB), Z8, Z8; VMULPS Z9, Z8, Z8; VFMADD231PS (R9), Z8, Z%d", 4+d.r)
		d.i("VBROADCASTI64X4 %s, Z12; VPROLVD Z%d, Z12, Z12", d.src(d.r, 0), splitBits)
	} else {
		d.half(80, 10)
		d.half(82, 11)
		d.i("VPMOVZXBD %s, Z8; VPSRLD $4, Z8, Z9; VPANDD.BCST ·int8Nibble(SB), Z8, Z8; VCVTDQ2PS Z8, Z8; VCVTDQ2PS Z9, Z9", d.src(d.r, 0))
		d.i("VMULPS Z10, Z8, Z8; VMULPS Z11, Z9, Z9; VFMADD231PS (R9), Z9, Z%d", 4+d.r)
	}
	d.i("VMOVSLDUP (R14), Z9; VMULPS Z9, Z8, Z8")
	for h := range 2 {
		d.i("VBROADCASTI64X4 %s, Z13; VPSRLVD Z%d, Z13, Z13", d.src(d.r, codes+32*h), splitShift)
		for i := range 2 {
			if i == 1 {
				d.i("VPSRLW $4, Z13, Z13")
			}
			if !d.has("Q3") {
				d.i("VPANDD Z%d, Z13, Z10", splitNibble)
			} else {
				if h+i > 0 {
					d.i("VPRORD $2, Z12, Z12")
				}
				d.i("VMOVDQA32 Z13, Z10")
				d.selected()
			}
			d.quarter(2*h + i)
		}
	}
}

// q4k is Q4_K and Q5_K: halves d and dmin, 12 bytes of 6-bit scales and minima, with Q5_K 32 bytes of fifth bits, 128 bytes of nibbles.
func (d *split) q4k() {
	d.head(0)
	d.i("VPBROADCASTD %s, Y9; VCVTPH2PS Y9, Z9; VMULPS (R14), Z9, Z9; VMULPS Z9, Z8, Z8; VSUBPS Z8, Z%d, K1, Z%d", d.src(d.r, 0), d.r, d.r)
	low, five := 16, d.has("Q5")
	if five {
		low = 48
		d.i("VBROADCASTI64X4 %s, Z12; VPROLVD Z%d, Z12, Z12", d.src(d.r, 16), splitBits)
	}
	for p := range 4 {
		d.i("VBROADCASTI64X4 %s, Z10; VPSRLVD Z%d, Z10, Z10", d.src(d.r, low+32*p), splitShift)
		if five {
			if p > 0 {
				d.i("VPRORD $2, Z12, Z12")
			}
			d.selected()
		} else {
			d.i("VPANDD Z%d, Z10, Z10", splitNibble)
		}
		d.quarter(p)
	}
}

// selected puts the bits of Z12 above the nibbles of Z10.
func (d *split) selected() {
	d.i("VPTERNLOGD $0xe4, Z%d, Z12, Z10; VPANDD Z%d, Z10, Z10", splitNibble, splitCodes) // low where the mask is set, else high
}

// quarter multiplies 64 codes of a block of 256.
func (d *split) quarter(p int) {
	d.multiplied(fmt.Sprintf("%d(DX)", 64*p), fmt.Sprintf("%d(R8)", 64*p), splitLanes+p, d.r)
}

// q6k: 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 int8 scales, half d.
func (d *split) q6k() {
	d.half(208, 9)
	d.i("VPMOVSXBD %s, Z8; VCVTDQ2PS Z8, Z8; VMULPS Z9, Z8, Z8", d.src(d.r, 192))
	d.i("VFMADD231PS (R9), Z8, Z%d; VMOVSLDUP (R14), Z9; VMULPS Z9, Z8, Z8", 4+d.r)
	for h := range 2 {
		d.i("VBROADCASTI64X4 %s, Z12; VPROLVD Z%d, Z12, Z12; VMOVDQU32 %s, Z13", d.src(d.r, 128+32*h), splitBits, d.src(d.r, 64*h))
		d.i("VMOVDQA32 Z13, Z10")
		d.selected()
		d.quarter(2 * h)
		d.i("VPRORD $4, Z12, Z12; VPSRLW $4, Z13, Z10")
		d.selected()
		d.quarter(2*h + 1)
	}
}
