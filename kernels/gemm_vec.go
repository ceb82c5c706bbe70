package kernels

import "unsafe"

// The product of a few rows (generation): packing B would cost more than multiplying. Each row of B is decoded once, to bf16 or
// float32, and multiplied with every row of A in float32.

const (
	vecRows = 8  // most rows of A that go this way
	vecTask = 64 // rows of B per task
)

// vecKernel is y[i*ldy+r] = sum over k < n of x[i*ldx+k]·w[r][k] for i < m <= 4, r < rows; stride is the bytes between rows of w, which
// are bf16 (word) or float32.

// small tells whether the product goes row by row of B.
func (m *multiply) small() bool {
	if m.x.M > vecRows || m.x.TransA {
		return false
	}
	for i := range m.x.Outs {
		if m.x.Outs[i].Rowwise {
			return false
		}
	}
	return true
}

func (m *multiply) planVec() {
	m.outs, m.tasks = m.outs[:0], 0
	for i := range m.x.Outs {
		m.outs = append(m.outs, outPlan{first: m.tasks})
		m.tasks += (m.x.Outs[i].N + vecTask - 1) / vecTask
	}
}

// runVec computes columns n0..n1 of one Out.
func (m *multiply) runVec(worker, task int) {
	i := len(m.outs) - 1
	for m.outs[i].first > task {
		i--
	}
	x, o, w := m.x, &m.x.Outs[i], &m.pool.panels[worker]
	n0 := (task - m.outs[i].first) * vecTask
	n1 := min(n0+vecTask, o.N)
	w.products(x, x.A, x.K, &o.B, n0, n1)
	scale := o.scale()
	for r := range x.M {
		c, sums := o.C[r*o.N+n0:r*o.N+n1], w.sums[r*vecTask:]
		for j := range c {
			v := scale * sums[j]
			if o.Add != nil {
				v += o.Add[r*o.N+n0+j]
			}
			if o.Bias != nil {
				v += o.Bias[n0+j]
			}
			c[j] = v
		}
	}
	if o.R == 0 {
		return
	}
	w.products(x, o.U, o.R, &o.V, n0, n1)
	for r := range x.M {
		c, sums := o.C[r*o.N+n0:r*o.N+n1], w.sums[r*vecTask:]
		for j := range c {
			c[j] += sums[j]
		}
	}
}

// products puts a[r]·b[n], r < M, n0 <= n < n1, k values long, into w.sums[r*vecTask+n-n0].
func (w *panels) products(x *Product, a []float32, k int, b *Matrix, n0, n1 int) {
	if k == 0 {
		clear(w.sums[:])
		return
	}
	word := b.Codec == BF16 || b.Codec != F32 && b.BF16 != nil && engineFor(x.Exact).per == 2 // elsewhere float32 is as near
	step, stride := n1-n0, b.stride()
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

// vecPlain is vecKernel in Go.
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
