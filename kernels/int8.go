package kernels

import "unsafe"

// Products in integers: activations rounded to 8 bits, 32 values to a scale, times the codes that weights are stored as. Sums of 32
// products are exact; they are scaled and added up in float32, block after block, so that the order is that of the shape:
//
//	C[m][n] = Σ over groups g of 32:  d[n][g]·s[m][g]·(Σ q[m][k]·w[n][k])  +  low[n][g]·(s[m][g]·Σ q[m][k])
//
// where s and q are the scale and the codes of the activations, and a stored value is d·w + low. (Types with a scale per 16 likewise.)
// Rounding the activations is the only loss: about 0.3 % of the largest of each 32.
//
// Rows of B are opened, some columns at a time, to records of 32 codes and their scales, one byte a code, group by group; eight rows of
// A (with VNNI 16 or 32) are the lanes of a register tile that holds 32 values of each, and every record is broadcast to them. With few rows
// of A blocks are multiplied as they lie, eight times four values at a time.

const (
	intGroup  = 32                // values of A with a scale of their own
	intRows   = 8                 // rows of A in a panel; with VNNI twice as many
	intLane   = intGroup + 4*4    // bytes of 32 values of a row of a panel: codes, scale, sum of 32, two sums of 16
	intPanel  = intRows * intLane // bytes of 32 values of a panel of eight rows
	intCols   = 64                // most columns of a task
	intGroups = 2048 / 32         // most groups of K at a time: the records of a task stay in the second cache
	intRow    = intGroup * 3 / 2  // bytes of 32 values of a row as quantizeRows lays it out
)

// A codeKind is a form of opened codes. Records hold 32 codes, then for each scale d and low.
type codeKind struct {
	record int // bytes
	group  int // values of a scale
}

// intProduct is y[i*ldy+r] = sum over k of x[i][k]·w[r][k] for i < m, r < rows, where m, 1 to 4, is the function's own. x is n blocks
// of codes of A, with their scales and their sums of 32 (or of 16, if the type has a scale for so many), all ldx bytes from row to row;
// w[r] is n > 0 stored blocks, stride bytes apart.
type intProduct func(y *float32, ldy int, x, scales, sums unsafe.Pointer, ldx int, w unsafe.Pointer, stride, n, rows int)

// intCodec is how a stored type is multiplied in integers.
type intCodec struct {
	kind *codeKind
	zero int // codes are centred on it; 0: they are not
	// open writes n blocks as records, step bytes apart.
	open func(dst unsafe.Pointer, step int, src unsafe.Pointer, n int)
	dots *[4]intProduct // by rows of A less one
}

// intMultiply is an integer product under way on a Pool.
type intMultiply struct {
	pool   *Pool
	x      *Product
	packed unsafe.Pointer
	outs   []intPlan
	lanes  int // rows of a panel of A
	panels int // of A
	step   int // columns of a task
	chunks int // of rows
	tasks  int
	rest   Product // what is not multiplied in integers, and low-rank terms

	packTask, tileTask, dotTask func(worker, task int)
}

// intPlan is one Out of an integer product.
type intPlan struct {
	o     *Out
	codec intCodec
	first int // task
	cols  int // groups of columns
}

func (m *intMultiply) bind(p *Pool) {
	m.pool = p
	m.packTask, m.tileTask, m.dotTask = m.pack, m.tile, m.dots
}

// Integer tells whether products can multiply the codes of a stored type as integers.
func (c *Codec) Integer() bool {
	_, ok := intCodecOf(c)
	return ok
}

// integer tells whether an Out is multiplied in integers.
func (x *Product) integer(o *Out) bool {
	if !o.B.Int8 || x.Exact || x.TransA || o.Rowwise || x.K == 0 || x.K%intGroup != 0 || x.K%o.B.Block != 0 {
		return false
	}
	if x.few() && vnni() && (x.M == 1 || wordsFor(o.B.Codec, 1) != nil) {
		return false // with activations of 16 bits it is about as fast; in float32, for one row of Q8_0, faster
	}
	_, ok := intCodecOf(o.B.Codec)
	return ok
}

// few tells whether the product goes row by row of B. Half a panel of VNNI is faster than two products of four rows.
func (x *Product) few() bool {
	most := FewRows
	if vnni() {
		most = 4
	}
	return x.M <= most && !x.Blocked && !x.TransA
}

// anyInteger tells whether any Out is.
func (x *Product) anyInteger() bool {
	for i := range x.Outs {
		if x.integer(&x.Outs[i]) {
			return true
		}
	}
	return false
}

// intScratch is the float32 of a product's rounded A.
func (x *Product) intScratch() int {
	if x.few() {
		return x.M * x.K / intGroup * intRow / 4
	}
	lanes := intLanes()
	return (x.M + lanes - 1) / lanes * lanes * (x.K / intGroup) * intLane / 4
}

// multiply runs a product some Outs of which are integer ones.
func (m *intMultiply) multiply(x *Product, scratch []float32) {
	p := m.pool
	m.plan(x)
	m.packed = unsafe.Pointer(unsafe.SliceData(scratch))
	if x.few() {
		m.quantizeAll()
		p.run(m.tasks, m.dotTask)
	} else {
		p.run(m.panels, m.packTask)
		p.run(m.tasks, m.tileTask)
	}
	m.packed = nil
	m.others(x, scratch)
	m.x, m.rest = nil, Product{Outs: m.rest.Outs[:0]}
	clear(m.outs)
	clear(m.rest.Outs[:cap(m.rest.Outs)])
}

// others computes the Outs that are not integer ones, then the low-rank terms of those that are.
func (m *intMultiply) others(x *Product, scratch []float32) {
	r := &m.rest
	*r = Product{M: x.M, K: x.K, A: x.A, Blocked: x.Blocked, Outs: r.Outs[:0]}
	for i := range x.Outs {
		if !x.integer(&x.Outs[i]) {
			r.Outs = append(r.Outs, x.Outs[i])
		}
	}
	if len(r.Outs) > 0 {
		m.pool.floats(r, scratch)
	}
	for i := range m.outs {
		if o := m.outs[i].o; o.R > 0 {
			*r = lowRank(x, o, r.Outs[:0])
			m.pool.floats(r, scratch)
		}
	}
}

// lowRank is the product that adds an Out's low-rank term to its C.
func lowRank(x *Product, o *Out, outs []Out) Product {
	return Product{M: x.M, K: o.R, A: o.U, Blocked: x.Blocked, Outs: append(outs, Out{N: o.N, C: o.C, B: o.V, Add: o.C})}
}

// plan cuts the product by its shape alone.
func (m *intMultiply) plan(x *Product) {
	m.x, m.outs, m.tasks = x, m.outs[:0], 0
	all := 0
	for i := range x.Outs {
		if o := &x.Outs[i]; x.integer(o) {
			c, _ := intCodecOf(o.B.Codec)
			m.outs = append(m.outs, intPlan{o: o, codec: c})
			all += o.N
		}
	}
	m.lanes, m.chunks = intLanes(), 1
	m.panels = (x.M + m.lanes - 1) / m.lanes
	if x.few() {
		m.step = min(max(all/8, 8), vecTask)
	} else {
		m.step = min(max(all/wantTasks&^7, 16), intCols)
	}
	cols := 0
	for i := range m.outs {
		o := &m.outs[i]
		o.cols = (o.o.N + m.step - 1) / m.step
		cols += o.cols
	}
	if !x.few() {
		m.chunks = min(max((wantTasks+cols-1)/max(cols, 1), 1), max(m.panels*m.lanes/128, 1))
	}
	for i := range m.outs {
		m.outs[i].first = m.tasks
		m.tasks += m.outs[i].cols * m.chunks
	}
}

// intLanes is the rows of A in a panel: a register of float32, but never less than eight.
func intLanes() int {
	if vnni() {
		return 2 * intRows
	}
	return intRows
}

// intTogether is how many panels a tile takes at most, and of what its columns must be a multiple.
func intTogether() (panels, cols int) {
	if vnni() {
		return 2, 4
	}
	return 1, 1
}

// rowsOf is the places of the parts of rounded rows of n groups that begin at p.
func rowsOf(p unsafe.Pointer, n int) (q, scales, sums32, sums16 unsafe.Pointer) {
	return p, unsafe.Add(p, 32*n), unsafe.Add(p, 36*n), unsafe.Add(p, 40*n)
}

// quantizeRow rounds the values of a row.
func quantizeRow(dst unsafe.Pointer, x []float32) {
	n := len(x) / intGroup
	q, scales, sums32, sums16 := rowsOf(dst, n)
	quantize((*int8)(q), (*float32)(scales), (*float32)(sums32), (*float32)(sums16), &x[0], n)
}

// quantizeAll rounds few rows.
func (m *intMultiply) quantizeAll() {
	k := m.x.K
	for r := range m.x.M {
		quantizeRow(unsafe.Add(m.packed, r*k/intGroup*intRow), m.x.A[r*k:(r+1)*k])
	}
}

// pack rounds and packs a panel of A. Rows past the end are copies.
func (m *intMultiply) pack(worker, panel int) {
	w, x := &m.pool.panels[worker], m.x
	groups := x.K / intGroup
	dst := unsafe.Add(m.packed, panel*m.lanes*groups*intLane)
	if m.lanes > intRows {
		for r := range m.lanes {
			w.ptr[r] = unsafe.Pointer(&x.A[min(panel*m.lanes+r, x.M-1)*x.K])
		}
		roundPanel(dst, &w.ptr, groups)
		w.forget()
		return
	}
	buf := unsafe.Pointer(&w.rows[0])
	for g := 0; g < groups; g += intGroups {
		n := min(intGroups, groups-g)
		for r := range intRows {
			at := min(panel*intRows+r, x.M-1)*x.K + g*intGroup
			quantizeRow(unsafe.Add(buf, r*n*intRow), x.A[at:at+n*intGroup])
		}
		q, scales, sums32, sums16 := rowsOf(buf, n)
		packInt8(unsafe.Add(dst, g*intRows*intLane), q, scales, sums32, sums16, n*intRow, n)
	}
}

// at finds the Out of a task and its columns.
func (m *intMultiply) at(task int) (p *intPlan, n0, n1, chunk int) {
	i := len(m.outs) - 1
	for m.outs[i].first > task {
		i--
	}
	p = &m.outs[i]
	task -= p.first
	n0 = task % p.cols * m.step
	return p, n0, min(n0+m.step, p.o.N), task / p.cols
}

// tile computes some columns of one Out for some panels of A.
func (m *intMultiply) tile(worker, task int) {
	p, n0, n1, chunk := m.at(task)
	w, o, kind := &m.pool.panels[worker], p.o, p.codec.kind
	r0, r1 := chunk*m.panels/m.chunks, (chunk+1)*m.panels/m.chunks
	cols, groups := n1-n0, m.x.K/intGroup
	most, even := intTogether()
	wide := (cols + even - 1) / even * even
	step := (wide*kind.record+63)/64*64 | 64 // an odd number of cache lines: records of all groups of a column can be in the first cache
	records := unsafe.Pointer(&w.b[0])
	for g := 0; g < groups; g += intGroups {
		n := min(intGroups, groups-g)
		for c := range wide { // columns past the end are copies
			src, _ := o.B.span(min(n0+c, n1-1), g*intGroup, (g+n)*intGroup)
			p.codec.open(unsafe.Add(records, c*kind.record), step, unsafe.Pointer(&src[0]), len(src)/o.B.Bytes)
		}
		for r := r0; r < r1; r += most {
			panels := min(most, r1-r)
			lanes := panels * m.lanes
			acc := w.edge[:intCols*lanes]
			clear(acc[:wide*lanes])
			a := unsafe.Add(m.packed, (r*groups+g)*m.lanes*intLane)
			for i := 0; i < n; i += intBatch { // a call cannot be preempted: keep it short
				b := min(intBatch, n-i)
				intTile(&p.codec, &acc[0], unsafe.Add(a, i*m.lanes*intLane), groups*m.lanes*intLane, panels, unsafe.Add(records, i*step), step, b, wide)
			}
			for i := range panels {
				m.store(o, acc[i*m.lanes:], lanes, (r+i)*m.lanes, n0, cols, g == 0)
			}
		}
	}
}

// intBatch is the groups of a call of the tile.
const intBatch = 64

// store adds a panel of a tile, whose columns are so many lanes, to C. first: C begins here, with Add and Bias.
func (m *intMultiply) store(o *Out, acc []float32, lanes, row, col, cols int, first bool) {
	add, bias := o.C, []float32(nil)
	if first {
		add, bias = o.Add, o.Bias
	}
	rows := min(m.lanes, m.x.M-row)
	done := storeInt8(o, acc, lanes, row, rows, col, cols, add, bias)
	if done == cols {
		return
	}
	for r := range rows {
		c := o.C[(row+r)*o.N+col:][:cols]
		for j := done; j < cols; j++ {
			v := o.scale() * acc[j*lanes+r]
			if bias != nil {
				v += bias[col+j]
			}
			if add != nil {
				v += add[(row+r)*o.N+col+j]
			}
			c[j] = v
		}
	}
}

// dots computes some columns of one Out for few rows of A.
func (m *intMultiply) dots(worker, task int) {
	p, n0, n1, _ := m.at(task)
	w, o, x := &m.pool.panels[worker], p.o, m.x
	groups := x.K / intGroup
	src, _ := o.B.span(n0, 0, x.K)
	ldx := groups * intRow
	for r := 0; r < x.M; r += 4 {
		q, scales, sums, sums16 := rowsOf(unsafe.Add(m.packed, r*ldx), groups)
		if p.codec.kind.group == 16 {
			sums = sums16
		}
		p.codec.dots[min(4, x.M-r)-1](&w.sums[r*vecTask], vecTask, q, scales, sums, ldx, unsafe.Pointer(&src[0]), o.B.RowStride(), x.K/o.B.Block, n1-n0)
	}
	for r := range x.M {
		storeRow(o, r, n0, w.sums[r*vecTask:][:n1-n0])
	}
}
