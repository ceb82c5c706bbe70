//go:build !amd64 || purego

package qtype

func searchAffine8(top int32, n int, x, w []float32, codes []uint8, scales, minima []float32, g grid) {
	searchAffine8Plain(top, n, x, w, codes, scales, minima, g)
}

func symmetricScale(top int32, x, w []float32) (scale, chosen float32) {
	return symmetricScalePlain(top, x, w)
}

func refineSymmetric8(top int32, x *[128]float32, codes *[128]uint8, scales *[8]float32) {
	refineSymmetric8Plain(top, x, codes, scales)
}

func nearestPoint(list *candidates, dims int, x, w []float32, scale float32, value *[8]float32) int {
	return nearestPointPlain(list, dims, x, w, scale, value)
}

func splitScan(_ *splitRun, from int, _ float32) (at int) { return from }

func roundGroup(codes []uint8, x []float32, add, scale float32, low, high int32) {
	roundGroupPlain(codes, x, add, scale, low, high)
}

func roundOdd(codes []uint8, x []float32, inv float32, high int32) {
	roundOddPlain(codes, x, inv, high)
}
