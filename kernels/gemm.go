package kernels

import "unsafe"

// The blocked product. README.md draws the layout of the panels.

const (
	panelRows = 6   // rows of a register tile and of a panel of A
	maxDepth  = 640 // longest block of the summed dimension of any engine, in units
	maxExtra  = 256 // longest low-rank term that is folded into the last block, in units
	maxWidth  = 64  // columns of the widest panel of B
	maxGroup  = 4   // panels of B a task packs at once
)

// tileArgs is what a register tile works on; assembly reads it by field name.
//
// A unit of depth is four bytes, two bf16 or one float32. For each of panels panels of A, aStep bytes apart, the tile computes
// C = scale·(A x B) + A2 x B2 + add + bias, where B is [kd][width] units, B2 [kd2][width] directly behind it, A [kd][panelRows],
// and C and add go down by panelRows rows from one panel to the next.
type tileArgs struct {
	a, b, a2      unsafe.Pointer
	c, add, bias  *float32 // add and bias may be nil
	kd, kd2       int      // units
	ldc, lda      int      // values from row to row of c and add
	panels        int      // at least 1
	aStep, a2Step int      // bytes
	scale         float32
}

// An engine is the inner loops of one level and precision. Rows that are missing in a group of rows are given as copies of another.
type engine struct {
	per  int // values in a unit: 2 bf16 or 1 float32
	deep int // longest block of the summed dimension, in units
	nr   int // columns of a full panel of B
	unit int // a panel of B is a multiple of this wide; packB takes so many rows
	// tile runs the register tile of width columns.
	tile func(width int, t *tileArgs)
	// packA packs n float32 of panelRows rows into a panel of A; more rows may be read (8 pointers are valid).
	packA func(dst unsafe.Pointer, rows *[16]unsafe.Pointer, n int)
	// packAT packs cols <= 8 x panelRows columns of rows of float32, stride bytes apart, into panels of A step bytes apart.
	packAT func(dst unsafe.Pointer, step int, src unsafe.Pointer, stride, cols, rows int)
	// packB packs n values of unit rows: unit p of row i to dst[p*stride+i]. word: the values are bf16, not float32.
	packB func(dst unsafe.Pointer, stride int, rows *[16]unsafe.Pointer, n int, word bool)
	// packN packs rows, stride bytes apart, as depths: column j of unit p to dst[p*width+j], j < cols <= width.
	packN func(dst unsafe.Pointer, width int, src unsafe.Pointer, stride, cols, rows int, word bool)
	// lanes is the tile of one, two or three times unit rows of A, whose rows are the lanes (gemm_lanes.go), and laneSums/rows columns, its
	// sums bit for bit those of tile. It asks for the next one's memory once for four units of asks columns. nil: none.
	lanes     func(rows int, t *laneArgs)
	laneSums  int
	asks      int
	mostLanes int  // most rows of A that go this way
	inPlace   bool // lanes reads B anywhere, not only as it was opened
}

// units is how many units n values take.
func (e *engine) units(n int) int { return (n + e.per - 1) / e.per }

// panels belongs to one worker.
type panels struct {
	b    []uint32             // packed B of one task, one block
	rows []uint32             // decoded rows
	tmp  []float32            // a row on its way to bf16
	edge []float32            // tiles that stick out of C
	ptr  [16]unsafe.Pointer   // arguments of the packs
	args tileArgs             // and of the tile
	lane laneArgs             // likewise
	sums [8 * vecTask]float32 // of the small product and of a tile of lanes
}

const (
	decodeWords = 32 << 10 // units of four bytes of panels.rows
	edgePanels  = 8        // panels of A per call of an edge tile
)

func newPanels(workers int) []panels {
	w := make([]panels, workers)
	for i := range w {
		w[i] = panels{
			b:    aligned(maxGroup * maxWidth * (maxDepth + maxExtra)),
			rows: aligned(decodeWords),
			tmp:  make([]float32, decodeWords/4),
			edge: make([]float32, edgePanels*panelRows*maxWidth),
		}
	}
	return w
}

// aligned makes n words that begin on a cache line.
func aligned(n int) []uint32 {
	b := make([]uint32, n+15)
	skip := int(-uintptr(unsafe.Pointer(&b[0]))&63) / 4
	return b[skip : skip+n : skip+n]
}

// forget drops what points into the caller's memory, which may be unmapped before the next product.
func (w *panels) forget() {
	w.ptr = [16]unsafe.Pointer{}
	w.args, w.lane = tileArgs{}, laneArgs{}
}

// multiply is the product under way on a Pool.
type multiply struct {
	pool   *Pool
	x      *Product
	eng    *engine
	packed []float32 // A, block by block, panel by panel; then U of every Out
	outs   []outPlan
	step   int // values of K in a block
	cols   int // rows of B in a task of the product by lanes and of the small one
	lanes  int // rows of A that are multiplied together in it
	blocks int
	rows   int  // panels of A
	groups int  // tasks that pack A
	kept   bool // A is packed already
	tasks  int

	packTask, tileTask, vecTask, laneTask, groupTask func(worker, task int)
}

// packing is how A lies in the panels of a scratch; the zero value: not in panels.
type packing struct {
	eng   *engine
	m, k  int
	trans bool
}

// outPlan is how one Out is cut: columns into groups of panels, the rows of the last groups into chunks.
type outPlan struct {
	first  int // number of its first task
	group  int // panels of B per task
	cols   int // groups of panels
	whole  int // groups that are one task each
	chunks int // chunks of rows, and tasks, of each other group
	widths int // panels of B
	u      int // where its U begins in packed
	extra  int // units of U
	folded bool
	fused  *[4]fusedProduct // of the small product
	words  wordProduct      // of a single row; nil: fused
}

func (m *multiply) bind(p *Pool) {
	m.pool = p
	m.packTask, m.tileTask, m.vecTask, m.laneTask, m.groupTask = m.packRows, m.runTask, m.runVec, m.runLanes, m.packGroup
}

// cutK is the length of the blocks of K and their number; all but the last are a multiple of 256 long.
func (e *engine) cutK(k int) (step, n int) {
	most := e.deep * e.per
	if k <= most {
		return max(k, 1), 1
	}
	n = (k + most - 1) / most
	step = ((k+n-1)/n + 255) / 256 * 256
	return step, (k + step - 1) / step
}

// Scratch is how many float32 of scratch MatMul needs for x: the packed form of A and of every U.
func (x *Product) Scratch() int {
	if x.anyInteger() {
		return max(x.intScratch(), x.floatScratch())
	}
	return x.floatScratch()
}

func (x *Product) floatScratch() int {
	e := engineFor(x.Exact)
	units := e.units(x.K)
	for i := range x.Outs {
		units += e.units(x.Outs[i].R)
	}
	rows := (x.M + panelRows - 1) / panelRows * panelRows
	lanes, groups := e.cutLanes(x.M)
	rows = max(rows, lanes*groups)
	return rows * units
}

// MatMul computes every Out of x:
//
//	for m, n: C[m][n] = Scale·(sum over k of A[m][k]·B[n][k]) + Add[m][n] + Bias[n] + sum over r of U[m][r]·V[n][r]
//
// scratch holds x.Scratch() values. C must not overlap any operand but its own Add, nor another C.
// It panics when the slices do not fit the shapes. It allocates nothing, except on a nil Pool.
func (p *Pool) MatMul(x *Product, scratch []float32) {
	x.check()
	if len(scratch) < x.Scratch() {
		panic("kernels: MatMul: scratch too short")
	}
	if x.M == 0 {
		return
	}
	if p == nil {
		p = newSerial(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.anyInteger() {
		x.packed = packing{}
		p.im.multiply(x, scratch)
	} else {
		p.floats(x, scratch)
	}
	for i := range p.panels {
		p.panels[i].forget()
	}
}

// floats is MatMul without products in integers, with p.mu held.
func (p *Pool) floats(x *Product, scratch []float32) {
	m := &p.mm
	m.x, m.packed, m.eng = x, scratch, engineFor(x.Exact)
	how := packing{m.eng, x.M, x.K, x.TransA}
	m.kept = x.Kept != nil && x.Kept.packed == how
	x.packed = packing{}
	switch {
	case m.small():
		m.planVec()
		m.foresee()
		p.deal(m.tasks, m.vecTask)
	case m.rowsAreLanes():
		m.planLanes()
		m.packLanes()
		m.foresee()
		p.deal(m.tasks, m.laneTask)
	default:
		m.plan()
		x.packed = how
		p.run(m.groups, m.packTask)
		p.run(m.tasks, m.tileTask)
	}
	m.x, m.packed = nil, nil
}

// wantTasks is how many tasks a product is cut into where its shape allows; minRows is the fewest panels of A in a chunk.
const (
	wantTasks = 16
	minRows   = 32
	packGroup = 16 // panels of A per packing task
)

// plan cuts the product by its shape alone.
func (m *multiply) plan() {
	x, e := m.x, m.eng
	m.step, m.blocks = e.cutK(x.K)
	m.rows = (x.M + panelRows - 1) / panelRows
	m.groups = (m.rows + packGroup - 1) / packGroup
	m.outs = m.outs[:0]
	at, all := m.rows*panelRows*e.units(x.K), 0
	for i := range x.Outs {
		o := &x.Outs[i]
		p := outPlan{u: at, extra: e.units(o.R), widths: (o.N + e.nr - 1) / e.nr}
		p.folded = p.extra <= maxExtra
		at += m.rows * panelRows * p.extra
		all += p.widths
		m.outs = append(m.outs, p)
	}
	group := min(max(all/wantTasks, 1), maxGroup*maxWidth/e.nr)
	for i := range m.outs {
		p, o := &m.outs[i], &x.Outs[i]
		g := group
		if whole := o.B.Block / e.nr; o.Rowwise && whole > 1 { // a task decodes whole blocks
			g = min((g+whole-1)/whole*whole, maxGroup*maxWidth/e.nr)
		}
		p.group, p.cols = g, (p.widths+g-1)/g
	}
	m.cut()
}

// cut makes the tasks. Each packs B for its columns, so the rows of A are all one task's, but for as many groups of columns at the end
// as would leave workers idle: their rows are cut into chunks.
func (m *multiply) cut() {
	cols := 0
	for i := range m.outs {
		cols += m.outs[i].cols
	}
	workers := m.pool.workers
	most, left := max(m.rows/minRows, 1), cols%workers
	chunks := min(workers, most)
	if cols < workers {
		left, chunks = cols, min((wantTasks+cols-1)/max(cols, 1), most)
	}
	for i := len(m.outs) - 1; i >= 0; i-- {
		p := &m.outs[i]
		n := min(left, p.cols)
		left -= n
		p.whole, p.chunks = p.cols-n, chunks
	}
	m.tasks = 0
	for i := range m.outs {
		p := &m.outs[i]
		p.first = m.tasks
		m.tasks += p.whole + (p.cols-p.whole)*chunks
	}
}

// depth is the units of block j of K.
func (m *multiply) depth(j int) int {
	k0, k1 := m.block(j)
	return m.eng.units(k1 - k0)
}

func (m *multiply) block(j int) (k0, k1 int) { return j * m.step, min((j+1)*m.step, m.x.K) }

// panelA is the address of panel r of block j of A.
func (m *multiply) panelA(j, r int) unsafe.Pointer {
	k0, _ := m.block(j)
	return m.word((m.rows*m.eng.units(k0) + r*m.depth(j)) * panelRows)
}

// panelU is the address of panel r of the U of a plan.
func (m *multiply) panelU(p *outPlan, r int) unsafe.Pointer {
	return m.word(p.u + r*p.extra*panelRows)
}

func (m *multiply) word(at int) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(m.packed)), 4*at)
}

// packRows packs a group of panels of A and of every U.
func (m *multiply) packRows(worker, task int) {
	w, x := &m.pool.panels[worker], m.x
	r0, r1 := task*packGroup, min((task+1)*packGroup, m.rows)
	for j := range m.blocks {
		if m.kept {
			break
		}
		k0, k1 := m.block(j)
		if x.TransA {
			m.packColumns(j, k0, k1, r0, r1)
			continue
		}
		for r := r0; r < r1; r++ {
			m.packPanel(w, m.panelA(j, r), x.A[min(k0, len(x.A)):], x.K, k1-k0, r)
		}
	}
	for i := range m.outs {
		p, o := &m.outs[i], &x.Outs[i]
		for r := r0; r < r1 && o.R > 0; r++ {
			m.packPanel(w, m.panelU(p, r), o.U, o.R, o.R, r)
		}
	}
}

// packPanel packs n values of the rows of panel r of src, whose rows are ld apart.
func (m *multiply) packPanel(w *panels, dst unsafe.Pointer, src []float32, ld, n, r int) {
	if n == 0 {
		return
	}
	for i := range 8 {
		w.ptr[i] = unsafe.Pointer(&src[min(r*panelRows+min(i, panelRows-1), m.x.M-1)*ld])
	}
	m.eng.packA(dst, &w.ptr, n)
}

// packColumns packs panels r0..r1 of a transposed A, depths k0..k1: some rows of A at a time, for all panels.
func (m *multiply) packColumns(j, k0, k1, r0, r1 int) {
	const depths = 64
	x, e := m.x, m.eng
	for k := k0; k < k1; k += depths {
		skip := e.units(k-k0) * panelRows * 4
		for r := r0; r < r1; r += 8 {
			c := r * panelRows
			cols := min(8*panelRows, (r1-r)*panelRows, x.M-c)
			e.packAT(unsafe.Add(m.panelA(j, r), skip), m.depth(j)*panelRows*4, unsafe.Pointer(&x.A[k*x.M+c]), 4*x.M, cols, min(depths, k1-k))
		}
	}
}

// outOf is the Out a task belongs to.
func (m *multiply) outOf(task int) int {
	i := len(m.outs) - 1
	for m.outs[i].first > task {
		i--
	}
	return i
}

// runTask computes one task: a group of columns, a chunk of rows.
func (m *multiply) runTask(worker, task int) {
	i := m.outOf(task)
	p, o, e, w := &m.outs[i], &m.x.Outs[i], m.eng, &m.pool.panels[worker]
	col, r0, r1 := task-p.first, 0, m.rows
	if over := col - p.whole; over >= 0 {
		chunk := over % p.chunks
		col, r0, r1 = p.whole+over/p.chunks, chunk*m.rows/p.chunks, (chunk+1)*m.rows/p.chunks
	}
	c0, c1 := col*p.group*e.nr, min((col+1)*p.group*e.nr, o.N)
	for j := range m.blocks {
		k0, k1 := m.block(j)
		kd, kd2 := m.depth(j), 0
		if j == m.blocks-1 && p.folded {
			kd2 = p.extra
		}
		s := source{e: e, w: w, rowwise: o.Rowwise, c0: c0, c1: c1, full: kd + kd2}
		s.pack(&o.B, k0, k1, 0)
		if kd2 > 0 {
			s.pack(&o.V, 0, o.R, kd)
		}
		t := tileArgs{kd: kd, kd2: kd2, aStep: kd * panelRows * 4, a2Step: kd2 * panelRows * 4, scale: o.scale()}
		t.a = m.panelA(j, r0)
		if kd2 > 0 {
			t.a2 = m.panelU(p, r0)
		}
		m.tiles(w, o, t, s, r0, r1, j == 0)
	}
	if !p.folded {
		m.lowRank(w, p, o, c0, c1, r0, r1)
	}
}

// lowRank adds a low-rank term too long to be folded: blocks of its own.
func (m *multiply) lowRank(w *panels, p *outPlan, o *Out, c0, c1, r0, r1 int) {
	e := m.eng
	step := e.deep * e.per
	for k := 0; k < o.R; k += step {
		n := min(step, o.R-k)
		s := source{e: e, w: w, rowwise: o.Rowwise, c0: c0, c1: c1, full: e.units(n)}
		s.pack(&o.V, k, k+n, 0)
		t := tileArgs{kd: s.full, aStep: p.extra * panelRows * 4, scale: 1}
		t.a = unsafe.Add(m.panelU(p, r0), e.units(k)*panelRows*4)
		m.tiles(w, o, t, s, r0, r1, false)
	}
}

// tiles runs the register tile over panels r0..r1 of A and the packed columns of s. first: C begins here with Add and Bias;
// otherwise C is added to.
func (m *multiply) tiles(w *panels, o *Out, t tileArgs, s source, r0, r1 int, first bool) {
	e := m.eng
	whole := min(r1, m.x.M/panelRows) // panels with all their rows
	batch := max(1, 16<<10/max(s.full, 1))
	add, bias := o.C, []float32(nil)
	if first {
		add, bias = o.Add, o.Bias
	}
	for c := s.c0; c < s.c1; c += e.nr {
		width := s.width(c)
		b := unsafe.Pointer(&w.b[(c-s.c0)*s.full])
		r := r0
		for r < whole && c+width <= o.N { // batches keep a call under 100 microseconds: it cannot be preempted
			n := min(batch, whole-r)
			w.args = t
			q := &w.args
			q.b, q.panels, q.ldc, q.lda = b, n, o.N, o.N
			q.a, q.a2 = unsafe.Add(t.a, (r-r0)*t.aStep), unsafe.Add(t.a2, (r-r0)*t.a2Step)
			q.c = &o.C[r*panelRows*o.N+c]
			if add != nil {
				q.add = &add[r*panelRows*o.N+c]
			}
			if bias != nil {
				q.bias = &bias[c]
			}
			e.tile(width, q)
			r += n
		}
		for ; r < r1; r += edgePanels {
			n := min(edgePanels, r1-r)
			w.args = t
			q := &w.args
			q.b, q.panels, q.ldc = b, n, width
			q.a, q.a2 = unsafe.Add(t.a, (r-r0)*t.aStep), unsafe.Add(t.a2, (r-r0)*t.a2Step)
			q.c = &w.edge[0]
			e.tile(width, q)
			m.copyEdge(w, o, add, bias, r*panelRows, min((r+n)*panelRows, m.x.M), c, min(c+width, o.N), width)
		}
	}
}

// copyEdge moves rows [r0, r1) and columns [c0, c1) from the edge buffer to C.
func (m *multiply) copyEdge(w *panels, o *Out, add, bias []float32, r0, r1, c0, c1, width int) {
	for r := r0; r < r1; r++ {
		src := w.edge[(r-r0)*width:][:c1-c0]
		if add != nil {
			for i, v := range add[r*o.N+c0 : r*o.N+c1] {
				src[i] += v
			}
		}
		if bias != nil {
			for i, v := range bias[c0:c1] {
				src[i] += v
			}
		}
		copy(o.C[r*o.N+c0:], src)
	}
}
