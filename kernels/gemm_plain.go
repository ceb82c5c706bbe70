package kernels

import "unsafe"

// The engine in plain Go: float32, panels of 16 columns. It is what CPUs without assembly run, and what the packs of the AVX2 engine
// leave undone.

var plainEngine = engine{per: 1, deep: 512, nr: 16, unit: 8, tile: tilePlain, packA: packAPlain, packAT: packATPlain, packB: packBPlain, packN: packNPlain, lanes: lanes96Plain, laneSums: 96, asks: 12, mostLanes: 48}

// tilePlain runs the tile as blocks of 2 x 4 sums that stay in registers.
func tilePlain(width int, t *tileArgs) {
	for p := range t.panels {
		for r := 0; r < panelRows; r += 2 {
			for c := 0; c < width; c += 4 {
				var s, low [8]float32
				if t.kd > 0 {
					dots(&s, unsafe.Add(t.a, p*t.aStep+4*r), unsafe.Add(t.b, 4*c), t.kd, width)
				}
				if t.kd2 > 0 {
					dots(&low, unsafe.Add(t.a2, p*t.a2Step+4*r), unsafe.Add(t.b, 4*(t.kd*width+c)), t.kd2, width)
				}
				for i := range s {
					row, col := p*panelRows+r+i/4, c+i%4
					v := s[i]*t.scale + low[i]
					if t.add != nil {
						v += *at(t.add, row*t.lda+col)
					}
					if t.bias != nil {
						v += *at(t.bias, col)
					}
					*at(t.c, row*t.ldc+col) = v
				}
			}
		}
	}
}

func lanes96Plain(rows int, t *laneArgs) { lanesPlain(96/rows, rows, t) }

// lanesPlain is the tile whose lanes are rows, eight of them at a time.
func lanesPlain(cols, rows int, t *laneArgs) {
	for col := range cols {
		b := unsafe.Slice((*float32)(unsafe.Add(t.b, col*t.bStep)), t.kd)
		for row := 0; row < t.rows; row += 8 {
			var s, low [8]float32
			laneDots(&s, unsafe.Add(t.a, 4*row), b, rows)
			if t.kd2 > 0 {
				laneDots(&low, unsafe.Add(t.a2, 4*row), unsafe.Slice((*float32)(unsafe.Add(t.b2, col*t.b2Step)), t.kd2), rows)
			}
			for i := range min(8, t.rows-row) {
				v := s[i]*t.scale + low[i]
				if t.add != nil {
					v += *at(t.add, (row+i)*t.lda+col)
				}
				if t.bias != nil {
					v += *at(t.bias, col)
				}
				*at(t.c, (row+i)*t.ldc+col) = v
			}
		}
	}
}

// laneDots is s[i] = sum over d of a[d*rows+i]·b[d], i < 8.
func laneDots(s *[8]float32, a unsafe.Pointer, b []float32, rows int) {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for d, v := range b {
		x := (*[8]float32)(unsafe.Add(a, 4*d*rows))
		s0 += x[0] * v
		s1 += x[1] * v
		s2 += x[2] * v
		s3 += x[3] * v
		s4 += x[4] * v
		s5 += x[5] * v
		s6 += x[6] * v
		s7 += x[7] * v
	}
	*s = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
}

func at(p *float32, i int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*i)) }

// dots is s[i*4+j] = sum over d < depth of a[d*panelRows+i]·b[d*width+j], i < 2, j < 4; depth is positive.
func dots(s *[8]float32, a, b unsafe.Pointer, depth, width int) {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	x := unsafe.Slice((*float32)(a), (depth-1)*panelRows+2)
	y := unsafe.Slice((*float32)(b), (depth-1)*width+4)
	for {
		x0, x1, v := x[0], x[1], (*[4]float32)(y)
		s0 += x0 * v[0]
		s1 += x0 * v[1]
		s2 += x0 * v[2]
		s3 += x0 * v[3]
		s4 += x1 * v[0]
		s5 += x1 * v[1]
		s6 += x1 * v[2]
		s7 += x1 * v[3]
		if len(y) <= width {
			break
		}
		x, y = x[panelRows:], y[width:]
	}
	*s = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
}

func packAPlain(dst unsafe.Pointer, rows *[16]unsafe.Pointer, n int) {
	packStrided(dst, panelRows, rows[:panelRows], 0, n)
}

func packBPlain(dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int, _ bool) {
	packStrided(dst, stride, rows[:8], 0, n)
}

// packStrided is dst[k*stride+i] = rows[i][k] for k0 <= k < n.
func packStrided(dst unsafe.Pointer, stride int, rows []unsafe.Pointer, k0, n int) {
	d := unsafe.Slice((*float32)(dst), (n-1)*stride+len(rows))
	for i, row := range rows {
		for k, v := range unsafe.Slice((*float32)(row), n)[k0:] {
			d[(k0+k)*stride+i] = v
		}
	}
}

func packATPlain(dst unsafe.Pointer, step int, src unsafe.Pointer, stride, cols, rows int) {
	for k := range rows {
		row := unsafe.Slice((*float32)(unsafe.Add(src, k*stride)), cols)
		for p := 0; p*panelRows < cols; p++ {
			d := unsafe.Slice((*float32)(unsafe.Add(dst, p*step+4*k*panelRows)), panelRows)
			copy(d, row[p*panelRows:])
		}
	}
}

func packNPlain(dst unsafe.Pointer, width int, src unsafe.Pointer, stride, cols, rows int, _ bool) {
	for k := range rows {
		copy(unsafe.Slice((*float32)(unsafe.Add(dst, 4*k*width)), cols), unsafe.Slice((*float32)(unsafe.Add(src, k*stride)), cols))
	}
}
