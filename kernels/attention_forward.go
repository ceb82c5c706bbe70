package kernels

import (
	"math"
	"sync/atomic"
)

// attend is the attention under way on a Pool; it lives there so that a call allocates nothing. Its methods are the tasks.
type attend struct {
	blocks
	pool             *Pool
	q, k, v, o, lse  []float32 // operands of the call
	do, dq, dk, dv   []float32
	scratch          []float32      // (N, pieces, H, D+2) of few queries
	kc, kp, vc, vp   []float32      // packed keys and values: columns and pairs
	qr, qp, gr, gp   []float32      // packed queries and output gradients: rows and pairs
	base, delta, acc []float32      // (H, rows of blocks): log-sum-exp in base 2, Σ do·o; accumulators of dQ
	seen             [][2]int32     // key blocks in sight of each query block
	turn             []atomic.Int32 // (H, query blocks): the key block whose turn it is
	cols, kpairs     int            // units per block
	rows, qpairs     int
	// The methods as functions, made once.
	pieceTask, packTask, rowsTask, packBackTask, keysTask, packPageTask, partTask, stepTask func(worker, task int)

	paged *Paged     // of paged attention
	parts [][2]int32 // its tasks: span, query block
	zeros []int32    // its starts
}

func (x *attend) bind(p *Pool) {
	x.pool = p
	x.pieceTask, x.packTask, x.rowsTask, x.packBackTask, x.keysTask = x.runPiece, x.runPack, x.runRows, x.runPackBack, x.runKeys
	x.packPageTask, x.partTask, x.stepTask = x.runPackPage, x.runPart, x.runStep
}

// begin takes the Pool for one call, end gives it back; a nil Pool gets one of its own.
func (a Attention) begin(p *Pool, start []int32, first int) *attend {
	if p == nil {
		p = newSerial(1)
	}
	p.mu.Lock()
	x := &p.att
	x.blocks = a.blocks(start, len(start), first)
	x.cols, x.kpairs, x.rows, x.qpairs = x.blockSizes()
	return x
}

func (x *attend) end() {
	x.start, x.scratch = nil, nil
	x.q, x.k, x.v, x.o, x.lse, x.do, x.dq, x.dk, x.dv = nil, nil, nil, nil, nil, nil, nil, nil, nil
	x.kc, x.kp, x.vc, x.vp, x.qr, x.qp, x.gr, x.gp = nil, nil, nil, nil, nil, nil, nil, nil
	x.base, x.delta, x.acc = nil, nil, nil
	x.pool.mu.Unlock()
}

// cut takes n values off the front of x.
func cut(x *[]float32, n int) []float32 {
	y := (*x)[:n:n]
	*x = (*x)[n:]
	return y
}

// block is the i-th piece of n units of x.
func block(x []float32, n, i int) []float32 { return x[i*n : (i+1)*n] }

// packKeys packs key or value rows of one block: as columns and as pairs, each if not nil.
func (x *attend) packKeys(cols, pairs, src []float32, kv, kb int) {
	j := kb * blockKeys
	n, ld := min(blockKeys, x.keys-j), x.K*x.D
	src = src[x.keyRow(j, kv):]
	if cols != nil {
		packColumns(x.half, cols, src, ld, n, x.D)
	}
	if pairs != nil {
		packPairs(x.half, pairs, x.width, blockKeys, src, ld, n, x.D, 1)
	}
}

// forward computes attention by blocks; k and v are packed once per key head, then each (query block, head) is a task.
func (x *attend) forward(scratch []float32) {
	kn := x.K * x.keyBlocks
	x.kc, x.vp = cut(&scratch, kn*x.cols), cut(&scratch, kn*x.kpairs)
	x.pool.run(kn, x.packTask)
	x.pool.run(x.H*x.queryBlocks, x.rowsTask)
}

func (x *attend) runPack(_, t int) {
	kv, kb := t/x.keyBlocks, t%x.keyBlocks
	x.packKeys(block(x.kc, x.cols, t), nil, x.k, kv, kb)
	x.packKeys(nil, block(x.vp, x.kpairs, t), x.v, kv, kb)
}

// runRows takes one key head after another; within it the longest rows first.
func (x *attend) runRows(worker, t int) {
	group := x.H / x.K
	kv, t := t/(group*x.queryBlocks), t%(group*x.queryBlocks)
	qb, h := x.queryBlocks-1-t/group, kv*group+t%group
	at := kv * x.keyBlocks
	work := x.pool.workspace(worker, x.blockWork())
	x.forwardBlock(&x.blocks, blockOperands{x.kc[at*x.cols:], x.vp[at*x.kpairs:], x.q, x.o, x.lse, nil}, work, qb, h)
}

// blockOperands are packed keys and values of one key head, and queries and outputs; lse may be nil. pages, if not nil, says which
// packed block each key block is.
type blockOperands struct {
	kc, vp, q, o, lse []float32
	pages             []int32
}

// blockWork is the working memory of forwardBlock.
func (x *attend) blockWork() int { return blockRows * (x.row + blockKeys + x.width + 2 + sumLanes) }

// forwardBlock computes the outputs of one query block and head of b.
func (x *attend) forwardBlock(b *blocks, m blockOperands, work []float32, qb, h int) {
	i0 := qb * blockRows
	n := min(blockRows, b.n-i0)
	rows := (n + tileRows - 1) / tileRows * tileRows
	qr, s, acc := cut(&work, x.rows), cut(&work, blockRows*blockKeys), cut(&work, blockRows*x.width)
	top, sum, keep := cut(&work, blockRows), cut(&work, blockRows*sumLanes), cut(&work, blockRows)
	packRows(x.half, qr, x.row, rows, m.q[x.queryRow(i0, h):], x.H*x.D, n, x.D, x.Scale*log2e)
	clear(acc[:rows*x.width])
	clear(sum[:rows*sumLanes])
	for r := range rows {
		top[r] = -math.MaxFloat32
	}
	var mask [blockRows]uint64
	lo, hi := b.sight(qb)
	for kb := lo; kb < hi; kb++ {
		ra, rb := b.masks(&mask, qb, kb)
		if ra >= rb {
			continue
		}
		at := kb
		if m.pages != nil {
			at = int(m.pages[kb])
		}
		for step := rowsAtOnce(mask[ra:rb]); ra < rb; ra += step {
			step = min(step, rb-ra)
			if lo, hi := columns(mask[ra : ra+step]); lo < hi {
				s, keep := s[ra*blockKeys:], keep[ra:]
				mulTile(x.half, step, hi-lo, x.depth, qr[ra*x.row:], x.row, 1, m.kc[at*x.cols+lo:], blockKeys, s[lo:], blockKeys, nil)
				softmaxRows(x.half, s, mask[ra:ra+step], top[ra:], sum[ra*sumLanes:], keep)
				x.mul(step, (hi-lo)/x.pairs, s[lo/x.pairs:], blockKeys, 1, m.vp[at*x.kpairs+lo/x.pairs*x.width:], acc[ra*x.width:], keep)
			}
		}
	}
	for r := range n {
		at := x.queryRow(i0+r, h)
		total := float32(0)
		for _, part := range sum[r*sumLanes:][:sumLanes] {
			total += part
		}
		Scale(m.o[at:at+x.D], 1/total, acc[r*x.width:])
		if m.lse != nil {
			m.lse[(i0+r)*x.H+h] = (top[r] + float32(math.Log2(float64(total)))) * ln2
		}
	}
}
