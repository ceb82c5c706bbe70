package qtype

import (
	"encoding/binary"
	"math"
	"slices"
)

// IQ1_S, IQ1_M: points of 8 values -1, 0, 1, all moved by +1/8 or -1/8.

const shiftIQ1 = 0.125

// valuesIQ1 are what the codes 0, 1, 2 stand for, moved up and moved down.
var valuesIQ1 = [2][8]float32{{-1 + shiftIQ1, shiftIQ1, 1 + shiftIQ1}, {-1 - shiftIQ1, -shiftIQ1, 1 - shiftIQ1}}

// sortedOrder fills order with the indices of x in ascending order of value, equal ones (+0 and -0 are) in their own order.
func sortedOrder(order []int, x []float32) {
	var keys [32]uint64 // bits that sort as the values do, then the index
	for i, v := range x {
		b := math.Float32bits(v)
		switch {
		case v == 0:
			b = 1 << 31
		case b>>31 != 0:
			b = ^b
		default:
			b |= 1 << 31
		}
		keys[i] = uint64(b)<<32 | uint64(i)
	}
	slices.Sort(keys[:len(x)])
	for i := range order {
		order[i] = int(keys[i] & 31)
	}
}

// splitCodes gives the values below place a code 0, those up to place b code 1, the rest code 2; mirrored: the other way.
func splitCodes(codes []uint8, order []int, a, b int, mirrored bool) {
	for place, i := range order {
		var c uint8
		if place >= a {
			c++
		}
		if place >= b {
			c++
		}
		if mirrored {
			c = 2 - c
		}
		codes[i] = c
	}
}

// pointSums returns Σ w·q·x and Σ w·q² of the values q of codes, factor times each.
func pointSums(qx, qq float32, codes []uint8, x, w []float32, values *[8]float32, factor float32) (float32, float32) {
	for i, v := range x {
		q := values[codes[i]] * factor
		qx += float32(w[i] * q * v)
		qq += float32(w[i] * q * q)
	}
	return qx, qq
}

// A splitRun has what the search of splits of 32 sorted values needs: sums up to a place, and for the values moved up and
// down the terms of the last run (from a place to the end) and of the first (up to the place the search is at).
type splitRun struct {
	sumX, sumW     [40]float32 // w·x and w; sums end at place 32
	lastX, lastW   [2][40]float32
	firstX, firstW [2]float32
	x, w           float32 // sums up to the place the search is at
}

// splitIQ1_S finds the best scale and split into three runs for both shifts. shift is -1 when nothing fits.
func splitIQ1_S(r *splitRun) (scale float32, a, b, shift int) {
	for s, v := range valuesIQ1 {
		for j := range 40 {
			r.lastX[s][j] = (r.sumX[32] - r.sumX[j]) * v[2]
			r.lastW[s][j] = (r.sumW[32] - r.sumW[j]) * v[2] * v[2]
			if j > 32 {
				r.lastW[s][j] = -math.MaxFloat32 // no split
			}
		}
	}
	best, shift := float32(-math.MaxFloat32), -1
	for i := range 33 {
		r.x, r.w = r.sumX[i], r.sumW[i]
		for s, v := range valuesIQ1 {
			r.firstX[s] = (r.x - r.sumX[0]) * v[0]
			r.firstW[s] = (r.w - r.sumW[0]) * v[0] * v[0]
		}
		for from := splitScan(r, i, best); from < 33; from = splitScan(r, from, best) {
			end := min(33, from+8)
			for j := from; j < end; j++ {
				x, w := r.sumX[j]-r.x, r.sumW[j]-r.w
				for s := range valuesIQ1 {
					v := valuesIQ1[s][1]
					qx := r.firstX[s] + float32(x*v) + r.lastX[s][j]
					qq := r.firstW[s] + float32(w*v*v) + r.lastW[s][j]
					if qq > 0 && qx*qx > best*qq {
						scale = qx / qq
						best, a, b, shift = scale*qx, i, j, s
					}
				}
			}
			if from = end; from > 32 {
				break
			}
		}
	}
	return scale, a, b, shift
}

// groupIQ1_S finds scale, shift (0 up, 1 down) and points of 32 values; false for a zero group.
func groupIQ1_S(x, w []float32, index *[4]uint16) (scale float32, shift int, ok bool) {
	if !(Magnitude(x) >= 1e-12) {
		return 0, 0, false
	}
	var order [32]int
	sortedOrder(order[:], x)
	var run splitRun
	for j, i := range order {
		run.sumX[j+1] = run.sumX[j] + float32(w[i]*x[i])
		run.sumW[j+1] = run.sumW[j] + w[i]
	}
	scale, a, b, shift := splitIQ1_S(&run)
	if shift < 0 {
		return 0, 0, false
	}
	var codes [32]uint8
	splitCodes(codes[:], order[:], a, b, scale < 0)
	if scale < 0 {
		scale, shift = -scale, 1-shift
	}
	book, values, all := bookIQ1(), &valuesIQ1[shift], true
	for k := range index {
		at, exact := book.snap(codes[8*k:], x[8*k:], w[8*k:], scale, values)
		index[k], all = uint16(at), all && exact
	}
	if !all {
		if qx, qq := pointSums(0, 0, codes[:], x, w, values, 1); qx > 0 && qq > 0 {
			scale = qx / qq
		}
	}
	return scale, shift, true
}

// encodeIQ1_S: half d; 32 bytes of points; for 32 values a word of 4·3 upper bits of the points, 3 bits of scale and the
// shift.
func encodeIQ1_S(dst []byte, x, importance []float32) {
	var scales [8]float32
	var shifts [8]int
	var w [32]float32
	var top float32
	sigma2 := 2 * sumSquares(x) / 256
	clear(dst[:50])
	for b := range 8 {
		importanceWeights(w[:], x[32*b:], importance[32*b:], sigma2)
		var index [4]uint16
		scale, shift, ok := groupIQ1_S(x[32*b:][:32], w[:], &index)
		if !ok {
			continue
		}
		scales[b], shifts[b], top = scale, shift, larger(top, scale)
		var high uint16
		for k, v := range index {
			dst[2+4*b+k] = byte(v)
			high |= v >> 8 << (3 * k)
		}
		binary.LittleEndian.PutUint16(dst[34+2*b:], high)
	}
	if top == 0 {
		return
	}
	d := top / 15
	putF16(dst, d*1.125) // fits better than d, by experiment of the reference
	for b, v := range scales {
		l := halfScale(v, 1/d, 7) | uint8(shifts[b])<<3
		dst[34+2*b+1] |= l << 4
	}
}

// decodePoint1 writes 8 values of a point.
func decodePoint1(y []float32, point uint16, scale, shift float32) {
	y = y[:8]
	for j := range y {
		y[j] = scale * (float32(int(point>>(2*j)&3)-1) + shift)
	}
}

func decodeIQ1_S(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[50:] {
		d := f16(src)
		for b := range 8 {
			high := binary.LittleEndian.Uint16(src[34+2*b:])
			scale, shift := d*float32(2*int(high>>12&7)+1), float32(shiftIQ1)
			if high&0x8000 != 0 {
				shift = -shift
			}
			for k := range 4 {
				decodePoint1(dst[32*b+8*k:], gridIQ1[int(src[2+4*b+k])|int(high>>(3*k)&7)<<8], scale, shift)
			}
		}
	}
}

// termsIQ1_M are w·q·x and w·q² of 16 sorted values for the three codes and four pairs of shifts (of the first and second
// point: up up, up down, down up, down down).
type termsIQ1_M [3][16][8]float32

func (t *termsIQ1_M) fill(order *[16]int, x, w []float32) {
	for code := range t {
		for place, i := range order {
			for pair := range 4 {
				q := valuesIQ1[shiftOf(pair, i/8)][code]
				t[code][place][pair] = w[i] * q * x[i]
				t[code][place][4+pair] = w[i] * q * q
			}
		}
	}
}

// shiftOf is the shift, 0 up or 1 down, of a point of a pair.
func shiftOf(pair, point int) int { return pair >> (1 - point) & 1 }

func addTerms(sum, term *[8]float32) {
	for i := range sum {
		sum[i] += term[i]
	}
}

// split finds the best scale and split into three runs. Each sum runs over the places in order, so sums up to the second
// boundary are shared and the rest is added anew. pair is -1 when nothing fits.
func (t *termsIQ1_M) split() (scale float32, a, b, pair int) {
	best, pair := float32(-math.MaxFloat32), -1
	var first [8]float32
	for i := 0; i <= 16; i++ {
		second := first
		for j := i; j <= 16; j++ {
			sum := second
			for place := j; place < 16; place++ {
				addTerms(&sum, &t[2][place])
			}
			for k := range 4 {
				qx, qq := sum[k], sum[4+k]
				if qq > 0 && qx*qx > best*qq {
					scale = qx / qq
					best, a, b, pair = scale*qx, i, j, k
				}
			}
			if j < 16 {
				addTerms(&second, &t[1][j])
			}
		}
		if i < 16 {
			addTerms(&first, &t[0][i])
		}
	}
	return scale, a, b, pair
}

// groupIQ1_M finds scale, pair of shifts and points of 16 values; false for a zero group.
func groupIQ1_M(x, w []float32, index *[2]uint16) (scale float32, pair int, ok bool) {
	if !(Magnitude(x) >= 1e-7) {
		return 0, 0, false
	}
	var order [16]int
	sortedOrder(order[:], x)
	var t termsIQ1_M
	t.fill(&order, x, w)
	scale, a, b, pair := t.split()
	if pair < 0 {
		return 0, 0, false
	}
	var codes [16]uint8
	splitCodes(codes[:], order[:], a, b, scale < 0)
	if scale < 0 {
		scale, pair = -scale, 3-pair
	}
	book, all := bookIQ1(), true
	for k := range index {
		at, exact := book.snap(codes[8*k:], x[8*k:], w[8*k:], scale, &valuesIQ1[shiftOf(pair, k)])
		index[k], all = uint16(at), all && exact
	}
	if !all {
		var qx, qq float32
		for k := range index {
			qx, qq = pointSums(qx, qq, codes[8*k:], x[8*k:][:8], w[8*k:], &valuesIQ1[shiftOf(pair, k)], 1)
		}
		if qx > 0 && qq > 0 {
			scale = qx / qq
		}
	}
	return scale, pair, true
}

// encodeIQ1_M: 32 bytes of points; for 16 values a byte of their upper bits and shifts; four words of four 3-bit scales and
// a nibble of the half d each.
func encodeIQ1_M(dst []byte, x, importance []float32) {
	var scales [16]float32
	var pairs [16]int
	var points [16][2]uint16
	var w [256]float32
	var top float32
	levelWeights(w[:], x, importance, 2*sumSquares(x)/256)
	clear(dst[:56])
	for b := range 16 {
		index := &points[b]
		scale, pair, ok := groupIQ1_M(x[16*b:][:16], w[16*b:][:16], index)
		if !ok {
			continue
		}
		scales[b], pairs[b], top = scale, pair, larger(top, scale)
		dst[2*b], dst[2*b+1] = byte(index[0]), byte(index[1])
		dst[32+b] = byte(index[0]>>8 | index[1]>>8<<4)
	}
	if top == 0 {
		return
	}
	d := top / 15
	inv := 1 / d
	var words [4]uint16
	var qx, qq float32
	book := bookIQ1()
	var codes [8]uint8
	for b, v := range scales {
		l := halfScale(v, inv, 7)
		words[b/4] |= uint16(l) << (3 * (b % 4))
		for k := range 2 {
			shift := shiftOf(pairs[b], k)
			dst[32+b] |= byte(shift) << (3 + 4*k)
			book.unpack(codes[:], gridIQ1[points[b][k]])
			i := 16*b + 8*k
			qx, qq = pointSums(qx, qq, codes[:], x[i:i+8], w[i:], &valuesIQ1[shift], float32(2*int(l)+1))
		}
	}
	if qq > 0 {
		d = qx / qq
	}
	var half [2]byte
	putF16(half[:], d*1.1125) // fits better than d, by experiment of the reference
	for i, v := range words {
		nibble := binary.LittleEndian.Uint16(half[:]) >> (4 * i) & 15
		binary.LittleEndian.PutUint16(dst[48+2*i:], v|nibble<<12)
	}
}

func decodeIQ1_M(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[56:] {
		var half [2]byte
		var words [4]uint16
		for i := range words {
			words[i] = binary.LittleEndian.Uint16(src[48+2*i:])
			half[i/2] |= byte(words[i]>>12) << (4 * (i % 2))
		}
		d := f16(half[:])
		for i := range 32 { // point i of group i/2
			high := src[32+i/2] >> (4 * (i % 2))
			scale, shift := d*float32(2*int(words[i/8]>>(3*(i/2%4))&7)+1), float32(shiftIQ1)
			if high&8 != 0 {
				shift = -shift
			}
			decodePoint1(dst[8*i:], gridIQ1[int(src[i])|int(high&7)<<8], scale, shift)
		}
	}
}
