package packed

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"tune/internal/qtype"
	"tune/internal/tensor"
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
	return &weight{out: out, in: in, typ: typ, row: func(dst []byte, o int) {
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

// nf4Block and nestedBlock are the usual sizes of blocks: weights that share an absmax, and absmax that share theirs.
const (
	nf4Block    = 64
	nestedBlock = 256
)

// stateText is the JSON as the library writes it. The file is laid out before the offset is known, so that spaces make up for its digits.
func stateText(s *Scheme, out, in int, offset float64) []byte {
	text := fmt.Sprintf(`{"quant_type": "nf4", "blocksize": %d, "dtype": "%s", "shape": [%d, %d], "nested_blocksize": %d, "nested_dtype": "float32", "nested_offset": %s}`,
		nf4Block, dtypeNames[s.DType], out, in, nestedBlock, strconv.FormatFloat(offset, 'g', -1, 64))
	const digits = 24 // of the longest float64
	size := len(text) - len(strconv.FormatFloat(offset, 'g', -1, 64)) + digits
	return []byte(text + strings.Repeat(" ", size-len(text)))
}

var dtypeNames = map[qtype.Type]string{qtype.F32: "float32", qtype.F16: "float16", qtype.BF16: "bfloat16"}

var nf4Store = &store{
	parts: func(s *Scheme, out, in int) []tensor.Info {
		blocks := ceil(out*in, nf4Block)
		return []tensor.Info{part("weight", qtype.U8, out*in/2, 1), part("weight.absmax", qtype.U8, blocks), part("weight.nested_absmax", qtype.F32, ceil(blocks, nestedBlock)),
			part("weight.nested_quant_map", qtype.F32, 256), part("weight.quant_map", qtype.F32, 16),
			part("weight.quant_state.bitsandbytes__nf4", qtype.U8, len(stateText(s, out, in, 0)))}
	},
	encode: encodeNF4,
}

// encodeNF4 rounds to the values of NF4 in blocks of the flattened matrix, then the blocks' absmax to 8 bits.
func encodeNF4(s *Scheme, out, in int, rows Rows, _ *Shared) ([]tensor.Tensor, error) {
	n := out * in
	packed, absmax := make([]byte, n/2), make([]float32, 0, ceil(n, nf4Block))
	block, row := make([]float32, 0, nf4Block), make([]float32, in)
	flush := func(at int) {
		top := qtype.Magnitude(block)
		absmax = append(absmax, top)
		for i, w := range block {
			code := byte(7) // 0
			if top > 0 {
				code = nf4Code(w / top)
			}
			packed[(at+i)/2] |= code << (4 * (1 - (at+i)%2))
		}
		block = block[:0]
	}
	for o := range out {
		if err := rows(row, o); err != nil {
			return nil, err
		}
		for i, w := range row {
			if block = append(block, rounded(s.DType, w)); len(block) == nf4Block || o*in+i == n-1 {
				flush(o*in + i + 1 - len(block))
			}
		}
	}
	codes, nested, offset := quantizeAbsmax(absmax)
	state := stateText(s, out, in, float64(offset))
	return []tensor.Tensor{
		raw("weight", qtype.U8, []int{n / 2, 1}, packed),
		raw("weight.absmax", qtype.U8, []int{len(codes)}, codes),
		floats("weight.nested_absmax", qtype.F32, []int{len(nested)}, nested),
		floats("weight.nested_quant_map", qtype.F32, []int{256}, dynamicMap()),
		floats("weight.quant_map", qtype.F32, []int{16}, qtype.NF4Values[:]),
		raw("weight.quant_state.bitsandbytes__nf4", qtype.U8, []int{len(state)}, state),
	}, nil
}

// nf4Middles lie between neighbouring values of NF4.
var nf4Middles = func() (m [15]float32) {
	for i := range m {
		m[i] = (qtype.NF4Values[i] + qtype.NF4Values[i+1]) / 2
	}
	return m
}()

// nf4Code is the value of NF4 nearest x, the lower of two as near.
func nf4Code(x float32) (i byte) {
	for _, step := range [4]byte{8, 4, 2, 1} {
		if x > nf4Middles[i+step-1] {
			i += step
		}
	}
	return i
}

// quantizeAbsmax takes off the mean and rounds to the values of the dynamic map times the largest of 256.
func quantizeAbsmax(absmax []float32) (codes []byte, nested []float32, offset float32) {
	var sum float64
	for _, a := range absmax {
		sum += float64(a)
	}
	offset = float32(sum / float64(len(absmax)))
	table := dynamicMap()
	for first := 0; first < len(absmax); first += nestedBlock {
		rest := slices.Clone(absmax[first:min(first+nestedBlock, len(absmax))])
		for i := range rest {
			rest[i] -= offset
		}
		top := qtype.Magnitude(rest)
		nested = append(nested, top)
		for _, a := range rest {
			v := float32(0)
			if top > 0 {
				v = a / top
			}
			codes = append(codes, nearest(table, onGrid(v)))
		}
	}
	return codes, nested, offset
}

// onGrid takes a number from -1 to 1 to the nearest of 65,536: the library looks codes up in a table of so many entries.
func onGrid(v float32) float32 {
	const half = 65535. / 2
	return float32(math.Round((float64(v)+1)*half)/half - 1)
}

// nearest is the index of the table's value nearest x; of two as near the lower. The table rises.
func nearest(table []float32, x float32) byte {
	i, _ := slices.BinarySearch(table, x)
	switch {
	case i == len(table):
		return byte(i - 1)
	case i > 0 && x-table[i-1] <= table[i]-x:
		return byte(i - 1)
	}
	return byte(i)
}

// dynamicMap is the 8-bit code of bitsandbytes for absmax: 0, 1, and for each of seven powers of ten 2^i values of either sign in
// the middles between 0.1 and 1 (Dettmers et al. 2021, "8-bit Optimizers via Block-wise Quantization").
func dynamicMap() []float32 {
	m := []float32{0, 1}
	for i := range 7 {
		n := 1 << i // middles
		step := (1 - float32(0.1)) / float32(n)
		edge := func(k int) float32 { // the library's even spacing counts from the nearer end, in one rounding
			if k < (n+1)/2 {
				return float32(float64(float32(0.1)) + float64(step)*float64(k))
			}
			return float32(1 - float64(step)*float64(n-k))
		}
		power := float32(math.Pow10(i - 6))
		for k := range n {
			v := power * float32((edge(k)+edge(k+1))/2)
			m = append(m, v, -v)
		}
	}
	slices.Sort(m)
	return m
}
