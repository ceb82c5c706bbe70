package kernels

import (
	"math"
	"unsafe"
)

// The product of a few rows (generation): packing B would cost more than multiplying. Each row of B is read once for up to four rows
// of A, which stay float32, but for a single one, and up to four where VNNI is the faster with them: unless products are
// exact these are rounded to 16 bits, 32 values to a scale, to multiply the codes of stored types as integers, because converting each to
// float32 takes longer than memory does. Types with a kernel of their own are decoded to float32 on the way; of the others each row is first decoded, to bf16 where that is the faster and products are not
// exact, else to float32.

const (
	// FewRows is the most rows of A that go this way.
	FewRows = 8
	vecTask = 64 // most rows of B per task
	// vecBytes is about how much of B a task reads: workers come to the end of a product at most the time of one apart.
	vecBytes = 40 << 10
)

// fusedProduct is y[i*ldy+r] = sum over k of x[i*ldx+k]·w[r][k] for i < m, r < rows, where m, 1 to 4, is the function's own, w[r] is
// n > 0 stored blocks and stride is the bytes from row to row of w.
type fusedProduct func(y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int)

// wordProduct is y[r] = sum over k of x[k]·w[r][k] for r < rows, where x is n blocks of activations rounded to 16 bits, pairs are the scale
// and scale times sum of each 32 (with VNNI x is the low bytes of all, then the high ones, and behind the pairs stand scale times sum of each
// 16); w[r] is n > 0 stored blocks and stride is the bytes from row to row of w.
type wordProduct func(y *float32, x, pairs, w unsafe.Pointer, stride, n, rows int)

// wordGroup is the activations of 16 bits that share a scale.
const wordGroup = 32

// roundWordsPlain rounds n groups of activations to codes in -32767..32767 with a scale each: the largest magnitude over 32767. pairs gets
// the scale and the scale times the sum of the codes.
func roundWordsPlain(q *int16, pairs, x *float32, n int) {
	xs, qs := unsafe.Slice(x, n*wordGroup), unsafe.Slice(q, n*wordGroup)
	for g := range n {
		x, q := xs[g*wordGroup:][:wordGroup], qs[g*wordGroup:]
		top := largest(x)
		inverse, sum := float32(0), 0
		if top >= 1e-30 {
			inverse = 32767 / top
		}
		for i, v := range x {
			c := int(math.RoundToEven(float64(v * inverse)))
			q[i], sum = int16(c), sum+c
		}
		*at(pairs, 2*g), *at(pairs, 2*g+1) = top/32767, top/32767*float32(sum)
	}
}

// small tells whether the product goes row by row of B.
func (m *multiply) small() bool {
	if m.x.M > FewRows || m.x.TransA || m.x.Blocked {
		return false
	}
	for i := range m.x.Outs {
		if m.x.Outs[i].Rowwise {
			return false
		}
	}
	return true
}

// planVec cuts the rows of every B into tasks, eight or more.
func (m *multiply) planVec() {
	all, rounded := 0, false
	for i := range m.x.Outs {
		all += m.x.Outs[i].N
	}
	m.cols = min(max(min(all/8, vecBytes/max(m.x.Outs[0].B.RowStride(), 1))&^3, 8), vecTask)
	m.outs, m.tasks = m.outs[:0], 0
	for i := range m.x.Outs {
		o := &m.x.Outs[i]
		p := outPlan{first: m.tasks}
		if x := m.x; x.K%o.B.Block == 0 {
			p.fused = fusedFor(o.B.Codec)
			if !x.Exact {
				p.words = wordsFor(o.B.Codec, x.M)
				rounded = rounded || p.words != nil
			}
		}
		m.outs = append(m.outs, p)
		m.tasks += (o.N + m.cols - 1) / m.cols
	}
	for r := 0; rounded && r < m.x.M; r++ {
		codes, pairs := m.wordRow(r)
		roundWords((*int16)(codes), (*float32)(pairs), &m.x.A[r*m.x.K], m.x.K/wordGroup)
	}
}

// wordRow is where the codes of a row of A rounded to 16 bits lie, and its scales and sums.
func (m *multiply) wordRow(r int) (codes, pairs unsafe.Pointer) {
	k := m.x.K
	return m.word(r * (k/2 + k/8)), m.word(r*(k/2+k/8) + k/2)
}

// runVec computes some columns of one Out.
func (m *multiply) runVec(worker, task int) {
	i := m.outOf(task)
	x, o, w := m.x, &m.x.Outs[i], &m.pool.panels[worker]
	n0 := (task - m.outs[i].first) * m.cols
	n1 := min(n0+m.cols, o.N)
	if words := m.outs[i].words; words != nil {
		src, _ := o.B.span(n0, 0, x.K)
		for r := range x.M { // what a task has of B stays in a cache
			codes, pairs := m.wordRow(r)
			words(&w.sums[r*vecTask], codes, pairs, unsafe.Pointer(&src[0]), o.B.RowStride(), x.K/o.B.Block, n1-n0)
		}
	} else {
		w.products(x, x.A, x.K, &o.B, m.outs[i].fused, n0, n1)
	}
	for r := range x.M {
		storeRow(o, r, n0, w.sums[r*vecTask:][:n1-n0])
	}
	if o.R == 0 {
		return
	}
	var fused *[4]fusedProduct
	if o.V.Block == 1 {
		fused = fusedFor(o.V.Codec)
	}
	w.products(x, o.U, o.R, &o.V, fused, n0, n1)
	for r := range x.M {
		c, sums := o.C[r*o.N+n0:r*o.N+n1], w.sums[r*vecTask:]
		for j := range c {
			c[j] += sums[j]
		}
	}
}

// storeRow writes the sums of columns from n0 on of row r of C, with what is added to them; it changes the sums.
func storeRow(o *Out, r, n0 int, sums []float32) {
	at := r*o.N + n0
	if scale := o.scale(); scale != 1 {
		Scale(sums, scale, sums)
	}
	if o.Add != nil {
		Add(sums, sums, o.Add[at:at+len(sums)])
	}
	if o.Bias != nil {
		Add(sums, sums, o.Bias[n0:n0+len(sums)])
	}
	copy(o.C[at:], sums)
}

// products puts a[r]·b[n], r < M, n0 <= n < n1, k values long, into w.sums[r*vecTask+n-n0].
func (w *panels) products(x *Product, a []float32, k int, b *Matrix, fused *[4]fusedProduct, n0, n1 int) {
	switch {
	case k == 0:
		clear(w.sums[:])
	case fused != nil:
		src, _ := b.span(n0, 0, k)
		for r := 0; r < x.M; r += 4 {
			fused[min(4, x.M-r)-1](&w.sums[r*vecTask], vecTask, &a[r*k], k, unsafe.Pointer(&src[0]), b.RowStride(), k/b.Block, n1-n0)
		}
	default:
		w.decodedProducts(x, a, k, b, n0, n1)
	}
}

// decodedProducts is products by way of decoded rows.
func (w *panels) decodedProducts(x *Product, a []float32, k int, b *Matrix, n0, n1 int) {
	word := b.Codec == BF16 || b.Codec != F32 && b.BF16 != nil && engineFor(x.Exact).per == 2 // elsewhere float32 is as near
	step, stride := n1-n0, b.RowStride()
	if direct := b.Codec == F32 || b.Codec == BF16; !direct {
		size := 4
		if word {
			size = 2
		}
		stride = (k + b.Block - 1) / b.Block * b.Block * size
		step = 4 * len(w.rows) / stride
		if step == 0 { // a row longer than the buffer
			w.rows = aligned(stride)
			step = 1
		}
	}
	for n := n0; n < n1; n += step {
		rows := min(step, n1-n)
		src := w.vecRow(b, word, n, 0)
		for i := 1; i < rows && src == unsafe.Pointer(&w.rows[0]); i++ {
			w.vecRow(b, word, n+i, i*stride)
		}
		for r := 0; r < x.M; r += 4 {
			vecProduct(min(4, x.M-r), word, &w.sums[r*vecTask+n-n0], vecTask, &a[r*k], k, src, stride, k, rows)
		}
	}
}

// vecRow gives row n of b: a view of the data, or decoded to byte at of w.rows.
func (w *panels) vecRow(b *Matrix, word bool, n, at int) unsafe.Pointer {
	src, _ := b.span(n, 0, b.Cols)
	if b.Codec == F32 || b.Codec == BF16 {
		return unsafe.Pointer(&src[0])
	}
	buf, k := unsafe.Add(unsafe.Pointer(&w.rows[0]), at), len(src)/b.Bytes*b.Block
	if word {
		b.BF16(unsafe.Slice((*uint16)(buf), k), src)
	} else {
		b.F32(unsafe.Slice((*float32)(buf), k), src)
	}
	return buf
}

// vecPlain is y[i*ldy+r] = sum over k < n of x[i*ldx+k]·w[r][k] for i < m, r < rows; stride is the bytes between rows of w, which are
// bf16 (word) or float32.
func vecPlain(m int, word bool, y *float32, ldy int, x *float32, ldx int, w unsafe.Pointer, stride, n, rows int) {
	for r := range rows {
		for i := range m {
			xs := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(x), 4*i*ldx)), n)
			p := unsafe.Add(w, r*stride)
			s := float32(0)
			if word {
				for k, v := range unsafe.Slice((*uint16)(p), n) {
					s += xs[k] * widenBF16(v)
				}
			} else {
				for k, v := range unsafe.Slice((*float32)(p), n) {
					s += xs[k] * v
				}
			}
			*(*float32)(unsafe.Add(unsafe.Pointer(y), 4*(i*ldy+r))) = s
		}
	}
}
