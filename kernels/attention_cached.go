package kernels

import (
	"math"
	"unsafe"
)

// Attention of a few queries over many cached keys (generation): packing the keys would cost more than the products. Keys are read
// once for up to vecHeads query heads of their key head, blocks of them at a time; long caches are cut into pieces, each a task
// that leaves its unnormalized output, maximum and sum, and the pieces are then put together in order.

// rowsAlone is the number of queries up to which Forward goes this way.
const rowsAlone = 8

const (
	pieceKeys = 512 // keys of a task
	scoreKeys = 128 // keys whose scores are kept at a time
	vecHeads  = 4   // query heads that share one reading of the keys, at most tileRows
)

// pieces is how many tasks the keys of a row are cut into.
func pieces(keys int) int { return (keys + pieceKeys - 1) / pieceKeys }

func (a Attention) cachedScratch(n, keys int) int { return n * a.H * pieces(keys) * (a.D + 2) }

// forwardCached is Forward for few queries.
func (x *attend) forwardCached(scratch []float32) {
	cuts, width := pieces(x.keys), x.D+2
	x.scratch = scratch
	x.pool.run(x.n*cuts*x.K, x.pieceTask)
	for i := range x.n * x.H {
		l := x.join(x.o[i*x.D:][:x.D], scratch[(i/x.H*cuts*x.H+i%x.H)*width:], cuts)
		if x.lse != nil {
			x.lse[i] = l
		}
	}
}

func (x *attend) runPiece(worker, t int) {
	cuts, width, group := pieces(x.keys), x.D+2, x.H/x.K
	i, piece, kv := t/x.K/cuts, t/x.K%cuts, t%x.K
	lo, hi := max(x.low(i), piece*pieceKeys), min(x.first+i+1, (piece+1)*pieceKeys)
	work := x.pool.workspace(worker, tileRows*(scoreKeys+x.width))
	for h := kv * group; h < (kv+1)*group; h += vecHeads {
		heads := min(vecHeads, (kv+1)*group-h)
		out := x.scratch[((i*cuts+piece)*x.H+h)*width:][:heads*width]
		x.piece(out, x.q[(i*x.H+h)*x.D:], x.k, x.v, kv, heads, lo, hi, work)
	}
}

// piece computes the outputs of some query heads over the keys lo ... hi-1 of one key head.
func (a Attention) piece(out, q, k, v []float32, kv, heads, lo, hi int, work []float32) {
	f := newFold(a, work)
	for ; lo < hi; lo += scoreKeys {
		at, n := (lo*a.K+kv)*a.D, min(scoreKeys, hi-lo)
		a.ask(k[at:], n)
		a.ask(v[at:], n)
		f.add(q, Source{Floats: k[at:]}, Source{Floats: v[at:]}, heads, n)
	}
	f.finish(out, heads)
}

// ask asks for n rows of a key head, which lie too far apart for the CPU to see them coming.
func (a Attention) ask(x []float32, n int) {
	askRows(unsafe.Pointer(&x[0]), 4*a.K*a.D, 4*a.D, n)
}

// fold is the softmax over keys that come in blocks, for some query heads of one key head.
type fold struct {
	a              Attention
	d              int
	s, acc         []float32
	top, sum, keep [tileRows]float32
}

// newFold takes tileRows·(scoreKeys + D rounded up to 16) values of working memory.
func newFold(a Attention, work []float32) fold {
	f := fold{a: a, d: (a.D + 15) &^ 15}
	f.s = cut(&work, tileRows*scoreKeys)
	f.acc = cut(&work, tileRows*f.d)
	clear(f.acc)
	for h := range f.top {
		f.top[h] = float32(math.Inf(-1))
	}
	return f
}

// add takes n <= scoreKeys more keys and values, rows K·D apart.
func (f *fold) add(q []float32, k, v Source, heads, n int) {
	a := &f.a
	vecProduct(heads, k.Halves != nil, &f.s[0], scoreKeys, &q[0], a.D, k.at(0), k.size()*a.K*a.D, a.D, n)
	for h := range heads {
		s := f.s[h*scoreKeys:][:n]
		Scale(s, a.Scale, s)
		m := max(f.top[h], maxNum(s))
		scaleExp(s, m, 1)
		f.keep[h] = exp(f.top[h] - m)
		f.sum[h] = f.keep[h]*f.sum[h] + Dot(s, ones[:])
		f.top[h] = m
	}
	a.addValues(f.acc, f.d, f.s, f.keep[:], v, heads, n)
}

// finish writes D unnormalized outputs, the maximum and the sum of each head.
func (f *fold) finish(out []float32, heads int) {
	d := f.a.D
	for h := range heads {
		out := out[h*(d+2):]
		copy(out[:d], f.acc[h*f.d:])
		out[d], out[d+1] = f.top[h], f.sum[h]
	}
}

// addValues is acc = keep·acc + s·v per head; v has a.K·a.D values from row to row.
func (a Attention) addValues(acc []float32, d int, s, keep []float32, v Source, heads, n int) {
	if d != a.D { // a tile would read past a row
		f := acc[len(acc)-d:] // of a row that is no head's
		for h := range heads {
			o := acc[h*d:][:a.D]
			Scale(o, keep[h], o)
			for j, p := range s[h*scoreKeys:][:n] {
				Axpy(o, p, v.row(f[:a.D], j*a.K*a.D))
			}
		}
		return
	}
	for at := 0; at < d; at += tileCols {
		mulFew(min(tileCols, d-at), n, s, scoreKeys, v.from(at), a.K*a.D, acc[at:], d, keep)
	}
}

// mulFewTiles is mulFew by way of other tiles: c[r][j] = f[r]·c[r][j] + Σ_u x[r·xr + u]·y[u·yd + j] for r < vecHeads, j < cols, u < depth. More
// rows, up to tileRows, may be computed; cols is a multiple of 16, at most tileCols.
func mulFewTiles(cols, depth int, x []float32, xr int, y Source, yd int, c []float32, ldc int, f []float32) {
	if y.Halves == nil {
		mulTile(false, tileRows, cols, depth, x, xr, 1, y.Floats, yd, c, ldc, f)
		return
	}
	for r := range vecHeads {
		c := c[r*ldc:][:cols]
		Scale(c, f[r], c)
		for u := range depth {
			a := x[r*xr+u]
			for j, b := range y.Halves[u*yd:][:cols] {
				c[j] += a * widenBF16(b)
			}
		}
	}
}

// join puts the pieces of one output row together and returns its log-sum-exp; they lie H·(D+2) apart.
func (a Attention) join(o, parts []float32, cuts int) float32 {
	step := a.H * (a.D + 2)
	top := float32(math.Inf(-1))
	for c := range cuts {
		top = max(top, parts[c*step+a.D])
	}
	sum := float32(0)
	clear(o)
	for c := range cuts {
		part := parts[c*step:]
		f := exp(part[a.D] - top)
		sum += f * part[a.D+1]
		Axpy(o, f, part)
	}
	Scale(o, 1/sum, o)
	return top + float32(math.Log(float64(sum)))
}
