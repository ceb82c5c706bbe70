//go:build !purego

package qtype

//go:noescape
func codesQ8AVX2(x *float32, codes *byte) (d float32)

//go:noescape
func codesSymmetricAVX2(x *float32, codes *[32]uint8, limit int32, divisor, half float32) (d float32)

//go:noescape
func codesAffineAVX2(x *float32, codes *[32]uint8, limit int32, divisor float32) (d, low float32)

func codesQ8(x *[32]float32, codes *[32]byte) (d float32) {
	if !vectors {
		return codesQ8Plain(x, codes)
	}
	return codesQ8AVX2(&x[0], &codes[0])
}

func symmetricCodes(top int32, x []float32, codes *[32]uint8) (d float32) {
	if !vectors {
		return symmetricCodesPlain(top, x, codes)
	}
	return codesSymmetricAVX2(&x[:32][0], codes, 2*top-1, float32(-top), float32(top)+0.5)
}

//go:noescape
func encodeQ4_0AVX2(dst *byte, x *float32, groups int)

// groupsQ4_0 encodes finite values, eight blocks at a time, and says how many blocks that were.
func groupsQ4_0(dst []byte, src []float32) (blocks int) {
	groups := len(src) / 256
	if !vectors || groups == 0 {
		return 0
	}
	encodeQ4_0AVX2(&dst[:144*groups][0], &src[0], groups)
	return 8 * groups
}

func affineRange(top, limit int32, x []float32, codes *[32]uint8) (d, low float32) {
	if vectors {
		d, low = codesAffineAVX2(&x[:32][0], codes, limit, float32(top))
		if low != 0 {
			return d, low
		}
		// the sign of a zero is that of the first one
	}
	return affineRangePlain(top, limit, x, codes)
}

//go:noescape
func codesFP4AVX2(codes *uint8, x *float32, n int, middle *[7]float32)

// codesFP4 is codesFP4Plain of 16 or 32 values.
func codesFP4(codes []uint8, x []float32, middle *[7]float32) {
	if !vectors {
		codesFP4Plain(codes, x, middle)
		return
	}
	codesFP4AVX2(&codes[:len(x)][0], &x[0], len(x), middle)
}
