package nn

import (
	"tune/internal/graph"
	"tune/internal/rng"
	"tune/kernels"
)

// dropout drops values of a matrix with probability p and scales the rest by 1/(1-p) (Srivastava et al. 2014). Which ones depends
// on the step's key, the salt and the place alone, so the backward draws the same mask again. p is rounded to a multiple of 2⁻¹⁵.
//
// The stream's key starts SplitMix64 (Steele et al. 2014), whose i-th number is a function of i: it decides values 4i to 4i+3 of
// the matrix, rows being padded to a multiple of four, by the low 15 bits of each of its 16-bit lanes. A mask is drawn three times a step for each adapter, and
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
	key    uint64
	limit  uint64         // a value is dropped when its 15 bits are below; in all four lanes
	factor [16][4]float32 // 0 or 1/(1-p) for four values, by their four bits
}

const (
	lanes   = 0x0001_0001_0001_0001 // the lowest bit of each lane
	tops    = lanes << 15           // the highest
	collect = 1<<48 | 1<<33 | 1<<18 | 1<<3
)

// mask of the key of an Ints node.
func (d dropout) mask(key []int32) (m mask) {
	m.key = rng.FromKey(uint64(uint32(key[1]))<<32 | uint64(uint32(key[0]))).Sub(d.salt).Key()
	limit := min(uint64(d.p*32768+0.5), 32767)
	m.limit = limit * lanes
	for i := range m.factor {
		for k := range 4 {
			if i>>k&1 == 1 {
				m.factor[i][k] = 32768 / float32(32768-limit)
			}
		}
	}
	return m
}

// draw gives the factors of values 4i to 4i+3.
func (m *mask) draw(i uint64) *[4]float32 {
	z := m.key + (i+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	kept := ((z | tops) - m.limit) & tops       // the top bit of a lane survives from limit on
	return &m.factor[(kept>>15)*collect>>48&15] // bit k is that of lane k
}

// row writes x, the values of row i of the masked matrix, to dst; dst may be x.
func (m *mask) row(i int, dst, x []float32) {
	at := uint64(i) * uint64((len(x)+3)/4)
	for len(x) >= 4 {
		f := m.draw(at)
		v, y := x[:4:4], dst[:4:4]
		y[0], y[1], y[2], y[3] = v[0]*f[0], v[1]*f[1], v[2]*f[2], v[3]*f[3]
		x, dst = x[4:], dst[4:]
		at++
	}
	if len(x) > 0 {
		f := m.draw(at)
		for k, v := range x {
			dst[k] = v * f[k]
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
