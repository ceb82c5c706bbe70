//go:build !purego

package kernels

import "unsafe"

var (
	bf16Engine = engine{per: 2, deep: 512, nr: 64, unit: 16, tile: tileBF16, packA: packACvt, packAT: packATBF16, packB: packBBF16, packN: packNBF16, lanes: lanesBF16, laneSums: 384, asks: 4, mostLanes: 144, inPlace: true}
	f32Engine  = engine{per: 1, deep: 512, nr: 64, unit: 16, tile: tileF32, packA: packAF32, packAT: packATFloats, packB: packBFloats, packN: packNFloats, lanes: lanesF32, laneSums: 384, asks: 4, mostLanes: 144, inPlace: true}
	avx2Engine = engine{per: 1, deep: 640, nr: 16, unit: 8, tile: tileAVX2, packA: packAAVX2, packAT: packATPlain, packB: packBAVX2, packN: packNPlain, lanes: lanesAVX2, laneSums: 96, asks: 12, mostLanes: 48}
)

// engineFor chooses the inner loops by level and precision.
func engineFor(exact bool) *engine {
	switch {
	case level >= levelAVX512BF16 && !exact:
		return &bf16Engine
	case level >= levelAVX512:
		return &f32Engine
	case level == levelAVX2:
		return &avx2Engine
	}
	return &plainEngine
}

func tileBF16(width int, t *tileArgs) {
	switch width {
	case 64:
		tileBF16x64(t)
	case 48:
		tileBF16x48(t)
	case 32:
		tileBF16x32(t)
	default:
		tallTile(t, tileBF16x16Tall, tileBF16x16)
	}
}

func tileF32(width int, t *tileArgs) {
	switch width {
	case 64:
		tileF32x64(t)
	case 48:
		tileF32x48(t)
	case 32:
		tileF32x32(t)
	default:
		tallTile(t, tileF32x16Tall, tileF32x16)
	}
}

// tallTile runs the tile of 16 columns on three panels at a time, then on those that are left.
func tallTile(t *tileArgs, three, one func(*tileArgs)) {
	n := t.panels
	if t.panels = n - n%3; t.panels > 0 {
		three(t)
	}
	if t.panels == n {
		return
	}
	done := t.panels
	t.a, t.a2 = unsafe.Add(t.a, done*t.aStep), unsafe.Add(t.a2, done*t.a2Step)
	t.c = at(t.c, done*panelRows*t.ldc)
	if t.add != nil {
		t.add = at(t.add, done*panelRows*t.lda)
	}
	t.panels = n - done
	one(t)
}

func tileAVX2(width int, t *tileArgs) {
	if width == 16 {
		tileAVX2x16(t)
	} else {
		tileAVX2x8(t)
	}
}

func packAAVX2(dst unsafe.Pointer, rows *[16]unsafe.Pointer, n int) {
	whole := n &^ 7
	if whole > 0 {
		packA8(dst, rows, whole)
	}
	packStrided(dst, panelRows, rows[:panelRows], whole, n)
}

func packATBF16(dst unsafe.Pointer, step int, src unsafe.Pointer, stride, cols, rows int) {
	if cols == 8*panelRows {
		packAT8Cvt(dst, step, src, stride, rows)
		return
	}
	for c := 0; c < cols; c += 2 * panelRows {
		d := unsafe.Add(dst, c/panelRows*step)
		packATCvt(d, second(d, step, cols-c), unsafe.Add(src, 4*c), stride, min(2*panelRows, cols-c), rows)
	}
}

func packATFloats(dst unsafe.Pointer, step int, src unsafe.Pointer, stride, cols, rows int) {
	if cols == 8*panelRows {
		packAT8F32(dst, step, src, stride, rows)
		return
	}
	for c := 0; c < cols; c += 2 * panelRows {
		d := unsafe.Add(dst, c/panelRows*step)
		packATF32(d, second(d, step, cols-c), unsafe.Add(src, 4*c), stride, min(2*panelRows, cols-c), rows)
	}
}

// second is the panel behind dst, or dst itself when the columns fill no second one: a pointer past the scratch must not exist.
func second(dst unsafe.Pointer, step, cols int) unsafe.Pointer {
	if cols <= panelRows {
		return dst
	}
	return unsafe.Add(dst, step)
}

func packBBF16(dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int, word bool) {
	if word {
		packBWords(dst, stride, rows, n)
	} else {
		packBCvt(dst, stride, rows, n)
	}
}

func packBFloats(dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int, _ bool) {
	packBF32(dst, stride, rows, n)
}

func packBAVX2(dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int, _ bool) {
	whole := n &^ 7
	if whole > 0 {
		packB8(dst, stride, rows, whole)
	}
	packStrided(dst, stride, rows[:8], whole, n)
}

func packNBF16(dst unsafe.Pointer, width int, src unsafe.Pointer, stride, cols, rows int, word bool) {
	if word {
		packNWords(dst, width, src, stride, cols, rows)
	} else {
		packNCvt(dst, width, src, stride, cols, rows)
	}
}

func packNFloats(dst unsafe.Pointer, width int, src unsafe.Pointer, stride, cols, rows int, _ bool) {
	packNF32(dst, width, src, stride, cols, rows)
}

// peakLoop is a loop of multiply-adds on registers and its operations per round.
func peakLoop(exact bool) (ops float64, loop func(n int)) {
	switch e := engineFor(exact); e {
	case &bf16Engine:
		return 16 * 64, peakBF16
	case &f32Engine:
		return 16 * 32, peakF32
	case &avx2Engine:
		return 12 * 16, peakAVX2
	}
	return peakPlain()
}

func lanesAVX2(rows int, t *laneArgs) {
	switch rows {
	case 8:
		tileLanes8(t)
	case 16:
		tileLanes16(t)
	default:
		tileLanes24(t)
	}
}

func lanesBF16(rows int, t *laneArgs) {
	switch rows {
	case 16:
		tileLanesBF16x16(t)
	case 32:
		tileLanesBF16x32(t)
	default:
		tileLanesBF16x48(t)
	}
}

func lanesF32(rows int, t *laneArgs) {
	switch rows {
	case 16:
		tileLanesF32x16(t)
	case 32:
		tileLanesF32x32(t)
	default:
		tileLanesF32x48(t)
	}
}
