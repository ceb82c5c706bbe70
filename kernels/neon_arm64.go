//go:build !purego

package kernels

import "unsafe"

// The NEON level: every arm64 CPU has it. Five functions are assembly (neon_arm64.s), all else is plain Go.

const levelNEON = levelPlain + 1

var levelNames = []string{"plain", "neon"}

func detectLevel() (cpuLevel, string) { return levelNEON, "every arm64 CPU has NEON" }

func cpuFeatures() []string { return []string{"neon"} }

func vnni() bool { return false }

var neonEngine = engine{per: 1, deep: 512, nr: 16, unit: 16, tile: tileNEON16, packA: packAPlain, packAT: packATPlain, packB: packBNEON, packN: packNPlain}

func engineFor(bool) *engine {
	if level < levelNEON {
		return &plainEngine
	}
	return &neonEngine
}

func packBNEON(dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int, _ bool) {
	packStrided(dst, stride, rows[:], 0, n)
}

// tileNEON16 is the tile: panels are always 16 wide, since packs take 16 rows.
func tileNEON16(_ int, t *tileArgs) { tileNEON(t) }

// stridedArgs are the operands of the strided tile; assembly reads them by name. Strides count units.
type stridedArgs struct {
	x, y, c, f      *float32
	tiles, cols     int // tiles of tileRows rows, columns
	depth           int
	xr, xd, yd, ldc int
}

func wordsFor(*Codec, int) wordProduct { return nil }

func roundWords(q *int16, pairs, x *float32, n int) { roundWordsPlain(q, pairs, x, n) }

func mulFew(cols, depth int, x []float32, xr int, y Source, yd int, c []float32, ldc int, f []float32) {
	mulFewTiles(cols, depth, x, xr, y, yd, c, ldc, f)
}

func mulTile(half bool, rows, cols, depth int, x []float32, xr, xd int, y []float32, yd int, c []float32, ldc int, f []float32) {
	if level < levelNEON {
		mulTilePlain(half, rows, cols, depth, x, xr, xd, y, yd, c, ldc, f)
		return
	}
	t := stridedArgs{x: &x[0], y: &y[0], c: &c[0], tiles: rows / tileRows, cols: cols, depth: depth, xr: xr, xd: xd, yd: yd, ldc: ldc}
	if f != nil {
		t.f = &f[0]
	}
	stridedNEON(&t)
}

// The loops below take 16 values a round; the rest is added here.

func dot(x, y []float32) float32 {
	n := len(x) &^ 15
	if level < levelNEON || n == 0 {
		return dotPlain(x, y)
	}
	s := dotNEON(&x[0], &y[0], n)
	for i, v := range x[n:] {
		s += v * y[n+i]
	}
	return s
}

func dotBF16(x []float32, w []uint16) float32 {
	s, n := float32(0), len(x)&^15
	if n > 0 {
		s = dotBF16NEON(&x[0], &w[0], n)
	}
	for i, v := range x[n:] {
		s += v * widenBF16(w[n+i])
	}
	return s
}

func axpy(dst []float32, a float32, x []float32) {
	n := len(x) &^ 15
	if level < levelNEON || n == 0 {
		axpyPlain(dst, a, x)
		return
	}
	axpyNEON(&dst[0], a, &x[0], n)
	axpyPlain(dst[n:], a, x[n:])
}

func fusedFor(*Codec) *[4]fusedProduct { return nil }

// vecProduct is vecPlain; a row of w is in the cache for the second row of x.
func vecProduct(m int, word bool, y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int) {
	if level < levelNEON {
		vecPlain(m, word, y, ldy, x, ldx, w, stride, n, rows)
		return
	}
	for r := range rows {
		for i := range m {
			xs, p := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(x), 4*i*ldx)), n), unsafe.Add(w, r*stride)
			sum := (*float32)(unsafe.Add(unsafe.Pointer(y), 4*(i*ldy+r)))
			if word {
				*sum = dotBF16(xs, unsafe.Slice((*uint16)(p), n))
			} else {
				*sum = dot(xs, unsafe.Slice((*float32)(p), n))
			}
		}
	}
}

func pause() {}

func askFor(uintptr) { pause() }

func askRows(unsafe.Pointer, int, int, int) {}

// peakLoop is a loop of multiply-adds on registers and its operations per round.
func peakLoop(bool) (ops float64, loop func(n int)) {
	if level < levelNEON {
		return peakPlain()
	}
	return 24 * 8, peakNEON
}

// tileNEON computes what tileArgs says for panels of 16 columns.
//
//go:noescape
func tileNEON(t *tileArgs)

// stridedNEON computes c[r][j] = f[r]·c[r][j] + Σ_u x[r·xr + u·xd]·y[u·yd + j]; f nil means 0.
//
//go:noescape
func stridedNEON(t *stridedArgs)

// dotNEON is Σ x_i·y_i, n a positive multiple of 16.
//
//go:noescape
func dotNEON(x, y *float32, n int) float32

// dotBF16NEON is Σ x_i·w_i, n a positive multiple of 16.
//
//go:noescape
func dotBF16NEON(x *float32, w *uint16, n int) float32

// axpyNEON is dst_i += a·x_i, n a positive multiple of 16.
//
//go:noescape
func axpyNEON(dst *float32, a float32, x *float32, n int)

// peakNEON is n rounds of 24 multiply-adds of four values.
//
//go:noescape
func peakNEON(n int)
