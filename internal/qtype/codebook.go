package qtype

import (
	"math"
	"sync"
)

// A codebook is the set of points that an IQ type can store for 4 or 8 neighbouring magnitudes. A point is a word of codes,
// bits of each, the first in the low bits; a code c stands for the odd number 2c+1.
type codebook struct {
	bits, dims int
	points     []uint16
	index      []int32 // word to index of its point; -1-k: not a point, candidates near[k]
	near       []candidates
}

// candidates are the points at the few smallest distances from a word, by distance and index.
type candidates struct {
	points []uint16 // indices
	codes  []uint8  // code of dimension d of candidate c at (c/8·dims + d)·8 + c%8; the last one fills up the eight
}

func (c *codebook) newCandidates(list []uint16) candidates {
	codes := make([]uint8, (len(list)+7)/8*8*c.dims)
	var one [8]uint8
	for i := range len(codes) / c.dims {
		c.unpack(one[:], c.points[list[min(i, len(list)-1)]])
		for d := range c.dims {
			codes[(i/8*c.dims+d)*8+i%8] = one[d]
		}
	}
	return candidates{list, codes}
}

// newCodebook finds for every word of codes 0 ... top-1 that is no point the points at its wanted smallest distances.
func newCodebook(bits, dims, top, wanted int, points []uint16) *codebook {
	c := &codebook{bits: bits, dims: dims, points: points, index: make([]int32, 1<<(bits*dims))}
	for i := range c.index {
		c.index[i] = -1
	}
	for i, p := range points {
		c.index[p] = int32(i)
	}
	half := bits * dims / 2
	apart := halfDistances(bits, dims/2)
	dist := make([]uint8, len(points))
	var count [256]int
	for word := range c.index {
		if c.index[word] >= 0 || !c.reachable(word, top) {
			continue
		}
		clear(count[:])
		mask := 1<<half - 1
		low, high := apart[(word&mask)<<half:][:1<<half], apart[word>>half<<half:][:1<<half]
		for i, p := range points {
			d := low[int(p)&mask] + high[p>>half]
			dist[i] = d
			count[d]++
		}
		var list []uint16
		for d, have := 0, 0; d < len(count) && have < wanted; d++ {
			if count[d] == 0 {
				continue
			}
			have++
			for i, v := range dist {
				if int(v) == d {
					list = append(list, uint16(i))
				}
			}
		}
		c.index[word] = int32(-1 - len(c.near))
		c.near = append(c.near, c.newCandidates(list))
	}
	return c
}

// halfDistances has the sum of squared differences of two words of dims codes, a and b, at a<<(bits·dims) + b. Twice the
// largest one, 2·2·49 for IQ3 and 2·4·9 for the others, fits a byte.
func halfDistances(bits, dims int) []uint8 {
	n := bits * dims
	table := make([]uint8, 1<<(2*n))
	for i := range table {
		a, b := i>>n, i&(1<<n-1)
		for range dims {
			d := uint8(a&(1<<bits-1) - b&(1<<bits-1))
			table[i] += d * d
			a, b = a>>bits, b>>bits
		}
	}
	return table
}

func (c *codebook) reachable(word, top int) bool {
	for ; word > 0; word >>= c.bits {
		if word&(1<<c.bits-1) >= top {
			return false
		}
	}
	return true
}

// word packs codes.
func (c *codebook) word(codes []uint8) (w uint16) {
	for i, v := range codes[:c.dims] {
		w |= uint16(v) << (i * c.bits)
	}
	return w
}

// unpack is the inverse of word.
func (c *codebook) unpack(codes []uint8, point uint16) {
	bits := c.bits & 3 // 2 or 3: the mask saves the test for a long shift
	mask := uint16(1)<<bits - 1
	for i := range codes[:c.dims] {
		codes[i] = uint8(point & mask)
		point >>= bits
	}
}

// snap replaces codes that are no point by the candidate of least Σ w·(scale·q - x)². It returns the index of the point and
// whether the codes were one. Candidate codes c stand for value(c).
func (c *codebook) snap(codes []uint8, x, w []float32, scale float32, value *[8]float32) (index int, exact bool) {
	at := c.index[c.word(codes)]
	if at >= 0 {
		return int(at), true
	}
	list := &c.near[-1-at]
	found := list.points[nearestPoint(list, c.dims, x, w, scale, value)]
	c.unpack(codes, c.points[found])
	return int(found), false
}

// nearestPointPlain gives the place of the first candidate of least Σ w·(scale·value - x)², the first of all when no sum is
// finite.
func nearestPointPlain(list *candidates, dims int, x, w []float32, scale float32, value *[8]float32) (place int) {
	var scaled [8]float32
	for i, v := range value {
		scaled[i] = scale * v
	}
	best := float32(math.MaxFloat32)
	x, w = x[:dims], w[:dims]
	for i := range list.points {
		codes := list.codes[i/8*8*dims+i%8:]
		var sum float32
		for d, v := range x {
			diff := scaled[codes[8*d]&7] - v
			sum += float32(w[d] * diff * diff)
		}
		if sum < best {
			best, place = sum, i
		}
	}
	return place
}

// The codebooks are made at first use; they depend on nothing but the tables.
var (
	bookIQ2_XXS = sync.OnceValue(func() *codebook { return newCodebook(2, 8, 3, 2, gridIQ2_XXS[:]) })
	bookIQ2_XS  = sync.OnceValue(func() *codebook { return newCodebook(2, 8, 3, 2, gridIQ2_XS[:]) })
	bookIQ2_S   = sync.OnceValue(func() *codebook { return newCodebook(2, 8, 3, 1, gridIQ2_S[:]) })
	bookIQ1     = sync.OnceValue(func() *codebook { return newCodebook(2, 8, 3, 3, gridIQ1[:]) })
	bookIQ3_XXS = sync.OnceValue(func() *codebook { return newCodebook(3, 4, 8, 2, gridIQ3_XXS[:]) })
	bookIQ3_S   = sync.OnceValue(func() *codebook { return newCodebook(3, 4, 8, 3, gridIQ3_S[:]) })
)

// odd are the numbers that codes stand for in IQ2 and IQ3.
var odd = [8]float32{1, 3, 5, 7, 9, 11, 13, 15}

// A codebookSearch finds scale, signs and points of a group of 16 or 32 values.
type codebookSearch struct {
	book   *codebook
	top    int32   // codes are 0 ... top-1
	steps  int     // grids -steps ... steps around the one that maps the largest magnitude to the largest code
	step   float32 // distance of two grids, in units of a value
	least  float32 // below this magnitude a group is zero
	parity bool    // the number of minus signs of 8 values is even, the eighth is not stored
	fit    bool    // the grids start from a weighted fit of the magnitudes instead of the largest
	always bool    // the points are chosen again under the final scale whether all codes were points or not
	whole  bool    // all points are chosen again, not only those of codes that were none
}

// group is the state of one search.
type group struct {
	x, w     []float32 // signed values, weights
	mag, aux [32]float32
	codes    [32]uint8
	signs    [4]uint8
	index    [8]uint16
}

// splitSigns fills magnitudes and signs. With parity the value that costs least has its sign turned where needed.
func (s *codebookSearch) splitSigns(g *group) {
	for k := range len(g.x) / 8 {
		x, w, mag := g.x[8*k:][:8], g.w[8*k:][:8], g.mag[8*k:][:8]
		var sign uint8
		flips := 0
		for i, v := range x {
			if v >= 0 {
				mag[i] = v
			} else {
				mag[i] = -v
				flips++
				sign |= 1 << i
			}
		}
		if s.parity {
			if flips%2 != 0 {
				least := 0
				cost := w[0] * x[0] * x[0]
				for i := 1; i < 8; i++ {
					if c := w[i] * x[i] * x[i]; c < cost {
						cost, least = c, i
					}
				}
				mag[least] = -mag[least]
				sign ^= 1 << least
			}
			sign &= 127
		}
		g.signs[k] = sign
	}
}

// oddSums returns Σ w·x·q and Σ w·q² of the numbers q = 2·code+1.
func oddSums(codes []uint8, x, w []float32) (qx, qq float32) {
	codes, w = codes[:len(x)], w[:len(x)]
	for i, v := range x {
		q := odd[codes[i]&7]
		qx += float32(w[i] * v * q)
		qq += float32(w[i] * q * q)
	}
	return qx, qq
}

// roundOddPlain fills codes 0 ... high with those of the odd numbers nearest inv·x.
func roundOddPlain(codes []uint8, x []float32, inv float32, high int32) {
	codes = codes[:len(x)]
	for i, v := range x {
		codes[i] = uint8(max(0, min(high, nearest(0.5*(float32(inv*v)-1)))))
	}
}

// start gives the largest value that the grids are built on and the first scale; false: the group is zero.
func (s *codebookSearch) start(g *group) (peak, scale float32, ok bool) {
	n := len(g.x)
	peak = g.mag[0]
	for _, v := range g.mag[1:n] {
		if v > peak {
			peak = v
		}
	}
	if peak < s.least {
		return 0, 0, false
	}
	if !s.fit {
		return peak, peak / float32(2*s.top-1), true
	}
	scale = searchPositive(s.top+1, g.mag[:n], g.w, g.codes[:n])
	peak = scale * float32(s.top)
	return peak, scale, !(peak <= 0)
}

// run fills g.signs and g.index and returns the scale, false for a zero group.
func (s *codebookSearch) run(g *group) (scale float32, ok bool) {
	n, dims := len(g.x), s.book.dims
	s.splitSigns(g)
	for i, w := range g.w {
		g.aux[i] = sqrt32(w)
	}
	peak, scale, ok := s.start(g)
	if !ok {
		return 0, false
	}
	clear(g.codes[:n])
	var exact, exactNow [8]bool
	for k := range exact {
		exact[k] = !s.whole
	}
	var best float32
	var codes [32]uint8
	for step := -s.steps; step <= s.steps; step++ {
		inv := (float32(2*s.top-1) + float32(float32(step)*s.step)) / peak
		roundOdd(codes[:], g.mag[:n], inv, s.top-1)
		for k := 0; k < n; k += dims {
			_, exactNow[k/dims] = s.book.snap(codes[k:], g.mag[k:], g.aux[k:], 1/inv, &odd)
		}
		qx, qq := oddSums(codes[:], g.mag[:n], g.w)
		if qq > 0 && qx*qx > best*qq {
			scale = qx / qq
			best, exact, g.codes = scale*qx, exactNow, codes
		}
	}
	scale = s.again(g, scale, &exact)
	if scale < 0 { // scales are stored without sign
		scale = -scale
		for k := range g.signs {
			g.signs[k] = ^g.signs[k]
			if s.parity {
				g.signs[k] &= 127
			}
		}
	}
	for k := 0; k < n; k += dims {
		g.index[k/dims] = uint16(max(0, s.book.index[s.book.word(g.codes[k:])]))
	}
	return scale, true
}

// again chooses points once more under the scale found and fits that to them.
func (s *codebookSearch) again(g *group, scale float32, exact *[8]bool) float32 {
	n, dims := len(g.x), s.book.dims
	off := s.always
	for k := range n / dims {
		off = off || !exact[k]
	}
	if !off || !(scale > 0) {
		return scale
	}
	inv := 1 / scale
	for k := 0; k < n; k += dims {
		if exact[k/dims] && !s.always && !s.whole {
			continue
		}
		roundOddPlain(g.codes[k:], g.mag[k:k+dims], inv, s.top-1)
		s.book.snap(g.codes[k:], g.mag[k:], g.aux[k:], scale, &odd)
	}
	if qx, qq := oddSums(g.codes[:], g.mag[:n], g.w); qq > 0 {
		return qx / qq
	}
	return scale
}

// halfScale is the 4-bit code l of a scale (l + 1/2)·2·d.
func halfScale(scale, inv float32, top int32) uint8 {
	return uint8(max(0, min(top, nearest(0.5*(float32(inv*scale)-1)))))
}

// larger keeps the larger of two scales.
func larger(a, b float32) float32 {
	if a > b {
		return a
	}
	return b
}

// evenSigns has the eighth sign for seven: it makes the number of minus signs even.
var evenSigns = func() (table [128]uint8) {
	for i := range table {
		s := uint8(i)
		parity := s ^ s>>4
		parity ^= parity >> 2
		parity ^= parity >> 1
		table[i] = s | parity&1<<7
	}
	return table
}()
