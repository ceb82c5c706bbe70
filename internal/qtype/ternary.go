package qtype

// TQ1_0, TQ2_0: three values, -d, 0 and d, of 256. Q1_0: two values, -d and d, of 128. Q2_0: four values, -d ... 2·d, of 64.

// trit is round(v) + 1, 1 for what no integer holds.
func trit(v float32) uint8 {
	n, _ := roundAway(v)
	return uint8(n + 1)
}

// trits5 are the runs of TQ1_0: bytes first ... first+count-1 hold values start + count·n + byte, n = 0 ... values-1.
var trits5 = [3]struct{ first, count, start, values int }{{0, 32, 0, 5}, {32, 16, 160, 5}, {48, 4, 240, 4}}

// encodeTQ1_0: 52 bytes, each a number q of five trits scaled to 256/243 and rounded up, so that multiplying by 3 brings out
// one trit after the other; half d.
func encodeTQ1_0(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[54:], src[256:] {
		d := Magnitude(src[:256])
		inv := inverse(d)
		putF16(dst[52:], d)
		for _, r := range trits5 {
			for b := range r.count {
				var q uint8
				for n := range 5 {
					q *= 3
					if n < r.values {
						q += trit(src[r.start+r.count*n+b] * inv)
					}
				}
				dst[r.first+b] = uint8((uint16(q)*256 + 242) / 243)
			}
		}
	}
}

func decodeTQ1_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[54:] {
		d := f16(src[52:])
		for _, r := range trits5 {
			for b, q := range src[r.first:][:r.count] {
				for n := range r.values {
					dst[r.start+r.count*n+b] = float32(int(uint16(q)*3>>8)-1) * d
					q *= 3
				}
			}
		}
	}
}

// encodeTQ2_0: 64 bytes, bits 2n of 32 bytes hold values 32n ... of each half block; half d.
func encodeTQ2_0(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[66:], src[256:] {
		d := Magnitude(src[:256])
		inv := inverse(d)
		putF16(dst[64:], d)
		for half := range 2 {
			x := src[128*half:][:128]
			for b := range 32 {
				var q uint8
				for n := range 4 {
					q |= trit(x[32*n+b]*inv) & 3 << (2 * n)
				}
				dst[32*half+b] = q
			}
		}
	}
}

func decodeTQ2_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[66:] {
		d := f16(src[64:])
		for g := range 8 {
			y := dst[32*g:][:32]
			for b, q := range src[32*(g/4):][:32] {
				y[b] = float32(int(q>>(2*(g%4))&3)-1) * d
			}
		}
	}
}

// encodeQ1_0: half d, the mean magnitude, and 128 sign bits, set where the value is not negative.
func encodeQ1_0(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[18:], src[128:] {
		var sum float32
		clear(dst[2:18])
		for i, v := range src[:128] {
			sum += abs32(v)
			if v >= 0 {
				dst[2+i/8] |= 1 << (i % 8)
			}
		}
		putF16(dst, sum/128)
	}
}

func decodeQ1_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[128:], src[18:] {
		d := f16(src)
		for i := range dst[:128] {
			if src[2+i/8]>>(i%8)&1 != 0 {
				dst[i] = d
			} else {
				dst[i] = -d
			}
		}
	}
}

// encodeQ2_0: half d, the largest magnitude, and 64 codes of 2 bits, value (code - 1)·d.
func encodeQ2_0(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[18:], src[64:] {
		d := Magnitude(src[:64])
		inv := inverse(d)
		putF16(dst, d)
		clear(dst[2:18])
		for i, v := range src[:64] {
			n, ok := roundAway(v * inv)
			if !ok {
				n = -1
			}
			dst[2+i/4] |= uint8(max(0, min(3, n+1))) << (2 * (i % 4))
		}
	}
}

func decodeQ2_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[64:], src[18:] {
		d := f16(src)
		for i := range dst[:64] {
			dst[i] = float32(int(src[2+i/4]>>(2*(i%4))&3)-1) * d
		}
	}
}
