package kernels

import (
	"math/bits"
)

// Attention of many queries works on blocks of scores: blockRows queries by blockKeys keys. Operands are packed once into
// units of four bytes, one float32 or a pair of bf16 values that are neighbours along the summed dimension:
//
//	rows      [row][D]          pairs along D     left operand of Q·Kᵀ, dO·Vᵀ, P·V, dS·K
//	pairs     [row/2][D]        pairs of rows     right operand of P·V, dS·K, Pᵀ·dO, dSᵀ·Q; float32: the same as rows
//	columns   [D/2][blockKeys]  pairs along D     right operand of Q·Kᵀ, dO·Vᵀ
//
// Queries carry the factor Scale·log₂e, so that probabilities are powers of two of scores.
const (
	blockRows = 96 // a multiple of tileRows and of 2
	blockKeys = 64 // bits of a row's mask
	edgeRows  = 24 // rows at a time where some keys are out of sight, a multiple of tileRows and of 2
	tileRows  = 6
	tileCols  = 64 // columns of a tile at most, a multiple of 16
	// paddedKeys is blockKeys rounded up to whole tiles: the rows of the accumulators of dK and dV.
	paddedKeys = blockKeys + tileRows // the keys in sight begin at any multiple of 16 and are rounded up to tiles from there
)

// blocks is one attention call cut into blocks.
type blocks struct {
	Attention
	half           bool // units are pairs of bf16
	n, first, keys int  // query rows, key row of the first, key rows in sight
	start          []int32
	width          int // D rounded up to 16: units from row to row of accumulators and pairs
	row            int // units from row to row of rows
	depth          int // units of D
	pairs          int // values of a unit
	queryBlocks    int
	keyBlocks      int
}

func (a Attention) blocks(start []int32, n, first int) blocks {
	b := blocks{Attention: a, half: useHalf() && !a.Exact, n: n, first: first, keys: first + n, start: start, width: (a.D + 15) &^ 15}
	b.row, b.depth, b.pairs = b.width, a.D, 1
	if b.half {
		b.row, b.depth, b.pairs = b.width/2, (a.D+1)/2, 2
	}
	b.queryBlocks, b.keyBlocks = (n+blockRows-1)/blockRows, (b.keys+blockKeys-1)/blockKeys
	return b
}

// blockSizes are units per block of the packed operands: key columns, key pairs, query rows, query pairs.
func (b *blocks) blockSizes() (cols, keyPairs, rows, pairs int) {
	if b.half {
		return b.depth * blockKeys, b.width * blockKeys / 2, b.row * blockRows, b.width * blockRows / 2
	}
	return b.depth * blockKeys, b.width * blockKeys, b.row * blockRows, b.width * blockRows
}

// low is the first key row in sight of query row i.
func (b *blocks) low(i int) int { return b.Attention.low(b.start[i], b.first+i) }

// sight is the range of key blocks in sight of query block qb.
func (b *blocks) sight(qb int) (lo, hi int) {
	i, end := qb*blockRows, min(b.n, (qb+1)*blockRows)
	lo, hi = b.low(i), (b.first+end-1)/blockKeys+1
	for i++; i < end; i++ {
		lo = min(lo, b.low(i))
	}
	return lo / blockKeys, hi
}

// masks sets bit j of mask[r] when query row i0+r sees key row kb·blockKeys+j. Only rows ra <= r < rb see any.
func (b *blocks) masks(mask *[blockRows]uint64, qb, kb int) (ra, rb int) {
	i0, j0 := qb*blockRows, kb*blockKeys
	ra = blockRows
	for r := range mask {
		mask[r] = 0
		if i0+r >= b.n {
			continue
		}
		lo, hi := max(b.low(i0+r)-j0, 0), min(b.first+i0+r+1-j0, blockKeys)
		if lo < hi {
			mask[r] = ^uint64(0) << lo & (^uint64(0) >> (blockKeys - hi))
			ra, rb = min(ra, r), r+1
		}
	}
	return ra - ra%tileRows, (rb + tileRows - 1) / tileRows * tileRows
}

// rowsAtOnce is how many of the rows to take together: all when they see all keys, else edgeRows, to leave out more of what is hidden.
func rowsAtOnce(mask []uint64) int {
	for _, m := range mask {
		if m != ^uint64(0) {
			return edgeRows
		}
	}
	return len(mask)
}

// columns is the range of keys in sight of any of the rows, widened to multiples of 16; lo >= hi when there is none.
func columns(mask []uint64) (lo, hi int) {
	any := uint64(0)
	for _, m := range mask {
		any |= m
	}
	return bits.TrailingZeros64(any) &^ 15, (64 - bits.LeadingZeros64(any) + 15) &^ 15
}

// keyRow and queryRow are offsets of one head's row in the layouts (Nk, K, D) and (N, H, D).
func (b *blocks) keyRow(j, kv int) int  { return (j*b.K + kv) * b.D }
func (b *blocks) queryRow(i, h int) int { return (i*b.H + h) * b.D }

// log2e and ln2 convert between natural and binary exponents.
const (
	log2e = 1.44269504088896341
	ln2   = 0.693147180559945309
)

// forwardScratch is the units that forward packs.
func (b *blocks) forwardScratch() int {
	cols, keyPairs, _, _ := b.blockSizes()
	return b.K * b.keyBlocks * (cols + keyPairs)
}

// mul adds a product of D columns to accumulators: c = f·c + x·y, in panels of at most tileCols columns, evenly cut.
func (b *blocks) mul(rows, depth int, x []float32, xr, xd int, y, c, f []float32) {
	for at, left := 0, (b.width+tileCols-1)/tileCols; at < b.width; left-- {
		w := ((b.width-at)/left + 15) &^ 15
		mulTile(b.half, rows, w, depth, x, xr, xd, y[at:], b.width, c[at:], b.width, f)
		at += w
	}
}
