package qtype

import "math"

// The arithmetic below decides bytes. Every product is rounded to float32 before it is added and every sum runs in element
// order, as the reference does without contraction; the order of factors is the reference's as well.

// smallest is the magnitude below which a group counts as all zeros.
const smallest = 1e-15

// nearest rounds half to even by adding 1.5·2²³ and reading the low mantissa bits. From |v| = 2²² on the value wraps, as in
// the reference; a NaN gives 0.
func nearest(v float32) int32 { return int32(math.Float32bits(v+12582912)&0x7fffff) - 0x400000 }

func abs32(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

func sqrt32(v float32) float32 { return float32(math.Sqrt(float64(v))) }

func inverse(v float32) float32 {
	if v == 0 {
		return 0
	}
	return 1 / v
}

// truncate is the conversion to a 32-bit integer of x86: what does not fit, NaN included, gives the smallest integer.
func truncate(v float32) int32 {
	if v >= -1<<31 && v < 1<<31 {
		return int32(v)
	}
	return math.MinInt32
}

// roundAway rounds half away from zero; ok is false for what no 32-bit integer holds.
func roundAway(v float32) (n int32, ok bool) {
	n = truncate(v)
	if n == math.MinInt32 {
		return 0, false
	}
	return n + int32(2*(v-float32(n))), true // the difference is exact
}

// plain turns an encoder of one block of n values and size bytes into one of many blocks without importance.
func plain(n, size int, f func(dst []byte, x, importance []float32)) func(dst []byte, src []float32) {
	return func(dst []byte, src []float32) {
		for ; len(src) > 0; dst, src = dst[size:], src[n:] {
			f(dst[:size], src[:n], nil)
		}
	}
}

// weighted turns an encoder of one block into one of whole rows of len(importance) values.
func weighted(n, size int, f func(dst []byte, x, importance []float32)) func(dst []byte, src, importance []float32) {
	return func(dst []byte, src, importance []float32) {
		for len(src) > 0 {
			for c := 0; c < len(importance); c += n {
				f(dst[:size], src[:n], importance[c:c+n])
				dst, src = dst[size:], src[n:]
			}
		}
	}
}

// sumSquares adds in element order.
func sumSquares(x []float32) (sum float32) {
	for _, v := range x {
		sum += float32(v * v)
	}
	return sum
}

// importanceWeights fills w with importance·√(sigma2 + x²) and returns their sum.
func importanceWeights(w, x, importance []float32, sigma2 float32) (sum float32) {
	x, importance = x[:len(w)], importance[:len(w)]
	for i, v := range x {
		w[i] = importance[i] * sqrt32(sigma2+float32(v*v))
		sum += w[i]
	}
	return sum
}

// extreme finds the first value of largest magnitude.
func extreme(x []float32) (value, magnitude float32) {
	for _, v := range x {
		if a := abs32(v); a > magnitude {
			value, magnitude = v, a
		}
	}
	return value, magnitude
}

// limits finds the smallest and the largest value.
func limits(x []float32) (low, high float32) {
	low, high = x[0], x[0]
	for _, v := range x[1:] {
		if v < low {
			low = v
		}
		if v > high {
			high = v
		}
	}
	return low, high
}

// symmetricSums returns Σ w·x·l and Σ w·l² for the codes l = round(inv·x) clamped to -top ... top-1.
func symmetricSums(top int32, x, w []float32, inv float32) (xl, ll float32) {
	w = w[:len(x)]
	for i, v := range x {
		l := float32(max(-top, min(top-1, nearest(inv*v))))
		xl += float32(w[i] * v * l)
		ll += float32(w[i] * l * l)
	}
	return xl, ll
}

// searchSymmetric finds scale and codes 0 ... 2·top-1 (value scale·(code-top)) of small weighted squared error.
func searchSymmetric(top int32, x, w []float32, codes []uint8) (scale float32) {
	scale, inv := symmetricScale(top, x, w)
	symmetricFinal(top, x, 0, inv, codes)
	return scale
}

// symmetricFinal gives the codes nearest under the final scale or, when that is 0, those of the grid that a search has chosen.
func symmetricFinal(top int32, x []float32, scale, chosen float32, codes []uint8) {
	switch {
	case scale != 0:
		roundGroup(codes[:len(x)], x, 0, scale, -top, top-1)
	case chosen != 0:
		symmetricCode(top, x, chosen, codes)
	default:
		clear(codes[:len(x)])
	}
}

// symmetricScalePlain is the search: of 19 grids around the one that maps the extreme value to -top the best one, with its best
// scale. chosen is the grid's inverse scale, 0 where all values are.
func symmetricScalePlain(top int32, x, w []float32) (scale, chosen float32) {
	peak, magnitude := extreme(x)
	if magnitude < smallest {
		return 0, 0
	}
	chosen = float32(-top) / peak
	xl, ll := symmetricSums(top, x, w, chosen)
	if ll != 0 {
		scale = xl / ll
	}
	best := scale * xl
	for step := -9; step <= 9; step++ {
		if step == 0 {
			continue
		}
		inv := symmetricNumerator(float32(top), step) / peak
		xl, ll := symmetricSums(top, x, w, inv)
		if ll > 0 && xl*xl > best*ll {
			scale = xl / ll
			best, chosen = scale*xl, inv
		}
	}
	return scale, chosen
}

// symmetricNumerator divided by the extreme value is the inverse scale of a step of searchSymmetric.
func symmetricNumerator(top float32, step int) float32 {
	return -(top + float32(float32(0.1)*float32(step)))
}

func symmetricCode(top int32, x []float32, inv float32, codes []uint8) {
	codes = codes[:len(x)]
	for i, v := range x {
		codes[i] = uint8(top + max(-top, min(top-1, nearest(inv*v))))
	}
}

// refineSymmetric finds scale and codes 0 ... 2·top-1 of 16 values by weighted (x²) coordinate descent from the plain grid.
func refineSymmetric(top int32, x *[16]float32, codes []uint8) (scale float32) {
	peak, magnitude := extreme(x[:])
	if magnitude < smallest {
		clear(codes)
		return 0
	}
	inv := float32(-top) / peak
	var l, w, wx [16]float32
	var xl, ll float32
	for i, v := range x {
		f := float32(max(-top, min(top-1, nearest(inv*v))))
		l[i], w[i] = f, v*v
		wx[i] = w[i] * v
		xl += float32(wx[i] * f)
		ll += float32(w[i] * f * f)
	}
	for range 5 {
		changed := false
		for i, v := range x {
			f := l[i]
			xl1 := xl - float32(wx[i]*f)
			if !(xl1 > 0) {
				continue
			}
			ll1 := ll - float32(w[i]*f*f)
			n := float32(max(-top, min(top-1, nearest(v*ll1/xl1))))
			if n == f {
				continue
			}
			xl1 += float32(wx[i] * n)
			ll1 += float32(w[i] * n * n)
			if ll1 > 0 && xl1*xl1*ll > xl*xl*ll1 {
				l[i], xl, ll, changed = n, xl1, ll1, true
			}
		}
		if !changed {
			break
		}
	}
	codes = codes[:16]
	for i, f := range l {
		codes[i] = uint8(int32(f) + top)
	}
	if ll > 0 {
		return xl / ll
	}
	return 0
}

// refineSymmetric8Plain refines eight groups one after the other.
func refineSymmetric8Plain(top int32, x *[128]float32, codes *[128]uint8, scales *[8]float32) {
	for j := range 8 {
		scales[j] = refineSymmetric(top, (*[16]float32)(x[16*j:]), codes[16*j:])
	}
}

// A grid says which scales searchAffine tries: (top + first + step·i) / range for i = 0 ... steps.
type grid struct {
	first, step float32
	steps       int
	absolute    bool // absolute differences instead of squares
}

// affineCodes fills l with round(inv·(x-low)) clamped to 0 ... top.
func affineCodes(top int32, l, x []float32, inv, low float32) {
	l = l[:len(x)]
	for i, v := range x {
		l[i] = float32(max(0, min(top, nearest(inv*(v-low)))))
	}
}

// affineSums returns Σ w·l, Σ w·l² and Σ w·l·x.
func affineSums(l, x, w []float32) (l1, l2, lx float32) {
	l, w = l[:len(x)], w[:len(x)]
	for i, v := range x {
		wl := w[i] * l[i]
		l1 += wl
		l2 += float32(wl * l[i])
		lx += float32(wl * v)
	}
	return l1, l2, lx
}

// affineError is Σ w·|e| or Σ w·e² of e = scale·l + low - x.
func affineError(l, x, w []float32, scale, low float32, absolute bool) (sum float32) {
	l, w = l[:len(x)], w[:len(x)]
	if absolute {
		for i, v := range x {
			sum += float32(w[i] * abs32(float32(scale*l[i])+low-v))
		}
		return sum
	}
	for i, v := range x {
		diff := float32(scale*l[i]) + low - v
		sum += float32(w[i] * float32(diff*diff))
	}
	return sum
}

// searchAffine finds scale, minimum and codes 0 ... top of small weighted error; value scale·code - minimum.
func searchAffine(top int32, x, w []float32, codes []uint8, g grid) (scale, minimum float32) {
	low, high := limits(x)
	sumW := w[0]
	sumX := sumW * x[0]
	for i := 1; i < len(x); i++ {
		sumW += w[i]
		sumX += float32(w[i] * x[i])
	}
	if low > 0 {
		low = 0
	}
	if high <= low {
		clear(codes)
		return 0, -low
	}
	var now, chosen [32]float32
	l := now[:len(x)]
	inv := float32(top) / (high - low)
	scale = 1 / inv
	affineCodes(top, l, x, inv, low)
	best := affineError(l, x, w, scale, low, g.absolute)
	chosen = now
	for i := 0; i <= g.steps; i++ {
		// low is the minimum of the best grid so far: each step starts where the best one ended
		inv := (g.first + float32(g.step*float32(i)) + float32(top)) / (high - low)
		affineCodes(top, l, x, inv, low)
		l1, l2, lx := affineSums(l, x, w)
		det := float32(sumW*l2) - float32(l1*l1)
		if !(det > 0) {
			continue
		}
		s := (float32(sumW*lx) - float32(sumX*l1)) / det
		m := (float32(l2*sumX) - float32(l1*lx)) / det
		if m > 0 {
			m, s = 0, lx/l2
		}
		if e := affineError(l, x, w, s, m, g.absolute); e < best {
			best, scale, low, chosen = e, s, m, now
		}
	}
	for i := range x {
		codes[i] = uint8(chosen[i])
	}
	return scale, -low
}

// searchAffine8Plain searches eight groups of n values one after the other.
func searchAffine8Plain(top int32, n int, x, w []float32, codes []uint8, scales, minima []float32, g grid) {
	for j := range 8 {
		scales[j], minima[j] = searchAffine(top, x[n*j:][:n], w[n*j:][:n], codes[n*j:][:n], g)
	}
}

// searchPositive finds a scale and codes of at most top for values that are not negative: nine grids, then coordinate
// descent. Codes pass through 8 bits as in the reference, which shows when a value is negative after all.
func searchPositive(top int32, x, w []float32, codes []uint8) (scale float32) {
	var peak float32
	for _, v := range x {
		if v > peak {
			peak = v
		}
	}
	if peak < smallest {
		clear(codes)
		return 0
	}
	inv := float32(top) / peak
	best := positiveError(255, x, w, inv, true)
	for step := -4; step <= 4; step++ {
		if step == 0 {
			continue
		}
		next := (float32(float32(0.1)*float32(step)) + float32(top)) / peak
		if e := positiveError(top, x, w, next, false); e < best {
			best, inv = e, next
		}
	}
	var xl, ll float32
	for i, v := range x {
		l := min(top, nearest(inv*v))
		codes[i] = uint8(l)
		xl += float32(w[i] * v * float32(l))
		ll += float32(w[i] * float32(l) * float32(l))
	}
	for range 5 {
		changed := false
		for i, v := range x {
			f := float32(codes[i])
			xl1 := xl - float32(w[i]*v*f)
			ll1 := ll - float32(w[i]*f*f)
			if !(xl1 > 0 && ll1 > 0) {
				continue
			}
			n := min(top, nearest(v*ll1/xl1))
			if n == int32(codes[i]) {
				continue
			}
			xl1 += float32(w[i] * v * float32(n))
			ll1 += float32(w[i] * float32(n) * float32(n))
			if xl1*xl1*ll > xl*xl*ll1 {
				codes[i], xl, ll, changed = uint8(n), xl1, ll1, true
			}
		}
		if !changed {
			break
		}
	}
	if ll > 0 {
		return xl / ll
	}
	return 0
}

// positiveError is Σ w·(x - l/inv)² of the codes l = round(inv·x), at most top; wrapped to 8 bits when wrap is set.
func positiveError(top int32, x, w []float32, inv float32, wrap bool) (sum float32) {
	scale := 1 / inv
	for i, v := range x {
		l := min(top, nearest(inv*v))
		if wrap {
			l = int32(uint8(l))
		}
		diff := v - float32(scale*float32(l))
		sum += float32(w[i] * diff * diff)
	}
	return sum
}

// roundGroupPlain gives the codes (x+add)/scale, rounded and clamped to low ... high, counted from low.
func roundGroupPlain(codes []uint8, x []float32, add, scale float32, low, high int32) {
	codes = codes[:len(x)]
	for i, v := range x {
		codes[i] = uint8(max(low, min(high, nearest((v+add)/scale))) - low)
	}
}

// affineRound replaces the codes of a group by those nearest under its final scale and minimum, if the scale is not 0.
func affineRound(top int32, x []float32, scale, minimum float32, codes []uint8) {
	if scale != 0 {
		roundGroup(codes, x, minimum, scale, 0, top)
	}
}

// symmetricRound replaces the codes of a group by those nearest under its final scale, if that is not 0.
func symmetricRound(top int32, x []float32, scale float32, codes []uint8) {
	if scale != 0 {
		roundGroup(codes, x, 0, scale, -top, top-1)
	}
}
