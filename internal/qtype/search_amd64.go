//go:build !purego

package qtype

import "tune/kernels"

// vectors says whether the assembly may run; TUNE_KERNELS=plain turns it off with the rest.
var vectors = kernels.Level() != "plain"

//go:noescape
func affineLimitsAVX2(s *affineLanes, n int)

//go:noescape
func affineStepAVX2(s *affineLanes, n int, top int32, numerator float32, absolute, start bool)

//go:noescape
func affineCodesAVX2(s *affineLanes, n int, top int32)

//go:noescape
func symmetricSumsAVX2(s *symmetricLanes, x, w *float32, n int, top int32, peak float32, numerators *[24]float32)

// searchAffine8 is searchAffine of eight groups of n values.
func searchAffine8(top int32, n int, x, w []float32, codes []uint8, scales, minima []float32, g grid) {
	if !vectors {
		searchAffine8Plain(top, n, x, w, codes, scales, minima, g)
		return
	}
	var s affineLanes
	for j := range 8 {
		xs, ws := x[n*j:][:n], w[n*j:][:n]
		for i, v := range xs {
			s.x[i&31][j], s.w[i&31][j] = v, ws[i]
		}
	}
	affineLimitsAVX2(&s, n)
	low := s.low
	affineStepAVX2(&s, n, top, float32(top), g.absolute, true)
	for i := 0; i <= g.steps; i++ {
		affineStepAVX2(&s, n, top, g.first+float32(g.step*float32(i))+float32(top), g.absolute, false)
	}
	affineCodesAVX2(&s, n, top)
	for j := range 8 {
		c := codes[n*j:][:n]
		if s.high[j] <= low[j] {
			clear(c)
			scales[j], minima[j] = 0, -low[j]
			continue
		}
		for i := range c {
			c[i] = uint8(s.l[i&31][j])
		}
		scales[j], minima[j] = s.scale[j], -s.low[j]
	}
}

// symmetricNumerators are the grids of searchSymmetric for top 4, 8, 16, 32, in the order of the search.
var symmetricNumerators = func() (table [4][24]float32) {
	for i := range table {
		top, row := float32(int(4)<<i), &table[i]
		row[0] = -top
		n := 1
		for step := -9; step <= 9; step++ {
			if step != 0 {
				row[n] = symmetricNumerator(top, step)
				n++
			}
		}
	}
	return table
}()

//go:noescape
func extremeAVX2(x *float32, n int) (value float32)

// symmetricScale is symmetricScalePlain of 16 or 32 values.
func symmetricScale(top int32, x, w []float32) (scale, chosen float32) {
	if !vectors {
		return symmetricScalePlain(top, x, w)
	}
	peak := extremeAVX2(&x[0], len(x))
	if abs32(peak) < smallest {
		return 0, 0
	}
	var s symmetricLanes
	table := 0
	for top > 4<<table {
		table++
	}
	symmetricSumsAVX2(&s, &x[0], &w[:len(x)][0], len(x), top, peak, &symmetricNumerators[table])
	if s.ll[0] != 0 {
		scale = s.xl[0] / s.ll[0]
	}
	best := scale * s.xl[0]
	chosen = s.inv[0]
	for i := 1; i < 19; i++ {
		if xl, ll := s.xl[i], s.ll[i]; ll > 0 && xl*xl > best*ll {
			scale = xl / ll
			best, chosen = scale*xl, s.inv[i]
		}
	}
	return scale, chosen
}

//go:noescape
func refineSymmetricAVX2(s *refineLanes, top int32)

// refineLanes is the state of eight refinements; lane j of element i belongs to value i of group j.
type refineLanes struct {
	x, l [16][8]float32 // values, codes
	//lint:ignore U1000 the assembly keeps its state here
	w, wx       [16][8]float32
	inv, xl, ll [8]float32
}

// refineSymmetric8 is refineSymmetric of eight groups of 16 values.
func refineSymmetric8(top int32, x *[128]float32, codes *[128]uint8, scales *[8]float32) {
	if !vectors {
		refineSymmetric8Plain(top, x, codes, scales)
		return
	}
	var s refineLanes
	var none [8]bool
	for j := range 8 {
		group := (*[16]float32)(x[16*j:])
		peak, magnitude := extreme(group[:])
		if none[j] = magnitude < smallest; none[j] {
			continue // a lane of zeros
		}
		s.inv[j] = float32(-top) / peak
		for i, v := range group {
			s.x[i][j] = v
		}
	}
	refineSymmetricAVX2(&s, top)
	for j := range 8 {
		group := (*[16]uint8)(codes[16*j:])
		scales[j] = 0
		if none[j] {
			clear(group[:])
			continue
		}
		for i := range group {
			group[i] = uint8(int32(s.l[i][j]) + top)
		}
		if s.ll[j] > 0 {
			scales[j] = s.xl[j] / s.ll[j]
		}
	}
}

// affineLanes is the state of eight affine searches; lane j of element i belongs to value i of group j.
type affineLanes struct {
	x, w, l          [32][8]float32 // values, weights, codes
	low, high, scale [8]float32
	//lint:ignore U1000 the assembly keeps its state here
	best, sumW, sumX, from, inv [8]float32
}

// symmetricLanes are the 19 grids of a symmetric search and their sums.
type symmetricLanes struct{ inv, xl, ll [24]float32 }

// nearestPoint is nearestPointPlain, eight candidates at a time.
func nearestPoint(list *candidates, dims int, x, w []float32, scale float32, value *[8]float32) int {
	if !vectors {
		return nearestPointPlain(list, dims, x, w, scale, value)
	}
	return int(nearestPointAVX2(&list.codes[0], len(list.codes)/(8*dims), dims, &x[:dims][0], &w[:dims][0], value, scale))
}

//go:noescape
func nearestPointAVX2(codes *uint8, blocks, dims int, x, w *float32, value *[8]float32, scale float32) (place int32)

// splitScan gives the first place from which on, within eight, a split may beat the best; 33 or more: none does.
func splitScan(s *splitRun, from int, best float32) (at int) {
	if !vectors {
		return from
	}
	return splitScanAVX2(s, from, best)
}

//go:noescape
func splitScanAVX2(s *splitRun, from int, best float32) (at int)

// roundGroup is roundGroupPlain of 16 or 32 values.
func roundGroup(codes []uint8, x []float32, add, scale float32, low, high int32) {
	if !vectors {
		roundGroupPlain(codes, x, add, scale, low, high)
		return
	}
	roundGroupAVX2(&codes[:len(x)][0], &x[0], len(x), add, scale, low, high)
}

//go:noescape
func roundGroupAVX2(codes *uint8, x *float32, n int, add, scale float32, low, high int32)

// roundOdd is roundOddPlain of 16 or 32 values.
func roundOdd(codes []uint8, x []float32, inv float32, high int32) {
	if !vectors {
		roundOddPlain(codes, x, inv, high)
		return
	}
	roundOddAVX2(&codes[:len(x)][0], &x[0], len(x), inv, high)
}

//go:noescape
func roundOddAVX2(codes *uint8, x *float32, n int, inv float32, high int32)
