package solve

import (
	"math"

	"tune/internal/grouped"
)

// IntsOptions describe a grid of integers with a scale, and a zero unless symmetric, for each group of columns.
type IntsOptions struct {
	Bits      int  // 2, 3, 4 or 8
	Group     int  // columns of a group
	Symmetric bool // codes around 2^(Bits-1); else each group has its own zero
	// Search is how many smaller ranges are tried for each group, down to half of it: the one with the least sum of squared
	// errors, weighted by Weight, is taken. 0: the whole range.
	Search int
	Weight []float64               // (columns); nil: all alike
	Store  func(s float64) float64 // rounds a scale to what the file can hold; nil: not at all
	// Sorted makes groups of runs of this order of the columns instead of neighbours (act-order with an index in the file).
	Sorted []int32
	Static bool // scales are fixed by Fix before anything is rounded
}

// Ints is a Grid of integers.
type Ints struct {
	IntsOptions
	out, in int
	groups  int
	groupOf []int32
	scale   []float64 // (out, groups)
	zero    []float64 // (out, groups)
	codes   []uint8   // (out, in)
	fit     func(w, weight []float64) (scale, zero float64)
}

// NewInts makes the grid of a matrix (out, in).
func NewInts(out, in int, o IntsOptions) *Ints {
	g := &Ints{IntsOptions: o, out: out, in: in, groups: (in + o.Group - 1) / o.Group, groupOf: make([]int32, in), codes: make([]uint8, out*in)}
	g.scale, g.zero = make([]float64, out*g.groups), make([]float64, out*g.groups)
	for i := range g.groupOf {
		g.groupOf[i] = int32(i / o.Group)
	}
	for i, c := range o.Sorted {
		g.groupOf[c] = int32(i / o.Group)
	}
	g.fit = g.fitAffine
	if o.Symmetric {
		g.fit = g.fitSymmetric
	}
	return g
}

// Run implements Grid.
func (g *Ints) Run() int {
	if g.Static {
		return 0
	}
	return g.Group
}

// Fix fixes all scales from the weights (out, in).
func (g *Ints) Fix(w []float32) {
	x, weight := make([]float64, g.Group), make([]float64, g.Group)
	order := g.Sorted
	if order == nil {
		order = natural(g.in)
	}
	for r := range g.out {
		for at := 0; at < g.in; at += g.Group {
			cols := order[at:min(at+g.Group, g.in)]
			for i, c := range cols {
				x[i] = float64(w[r*g.in+int(c)])
			}
			g.set(r, cols, x[:len(cols)], weight)
		}
	}
}

// Begin implements Grid.
func (g *Ints) Begin(row, rows int, columns []int32, w []float64, stride int) {
	x, weight := make([]float64, len(columns)), make([]float64, len(columns))
	for r := range rows {
		for i := range columns {
			x[i] = w[i*stride+r]
		}
		g.set(row+r, columns, x, weight)
	}
}

// set fixes the scale of the group of some columns of a row.
func (g *Ints) set(row int, columns []int32, x, weight []float64) {
	weight = weight[:len(columns)]
	for i, c := range columns {
		if weight[i] = 1; g.Weight != nil {
			weight[i] = g.Weight[c]
		}
	}
	at := row*g.groups + int(g.groupOf[columns[0]])
	g.scale[at], g.zero[at] = g.fit(x, weight)
}

// Round implements Grid.
func (g *Ints) Round(row, column int, q, w []float64) {
	at, top := int(g.groupOf[column]), float64(int(1)<<g.Bits-1)
	for r, v := range w {
		s, z := g.scale[(row+r)*g.groups+at], g.zero[(row+r)*g.groups+at]
		c := code(v, s, z, top)
		g.codes[(row+r)*g.in+column] = uint8(c)
		q[r] = (c - z) * s
	}
}

// code of v: the nearest of 0 ... top; halves go to even numbers before the zero is added.
func code(v, s, z, top float64) float64 {
	return min(max(math.RoundToEven(v/s)+z, 0), top)
}

// stored is a scale as the file holds it; one that would become 0 stays.
func (g *Ints) stored(s float64) float64 {
	if g.Store != nil {
		if x := g.Store(s); x > 0 {
			return x
		}
	}
	return s
}

// fitSymmetric: the largest weight is half a step outside of the codes at most.
func (g *Ints) fitSymmetric(w, weight []float64) (scale, zero float64) {
	most := 0.0
	for _, v := range w {
		most = max(most, math.Abs(v))
	}
	zero = float64(int(1) << (g.Bits - 1))
	if most == 0 {
		return g.stored(1), zero
	}
	whole := 2 * most / float64(int(1)<<g.Bits-1)
	return g.search(w, weight, func(shrink float64) (float64, float64) { return g.stored(shrink * whole), zero })
}

// minRange of a group whose weights are all alike.
const minRange = 1e-5

// fitAffine: codes from the smallest weight to the largest, zero among them.
func (g *Ints) fitAffine(w, weight []float64) (scale, zero float64) {
	lo, hi := 0.0, 0.0
	for _, v := range w {
		lo, hi = min(lo, v), max(hi, v)
	}
	top := float64(int(1)<<g.Bits - 1)
	return g.search(w, weight, func(shrink float64) (float64, float64) {
		s := g.stored(max(shrink*(hi-lo), minRange) / top)
		return s, min(max(-math.RoundToEven(shrink*lo/s), 0), top)
	})
}

// search tries smaller ranges.
func (g *Ints) search(w, weight []float64, try func(shrink float64) (scale, zero float64)) (scale, zero float64) {
	scale, zero = try(1)
	if g.Search == 0 {
		return scale, zero
	}
	least := g.loss(w, weight, scale, zero, math.Inf(1))
	for i := 1; i <= g.Search; i++ {
		s, z := try(1 - 0.5*float64(i)/float64(g.Search))
		if l := g.loss(w, weight, s, z, least); l < least {
			least, scale, zero = l, s, z
		}
	}
	return scale, zero
}

// loss is the weighted squared error of a group, or something above limit.
func (g *Ints) loss(w, weight []float64, s, z, limit float64) (sum float64) {
	inverse, least, most := 1/s, -z, float64(int(1)<<g.Bits-1)-z
	weight = weight[:len(w)]
	i := 0
	for ; i+4 <= len(w); i += 4 { // four at a time, whose errors do not wait for each other
		a, b := roundingError(w[i], inverse, least, most, s), roundingError(w[i+1], inverse, least, most, s)
		c, d := roundingError(w[i+2], inverse, least, most, s), roundingError(w[i+3], inverse, least, most, s)
		if sum += weight[i]*a*a + weight[i+1]*b*b + (weight[i+2]*c*c + weight[i+3]*d*d); sum > limit {
			return sum
		}
	}
	for ; i < len(w); i++ {
		d := roundingError(w[i], inverse, least, most, s)
		sum += weight[i] * d * d
	}
	return sum
}

// roundingError is the nearest multiple of s, from least to most times it, minus v.
func roundingError(v, inverse, least, most, s float64) float64 {
	const magic = 3 << 51 // rounds to even what is added to it; the conversion keeps the product from being fused
	q := float64(v*inverse) + magic - magic
	if q < least {
		q = least
	} else if q > most {
		q = most
	}
	return q*s - v
}

// Linear is the rounded matrix.
func (g *Ints) Linear() *grouped.Linear {
	l := &grouped.Linear{Out: g.out, In: g.in, Bits: g.Bits, Group: g.Group, Codes: g.codes, Scale: make([]float32, len(g.scale))}
	for i, s := range g.scale {
		l.Scale[i] = float32(s)
	}
	if !g.Symmetric {
		l.Zero = make([]uint8, len(g.zero))
		for i, z := range g.zero {
			l.Zero[i] = uint8(z)
		}
	}
	if g.Sorted != nil {
		l.GroupOf = g.groupOf
	}
	return l
}
