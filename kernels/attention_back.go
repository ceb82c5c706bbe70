package kernels

import (
	"runtime"
	"sync/atomic"
)

// The backward by blocks. One task per (key head, key block) walks down the query blocks that see it and sums its dK and dV; its
// part of dQ is added to the query block's accumulator when the key blocks before it have added theirs, so the order of every sum
// is fixed. Tasks are claimed in ascending order, hence who is waited for is at work.

// backwardScratch is the units that backward packs and accumulates.
func (b *blocks) backwardScratch() int {
	cols, kpairs, rows, qpairs := b.blockSizes()
	if !b.half {
		qpairs = 0 // the same as rows
	}
	return b.K*b.keyBlocks*(2*cols+kpairs) + b.H*b.queryBlocks*(2*rows+2*qpairs+blockRows*(2+b.width))
}

// workScores is the units of two blocks of scores; tiles that read them by columns go a little past their end.
const workScores = 2*blockRows*blockKeys + tileRows

func (x *attend) backward(scratch []float32) {
	kn, qn := x.K*x.keyBlocks, x.H*x.queryBlocks
	x.kc, x.vc, x.kp = cut(&scratch, kn*x.cols), cut(&scratch, kn*x.cols), cut(&scratch, kn*x.kpairs)
	x.qr, x.gr = cut(&scratch, qn*x.rows), cut(&scratch, qn*x.rows)
	x.qp, x.gp = x.qr, x.gr
	if x.half {
		x.qp, x.gp = cut(&scratch, qn*x.qpairs), cut(&scratch, qn*x.qpairs)
	}
	x.base, x.delta, x.acc = cut(&scratch, qn*blockRows), cut(&scratch, qn*blockRows), cut(&scratch, qn*blockRows*x.width)
	if cap(x.turn) < qn {
		x.turn = make([]atomic.Int32, qn)
	}
	x.turn, x.seen = x.turn[:qn], x.seen[:0]
	for qb := range x.queryBlocks {
		lo, hi := x.sight(qb)
		x.seen = append(x.seen, [2]int32{int32(lo), int32(hi)})
	}
	x.pool.run(kn+qn, x.packBackTask)
	x.pool.run(kn, x.keysTask)
}

func (x *attend) runPackBack(_, t int) {
	if kn := x.K * x.keyBlocks; t >= kn {
		x.packQueries(t - kn)
		return
	}
	kv, kb := t/x.keyBlocks, t%x.keyBlocks
	x.packKeys(block(x.kc, x.cols, t), block(x.kp, x.kpairs, t), x.k, kv, kb)
	x.packKeys(block(x.vc, x.cols, t), nil, x.v, kv, kb)
}

func (x *attend) runKeys(worker, t int) {
	x.keyBlock(x.pool.workspace(worker, workScores+2*paddedKeys*x.width), t%x.K, t/x.K) // heads in turn: neighbours do not wait for each other
}

// packQueries packs query block and head t and computes what its rows need of the forward.
func (x *attend) packQueries(t int) {
	h, qb := t/x.queryBlocks, t%x.queryBlocks
	i0 := qb * blockRows
	n, ld, from := min(blockRows, x.n-i0), x.H*x.D, x.queryRow(i0, h)
	packRows(x.half, block(x.qr, x.rows, t), x.row, blockRows, x.q[from:], ld, n, x.D, x.Scale*log2e)
	packRows(x.half, block(x.gr, x.rows, t), x.row, blockRows, x.do[from:], ld, n, x.D, 1)
	if x.half {
		packPairs(true, block(x.qp, x.qpairs, t), x.width, blockRows, x.q[from:], ld, n, x.D, x.Scale*log2e)
		packPairs(true, block(x.gp, x.qpairs, t), x.width, blockRows, x.do[from:], ld, n, x.D, 1)
	}
	l, delta := block(x.base, blockRows, t), block(x.delta, blockRows, t)
	clear(l)
	clear(delta)
	for r := range n {
		at := x.queryRow(i0+r, h)
		l[r], delta[r] = x.lse[(i0+r)*x.H+h]*log2e, Dot(x.do[at:at+x.D], x.o[at:])
	}
	clear(block(x.acc, blockRows*x.width, t))
	x.turn[t].Store(x.seen[qb][0])
}

// keyBlock is one task: dK and dV of a key block, and its part of dQ.
func (x *attend) keyBlock(work []float32, kv, kb int) {
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
func (x *attend) pair(scores, dk, dv []float32, kv, kb, h, qb int) {
	var mask [blockRows]uint64
	kt, qt := kv*x.keyBlocks+kb, h*x.queryBlocks+qb
	ra, rb := x.masks(&mask, qb, kb)
	if ra < rb {
		n, step := rb-ra, rowsAtOnce(mask[ra:rb])
		s, d := scores, scores[n*blockKeys:]
		lse, delta := block(x.base, blockRows, qt), block(x.delta, blockRows, qt)
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
func (x *attend) addQueries(mask []uint64, d []float32, kt, qt, ra, rb, step int) {
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
func (x *attend) await(qt, kb int) {
	for x.turn[qt].Load() != int32(kb) {
		runtime.Gosched()
	}
}
