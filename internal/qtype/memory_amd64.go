//go:build !purego

package qtype

//go:noescape
func decodeINT4AVX2(dst *float32, src *byte, blocks int)

//go:noescape
func decodeINT8AVX2(dst *float32, src *byte, blocks int)

//go:noescape
func decodeTableAVX2(dst *float32, src *byte, blocks int, table *[16]float32)

//go:noescape
func decodeE2M1AVX2(dst *float32, src *byte, blocks int, table *[16]float32)

//go:noescape
func decodeFP8AVX2(dst *float32, src *byte, blocks int)

func decodeINT4(dst []float32, src []byte) {
	n := len(dst) / 32
	if !vectors || n == 0 {
		decodeINT4Plain(dst, src)
		return
	}
	decodeINT4AVX2(&dst[0], &src[:20*n][0], n)
}

func decodeINT8(dst []float32, src []byte) {
	n := len(dst) / 32
	if !vectors || n == 0 {
		decodeINT8Plain(dst, src)
		return
	}
	decodeINT8AVX2(&dst[0], &src[:36*n][0], n)
}

func decodeNF4(dst []float32, src []byte) { decodeTable(dst, src, &NF4Values) }
func decodeFP4(dst []float32, src []byte) { decodeTable(dst, src, &FP4Values) }

func decodeTable(dst []float32, src []byte, table *[16]float32) {
	n := len(dst) / 32
	if !vectors || n == 0 {
		decodeTablePlain(dst, src, table)
		return
	}
	decodeTableAVX2(&dst[0], &src[:20*n][0], n, table)
}

func decodeE2M1(dst []float32, src []byte) {
	n := len(dst) / 16
	if !vectors || n == 0 {
		decodeE2M1Plain(dst, src)
		return
	}
	decodeE2M1AVX2(&dst[0], &src[:12*n][0], n, &E2M1Values)
}

func decodeFP8(dst []float32, src []byte) {
	n := len(dst) / 32
	if !vectors || n == 0 {
		decodeFP8Plain(dst, src)
		return
	}
	decodeFP8AVX2(&dst[0], &src[:36*n][0], n)
}
