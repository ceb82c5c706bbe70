package qtype

import "encoding/binary"

// IQ4_NL and IQ4_XS: 4-bit codes of 16 unevenly spaced values.

// The values are constants of ggml (MIT License, Copyright (c) 2023-2026 The ggml authors; the full text is in
// iqgrids.go).
var levels = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// nearestLevel maps floor(2·v) + 512 to the index of the level nearest v: all midpoints are multiples of a half.
var nearestLevel = func() (table [1024]uint8) {
	for k := range table {
		v, n := float32(k-512)/2, 0
		for n < 15 && v >= (levels[n]+levels[n+1])/2 {
			n++
		}
		table[k] = uint8(n)
	}
	return table
}()

// levelCode is the index of the level nearest v, the upper one of two equally near; a NaN gives the last.
func levelCode(v float32) uint8 {
	k := 2*float64(v) + 512
	switch {
	case k >= 0 && k < 1024:
		return nearestLevel[int(k)]
	case k < 0:
		return 0
	}
	return 15
}

// levelSums returns Σ w·q·x and Σ w·q² of the levels q nearest inv·x.
func levelSums(x, w []float32, inv float32) (qx, qq float32) {
	w = w[:len(x)]
	for i, v := range x {
		q := levels[levelCode(inv*v)]
		wq := w[i] * q
		qx += float32(wq * v)
		qq += float32(wq * q)
	}
	return qx, qq
}

// searchLevels finds the best of 16 scales for a group of 32.
func searchLevels(x, w []float32) (scale float32) {
	peak, magnitude := extreme(x)
	if magnitude < smallest {
		return 0
	}
	qx, qq := levelSums(x, w, 1/(-peak/levels[0]))
	if qq > 0 {
		scale = qx / qq
	}
	best := scale * qx
	for step := -7; step <= 7; step++ {
		qx, qq := levelSums(x, w, (float32(step)+levels[0])/peak)
		if qq > 0 && qx*qx > best*qq {
			scale = qx / qq
			best = scale * qx
		}
	}
	return scale
}

func levelWeights(w, x, importance []float32, sigma2 float32) {
	if importance != nil {
		importanceWeights(w, x, importance, sigma2)
		return
	}
	for i, v := range x {
		w[i] = v * v
	}
}

// putLevels writes the codes of 32 values, inv times each, as nibbles.
func putLevels(dst []byte, x []float32, inv float32) {
	dst = dst[:16]
	for j := range dst {
		dst[j] = levelCode(inv*x[j]) | levelCode(inv*x[j+16])<<4
	}
}

// encodeIQ4_NL: half d, 16 bytes of nibbles as in Q4_0.
func encodeIQ4_NL(dst []byte, x, importance []float32) {
	var w [32]float32
	levelWeights(w[:], x, importance, sumSquares(x)*(2.0/32))
	d := searchLevels(x, w[:])
	putF16(dst, d)
	putLevels(dst[2:], x, inverse(d))
}

func decodeIQ4_NL(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
		d, y := f16(src), (*[32]float32)(dst)
		for j, q := range src[2:18] {
			y[j] = d * levels[q&15]
			y[j+16] = d * levels[q>>4]
		}
	}
}

// encodeIQ4_XS: half d, eight 6-bit scales (16 high bits, then nibbles), 128 bytes of nibbles, 16 for 32 values.
func encodeIQ4_XS(dst []byte, x, importance []float32) {
	var w [32]float32
	var scales [8]float32
	sigma2 := sumSquares(x) * (2.0 / 256)
	for j := range scales {
		var weight []float32
		if importance != nil {
			weight = importance[32*j:][:32]
		}
		levelWeights(w[:], x[32*j:][:32], weight, sigma2)
		scales[j] = searchLevels(x[32*j:][:32], w[:])
	}
	peak, _ := extreme(scales[:])
	d := -peak / 32
	putF16(dst, d)
	inv := inverse(d)
	var high uint16
	clear(dst[4:8])
	for j, s := range scales {
		l := max(-32, min(31, nearest(inv*s)))
		putLevels(dst[8+16*j:], x[32*j:], inverse(d*float32(l)))
		l += 32
		dst[4+j/2] |= byte(l&15) << (4 * (j % 2))
		high |= uint16(l>>4) << (2 * j)
	}
	binary.LittleEndian.PutUint16(dst[2:], high)
}

func decodeIQ4_XS(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[136:] {
		d, high := f16(src), binary.LittleEndian.Uint16(src[2:])
		for j := range 8 {
			l := int(src[4+j/2]>>(4*(j%2))&15) | int(high>>(2*j)&3)<<4
			scale, y := d*float32(l-32), (*[32]float32)(dst[32*j:])
			for i, q := range src[8+16*j:][:16] {
				y[i] = scale * levels[q&15]
				y[i+16] = scale * levels[q>>4]
			}
		}
	}
}
