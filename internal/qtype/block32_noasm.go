//go:build !amd64 || purego

package qtype

func codesQ8(x *[32]float32, codes *[32]byte) (d float32) { return codesQ8Plain(x, codes) }

func symmetricCodes(top int32, x []float32, codes *[32]uint8) (d float32) {
	return symmetricCodesPlain(top, x, codes)
}

func groupsQ4_0(dst []byte, src []float32) (blocks int) { return 0 }

func affineRange(top, limit int32, x []float32, codes *[32]uint8) (d, low float32) {
	return affineRangePlain(top, limit, x, codes)
}

func codesFP4(codes []uint8, x []float32, middle *[7]float32) { codesFP4Plain(codes, x, middle) }
