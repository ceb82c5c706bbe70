package packed

import (
	"encoding/json"
	"fmt"

	"tune/internal/qtype"
)

// bitsandbytes, 4 bits: weight U8 (n/2, 1), the matrix flattened, two codes a byte, the first in the high nibble; weight.absmax, one
// for each block of the flattened matrix; weight.quant_map F32 (16), the values; weight.quant_state.bitsandbytes__nf4, JSON
// in U8. With double quantization weight.absmax is U8, codes of weight.nested_quant_map F32 (256) times
// weight.nested_absmax, one for each 256 of them, plus nested_offset of the JSON.

// quantState is the JSON of a weight.
type quantState struct {
	QuantType       string  `json:"quant_type"`
	BlockSize       int     `json:"blocksize"`
	DType           string  `json:"dtype"`
	Shape           []int   `json:"shape"`
	NestedBlockSize int     `json:"nested_blocksize,omitempty"`
	NestedDType     string  `json:"nested_dtype,omitempty"`
	NestedOffset    float32 `json:"nested_offset,omitempty"`
}

func openBnB(p parts, kind string, typ qtype.Type, table *[16]float32) (*weight, error) {
	var s quantState
	key := "weight.quant_state.bitsandbytes__" + kind
	if err := p.expect(key, []int{-1}, qtype.U8); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(p[key].Data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if len(s.Shape) != 2 {
		return nil, fmt.Errorf("%s: expected the shape of a matrix, found %v", key, s.Shape)
	}
	out, in := s.Shape[0], s.Shape[1]
	if err := checkSides(out, in); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if s.BlockSize < blockWidth || s.BlockSize%blockWidth != 0 || in%blockWidth != 0 {
		return nil, fmt.Errorf("%s: expected blocks and rows that are multiples of %d, found %d and %d", key, blockWidth, s.BlockSize, in)
	}
	if w := p["weight"]; w.Type != qtype.U8 || len(w.Data) != (out*in+1)/2 {
		return nil, fmt.Errorf("weight: expected U8 of %d bytes, found %s %v", (out*in+1)/2, w.Type, w.Shape)
	}
	if err := p.expect("weight.quant_map", []int{16}, qtype.F32); err != nil {
		return nil, err
	}
	values, err := p.scales("weight.quant_map")
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if v != table[i] {
			return nil, fmt.Errorf("weight.quant_map: expected the values of %s, found %g in the place of %g", kind, v, table[i])
		}
	}
	absmax, err := p.absmax(&s, ceil(out*in, s.BlockSize))
	if err != nil {
		return nil, err
	}
	w := p["weight"].Data
	return &weight{out, in, typ, func(dst []byte, o int) {
		var codes [blockWidth]uint8
		for i := o * in; i < (o+1)*in; i += blockWidth {
			putScale(dst, absmax[i/s.BlockSize])
			for j := range 16 {
				b := w[i/2+j]
				codes[2*j], codes[2*j+1] = b>>4, b&15
			}
			nibbles(dst[4:20], &codes)
			dst = dst[20:]
		}
	}}, nil
}

// absmax is the scale of each block.
func (p parts) absmax(s *quantState, n int) ([]float32, error) {
	t := p["weight.absmax"]
	if t.Elems() != n || t.Type != qtype.F32 && t.Type != qtype.U8 {
		return nil, fmt.Errorf("weight.absmax: expected %d values of F32 or U8, found %s %v", n, t.Type, t.Shape)
	}
	if t.Type == qtype.F32 {
		return p.scales("weight.absmax")
	}
	if s.NestedBlockSize < 1 {
		return nil, fmt.Errorf("nested_blocksize: expected a positive number, found %d", s.NestedBlockSize)
	}
	if err := p.expect("weight.nested_quant_map", []int{256}, qtype.F32); err != nil {
		return nil, err
	}
	if err := p.expect("weight.nested_absmax", []int{ceil(n, s.NestedBlockSize)}, qtype.F32); err != nil {
		return nil, err
	}
	table, err := p.scales("weight.nested_quant_map")
	if err != nil {
		return nil, err
	}
	nested, err := p.scales("weight.nested_absmax")
	if err != nil {
		return nil, err
	}
	out := make([]float32, n)
	for i, c := range t.Data {
		out[i] = float32(table[c]*nested[i/s.NestedBlockSize]) + s.NestedOffset
	}
	return out, nil
}
