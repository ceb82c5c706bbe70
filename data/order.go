package data

import (
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"slices"
	"strings"

	"tune/internal/hint"
	"tune/internal/rng"
)

// source is an opened Source.
type source struct {
	Source
	index   int
	paths   []string
	files   []file
	formats []formatEntry // per file
	keeps   []func(string) bool
	blocks  []blockRef
	conds   []condition
	share   float64 // rows whose hash is below are valid ...
	valid   bool    // ... and this stream wants those, or the others
	// cut is the number of rows of the last block that limit leaves, -1 for all.
	cut int
}

type blockRef struct{ file, block int }

// openSource opens the files of a source and finds the format of each.
func openSource(s Source, index int, c Config, cache, split string) (_ *source, err error) {
	o := &source{Source: s, index: index, cut: -1}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if o.conds, err = parseWhere(s.Where); err != nil {
		return nil, err
	}
	if o.paths, err = s.paths(cache, split); err != nil {
		return nil, err
	}
	for i, p := range o.paths {
		b, err := openLocal(p)
		if err != nil {
			return nil, err
		}
		f, err := openFile(p, b, c)
		if err != nil {
			return nil, err
		}
		o.files = append(o.files, f)
		for b := range f.blocks() {
			o.blocks = append(o.blocks, blockRef{i, b})
		}
		columns := f.columns()
		if columns == nil {
			if columns, err = firstColumns(f); err != nil {
				return nil, err
			}
		}
		if len(columns) == 0 { // an empty file has no rows to be wrong about
			o.formats, o.keeps = append(o.formats, formatEntry{}), append(o.keeps, nil)
			continue
		}
		entry, err := pickFormat(s, columns)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		for _, cond := range o.conds {
			if f.columns() != nil && !slices.Contains(columns, cond.column) {
				return nil, fmt.Errorf("%s: where: expected a column %s, found %s", p, cond.column, strings.Join(columns, ", "))
			}
		}
		o.formats, o.keeps = append(o.formats, entry), append(o.keeps, o.keep(entry))
	}
	if s.Limit > 0 {
		return o, o.limit()
	}
	return o, nil
}

// paths lists the files of a source.
func (s Source) paths(cache, split string) ([]string, error) {
	if name, ok := strings.CutPrefix(s.Path, "builtin:"); ok {
		return builtinPaths(name, s.Format, cache, split)
	}
	return expand(s.Path)
}

// keep tells the columns that a format and the where clause read.
func (o *source) keep(entry formatEntry) func(string) bool {
	var names []string
	for _, key := range entry.columns {
		names = append(names, columnName(o.Columns, key))
	}
	for _, c := range o.conds {
		names = append(names, c.column)
	}
	return func(name string) bool { return slices.Contains(names, name) }
}

// firstColumns are the columns of the first rows of a file.
func firstColumns(f file) ([]string, error) {
	for b := range f.blocks() {
		r, err := f.open(b, mark{}, nil)
		if err != nil {
			return nil, err
		}
		got, err := r.next()
		r.close()
		if err == io.EOF {
			continue
		}
		if err != nil {
			return nil, err
		}
		var names []string
		for _, f := range got.Schema().Fields() {
			names = append(names, f.Name)
		}
		return names, nil
	}
	return nil, nil
}

// limit finds where the first Limit rows that where keeps end, and drops the blocks after that.
func (o *source) limit() error {
	r := &reader{source: o, order: identity(len(o.blocks)), passes: 1}
	defer r.close()
	r.all = true
	for n := 0; n < o.Limit; n++ {
		_, ok, err := r.next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
	}
	if r.place.Block < len(o.blocks) {
		o.blocks, o.cut = o.blocks[:r.place.Block+1], r.place.Row
	}
	return nil
}

func (o *source) close() {
	for _, f := range o.files {
		f.close()
	}
}

// size is about how many rows there are, for mixing sources.
func (o *source) size() float64 {
	const bytesPerRow = 512 // where a file does not say how many rows it has
	n := 0.0
	for _, ref := range o.blocks {
		b := o.files[ref.file].blocks()[ref.block]
		if b.rows >= 0 {
			n += float64(b.rows)
		} else {
			n += float64(b.bytes)/bytesPerRow + 1
		}
	}
	return n
}

// accepts says whether a row passes the where clause and is of the wanted side of a split by hash.
func (o *source) accepts(r row, entry formatEntry, bySplit bool) (bool, error) {
	for _, c := range o.conds {
		v, err := r.plain(c.column)
		if err != nil {
			return false, err
		}
		if (v == c.value) == c.not {
			return false, nil
		}
	}
	if o.share == 0 || !bySplit {
		return true, nil
	}
	h := fnv.New64a()
	for _, key := range entry.columns {
		v, err := r.plain(columnName(o.Columns, key))
		if err != nil {
			return false, err
		}
		fmt.Fprintf(h, "%d:%s", len(v), v)
	}
	return (rng.FromKey(h.Sum64()).Float64(0) < o.share) == o.valid, nil
}

func identity(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	return p
}

// reader goes through a source once per epoch, in an order of blocks.
type reader struct {
	*source
	order  []int      // blocks of all passes, one pass after another
	passes float64    // the last pass may be a part of one
	rng    rng.Stream // chooses the rows of a part of a pass
	all    bool       // without the split by hash
	place  Place
	open   batchReader
	batch  batch
	i      int // next row of batch
}

// newReader starts an epoch. A negative epoch is one in file order.
func newReader(o *source, seed uint64, epoch int, shuffled bool) *reader {
	r := &reader{source: o, passes: o.Weight, rng: rng.New(seed, "data/passes").Sub(uint64(epoch)).Sub(uint64(o.index))}
	for pass := range int(math.Ceil(o.Weight)) {
		if shuffled {
			p := rng.New(seed, "data/blocks").Sub(uint64(epoch)).Sub(uint64(o.index)).Sub(uint64(pass)).Perm(len(o.blocks))
			r.order = append(r.order, p...)
		} else {
			r.order = append(r.order, identity(len(o.blocks))...)
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

// done says whether the reader has found its end.
func (r *reader) done() bool { return r.place.Block >= len(r.order) }

// next returns the next row that is accepted; ok is false at the end.
func (r *reader) next() (_ drawn, ok bool, _ error) {
	for !r.done() {
		index := r.order[r.place.Block]
		ref := r.blocks[index]
		last := r.cut >= 0 && index == len(r.blocks)-1
		if last && r.place.Row >= r.cut {
			r.nextBlock()
			continue
		}
		if r.open == nil {
			open, err := r.files[ref.file].open(ref.block, r.place.mark(), r.keeps[ref.file])
			if err != nil {
				return drawn{}, false, err
			}
			r.open = open
		}
		if r.batch.RecordBatch == nil || r.i >= int(r.batch.NumRows()) {
			b, err := r.open.next()
			if err == io.EOF {
				r.nextBlock()
				continue
			}
			if err != nil {
				return drawn{}, false, err
			}
			r.batch, r.i = b, 0
			continue
		}
		got := row{r.batch, r.i}
		at := r.place.Row
		r.place.pass(r.batch, r.i)
		r.i++
		pass := r.place.Block / len(r.blocks)
		if part := r.passes - float64(pass); part < 1 && r.rng.Sub(uint64(index)).Float64(uint64(at)) >= part && !r.all {
			continue
		}
		entry := r.formats[ref.file]
		ok, err := r.accepts(got, entry, !r.all)
		if err != nil {
			return drawn{}, false, fmt.Errorf("%s: %w", got.key(got.i), err)
		}
		if ok {
			r.place.Taken++
			return drawn{got, r.index, pass, index, at, entry, r.Columns, got.repaired[got.i]}, true, nil
		}
	}
	return drawn{}, false, nil
}

func (r *reader) nextBlock() {
	r.close()
	r.place = Place{Block: r.place.Block + 1, Taken: r.place.Taken}
}

// seek continues at a place.
func (r *reader) seek(p Place) error {
	if p.Block < 0 || p.Row < 0 || p.Offset < 0 || p.Line < 0 || p.Block > len(r.order) {
		return hint.Errorf("the data or its settings have changed since the state was saved",
			"%s: expected a place among %d blocks, found block %d, row %d", r.Path, len(r.order), p.Block, p.Row)
	}
	r.close()
	r.place = p
	return nil
}

func (r *reader) close() {
	if r.open != nil {
		r.open.close()
	}
	r.open, r.batch, r.i = nil, batch{}, 0
}
