package kernels

import "unsafe"

// The product of some rows (answers that grow together, passes over short texts): transposing B into panels would cost as much as
// multiplying. Rows of A are the lanes of the register tile instead, so that B is used row by row: where it lies, or some columns opened to
// units of a product, one block of K deep, and every unit is broadcast to the rows. Blocks and the order of sums are those of the blocked
// product, so that a row of C has the same bits either way.

const (
	laneStride = 912 // units from column to column of an opened block; no power of two, which would share a set of the cache
	laneTiles  = 8   // most tiles of a task
)

// laneArgs is what a tile of lanes works on; assembly reads it by field name. A is [kd][lanes] units, A2 [kd2][lanes]; column j of B
// begins bStep bytes behind column j-1 (AVX2: laneStride units), and so does B2, which with AVX2 follows B.
// C = scale·(A x B) + A2 x B2 + add + bias, whose first rows are written.
type laneArgs struct {
	a, a2, b, b2  unsafe.Pointer
	c, add, bias  *float32 // add and bias may be nil
	sums          *float32 // AVX-512: working memory of a tile
	kd, kd2       int      // units
	bStep, b2Step int      // bytes
	ldc, lda      int      // values from row to row of c and add
	rows          int      // 1 to lanes
	ahead         uintptr  // memory that is asked for meanwhile
	aheadStep     int      // bytes from one request to the next
	scale         float32
}

// PanelRows is how many rows of A are multiplied together when there are few: a multiple of it wastes nothing.
func PanelRows(integers bool) int {
	switch e := engineFor(false); {
	case integers:
		return 8
	case e.lanes != nil:
		return e.unit
	}
	return panelRows
}

// cutLanes is how m rows are cut: so many at a time, so many times; 0 rows: not at all.
func (e *engine) cutLanes(m int) (lanes, groups int) {
	panels := (m + e.unit - 1) / e.unit
	switch {
	case m > e.mostLanes:
		return 0, 0
	case panels <= 3:
		return panels * e.unit, 1
	case panels == 4:
		return 2 * e.unit, 2
	}
	return 3 * e.unit, (panels + 2) / 3
}

// rowsAreLanes tells whether the product goes this way.
func (m *multiply) rowsAreLanes() bool {
	x := m.x
	if x.M > m.eng.mostLanes || x.TransA {
		return false
	}
	for i := range x.Outs {
		o := &x.Outs[i]
		if o.Rowwise || o.R > maxExtra || !m.eng.cutsWhole(&o.B, x.K) || o.R > 0 && !m.eng.cutsWhole(&o.V, o.R) {
			return false
		}
	}
	return true
}

// cutsWhole tells whether every block of K, as a product cuts k values, is whole blocks of the codec.
func (e *engine) cutsWhole(x *Matrix, k int) bool {
	_, n := e.cutK(k)
	return n == 1 || 256%x.Block == 0
}

// planLanes cuts the columns of every Out into tasks.
func (m *multiply) planLanes() {
	x, e := m.x, m.eng
	m.step, m.blocks = e.cutK(x.K)
	m.lanes, m.groups = e.cutLanes(x.M)
	all, widest := 0, e.laneSums/e.unit
	for i := range x.Outs {
		all += x.Outs[i].N
	}
	m.cols = min(max(all/wantTasks/widest, 1), laneTiles) * widest
	m.outs, m.tasks = m.outs[:0], 0
	at := m.groups * m.lanes * e.units(x.K)
	for i := range x.Outs {
		o := &x.Outs[i]
		m.outs = append(m.outs, outPlan{first: m.tasks, u: at, extra: e.units(o.R)})
		at += m.groups * m.lanes * e.units(o.R)
		m.tasks += (o.N + m.cols - 1) / m.cols
	}
}

// lanesOf is where group g of block [k0, k1) of an operand that begins at unit at lies.
func (m *multiply) lanesOf(at, g, k0, k1 int) unsafe.Pointer {
	return m.word(at + m.lanes*(m.groups*m.eng.units(k0)+g*m.eng.units(k1-k0)))
}

// packLanes packs A and every U: one group in the calling goroutine, which takes less than the others would take to come.
func (m *multiply) packLanes() {
	if m.groups == 1 {
		m.packGroup(0, 0)
		return
	}
	m.pool.run(m.groups, m.groupTask)
}

// packGroup packs the rows of a group of A and of every U.
func (m *multiply) packGroup(worker, g int) {
	w, x := &m.pool.panels[worker], m.x
	for j := range m.blocks {
		k0, k1 := m.block(j)
		m.packLane(w, m.lanesOf(0, g, k0, k1), x.A[min(k0, len(x.A)):], x.K, k1-k0, g)
	}
	for i := range m.outs {
		if p, o := &m.outs[i], &x.Outs[i]; o.R > 0 { // else its place is behind the scratch
			m.packLane(w, m.lanesOf(p.u, g, 0, o.R), o.U, o.R, o.R, g)
		}
	}
}

// packLane packs n values of the rows of a group of src, whose rows are ld apart; rows that are missing are copies of the last.
func (m *multiply) packLane(w *panels, dst unsafe.Pointer, src []float32, ld, n, group int) {
	for lane := 0; lane < m.lanes && n > 0; lane += m.eng.unit {
		for i := range m.eng.unit {
			w.ptr[i] = unsafe.Pointer(&src[min(group*m.lanes+lane+i, m.x.M-1)*ld])
		}
		m.eng.packB(unsafe.Add(dst, 4*lane), m.lanes, &w.ptr, n, false)
	}
}

// runLanes computes some columns of one Out.
func (m *multiply) runLanes(worker, task int) {
	i := m.outOf(task)
	p, o, w, e := &m.outs[i], &m.x.Outs[i], &m.pool.panels[worker], m.eng
	tile := e.laneSums / m.lanes
	c0 := (task - p.first) * m.cols
	c1 := min(c0+m.cols, o.N)
	for c := c0; c < c1; c += tile {
		n := min(tile, c1-c)
		for j := range m.blocks {
			k0, k1 := m.block(j)
			t := laneArgs{kd: e.units(k1 - k0), scale: o.scale(), bStep: 4 * laneStride, b2Step: 4 * laneStride}
			if n == tile && e.readsPlace(&o.B, n, k1-k0) {
				src, _ := o.B.span(c, k0, k1)
				t.b, t.bStep = unsafe.Pointer(&src[0]), o.B.RowStride()
			} else {
				t.b = unsafe.Pointer(&w.rows[0])
				w.open(e, &o.B, c, n, k0, k1, 0)
			}
			if j == m.blocks-1 {
				t.kd2, t.b2 = p.extra, unsafe.Pointer(&w.rows[t.kd])
				w.open(e, &o.V, c, n, 0, o.R, t.kd)
			}
			t.ahead, t.aheadStep = o.B.ahead(c+tile, tile, k0, e.per*4*min(tile, e.asks))
			m.laneTiles(w, o, p, t, c, n, k0, k1)
		}
	}
	if crowded(m.x.M, 4*o.N) {
		m.gathered(w, o, c0, c0+(c1-c0)/tile*tile)
	}
}

// readsPlace tells whether the tile reads n values of some rows of x where they lie.
func (e *engine) readsPlace(x *Matrix, columns, n int) bool {
	return n > 0 && e.inPlace && (x.Codec == F32 && e.per == 1 || x.Codec == BF16 && e.per == 2 && n%2 == 0) && !crowded(columns, x.RowStride())
}

// ahead is where the memory of the next rows begins, of which a block of K from k0 on asks for its share, and how many bytes of it n values
// take.
func (x *Matrix) ahead(row, rows, k0, n int) (at uintptr, step int) {
	return uintptr(unsafe.Pointer(unsafe.SliceData(x.Data))) + uintptr(row*x.RowStride()+rows*x.rowBytes(k0)), n * x.Bytes / x.Block
}

// laneTiles multiplies n opened columns with all rows.
func (m *multiply) laneTiles(w *panels, o *Out, p *outPlan, t laneArgs, c, n, k0, k1 int) {
	add, bias := o.C, []float32(nil)
	if k0 == 0 {
		add, bias = o.Add, o.Bias
	}
	tile := m.eng.laneSums / m.lanes
	for g := range m.groups {
		q, row := &w.lane, g*m.lanes
		*q = t
		q.sums = &w.sums[0]
		q.a, q.rows = m.lanesOf(0, g, k0, k1), min(m.lanes, m.x.M-row)
		if t.kd2 > 0 {
			q.a2 = m.lanesOf(p.u, g, 0, o.R)
		}
		if g > 0 {
			q.aheadStep = 0
		}
		if n < tile {
			q.c, q.ldc = &w.edge[0], tile
			m.eng.lanes(m.lanes, q)
			m.copyEdge(w, o, add, bias, row, row+q.rows, c, c+n, tile)
			continue
		}
		q.c, q.ldc, q.lda = &o.C[row*o.N+c], o.N, o.N
		if add != nil {
			q.add = &add[row*o.N+c]
		}
		if bias != nil {
			q.bias = &bias[c]
		}
		if crowded(m.x.M, 4*o.N) {
			q.c, q.ldc = (*float32)(unsafe.Pointer(&w.b[row*m.cols+c%m.cols])), m.cols
			if k0 > 0 {
				q.add, q.lda = q.c, m.cols
			}
		}
		m.eng.lanes(m.lanes, q)
	}
}

// crowded tells whether so many rows, stride bytes apart, push each other out of the first cache: too many in each of its sets.
func crowded(rows, stride int) bool {
	const sets, share = 4096, 8 // bytes a way holds; ways that we may count on
	return rows*min(stride&-stride, sets) > share*sets
}

// gathered writes columns [c0, c1) of C, which whole tiles have left in the buffer.
func (m *multiply) gathered(w *panels, o *Out, c0, c1 int) {
	buf := unsafe.Slice((*float32)(unsafe.Pointer(&w.b[0])), m.x.M*m.cols)
	for r := range m.x.M {
		copy(o.C[r*o.N+c0:], buf[r*m.cols:][:c1-c0])
	}
}

// open decodes values k0..k1 of rows row..row+n of x to columns of the worker's opened block, from unit at on.
func (w *panels) open(e *engine, x *Matrix, row, n, k0, k1, at int) {
	switch {
	case k1 <= k0:
	case e.per == 2:
		w.openWords(x, row, n, k0, k1, at)
	default:
		w.openFloats(x, row, n, k0, k1, at)
	}
}

func (w *panels) openWords(x *Matrix, row, n, k0, k1, at int) {
	if fast, block := fastWords(x.Codec); fast != nil && (k1-k0)%block == 0 {
		src, _ := x.span(row, k0, k1)
		fast((*uint16)(unsafe.Pointer(&w.rows[at])), 2*laneStride, &src[0], x.RowStride(), (k1-k0)/block, n)
		return
	}
	for i := range n {
		src, _ := x.span(row+i, k0, k1)
		dst := unsafe.Slice((*uint16)(unsafe.Pointer(&w.rows[i*laneStride+at])), k1-k0+1)
		w.decodeWords(x.Codec, dst[:k1-k0], src)
		dst[k1-k0] = 0 // what an odd last value is paired with
	}
}

func (w *panels) openFloats(x *Matrix, row, n, k0, k1, at int) {
	fast, block := fastFloats(x.Codec)
	whole := 0
	if fast != nil {
		whole = (k1 - k0) / block * block
	}
	if whole > 0 {
		src, _ := x.span(row, k0, k0+whole)
		fast((*float32)(unsafe.Pointer(&w.rows[at])), laneStride, &src[0], x.RowStride(), whole/block, n)
	}
	if k0 += whole; k0 == k1 {
		return
	}
	for i := range n {
		src, _ := x.span(row+i, k0, k1)
		x.F32(unsafe.Slice((*float32)(unsafe.Pointer(&w.rows[i*laneStride+at+whole])), k1-k0), src)
	}
}
