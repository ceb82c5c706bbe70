//go:build !amd64 || purego

package qtype

func decodeINT4(dst []float32, src []byte) { decodeINT4Plain(dst, src) }
func decodeINT8(dst []float32, src []byte) { decodeINT8Plain(dst, src) }
func decodeNF4(dst []float32, src []byte)  { decodeTablePlain(dst, src, &NF4Values) }
func decodeFP4(dst []float32, src []byte)  { decodeTablePlain(dst, src, &FP4Values) }
func decodeE2M1(dst []float32, src []byte) { decodeE2M1Plain(dst, src) }
func decodeFP8(dst []float32, src []byte)  { decodeFP8Plain(dst, src) }
