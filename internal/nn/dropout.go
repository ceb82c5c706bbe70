package nn

import (
	"math"

	"tune/internal/graph"
	"tune/internal/rng"
	"tune/kernels"
)

// dropout drops values of a matrix with probability p and scales the rest by 1/(1-p) (Srivastava et al. 2014). Which ones depends
// on the step's key, the salt and the place alone, so the backward draws the same mask again. p is rounded to a multiple of 2⁻¹⁶.
//
// The stream's key starts SplitMix64 (Steele et al. 2014), whose i-th number is a function of i: it decides values 4i to 4i+3 of
// the matrix, rows being padded to a multiple of four, 16 bits each. A mask is drawn three times a step for each adapter, and
// Philox would take longer than the products.
type dropout struct {
	p    float32
	salt uint64
	rng  int // input
}

func (in *ins) dropout(l *LoRA) dropout {
	if l.Dropout == 0 {
		return dropout{rng: -1}
	}
	if l.Rng == nil || l.Rng.Shape().Size() != 2 || !(l.Dropout > 0 && l.Dropout < 1) {
		panic("nn: dropout needs 0 < p < 1 and a key of two integers")
	}
	return dropout{l.Dropout, l.Salt, in.add(l.Rng)}
}

func (d dropout) on() bool { return d.p > 0 }

// mask is a dropout under a step's key.
type mask struct {
	key   uint64
	limit uint32 // a value is dropped when its 16 bits are below
	scale float32
}

// mask of the key of an Ints node.
func (d dropout) mask(key []int32) mask {
	s := rng.FromKey(uint64(uint32(key[1]))<<32 | uint64(uint32(key[0]))).Sub(d.salt)
	limit := uint32(d.p*65536 + 0.5)
	return mask{s.Key(), limit, 65536 / float32(65536-min(limit, 65535))}
}

// draw is the i-th number of SplitMix64.
func (m *mask) draw(i uint64) uint64 {
	z := m.key + (i+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// keep is x·scale, or 0 when the low 16 bits of r say so.
func (m *mask) keep(x float32, r uint64) float32 {
	kept := uint32(int32(m.limit-1-uint32(r&0xffff)) >> 31) // all ones from limit on
	return math.Float32frombits(math.Float32bits(x*m.scale) & kept)
}

// row writes x, the values of row i of the masked matrix, to dst; dst may be x.
func (m *mask) row(i int, dst, x []float32) {
	n := len(x)
	at := uint64(i) * uint64((n+3)/4)
	for len(x) >= 4 {
		r := m.draw(at)
		v, y := x[:4:4], dst[:4:4]
		y[0], y[1], y[2], y[3] = m.keep(v[0], r), m.keep(v[1], r>>16), m.keep(v[2], r>>32), m.keep(v[3], r>>48)
		x, dst = x[4:], dst[4:]
		at++
	}
	if len(x) > 0 {
		r := m.draw(at)
		for k, v := range x {
			dst[k] = m.keep(v, r>>(16*k))
		}
	}
}

// rows masks x (n, width) into dst; with sum the result, made in x, is added to sum instead.
func (d dropout) rows(a *graph.Args, n, width int, dst, x, sum []float32) func() {
	var m mask
	run := rowsOf(a.Pool, n, width, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			from, to := i*width, (i+1)*width
			m.row(i, dst[from:to], x[from:to])
			if sum != nil {
				kernels.Add(sum[from:to], sum[from:to], dst[from:to])
			}
		}
	})
	return func() {
		m = d.mask(a.Int[d.rng])
		run()
	}
}
