package packed

import (
	"math"

	"tune/internal/grouped"
	"tune/internal/qtype"
)

// Round takes a weight (out, in) to the nearest integers.
//
// compressed-tensors computes in the model's own type, bf16 included: the scale, the quotient w/scale and its sum with the zero are
// each rounded to it before the code is. That is followed, so that a file has the codes its library would have made. The other
// formats are computed in float32 with the scale as the file keeps it.
func (s *Scheme) Round(out, in int, rows Rows) (*grouped.Linear, error) {
	l := &grouped.Linear{Out: out, In: in, Bits: s.Bits, Group: s.GroupOf(in), Codes: make([]uint8, out*in)}
	groups := l.Groups()
	l.Scale = make([]float32, out*groups)
	if !s.Sym {
		l.Zero = make([]uint8, out*groups)
	}
	g := grid{bits: s.Bits, scale: s.ScaleType(), arith: qtype.F32}
	if s.Name != "" {
		g.arith = s.DType
	}
	x := make([]float32, in)
	for o := range out {
		if err := rows(x, o); err != nil {
			return nil, err
		}
		for k := range groups {
			w, codes := x[k*l.Group:][:l.Group], l.Codes[o*in+k*l.Group:][:l.Group]
			if at := o*groups + k; s.Sym {
				l.Scale[at] = g.symmetric(codes, w)
			} else {
				l.Scale[at], l.Zero[at] = g.asymmetric(codes, w)
			}
		}
	}
	return l, nil
}

// A grid rounds one group.
type grid struct {
	bits         int
	scale, arith qtype.Type
}

func (g *grid) round(x float32) float32 { return rounded(g.arith, x) }

// atLeast replaces a scale of 0 by epsilon.
func (g *grid) atLeast(scale float32) float32 {
	if scale = rounded(g.scale, scale); scale == 0 {
		return epsilon(g.scale)
	}
	return scale
}

// symmetric: scale = max|w| / ((2^bits - 1)/2), code = round(w/scale) + 2^(bits-1); halves are rounded to even.
func (g *grid) symmetric(codes []uint8, w []float32) (scale float32) {
	scale = g.atLeast(g.round(g.round(qtype.Magnitude(w)) / (float32(int(1)<<g.bits-1) / 2)))
	low, high := -float32(int(1)<<(g.bits-1)), float32(int(1)<<(g.bits-1)-1)
	for i, v := range w {
		q := float32(math.RoundToEven(float64(g.round(g.round(v) / scale))))
		codes[i] = uint8(int(min(max(q, low), high)) + 1<<(g.bits-1))
	}
	return scale
}

// asymmetric: scale = (max - min) / (2^bits - 1) with 0 between both, zero = -2^(bits-1) - min/scale and code = w/scale + zero as
// signed numbers, 2^(bits-1) more in the result. A group of zeros has the signed zero 0.
func (g *grid) asymmetric(codes []uint8, w []float32) (scale float32, zero uint8) {
	var least, most float32
	for _, v := range w {
		least, most = min(least, v), max(most, v)
	}
	least, most = g.round(least), g.round(most)
	scale = g.atLeast(g.round(g.round(most-least) / float32(int(1)<<g.bits-1)))
	low, high := -float32(int(1)<<(g.bits-1)), float32(int(1)<<(g.bits-1)-1)
	var z float32
	if most > least {
		z = float32(math.RoundToEven(float64(min(max(g.round(low-g.round(least/scale)), low), high))))
	}
	for i, v := range w {
		q := g.round(g.round(g.round(v)/scale) + z)
		codes[i] = uint8(int(math.RoundToEven(float64(min(max(q, low), high)))) + 1<<(g.bits-1))
	}
	return scale, uint8(int(z) + 1<<(g.bits-1))
}
