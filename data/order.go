package data

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"strings"

	"tune/internal/hint"
	"tune/internal/rng"
)

// verdict is what accepts returns.
type verdict struct {
	keep, filtered bool
	err            error
}

// accepts says whether a row passes where and filter and is of the wanted side of a split by hash.
func (o *source) accepts(r row, entry formatEntry, bySplit bool) (keep, filtered bool, _ error) {
	for _, c := range o.conds {
		v, err := r.plain(c.column)
		if err != nil {
			return false, false, err
		}
		if (v == c.value) == c.not {
			return false, true, nil
		}
	}
	if o.filter != nil {
		if keep, err := o.filter.accepts(r); err != nil || !keep {
			return false, true, err
		}
	}
	if o.share == 0 || !bySplit {
		return true, false, nil
	}
	keys, h := entry.columns, fnv.New64a()
	if o.by != "" {
		keys = []string{o.by}
	}
	for _, key := range keys {
		v, err := r.plain(columnName(o.Columns, key))
		if err != nil {
			return false, false, err
		}
		fmt.Fprintf(h, "%d:%s", len(v), v)
	}
	return (rng.FromKey(h.Sum64()).Float64(0) < o.share) == o.valid, false, nil
}

func identity(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	return p
}

// reader goes through a source once per epoch, in an order of blocks, one pass after another.
type reader struct {
	*source
	order  func(pass, blocks int) []int
	passes float64    // in an epoch; the last may be a part of one. +Inf: until the mix ends the epoch
	rng    rng.Stream // chooses the rows of a part of a pass
	all    bool       // without the split by hash
	place  Place
	pass   int   // of blocks below
	sorted []int // blocks in the order of the pass
	open   batchReader
	batch  batch
	judged []verdict // per row of batch; nil for direct
	i      int       // next row of batch
	// direct is set when rows are drawn one by one; Place.Row is then the number of rows drawn in the pass
	direct *permuted
	// passed over since the last call of counted
	filtered, duplicates int
}

func fileOrder(_, blocks int) []int { return identity(blocks) }

// newReader starts an epoch.
func newReader(o *source, seed uint64, epoch int, shuffled bool) *reader {
	r := &reader{source: o, passes: o.Weight, order: fileOrder, rng: rng.New(seed, "data/passes").Sub(uint64(epoch)).Sub(uint64(o.index))}
	if shuffled {
		random := rng.New(seed, "data/blocks").Sub(uint64(epoch)).Sub(uint64(o.index))
		r.order = func(pass, blocks int) []int { return random.Sub(uint64(pass)).Perm(blocks) }
		if d := newDirect(o); d != nil {
			r.direct = &permuted{direct: d, random: random, pass: -1}
		}
	}
	return r
}

// drawn is a row with the place it was drawn from, which orders rows independently of when they were drawn.
type drawn struct {
	row
	source, pass, block, at int
	entry                   formatEntry
	names                   map[string]string
	repaired                bool // held invalid UTF-8
}

// finished counts the whole passes that are done.
func (r *reader) finished() int {
	if len(r.blocks) == 0 {
		return math.MaxInt
	}
	return r.place.Block / len(r.blocks)
}

// done says whether the reader has found its end.
func (r *reader) done() bool { return float64(r.finished()) >= r.passes }

// current is the block to read.
func (r *reader) current() int {
	pass := r.finished()
	if r.sorted == nil || pass != r.pass {
		r.pass, r.sorted = pass, r.order(pass, len(r.blocks))
	}
	return r.sorted[r.place.Block%len(r.blocks)]
}

// next returns the next row that is accepted; ok is false at the end.
func (r *reader) next() (_ drawn, ok bool, _ error) {
	start := r.finished()
	for !r.done() {
		if r.finished() > start+1 {
			return drawn{}, false, fmt.Errorf("%s: expected rows, found none that where and filter keep", r.Path)
		}
		step := r.forward
		if r.direct != nil {
			step = r.jump
		}
		got, index, at, ok, err := step()
		if err != nil {
			return drawn{}, false, err
		}
		if !ok {
			continue
		}
		if part := r.passes - float64(r.pass); part < 1 && r.rng.Sub(uint64(index)).Float64(uint64(at)) >= part && !r.all {
			continue
		}
		if r.dropped[[2]int{index, at}] {
			r.duplicates++
			continue
		}
		entry := r.formats[r.blocks[index].file]
		v := r.verdict(got, entry)
		if v.err != nil {
			return drawn{}, false, fmt.Errorf("%s: %w", got.where(got.i), v.err)
		}
		if v.filtered {
			r.filtered++
		}
		if v.keep {
			r.place.Taken++
			return drawn{got, r.index, r.pass, index, at, entry, r.Columns, got.repaired[got.i]}, true, nil
		}
	}
	return drawn{}, false, nil
}

// share is about what part of a pass in the order of the files has been read.
func (r *reader) share() float64 {
	read, all := int64(0), int64(1)
	for i, ref := range r.blocks {
		blocks := r.files[ref.file].blocks()
		b := blocks[ref.block]
		all += b.bytes
		if i < r.place.Block {
			read += b.bytes
		}
		if i != r.place.Block {
			continue
		}
		if _, codec := codecOf(strings.ToLower(r.paths[ref.file])); b.rows > 0 {
			read += int64(float64(b.bytes) * float64(r.place.Row) / float64(b.rows))
		} else if codec == nil { // offsets count bytes of the file
			begin := int64(0)
			for _, before := range blocks[:ref.block] {
				begin += before.bytes
			}
			read += max(0, min(b.bytes, r.place.Offset-begin))
		}
	}
	return float64(read) / float64(all)
}

// forward reads the row after the last one and says where it stands; ok is false when it went on to another batch or block
// instead.
func (r *reader) forward() (_ row, index, at int, ok bool, err error) {
	index = r.current()
	ref := r.blocks[index]
	if r.cut >= 0 && index == len(r.blocks)-1 && r.place.Row >= r.cut {
		r.nextBlock(0)
		return row{}, 0, 0, false, nil
	}
	if r.open == nil {
		if r.open, err = r.files[ref.file].open(ref.block, r.place.mark(), r.keeps[ref.file]); err != nil {
			r.open = nil
			return row{}, 0, 0, false, err
		}
	}
	if r.batch.RecordBatch == nil || r.i >= int(r.batch.NumRows()) {
		b, err := r.open.next()
		if err == io.EOF {
			r.nextBlock(b.lines)
			err = nil
		} else if err == nil {
			r.judge(b, r.formats[ref.file])
		}
		return row{}, 0, 0, false, err
	}
	got := row{r.batch, r.i}
	at = r.place.Row
	r.place.pass(r.batch, r.i)
	r.i++
	return got, index, at, true, nil
}

// judge takes a batch and decides about its rows on all processors.
func (r *reader) judge(b batch, entry formatEntry) {
	r.batch, r.i, r.judged = b, 0, make([]verdict, b.NumRows())
	parallel(len(r.judged), func(i int) {
		v := &r.judged[i]
		v.keep, v.filtered, v.err = r.accepts(row{b, i}, entry, !r.all)
	})
}

func (r *reader) verdict(got row, entry formatEntry) (v verdict) {
	if r.direct == nil {
		return r.judged[got.i]
	}
	v.keep, v.filtered, v.err = r.accepts(got, entry, !r.all)
	return v
}

// jump reads the next row of the permutation; ok is false at the end of a pass.
func (r *reader) jump() (_ row, index, at int, ok bool, err error) {
	r.pass = r.finished()
	if r.place.Row >= r.direct.rows() {
		r.place = Place{Block: r.place.Block + len(r.blocks), Taken: r.place.Taken}
		return row{}, 0, 0, false, nil
	}
	got, index, at, err := r.direct.at(r.pass, r.place.Row)
	r.place.Row++
	return got, index, at, err == nil, err
}

// counted adds what was passed over to the statistics, once.
func (r *reader) counted(st *Stats) {
	st.Filtered += r.filtered
	st.Duplicates += r.duplicates
	r.filtered, r.duplicates = 0, 0
}

// chunks calls f for the rows that are left, up to chunkRows and about chunkBytes at a time.
func (r *reader) chunks(ctx context.Context, f func([]drawn) error) error {
	for done := false; !done; {
		r.forget()
		var chunk []drawn
		for bytes := 0; len(chunk) < chunkRows && bytes < chunkBytes && !done; {
			d, ok, err := r.next()
			if err != nil {
				return err
			}
			if done = !ok; ok {
				chunk, bytes = append(chunk, d), bytes+d.size()
			}
		}
		if ctx.Err() != nil {
			return errCanceled
		}
		if err := f(chunk); err != nil {
			return err
		}
	}
	return nil
}

// forget gives memory of mapped files back that the rows before took.
func (r *reader) forget() {
	for _, f := range r.files {
		if a, ok := f.(*arrowFile); ok {
			forget(a.mapped)
		}
	}
}

// nextBlock goes on to the next block. When it follows in the file too, the lines before it are known.
func (r *reader) nextBlock(lines int) {
	r.close()
	next := Place{Block: r.place.Block + 1, Taken: r.place.Taken}
	if i := r.place.Block % len(r.blocks); i+1 < len(r.blocks) {
		last := r.blocks[r.sorted[i]]
		if r.blocks[r.sorted[i+1]] == (blockRef{last.file, last.block + 1}) {
			next.Line = lines
		}
	}
	r.place = next
}

// seek continues at a place.
func (r *reader) seek(p Place) error {
	end := float64(len(r.blocks)) * math.Ceil(r.passes)
	if p.Block < 0 || p.Row < 0 || p.Offset < 0 || p.Line < 0 || float64(p.Block) > end {
		return hint.Errorf("the data or its settings have changed since the state was saved",
			"%s: expected a place among %v blocks, found block %d, row %d", r.Path, end, p.Block, p.Row)
	}
	r.close()
	r.place = p
	return nil
}

func (r *reader) close() {
	if r.open != nil {
		r.open.close()
	}
	r.open, r.batch, r.judged, r.i = nil, batch{}, nil, 0
}
