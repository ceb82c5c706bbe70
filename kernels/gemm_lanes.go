package kernels

import "unsafe"

// The product of some rows (answers that grow together, passes over short texts): transposing B into panels would cost as much as
// multiplying. Rows of A are the lanes of the register tile instead, so that B is used as it is stored: some columns are opened to
// float32, row by row of B, one block of K deep, and every value is broadcast to the rows. Blocks and the order of sums are those of the
// blocked product, so that a row of C has the same bits either way.

const (
	laneSums   = 96  // rows times columns of a tile
	laneStride = 912 // values from column to column of an opened block; no power of two, which would share a set of the cache
	mostLanes  = 48  // most rows of A that go this way
	laneCols   = 96  // most columns of a task; like every number of them but the last a multiple of any tile's
)

// laneArgs is what a tile of lanes works on; assembly reads it by field name. A is [kd][lanes], A2 [kd2][lanes]; column j of B begins
// laneStride values behind column j-1, and B2 follows B in it. C = scale·(A x B) + A2 x B2 + add + bias, whose first rows are written.
type laneArgs struct {
	a, a2, b     unsafe.Pointer
	c, add, bias *float32 // add and bias may be nil
	kd, kd2      int
	ldc, lda     int     // values from row to row of c and add
	rows         int     // 1 to lanes
	ahead        uintptr // memory that is asked for meanwhile, every fourth value
	aheadStep    int     // bytes
	scale        float32
}

// PanelRows is how many rows of A are multiplied together when there are few: a multiple of it wastes nothing.
func PanelRows(integers bool) int {
	if integers || engineFor(false).lanes != nil {
		return 8
	}
	return panelRows
}

// cutLanes is how m rows are cut: so many at a time, so many times; 0 rows: not at all.
func cutLanes(m int) (lanes, groups int) {
	panels := (m + 7) / 8
	switch {
	case m > mostLanes:
		return 0, 0
	case panels == 1:
		return 8, 1
	case panels == 2 || panels == 4:
		return 16, panels / 2
	}
	return 24, (panels + 2) / 3
}

// rowsAreLanes tells whether the product goes this way.
func (m *multiply) rowsAreLanes() bool {
	x := m.x
	if m.eng.lanes == nil || x.M > mostLanes || x.TransA {
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
	m.lanes, m.groups = cutLanes(x.M)
	all := 0
	for i := range x.Outs {
		all += x.Outs[i].N
	}
	m.cols = min(max(all/wantTasks/12, 1)*12, laneCols)
	m.outs, m.tasks = m.outs[:0], 0
	at := m.groups * m.lanes * x.K
	for i := range x.Outs {
		o := &x.Outs[i]
		m.outs = append(m.outs, outPlan{first: m.tasks, u: at, extra: o.R})
		at += m.groups * m.lanes * o.R
		m.tasks += (o.N + m.cols - 1) / m.cols
	}
}

// lanesOf is where group g of block [k0, k1) of an operand that begins at value at lies.
func (m *multiply) lanesOf(at, g, k0, k1 int) unsafe.Pointer {
	return m.word(at + m.lanes*(m.groups*k0+g*(k1-k0)))
}

// packLanes packs A and every U, in the calling goroutine: it takes less than the others would take to come.
func (m *multiply) packLanes() {
	w, x := &m.pool.panels[0], m.x
	for g := range m.groups {
		for j := range m.blocks {
			k0, k1 := m.block(j)
			m.packLane(w, m.lanesOf(0, g, k0, k1), x.A[min(k0, len(x.A)):], x.K, k1-k0, g)
		}
		for i := range m.outs {
			p, o := &m.outs[i], &x.Outs[i]
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
	i := len(m.outs) - 1
	for m.outs[i].first > task {
		i--
	}
	p, o, w := &m.outs[i], &m.x.Outs[i], &m.pool.panels[worker]
	tile := laneSums / m.lanes
	c0 := (task - p.first) * m.cols
	for c := c0; c < min(c0+m.cols, o.N); c += tile {
		n := min(tile, o.N-c)
		for j := range m.blocks {
			k0, k1 := m.block(j)
			w.open(&o.B, c, n, k0, k1, 0)
			t := laneArgs{kd: k1 - k0, scale: o.scale(), b: unsafe.Pointer(&w.rows[0])}
			if j == m.blocks-1 {
				w.open(&o.V, c, n, 0, o.R, t.kd)
				t.kd2 = o.R
			}
			t.ahead, t.aheadStep = o.B.ahead(c+tile, tile, k0)
			m.laneTiles(w, o, p, t, c, n, k0, k1)
		}
	}
}

// ahead is where the memory of the next rows begins, and how many bytes of it go with four values of each.
func (x *Matrix) ahead(row, rows, k0 int) (at uintptr, step int) {
	bytes := rows * x.rowBytes(x.Cols)
	return uintptr(unsafe.Pointer(unsafe.SliceData(x.Data))) + uintptr(row*x.stride()+bytes*k0/max(x.Cols, 1)), 4 * bytes / max(x.Cols, 1)
}

// laneTiles multiplies n opened columns with all rows.
func (m *multiply) laneTiles(w *panels, o *Out, p *outPlan, t laneArgs, c, n, k0, k1 int) {
	add, bias := o.C, []float32(nil)
	if k0 == 0 {
		add, bias = o.Add, o.Bias
	}
	tile := laneSums / m.lanes
	for g := range m.groups {
		q, row := &w.lane, g*m.lanes
		*q = t
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
		m.eng.lanes(m.lanes, q)
	}
}

// open decodes values k0..k1 of rows row..row+n of x to columns of the worker's opened block, from value at on.
func (w *panels) open(x *Matrix, row, n, k0, k1, at int) {
	if k1 <= k0 {
		return
	}
	fast, block := fastFloats(x.Codec)
	whole := 0
	if fast != nil {
		whole = (k1 - k0) / block * block
	}
	if whole > 0 {
		src, _ := x.span(row, k0, k0+whole)
		fast((*float32)(unsafe.Pointer(&w.rows[at])), laneStride, &src[0], x.stride(), whole/block, n)
	}
	if k0 += whole; k0 == k1 {
		return
	}
	for i := range n {
		src, _ := x.span(row+i, k0, k1)
		x.F32(unsafe.Slice((*float32)(unsafe.Pointer(&w.rows[i*laneStride+at+whole])), k1-k0), src)
	}
}
