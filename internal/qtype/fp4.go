package qtype

import "math"

// MXFP4 and NVFP4: 4-bit floats (1 sign, 2 exponent, 1 mantissa bit; OCP Microscaling Formats 1.0) with a scale of 8 bits per
// 32 or 16 values. Scales here are half the stored ones, so that the values below are integers.

var fp4 = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// fp4Codes fills codes with the indices of the values d·fp4 nearest x; of two equally near the lower index.
func fp4Codes(codes []uint8, x []float32, d float32) {
	if d == 0 {
		clear(codes)
		return
	}
	var middle [7]float32
	for i := range middle {
		middle[i] = (fp4[i] + fp4[i+1]) * 0.5 * d
	}
	codesFP4(codes, x, &middle)
}

// codesFP4Plain counts the middles between neighbouring values that each magnitude is above.
func codesFP4Plain(codes []uint8, x []float32, middle *[7]float32) {
	codes = codes[:len(x)]
	for i, v := range x {
		a, n := abs32(v), uint8(0)
		for _, m := range middle {
			if a > m {
				n++
			}
		}
		if v < 0 && n > 0 { // -0 is never chosen
			n += 8
		}
		codes[i] = n
	}
}

// scaleE8M0 is half of 2^(e-127).
func scaleE8M0(e byte) float32 {
	if e < 2 {
		return math.Float32frombits(0x00200000 << e)
	}
	return math.Float32frombits(uint32(e-1) << 23)
}

// encodeMXFP4: exponent byte, then byte j holds values j (low nibble) and j+16. The exponent comes from log2 rounded to
// float32, which just below a power of two may round up to it; what is below 2^-125 wraps around in a byte.
func encodeMXFP4(dst []byte, src []float32) {
	var codes [32]uint8
	for ; len(src) > 0; dst, src = dst[17:], src[32:] {
		var e byte
		if top := Magnitude(src[:32]); top > 0 {
			e = byte(int32(math.Floor(float64(float32(math.Log2(float64(top)))))) - 2 + 127)
		}
		dst[0] = e
		fp4Codes(codes[:], src[:32], scaleE8M0(e))
		putNibbles(dst[1:], &codes)
	}
}

func decodeMXFP4(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[17:] {
		d, y := scaleE8M0(src[0]), (*[32]float32)(dst)
		for j, q := range src[1:17] {
			y[j] = fp4[q&15] * d
			y[j+16] = fp4[q>>4] * d
		}
	}
}

// fromUE4M3 is half of the unsigned 8-bit float with 4 exponent bits, bias 7; 0x7f is 0.
func fromUE4M3(b byte) float32 {
	exp, man := int(b>>3&15), float32(b&7)
	switch {
	case b == 0x7f:
		return 0
	case exp == 0:
		return man * 0x1p-10
	}
	return (8 + man) * math.Float32frombits(uint32(exp-11+127)<<23)
}

// toUE4M3 rounds half up in the mantissa, to at most 448; negative numbers and NaN give 0.
func toUE4M3(v float32) byte {
	if !(v > 0) {
		return 0
	}
	bits := math.Float32bits(min(v, 448))
	exp, man := int(bits>>23)-127+7, bits>>20&7+bits>>19&1
	if exp <= 0 {
		return byte(min(7, int32(float32(v*512)+0.5)))
	}
	if man > 7 {
		man, exp = 0, exp+1
	}
	if exp >= 15 {
		return 0x7e
	}
	return byte(exp<<3) | byte(man)
}

// encodeNVFP4: four scale bytes of 16 values each, then 8 bytes for 16 values: byte j holds values j and j+8.
func encodeNVFP4(dst []byte, src []float32) {
	var codes [16]uint8
	for ; len(src) > 0; dst, src = dst[36:], src[64:] {
		for g := range 4 {
			x := src[16*g:][:16]
			dst[g] = toUE4M3(Magnitude(x) / 6)
			fp4Codes(codes[:], x, fromUE4M3(dst[g]))
			for j := range 8 {
				dst[4+8*g+j] = codes[j] | codes[j+8]<<4
			}
		}
	}
}

func decodeNVFP4(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[64:], src[36:] {
		for g := range 4 {
			d, y := fromUE4M3(src[g]), dst[16*g:][:16]
			for j, q := range src[4+8*g:][:8] {
				y[j] = fp4[q&15] * d
				y[j+8] = fp4[q>>4] * d
			}
		}
	}
}
