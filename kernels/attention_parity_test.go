package kernels

import (
	"fmt"
	"math"
	"testing"
)

// The pieces of blocked attention beside their plain forms, at each level and kind of unit, within guard words.

// eachKind runs f at each level for float32 units and, where there are, for pairs of bf16.
func eachKind(t *testing.T, f func(t *testing.T, half bool)) {
	eachLevel(t, func(t *testing.T) {
		f(t, false)
		if useHalf() {
			f(t, true)
		}
	})
}

// units turns x into units: pairs of bf16, each 2 values.
func units(half bool, x []float32) []float32 {
	if half {
		for i := range x {
			x[i] = pair(x[i], x[i]/3)
		}
	}
	return x
}

func TestTiles(t *testing.T) {
	eachKind(t, func(t *testing.T, half bool) {
		for depth := 1; depth <= 40; depth++ {
			for cols := 16; cols <= tileCols; cols += 16 {
				rows, xr, xd, yd, ldc := tileRows*(1+depth%3), 41+depth, 1, cols+16*(depth%2), cols+16*(depth%3)
				if depth%4 == 0 { // by columns, as Pᵀ is read
					xr, xd = 1, rows+3
				}
				x := units(half, values(rows*xr+depth*xd, 1))
				y := units(half, values(depth*yd, 2))
				f := values(rows, 3)
				if depth%2 == 0 {
					f = nil
				}
				got := newGuarded((rows-1)*ldc+cols, depth%3)
				copy(got.x, values(len(got.x), 4))
				want := append([]float32(nil), got.x...)
				mulTile(half, rows, cols, depth, x, xr, xd, y, yd, got.x, ldc, f)
				mulTilePlain(half, rows, cols, depth, x, xr, xd, y, yd, want, ldc, f)
				got.check(t, "tile")
				near(t, fmt.Sprintf("half %v depth %d cols %d", half, depth, cols), got.x, wide(want), tolTree)
			}
		}
	})
}

// TestFewTiles compares the tiles of a few rows with the plain one, over float32 and bf16 values.
func TestFewTiles(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for depth := 1; depth < 70; depth++ {
			for cols := 16; cols <= tileCols; cols += 16 {
				for _, halves := range []bool{false, true} {
					xr, yd, ldc := 41+depth, cols+depth%7, cols+16*(depth%3)
					x, f, y := values(tileRows*xr+depth, 1), values(tileRows, 3), sourceOf(values(depth*yd+cols, 2), halves)
					got := newGuarded((tileRows-1)*ldc+cols, depth%3)
					copy(got.x, values(len(got.x), 4))
					want := append([]float32(nil), got.x...)
					mulFew(cols, depth, x, xr, y, yd, got.x, ldc, f)
					mulTilePlain(false, vecHeads, cols, depth, x, xr, 1, y.row(make([]float32, depth*yd), 0), yd, want, ldc, f)
					got.check(t, "tile")
					for r := range vecHeads {
						near(t, fmt.Sprintf("depth %d cols %d row %d", depth, cols, r), got.x[r*ldc:][:cols], wide(want[r*ldc:][:cols]), tolTree)
					}
				}
			}
		}
	})
}

// maskOf draws the mask of row r: all, none, a prefix, a suffix or any bits.
func maskOf(r int) uint64 {
	return []uint64{^uint64(0), 0, 1<<(r%64) - 1, ^uint64(0) << (r % 64), 0x9e3779b97f4a7c15 * uint64(r)}[r%5]
}

// nearUnits compares units: pairs of bf16 within one unit in the last place.
func nearUnits(t *testing.T, what string, half bool, got, want []float32) {
	t.Helper()
	if !half {
		near(t, what, got, wide(want), tolExp)
		return
	}
	for i, w := range want {
		gl, gh := unpair(got[i])
		wl, wh := unpair(w)
		if !within(gl, wl, 1e-6, 1.0/128) || !within(gh, wh, 1e-6, 1.0/128) {
			t.Fatalf("%s[%d] = %v %v, want %v %v", what, i, gl, gh, wl, wh)
		}
	}
}

func TestSoftmaxRows(t *testing.T) {
	eachKind(t, func(t *testing.T, half bool) {
		for rows := 1; rows <= 40; rows++ {
			mask := make([]uint64, rows)
			for r := range mask {
				mask[r] = maskOf(r + rows)
			}
			got, want := newGuarded(rows*blockKeys, 0), values(rows*blockKeys, 1)
			copy(got.x, want)
			for i := 0; i < len(want); i += 7 { // what is masked may be anything
				if mask[i/blockKeys]>>(i%blockKeys)&1 == 0 {
					got.x[i], want[i] = float32(math.NaN()), float32(math.Inf(1))
				}
			}
			state := func() (top, sum, keep guarded) {
				top, sum, keep = newGuarded(rows, 0), newGuarded(rows*sumLanes, 0), newGuarded(rows, 0)
				copy(top.x, values(rows, 2))
				clear(sum.x)
				for r := range rows {
					sum.x[r*sumLanes] = 1
					if r%3 == 0 {
						top.x[r] = -math.MaxFloat32
					}
				}
				return top, sum, keep
			}
			top, sum, keep := state()
			wantTop, wantSum, wantKeep := state()
			softmaxRows(half, got.x, mask, top.x, sum.x, keep.x)
			softmaxRowsPlain(half, want, mask, wantTop.x, wantSum.x, wantKeep.x)
			for _, g := range []guarded{got, top, sum, keep} {
				g.check(t, "softmaxRows")
			}
			near(t, "top", top.x, wide(wantTop.x), 0)
			near(t, "keep", keep.x, wide(wantKeep.x), tolExp)
			for r := range rows {
				total := func(x []float32) (s float32) {
					for _, v := range x[r*sumLanes:][:sumLanes] {
						s += v
					}
					return s
				}
				near(t, "sum", []float32{total(sum.x)}, []float64{float64(total(wantSum.x))}, tolShort)
				n := blockKeys
				if half {
					n /= 2
				}
				nearUnits(t, "p", half, got.x[r*blockKeys:][:n], want[r*blockKeys:][:n])
			}
		}
	})
}

// tolShort allows for the powers of two of the half kind, whose polynomial has 4 terms.
const tolShort = 2e-4

func TestSoftmaxBack(t *testing.T) {
	eachKind(t, func(t *testing.T, half bool) {
		for rows := 2; rows <= 40; rows += 2 {
			mask := make([]uint64, rows)
			for r := range mask {
				mask[r] = maskOf(r + rows)
			}
			s, d := newGuarded(rows*blockKeys, 0), newGuarded(rows*blockKeys, 0)
			wantS, wantD := values(rows*blockKeys, 1), values(rows*blockKeys, 2)
			copy(s.x, wantS)
			copy(d.x, wantD)
			lse, delta := values(rows, 3), values(rows, 4)
			softmaxBack(half, s.x, d.x, mask, lse, delta)
			softmaxBackPlain(half, wantS, wantD, mask, lse, delta)
			s.check(t, "softmaxBack s")
			d.check(t, "softmaxBack d")
			nearUnits(t, "s", half, s.x, wantS)
			for r := range rows {
				n := blockKeys
				if half {
					n /= 2
				}
				nearUnits(t, "d", half, d.x[r*blockKeys:][:n], wantD[r*blockKeys:][:n])
			}
		}
	})
}

func TestAttentionPacks(t *testing.T) {
	eachKind(t, func(t *testing.T, half bool) {
		for d := 1; d <= 100; d++ {
			n, ld, stride := 1+d*7%blockKeys, d+3, (d+15)&^15
			src := values(n*ld, uint64(d))
			check := func(what string, size int, f, plain func(dst []float32)) {
				t.Helper()
				got, want := newGuarded(size, 0), make([]float32, size)
				f(got.x)
				plain(want)
				got.check(t, what)
				for i, w := range want {
					if math.Float32bits(got.x[i]) != math.Float32bits(w) {
						t.Fatalf("%s: half %v, d %d, n %d: unit %d is %x, want %x", what, half, d, n, i, math.Float32bits(got.x[i]), math.Float32bits(w))
					}
				}
			}
			rowUnits, pairRows := stride, blockRows
			if half {
				rowUnits, pairRows = stride/2, blockRows/2
			}
			check("rows", blockRows*rowUnits, func(x []float32) { packRows(half, x, rowUnits, blockRows, src, ld, n, d, 0.3) },
				func(x []float32) { packRowsPlain(half, x, rowUnits, blockRows, src, ld, n, d, 0.3) })
			check("pairs", pairRows*stride, func(x []float32) { packPairs(half, x, stride, blockRows, src, ld, n, d, 0.3) },
				func(x []float32) { packPairsPlain(half, x, stride, blockRows, src, ld, n, d, 0.3) })
			depth := d
			if half {
				depth = (d + 1) / 2
			}
			// Columns past the last row are masked later and may hold anything: only the first n count.
			hide := func(x []float32) {
				for i := range x {
					if i%blockKeys >= n {
						x[i] = 0
					}
				}
			}
			check("columns", depth*blockKeys, func(x []float32) { packColumns(half, x, src, ld, n, d); hide(x) },
				func(x []float32) { packColumnsPlain(half, x, src, ld, n, d); hide(x) })
		}
	})
}
