package kernels

import (
	"runtime"
	"sync/atomic"
)

// backward is the backward by blocks. One task per (key head, key block) walks down the query blocks that see it and sums
// its dK and dV; its part of dQ is added to the query block's accumulator when the key blocks before it have added theirs,
// so the order of every sum is fixed. Tasks are claimed in ascending order, hence who is waited for is at work.
type backward struct {
	blocks
	dq, dk, dv      []float32
	kc, kp, vc      []float32 // packed keys: columns and pairs; values: columns
	qr, qp, gr, gp  []float32 // packed queries and output gradients: rows and pairs
	lse, delta, acc []float32 // (H, rows of blocks): log-sum-exp in base 2, Σ do·o; accumulators of dQ
	seen            [][2]int32
	turn            []atomic.Int32 // (H, query blocks): the key block whose turn it is
	cols, kpairs    int            // units per block
	rows, qpairs    int
}

// backwardScratch is the units that backward packs and accumulates.
func (b *blocks) backwardScratch() int {
	cols, kpairs, rows, qpairs := b.blockSizes()
	if !b.half {
		qpairs = 0 // the same as rows
	}
	return b.K*b.keyBlocks*(2*cols+kpairs) + b.H*b.queryBlocks*(2*rows+2*qpairs+blockRows*(2+b.width))
}

// workRows and workKeys are the rows of scores and accumulators; tiles of transposed scores read a little past their end.
const workScores = 2*blockRows*blockKeys + tileRows

func (b *blocks) backward(p *Pool, dq, dk, dv, q, k, v, o, lse, do, scratch []float32) {
	x := &backward{blocks: *b, dq: dq, dk: dk, dv: dv}
	x.cols, x.kpairs, x.rows, x.qpairs = b.blockSizes()
	kn, qn := b.K*b.keyBlocks, b.H*b.queryBlocks
	x.kc, x.vc, x.kp = cut(&scratch, kn*x.cols), cut(&scratch, kn*x.cols), cut(&scratch, kn*x.kpairs)
	x.qr, x.gr = cut(&scratch, qn*x.rows), cut(&scratch, qn*x.rows)
	x.qp, x.gp = x.qr, x.gr
	if b.half {
		x.qp, x.gp = cut(&scratch, qn*x.qpairs), cut(&scratch, qn*x.qpairs)
	}
	x.lse, x.delta, x.acc = cut(&scratch, qn*blockRows), cut(&scratch, qn*blockRows), cut(&scratch, qn*blockRows*b.width)
	x.turn, x.seen = make([]atomic.Int32, qn), make([][2]int32, b.queryBlocks)
	for qb := range x.seen {
		lo, hi := b.sight(qb)
		x.seen[qb] = [2]int32{int32(lo), int32(hi)}
	}
	p.Run(kn+qn, func(_, t int) {
		if t >= kn {
			x.packQueries(q, o, lse, do, t-kn)
			return
		}
		kv, kb := t/b.keyBlocks, t%b.keyBlocks
		x.packKeys(block(x.kc, x.cols, t), block(x.kp, x.kpairs, t), k, kv, kb)
		x.packKeys(block(x.vc, x.cols, t), nil, v, kv, kb)
	})
	p.Run(kn, func(worker, t int) {
		x.keyBlock(p.workspace(worker, workScores+2*paddedKeys*b.width), t/b.keyBlocks, t%b.keyBlocks)
	})
}

// block is the i-th piece of n units of x.
func block(x []float32, n, i int) []float32 { return x[i*n : (i+1)*n] }

// packQueries packs query block and head t and computes what its rows need of the forward.
func (x *backward) packQueries(q, o, lse, do []float32, t int) {
	h, qb := t/x.queryBlocks, t%x.queryBlocks
	i0 := qb * blockRows
	n, ld, from := min(blockRows, x.n-i0), x.H*x.D, x.queryRow(i0, h)
	packRows(x.half, block(x.qr, x.rows, t), x.row, blockRows, q[from:], ld, n, x.D, x.Scale*log2e)
	packRows(x.half, block(x.gr, x.rows, t), x.row, blockRows, do[from:], ld, n, x.D, 1)
	if x.half {
		packPairs(true, block(x.qp, x.qpairs, t), x.width, blockRows, q[from:], ld, n, x.D, x.Scale*log2e)
		packPairs(true, block(x.gp, x.qpairs, t), x.width, blockRows, do[from:], ld, n, x.D, 1)
	}
	l, delta := block(x.lse, blockRows, t), block(x.delta, blockRows, t)
	clear(l)
	clear(delta)
	for r := range n {
		at := x.queryRow(i0+r, h)
		l[r], delta[r] = lse[(i0+r)*x.H+h]*log2e, Dot(do[at:at+x.D], o[at:])
	}
	clear(block(x.acc, blockRows*x.width, t))
	x.turn[t].Store(x.seen[qb][0])
}

// keyBlock is one task: dK and dV of a key block, and its part of dQ.
func (x *backward) keyBlock(work []float32, kv, kb int) {
	scores := cut(&work, workScores)
	dk, dv := cut(&work, paddedKeys*x.width), cut(&work, paddedKeys*x.width)
	clear(scores[2*blockRows*blockKeys:])
	clear(dk)
	clear(dv)
	group := x.H / x.K
	for h := kv * group; h < (kv+1)*group; h++ {
		for qb := max(0, (kb*blockKeys-x.first)/blockRows); qb < x.queryBlocks; qb++ {
			if seen := x.seen[qb]; int32(kb) >= seen[0] && int32(kb) < seen[1] {
				x.pair(scores, dk, dv, kv, kb, h, qb)
			}
		}
	}
	j := kb * blockKeys
	for r := range min(blockKeys, x.keys-j) {
		at := x.keyRow(j+r, kv)
		if x.dk != nil {
			Scale(x.dk[at:at+x.D], ln2, dk[r*x.width:]) // queries carry log₂e
		}
		if x.dv != nil {
			copy(x.dv[at:at+x.D], dv[r*x.width:])
		}
	}
}

// pair adds what one (query block and head, key block) gives to dk, dv and the accumulator of dQ.
func (x *backward) pair(scores, dk, dv []float32, kv, kb, h, qb int) {
	var mask [blockRows]uint64
	kt, qt := kv*x.keyBlocks+kb, h*x.queryBlocks+qb
	ra, rb := x.masks(&mask, qb, kb)
	if ra < rb {
		n, step := rb-ra, rowsAtOnce(mask[ra:rb])
		s, d := scores, scores[n*blockKeys:]
		lse, delta := block(x.lse, blockRows, qt), block(x.delta, blockRows, qt)
		for r := ra; r < rb; r += step {
			end := min(rb, r+step)
			s, d := s[(r-ra)*blockKeys:], d[(r-ra)*blockKeys:]
			if lo, hi := columns(mask[r:end]); lo < hi {
				q, g := block(x.qr, x.rows, qt)[r*x.row:], block(x.gr, x.rows, qt)[r*x.row:]
				mulTile(x.half, end-r, hi-lo, x.depth, q, x.row, 1, block(x.kc, x.cols, kt)[lo:], blockKeys, s[lo:], blockKeys, nil)
				mulTile(x.half, end-r, hi-lo, x.depth, g, x.row, 1, block(x.vc, x.cols, kt)[lo:], blockKeys, d[lo:], blockKeys, nil)
			}
			softmaxBack(x.half, s, d, mask[r:end], lse[r:end], delta[r:end])
		}
		// Where dS begins that is read by columns, and the units from one depth to the next.
		ds, down := d, blockKeys
		if x.half {
			ds, down = s[blockKeys:], 2*blockKeys
		}
		lo, hi := columns(mask[ra:rb])
		keys, from := (hi-lo+tileRows-1)/tileRows*tileRows, ra/x.pairs*x.width
		if x.dv != nil {
			x.mul(keys, n/x.pairs, s[lo:], 1, down, block(x.gp, x.qpairs, qt)[from:], dv[lo*x.width:], ones[:])
		}
		if x.dk != nil {
			x.mul(keys, n/x.pairs, ds[lo:], 1, down, block(x.qp, x.qpairs, qt)[from:], dk[lo*x.width:], ones[:])
		}
		x.await(qt, kb)
		if x.dq != nil {
			x.addQueries(mask[:], d, kt, qt, ra, rb, step)
		}
	}
	x.await(qt, kb)
	if x.dq != nil && int32(kb) == x.seen[qb][1]-1 {
		acc := block(x.acc, blockRows*x.width, qt)
		for i := qb * blockRows; i < min(x.n, (qb+1)*blockRows); i++ {
			at := x.queryRow(i, h)
			Scale(x.dq[at:at+x.D], x.Scale, acc[(i-qb*blockRows)*x.width:])
		}
	}
	x.turn[qt].Store(int32(kb) + 1)
}

// addQueries adds dS·K to the accumulators of dQ of rows ra ... rb-1; d holds dS by rows.
func (x *backward) addQueries(mask []uint64, d []float32, kt, qt, ra, rb, step int) {
	keys, acc := block(x.kp, x.kpairs, kt), block(x.acc, blockRows*x.width, qt)
	for r := ra; r < rb; r += step {
		n := min(step, rb-r)
		if lo, hi := columns(mask[r : r+n]); lo < hi {
			at := lo / x.pairs
			x.mul(n, (hi-lo)/x.pairs, d[(r-ra)*blockKeys+at:], blockKeys, 1, keys[at*x.width:], acc[r*x.width:], ones[:])
		}
	}
}

// await returns when all key blocks before kb have added to dQ of query block and head qt.
func (x *backward) await(qt, kb int) {
	for x.turn[qt].Load() != int32(kb) {
		runtime.Gosched()
	}
}
