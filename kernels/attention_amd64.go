//go:build !purego

package kernels

import "unsafe"

// stridedArgs are the operands of the strided tiles; assembly reads them by name. Strides count units.
type stridedArgs struct {
	x, y, c, f      *float32
	tiles, cols     int // tiles of tileRows rows, columns
	depth           int
	xr, xd, yd, ldc int
}

// useHalf says whether blocks may multiply bf16.
func useHalf() bool { return level >= levelAVX512BF16 }

func mulTile(half bool, rows, cols, depth int, x []float32, xr, xd int, y []float32, yd int, c []float32, ldc int, f []float32) {
	if level < levelAVX2 {
		mulTilePlain(half, rows, cols, depth, x, xr, xd, y, yd, c, ldc, f)
		return
	}
	t := stridedArgs{x: &x[0], y: &y[0], c: &c[0], tiles: rows / tileRows, cols: cols, depth: depth, xr: xr, xd: xd, yd: yd, ldc: ldc}
	if f != nil {
		t.f = &f[0]
	}
	switch width := cols / 16; {
	case level < levelAVX512:
		stridedAVX2(&t)
	case half && width == 1:
		stridedBF16x16(&t)
	case half && width == 2:
		stridedBF16x32(&t)
	case half && width == 3:
		stridedBF16x48(&t)
	case half:
		stridedBF16x64(&t)
	case width == 1:
		stridedF32x16(&t)
	case width == 2:
		stridedF32x32(&t)
	case width == 3:
		stridedF32x48(&t)
	default:
		stridedF32x64(&t)
	}
}

func mulFew(cols, depth int, x []float32, xr int, y Source, yd int, c []float32, ldc int, f []float32) {
	if level < levelAVX512 {
		mulFewTiles(cols, depth, x, xr, y, yd, c, ldc, f)
		return
	}
	t := stridedArgs{x: &x[0], y: (*float32)(y.at(0)), c: &c[0], f: &f[0], tiles: 1, cols: cols, depth: depth, xr: xr, xd: 1, yd: yd, ldc: ldc}
	switch halves, width := y.Halves != nil, cols/16; {
	case halves && width == 1:
		fewWordsx16(&t)
	case halves && width == 2:
		fewWordsx32(&t)
	case halves && width == 3:
		fewWordsx48(&t)
	case halves:
		fewWordsx64(&t)
	case width == 1:
		fewF32x16(&t)
	case width == 2:
		fewF32x32(&t)
	case width == 3:
		fewF32x48(&t)
	default:
		fewF32x64(&t)
	}
}

func packRows(half bool, dst []float32, stride, rows int, src []float32, ld, n, d int, factor float32) {
	if !half {
		packRowsF32(dst, stride, rows, src, ld, n, d, factor)
		return
	}
	packRowsHalf(&dst[0], stride, &src[0], ld, n, d, factor)
	clear(dst[n*stride : rows*stride])
}

func packPairs(half bool, dst []float32, stride, rows int, src []float32, ld, n, d int, factor float32) {
	if !half {
		packRowsF32(dst, stride, rows, src, ld, n, d, factor)
		return
	}
	packPairsHalf(&dst[0], stride, &src[0], ld, n, d, factor)
	clear(dst[(n+1)/2*stride : rows/2*stride])
}

func packColumns(half bool, dst, src []float32, ld, n, d int) {
	width, fast := 16, d
	switch {
	case level >= levelAVX512:
	case level == levelAVX2 && d >= 8:
		width, fast = 8, d&^7
	default:
		packColumnsPlain(half, dst, src, ld, n, d)
		return
	}
	var rows [16]unsafe.Pointer
	for r := 0; r < blockKeys; r += width {
		for i := range width { // rows past the end repeat the last: masks hide them
			rows[i] = unsafe.Pointer(&src[min(r+i, n-1)*ld])
		}
		switch {
		case width == 8:
			packB8(unsafe.Pointer(&dst[r]), blockKeys, &rows, fast)
		case half:
			packBCvt(unsafe.Pointer(&dst[r]), blockKeys, &rows, d)
		default:
			packBF32(unsafe.Pointer(&dst[r]), blockKeys, &rows, d)
		}
	}
	for u := fast; u < d; u++ {
		for r := range blockKeys {
			dst[u*blockKeys+r] = src[min(r, n-1)*ld+u]
		}
	}
}

func softmaxRows(half bool, s []float32, mask []uint64, top, sum, keep []float32) {
	switch {
	case level < levelAVX2:
		softmaxRowsPlain(half, s, mask, top, sum, keep)
	case level < levelAVX512:
		softmaxRowsAVX2(&s[0], &mask[0], len(mask), &top[0], &sum[0], &keep[0])
	case half:
		softmaxRowsHalf(&s[0], &mask[0], len(mask), &top[0], &sum[0], &keep[0])
	default:
		softmaxRowsF32(&s[0], &mask[0], len(mask), &top[0], &sum[0], &keep[0])
	}
}

func softmaxBack(half bool, s, d []float32, mask []uint64, lse, delta []float32) {
	switch {
	case level < levelAVX2:
		softmaxBackPlain(half, s, d, mask, lse, delta)
	case level < levelAVX512:
		softmaxBackAVX2(&s[0], &d[0], &mask[0], len(mask), &lse[0], &delta[0])
	case half:
		softmaxBackHalf(&s[0], &d[0], &mask[0], len(mask), &lse[0], &delta[0])
	default:
		softmaxBackF32(&s[0], &d[0], &mask[0], len(mask), &lse[0], &delta[0])
	}
}
