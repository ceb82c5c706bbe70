package data

import (
	"sort"

	"tune/internal/rng"
)

// direct is a source whose rows can be read in any order: mapped Arrow files whose buffers are not compressed. A shuffled
// epoch of it is an exact permutation of all its rows, whatever their number.
type direct struct {
	*source
	starts  []int // (blocks + 1): rows before each block
	batches map[int]batch
}

// maxBatches bounds the record batches that are kept open; each takes some kilobytes beside its mapped buffers.
const maxBatches = 1024

// newDirect returns nil for a source that cannot be read so.
func newDirect(o *source) *direct {
	d := &direct{source: o, starts: []int{0}, batches: map[int]batch{}}
	for i, ref := range o.blocks {
		a, ok := o.files[ref.file].(*arrowFile)
		if !ok || a.packed || a.mapped == nil {
			return nil
		}
		n := int(a.infos[ref.block].rows)
		if o.cut >= 0 && i == len(o.blocks)-1 {
			n = o.cut
		}
		d.starts = append(d.starts, d.starts[i]+n)
	}
	return d
}

func (d *direct) rows() int { return d.starts[len(d.starts)-1] }

// row returns the i-th row and its place.
func (d *direct) row(i int) (_ row, block, at int, _ error) {
	block = sort.SearchInts(d.starts, i+1) - 1
	b, ok := d.batches[block]
	if !ok {
		ref := d.blocks[block]
		var err error
		if b, err = d.files[ref.file].(*arrowFile).whole(ref.block); err != nil {
			return row{}, 0, 0, err
		}
		if len(d.batches) == maxBatches {
			clear(d.batches)
		}
		d.batches[block] = b
	}
	at = i - d.starts[block]
	return row{b, at}, block, at, nil
}

// permuted reads a direct source in an order of its own for each pass.
type permuted struct {
	*direct
	random  rng.Stream
	pass    int // of shuffle
	shuffle rng.Shuffle
}

// at returns the i-th row of a pass.
func (p *permuted) at(pass, i int) (row, int, int, error) {
	if pass != p.pass {
		p.pass, p.shuffle = pass, p.random.Sub(uint64(pass)).Shuffle(p.rows())
	}
	return p.row(p.shuffle.At(i))
}
