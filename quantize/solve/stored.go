package solve

import (
	"math"

	"tune/internal/qtype"
)

// Stored is a Grid of the values that a stored type can hold: when a block of columns begins, the type's own encoder finds scales
// for its weights as corrected so far; then each code is chosen on its own. Blocks must be rounded whole, in any order (ByGroup).
type Stored struct {
	Data       []byte    // (out, in) as the type
	importance []float32 // (in) weights of the errors in the encoder's search; nil: none
	typ        qtype.Type
	codes      *qtype.Codes
	block      int
	in         int
	stride     int       // bytes of a row
	base, step []float64 // (out, block): values of a block are base + step·code, or
	levels     []float64 // (out, block, codes): all of them, for types that are not linear
}

// Storable says whether a matrix of some columns can be rounded to a type code by code.
func Storable(t qtype.Type, in int) bool {
	return qtype.CodesOf(t) != nil && in%t.Row().Block == 0
}

// NewStored makes the grid of a matrix (out, in) of a type that is Storable.
func NewStored(t qtype.Type, out, in int, importance []float32) *Stored {
	row := t.Row()
	s := &Stored{importance: importance, typ: t, codes: qtype.CodesOf(t), block: row.Block, in: in, stride: in / row.Block * row.Bytes}
	s.Data = make([]byte, out*s.stride)
	if t == qtype.IQ4_NL || t == qtype.IQ4_XS {
		s.levels = make([]float64, out*s.block<<s.codes.Bits)
	} else {
		s.base, s.step = make([]float64, out*s.block), make([]float64, out*s.block)
	}
	return s
}

// Run implements Grid.
func (s *Stored) Run() int { return s.block }

func (s *Stored) at(row, column int) []byte {
	n := s.typ.Row().Bytes
	from := row*s.stride + column/s.block*n
	return s.Data[from : from+n]
}

// Begin implements Grid.
func (s *Stored) Begin(row, rows int, columns []int32, w []float64, stride int) {
	x := make([]float32, s.block)
	first := int(columns[0]) / s.block * s.block
	for r := range rows {
		for i, c := range columns {
			x[int(c)-first] = float32(w[i*stride+r])
		}
		data := s.at(row+r, first)
		if e := s.typ.Row().EncodeWeighted; e != nil && s.importance != nil {
			e(data, x, s.importance[first:first+s.block])
		} else {
			s.typ.Row().Encode(data, x)
		}
		s.values(row+r, data, x)
	}
}

// values decodes what the codes of a block can mean; x is scratch.
func (s *Stored) values(row int, data []byte, x []float32) {
	block := append(make([]byte, 0, 256), data...)
	decode := func(code int) {
		for i := range s.block {
			s.codes.Set(block, i, code)
		}
		s.typ.Row().Decode(x, block)
	}
	top := 1<<s.codes.Bits - 1
	if s.levels != nil {
		for c := range top + 1 {
			decode(c)
			for i, v := range x {
				s.levels[(row*s.block+i)<<s.codes.Bits+c] = float64(v)
			}
		}
		return
	}
	decode(0)
	for i, v := range x {
		s.base[row*s.block+i] = float64(v)
	}
	decode(top)
	for i, v := range x {
		s.step[row*s.block+i] = (float64(v) - s.base[row*s.block+i]) / float64(top)
	}
}

// Round implements Grid.
func (s *Stored) Round(row, column int, q, w []float64) {
	at := column % s.block
	for r, v := range w {
		code := 0
		if i := (row+r)*s.block + at; s.levels != nil {
			code, q[r] = nearest(s.levels[i<<s.codes.Bits:(i+1)<<s.codes.Bits], v)
		} else {
			code, q[r] = nearestStep(s.base[i], s.step[i], float64(int(1)<<s.codes.Bits-1), v)
		}
		s.codes.Set(s.at(row+r, column), at, code)
	}
}

// nearest of levels.
func nearest(levels []float64, v float64) (code int, value float64) {
	least := math.Inf(1)
	for c, l := range levels {
		if d := math.Abs(v - l); d < least {
			least, code, value = d, c, l
		}
	}
	return code, value
}

// nearestStep of base + step·code, code 0 ... top.
func nearestStep(base, step, top, v float64) (code int, value float64) {
	if step == 0 {
		return 0, base
	}
	c := min(max(math.RoundToEven((v-base)/step), 0), top)
	return int(c), base + step*c
}
