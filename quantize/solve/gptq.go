package solve

import "tune/kernels"

// A Grid is the values that the weights of some rows may take. Rows are independent: calls for different rows run at the same
// time. Blocks of weights are (columns, rows), stride apart, as the loop holds them.
type Grid interface {
	// Run is how many columns, in the order of rounding, get their scales together; 0: all scales are fixed before.
	Run() int
	// Begin fixes the scales of rows [row, row+rows) for a run of columns from its weights w.
	Begin(row, rows int, columns []int32, w []float64, stride int)
	// Round writes the values nearest to w (rows) in a column, and keeps their codes.
	Round(row, column int, q, w []float64)
}

// When the scales of a run of columns are fixed.
type When int

// Current: from the weights as corrected when the run begins. Lazy: as they were when its block of 128 columns began (the
// published code).
const (
	Current When = iota
	Lazy
)

const (
	gptqRows  = 32  // rows of a task
	gptqBlock = 128 // columns between two corrections of all that follow
	gptqRun   = 16  // columns between two corrections of their block
)

// RowsBytes is what one task keeps of each column.
const RowsBytes = 8 * gptqRows

// Solve rounds w (rows, N) to a grid column by column, correcting the columns that follow so that the outputs change least
// (GPTQ; Frantar et al. 2023): e = (w_i - q_i) / U_ii, w_j -= e·U_ij for j after i. It returns Σ e²: the squared error of the
// outputs, damping included, of all rows. blockColumns 0: 128.
func (f *Factor) Solve(w []float32, rows int, grid Grid, when When, blockColumns int, pool *kernels.Pool) float64 {
	shape("weights", len(w), rows*f.N)
	if blockColumns == 0 {
		blockColumns = gptqBlock
	}
	tasks := (rows + gptqRows - 1) / gptqRows
	losses := make([]float64, tasks)
	work := make([]solving, pool.Workers())
	pool.Run(tasks, func(worker, t int) {
		s := &work[worker]
		s.Factor, s.grid, s.when, s.block, s.row, s.rows, s.loss = f, grid, when, blockColumns, t*gptqRows, min(gptqRows, rows-t*gptqRows), 0
		s.load(w)
		s.run()
		losses[t] = s.loss
	})
	sum := 0.0
	for _, l := range losses {
		sum += l
	}
	return sum
}

// solving is the work on some rows: w (N, gptqRows) in the factor's order, from the last column to be rounded to the first.
type solving struct {
	*Factor
	grid      Grid
	when      When
	block     int
	row, rows int
	w, e      []float64
	loss      float64
	columns   []int32 // of a run, and its weights
	group     []float64
}

func (s *solving) load(w []float32) {
	s.w, s.e = resized(s.w, s.N*gptqRows), resized(s.e, s.block*gptqRows)
	if s.rows < gptqRows { // what other rows have left
		clear(s.w)
		clear(s.e)
	}
	for p, c := range s.order {
		to := s.w[p*gptqRows : (p+1)*gptqRows]
		for r := range s.rows {
			to[r] = float64(w[(s.row+r)*s.N+int(c)])
		}
	}
}

func (s *solving) run() {
	for high := s.N; high > 0; {
		low := max(high-s.block, 0)
		if s.when == Lazy {
			for p := high - 1; p >= low; p-- {
				s.begin(p)
			}
		}
		for to := high; to > low; {
			from := s.end(to, low)
			for p := to - 1; p >= from; p-- {
				s.column(p, from, p-low)
			}
			s.correct(low, from, from, to, low)
			to = from
		}
		s.correct(0, low, low, high, low)
		high = low
	}
}

// end of the columns before position to that are corrected one by one: at most gptqRun, and no run of the grid begins inside.
func (s *solving) end(to, low int) int {
	from := max(to-gptqRun, low)
	if run := s.grid.Run(); run > 0 && s.when == Current {
		done := s.N - to
		from = max(from, s.N-(done/run+1)*run)
	}
	return from
}

// correct takes the errors of positions [from, to) off the columns [first, last); errors are stored from position low on.
func (s *solving) correct(first, last, from, to, low int) {
	kernels.SubTN64(s.w[first*gptqRows:], gptqRows, s.at(from, first), s.ld, s.e[(from-low)*gptqRows:], gptqRows, last-first, gptqRows, to-from)
}

// begin lets the grid fix the scales of the run of columns that begins at position p, if one does.
func (s *solving) begin(p int) {
	run := s.grid.Run()
	if done := s.N - 1 - p; run == 0 || done%run != 0 {
		return
	}
	n := min(run, p+1)
	s.columns, s.group = resized(s.columns, n), resized(s.group, n*gptqRows)
	columns, w := s.columns, s.group
	for i := range n {
		columns[i] = s.order[p-i]
		copy(w[i*gptqRows:(i+1)*gptqRows], s.w[(p-i)*gptqRows:])
	}
	s.grid.Begin(s.row, s.rows, columns, w, gptqRows)
}

// column rounds the column at position p and corrects those down to position from.
func (s *solving) column(p, from, at int) {
	if s.when == Current {
		s.begin(p)
	}
	w, e := s.w[p*gptqRows:(p+1)*gptqRows], s.e[at*gptqRows:(at+1)*gptqRows]
	s.grid.Round(s.row, int(s.order[p]), e[:s.rows], w[:s.rows])
	u := s.pivot(p)
	for r := range s.rows {
		d := (w[r] - e[r]) / u
		e[r] = d
		s.loss += d * d
	}
	kernels.SubTN64(s.w[from*gptqRows:], gptqRows, s.at(p, from), s.ld, e, gptqRows, p-from, gptqRows, 1)
}

// Nearest rounds w (rows, n) to a grid without correcting anything.
func Nearest(w []float32, rows, n int, grid Grid, pool *kernels.Pool) {
	f := &Factor{N: n, order: reversed(natural(n))}
	work := make([]solving, pool.Workers())
	pool.Run((rows+gptqRows-1)/gptqRows, func(worker, t int) {
		s := &work[worker]
		s.Factor, s.grid, s.when, s.row, s.rows = f, grid, Current, t*gptqRows, min(gptqRows, rows-t*gptqRows)
		s.load(w)
		q := make([]float64, s.rows)
		for p := n - 1; p >= 0; p-- {
			s.begin(p)
			grid.Round(s.row, int(f.order[p]), q, s.w[p*gptqRows:][:s.rows])
		}
	})
}
