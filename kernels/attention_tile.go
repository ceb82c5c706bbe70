package kernels

import "math"

// The pieces of blocked attention, in plain Go. All counts of rows are multiples of tileRows, columns of 16; strides in units.

// mulTilePlain: c[r][j] = f[r]·c[r][j] + Σ_u x[r·xr + u·xd]·y[u·yd + j] for r < rows, j < cols, u < depth; f nil means 0.
// half: units are pairs of bf16 and both their products are added.
func mulTilePlain(half bool, rows, cols, depth int, x []float32, xr, xd int, y []float32, yd int, c []float32, ldc int, f []float32) {
	for r := range rows {
		c := c[r*ldc:][:cols]
		if f == nil {
			clear(c)
		} else {
			scalePlain(c, f[r], c)
		}
		for u := range depth {
			a, y := x[r*xr+u*xd], y[u*yd:][:cols]
			if !half {
				axpyPlain(c, a, y)
				continue
			}
			lo, hi := unpair(a)
			for j, b := range y {
				l, h := unpair(b)
				c[j] += lo*l + hi*h
			}
		}
	}
}

// pair rounds two values to bf16 and keeps them in one unit, lo in the lower half; unpair widens them.
func pair(lo, hi float32) float32 {
	return math.Float32frombits(uint32(roundBF16(lo)) | uint32(roundBF16(hi))<<16)
}

func unpair(u float32) (lo, hi float32) {
	b := math.Float32bits(u)
	return math.Float32frombits(b << 16), math.Float32frombits(b &^ 0xffff)
}

// packRowsPlain: dst row r = factor·src row r (stride ld) as units, for n rows of d values; zero up to stride units and rows rows.
func packRowsPlain(half bool, dst []float32, stride, rows int, src []float32, ld, n, d int, factor float32) {
	if !half {
		packRowsF32(dst, stride, rows, src, ld, n, d, factor)
		return
	}
	clear(dst[:rows*stride])
	for r := range n {
		x, y := src[r*ld:][:d], dst[r*stride:][:stride]
		for i := range d / 2 {
			y[i] = pair(factor*x[2*i], factor*x[2*i+1])
		}
		if d%2 == 1 {
			y[d/2] = pair(factor*x[d-1], 0)
		}
	}
}

// packRowsF32 is packRowsPlain and packPairsPlain for units of one float32.
func packRowsF32(dst []float32, stride, rows int, src []float32, ld, n, d int, factor float32) {
	for r := range n {
		y := dst[r*stride:][:stride]
		Scale(y[:d], factor, src[r*ld:])
		clear(y[d:])
	}
	clear(dst[n*stride : rows*stride])
}

// packPairsPlain is packRowsPlain with units of two neighbouring rows; rows is even.
func packPairsPlain(half bool, dst []float32, stride, rows int, src []float32, ld, n, d int, factor float32) {
	if !half {
		packRowsF32(dst, stride, rows, src, ld, n, d, factor)
		return
	}
	clear(dst[:rows/2*stride])
	for r := 0; r < n; r += 2 {
		y := dst[r/2*stride:][:d]
		for i := range y {
			hi := float32(0)
			if r+1 < n {
				hi = factor * src[(r+1)*ld+i]
			}
			y[i] = pair(factor*src[r*ld+i], hi)
		}
	}
}

// packColumnsPlain: dst[u][r] = unit u of src row r, for n rows of d values; columns n ... blockKeys-1 are zero.
func packColumnsPlain(half bool, dst, src []float32, ld, n, d int) {
	if n < blockKeys {
		clear(dst)
	}
	for r := range n {
		x := src[r*ld:][:d]
		if !half {
			for i, v := range x {
				dst[i*blockKeys+r] = v
			}
			continue
		}
		for i := range d / 2 {
			dst[i*blockKeys+r] = pair(x[2*i], x[2*i+1])
		}
		if d%2 == 1 {
			dst[d/2*blockKeys+r] = pair(x[d-1], 0)
		}
	}
}

// sumLanes is the partial sums a row of probabilities is added up in.
const sumLanes = 16

// softmaxRowsPlain is one step of the online softmax over len(mask) rows of blockKeys scores in base 2. Per row, with m the
// larger of top and the visible scores: s becomes p = 2^(s-m), 0 where masked (half: in pairs, in the first half of the row);
// keep = 2^(top-m), sum = keep·sum + Σ p, top = m. A row's sum is sumLanes numbers that have yet to be added up.
func softmaxRowsPlain(half bool, s []float32, mask []uint64, top, sum, keep []float32) {
	for r, bits := range mask {
		row := s[r*blockKeys:][:blockKeys]
		m := top[r]
		for j, v := range row {
			if bits>>j&1 != 0 && v > m {
				m = v
			}
		}
		keep[r] = exp2(top[r] - m)
		sum := sum[r*sumLanes:][:sumLanes]
		scalePlain(sum, keep[r], sum)
		for j, v := range row {
			if bits>>j&1 == 0 {
				row[j] = 0
				continue
			}
			row[j] = exp2(v - m)
			sum[j%sumLanes] += row[j]
		}
		top[r] = m
		if half {
			for j := range blockKeys / 2 {
				row[j] = pair(row[2*j], row[2*j+1])
			}
		}
	}
}

// softmaxBackPlain turns scores s and products d = dO·vᵀ of len(mask) rows (even) into p = 2^(s - lse), 0 where masked, and
// ds = p·(d - delta): p takes the place of s and ds that of d. half: of each two rows, units of both rows of p take the place
// of the first of s, those of ds the second of s, and ds in pairs along the row the first half of each row of d.
func softmaxBackPlain(half bool, s, d []float32, mask []uint64, lse, delta []float32) {
	for r, bits := range mask {
		s, d := s[r*blockKeys:][:blockKeys], d[r*blockKeys:][:blockKeys]
		for j := range s {
			if bits>>j&1 == 0 {
				s[j], d[j] = 0, 0
				continue
			}
			s[j] = exp2(s[j] - lse[r])
			d[j] = s[j] * (d[j] - delta[r])
		}
	}
	if !half {
		return
	}
	for r := 0; r < len(mask); r += 2 {
		s0, s1 := s[r*blockKeys:][:blockKeys], s[(r+1)*blockKeys:][:blockKeys]
		d0, d1 := d[r*blockKeys:][:blockKeys], d[(r+1)*blockKeys:][:blockKeys]
		for j := range s0 {
			s0[j], s1[j] = pair(s0[j], s1[j]), pair(d0[j], d1[j])
		}
		for j := range blockKeys / 2 {
			d0[j], d1[j] = pair(d0[2*j], d0[2*j+1]), pair(d1[2*j], d1[2*j+1])
		}
	}
}

// Constants of exp2: 2ˣ = 2ⁿ·2ʳ with n = round(x), |r| <= 1/2; the polynomial is a least-maximum fit of 2ʳ.
const (
	exp2Min = -126 // below: 0, as results would be subnormal
	exp2Max = 127.49999
	exp2C1  = 0.6931471806
	exp2C2  = 0.2402265070
	exp2C3  = 0.0555041087
	exp2C4  = 0.0096181291
	exp2C5  = 0.0013333558
	exp2C6  = 0.0001540353
)

// exp2 returns 2ˣ within 2 units in the last place for exp2Min <= x <= exp2Max; NaN for NaN, 0 below, 2^exp2Max above.
func exp2(x float32) float32 {
	if x < exp2Min {
		return 0
	}
	if x > exp2Max {
		x = exp2Max
	}
	if x != x {
		return x
	}
	n := x + expMagic
	n -= expMagic
	r := x - n
	p := float32(exp2C6)
	p = p*r + exp2C5
	p = p*r + exp2C4
	p = p*r + exp2C3
	p = p*r + exp2C2
	p = p*r + exp2C1
	p = p*r + 1
	return p * math.Float32frombits(uint32(int32(n)+127)<<23)
}

// ones are factors of rows that keep what is there.
var ones = func() (x [max(blockRows, paddedKeys, scoreKeys)]float32) {
	for i := range x {
		x[i] = 1
	}
	return x
}()
