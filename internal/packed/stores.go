package packed

import (
	"math"

	"tune/internal/grouped"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// part is an Info.
func part(name string, t qtype.Type, shape ...int) tensor.Info {
	return tensor.Info{Name: name, Type: t, Shape: shape}
}

var gptqStore = &store{
	scale: qtype.F16,
	parts: func(s *Scheme, out, in int) []tensor.Info {
		g := ceil(in, s.GroupOf(in))
		return []tensor.Info{part("g_idx", qtype.I32, in), part("qweight", qtype.I32, wordsFor(in, s.Bits), out),
			part("qzeros", qtype.I32, g, wordsFor(out, s.Bits)), part("scales", qtype.F16, g, out)}
	},
	pack: func(s *Scheme, l *grouped.Linear) ([]tensor.Tensor, error) { return packGPTQ(l, s.V2) },
}

var awqStore = &store{
	scale: qtype.F16,
	parts: func(s *Scheme, out, in int) []tensor.Info {
		g := ceil(in, s.GroupOf(in))
		return []tensor.Info{part("qweight", qtype.I32, in, out/8), part("qzeros", qtype.I32, g, out/8), part("scales", qtype.F16, g, out)}
	},
	pack: func(_ *Scheme, l *grouped.Linear) ([]tensor.Tensor, error) { return packAWQ(l) },
}

var packQuantized = &store{
	format: "pack-quantized",
	parts: func(s *Scheme, out, in int) []tensor.Info {
		g := ceil(in, s.GroupOf(in))
		list := []tensor.Info{part("weight_packed", qtype.I32, out, wordsFor(in, s.Bits)), part("weight_scale", s.DType, out, g), part("weight_shape", qtype.I64, 2)}
		if !s.Sym {
			list = append(list, part("weight_zero_point", qtype.I32, wordsFor(out, s.Bits), g))
		}
		return list
	},
	pack: func(s *Scheme, l *grouped.Linear) ([]tensor.Tensor, error) { return packCompressed(l, s.DType) },
}

var intQuantized = &store{
	format: "int-quantized",
	parts: func(s *Scheme, out, in int) []tensor.Info {
		return []tensor.Info{part("weight", qtype.I8, out, in), part("weight_scale", s.DType, out, 1)}
	},
	pack: func(s *Scheme, l *grouped.Linear) ([]tensor.Tensor, error) { return packInt8(l, s.DType) },
}

// fp8Block is the side of the blocks of FP8_BLOCK.
const fp8Block = 128

// floatQuantized: scale = max|w|/448 of a row or a block, codes of w/scale; both quotients in the model's type.
var floatQuantized = &store{
	format: "float-quantized",
	parts: func(s *Scheme, out, in int) []tensor.Info {
		rows, cols := out, 1
		if s.Group > 0 {
			rows, cols = ceil(out, fp8Block), ceil(in, fp8Block)
		}
		return []tensor.Info{part("weight", qtype.F8_E4M3, out, in), part("weight_scale", s.DType, rows, cols)}
	},
	encode: encodeFP8,
}

func encodeFP8(s *Scheme, out, in int, rows Rows, _ *Shared) ([]tensor.Tensor, error) {
	high, wide, cols := 1, in, 1 // rows and inputs that share a scale, scales of a row
	if s.Group > 0 {
		high, wide, cols = fp8Block, fp8Block, ceil(in, fp8Block)
	}
	codes, scales := make([]byte, out*in), make([]float32, 0, ceil(out, high)*cols)
	x := make([]float32, min(high, out)*in)
	for first := 0; first < out; first += high {
		n := min(high, out-first)
		for r := range n {
			if err := rows(x[r*in:][:in], first+r); err != nil {
				return nil, err
			}
		}
		for c0 := 0; c0 < in; c0 += wide {
			c1 := min(c0+wide, in)
			var top float32
			for r := range n {
				top = max(top, qtype.Magnitude(x[r*in+c0:r*in+c1]))
			}
			g := grid{arith: s.DType, scale: s.DType}
			scale := g.atLeast(g.round(g.round(top) / 448))
			scales = append(scales, scale)
			for r := range n {
				for c := c0; c < c1; c++ {
					codes[(first+r)*in+c] = toE4M3(g.round(g.round(x[r*in+c]) / scale))
				}
			}
		}
	}
	return []tensor.Tensor{raw("weight", qtype.F8_E4M3, []int{out, in}, codes), floats("weight_scale", s.DType, []int{ceil(out, high), cols}, scales)}, nil
}

// toE4M3 rounds to the nearest 8-bit float with 4 exponent bits, halves to even, at most 448.
func toE4M3(x float32) byte {
	sign := byte(math.Float32bits(x) >> 24 & 0x80)
	a := math.Float32bits(x) &^ (1 << 31)
	v := math.Float32frombits(a)
	switch {
	case v >= 448:
		return sign | 0x7e
	case v < 0x1p-6: // multiples of 2^-9
		return sign | byte(math.RoundToEven(float64(v)*512))
	}
	a += 0x7ffff + a>>20&1
	return sign | byte(a>>20-(127-7)<<3)
}

// toE2M1 rounds to the nearest 4-bit float, halves to even; small negative numbers give the negative zero.
func toE2M1(x float32) (code byte) {
	if math.Signbit(float64(x)) {
		code, x = 8, -x
	}
	switch {
	case x <= 0.25:
		return code
	case x < 0.75:
		return code | 1
	case x <= 1.25:
		return code | 2
	case x < 1.75:
		return code | 3
	case x <= 2.5:
		return code | 4
	case x < 3.5:
		return code | 5
	case x <= 5:
		return code | 6
	}
	return code | 7
}

// nvfp4: global = 448·6 / max|W|, of modules that are fused the largest; scale = global·max|w|/6 of 16 values, as F8_E4M3; codes of
// w / (scale/global). The quotient of a number and a tensor is the product with the tensor's reciprocal there, each rounded.
var nvfp4 = &store{
	format: "nvfp4-pack-quantized",
	parts: func(_ *Scheme, out, in int) []tensor.Info {
		return []tensor.Info{part("weight_global_scale", qtype.F32, 1), part("weight_packed", qtype.U8, out, in/2), part("weight_scale", qtype.F8_E4M3, out, in/16)}
	},
	encode: func(s *Scheme, out, in int, rows Rows, shared *Shared) ([]tensor.Tensor, error) {
		g := grid{arith: s.DType, scale: s.DType}
		global := float32(1)
		if shared.Max > 0 {
			global = g.round(448 * 6 * g.round(1/g.round(shared.Max)))
		}
		e4m3 := qtype.F8_E4M3.Row()
		packed, scales := make([]byte, out*in/2), make([]byte, out*in/16)
		err := encodeFP4(out, in, 16, rows, packed, func(o, k int, w []float32) float32 {
			code := toE4M3(global * g.round(g.round(qtype.Magnitude(w))/6))
			if code == 0 {
				code = toE4M3(0.125) // the epsilon of F8_E4M3
			}
			scales[o*(in/16)+k] = code
			var v [1]float32
			e4m3.Decode(v[:], []byte{code})
			return v[0] / global
		}, g.round)
		return []tensor.Tensor{floats("weight_global_scale", qtype.F32, []int{1}, []float32{global}),
			raw("weight_packed", qtype.U8, []int{out, in / 2}, packed), raw("weight_scale", qtype.F8_E4M3, []int{out, in / 16}, scales)}, err
	},
}

// mxfp4: the scale of 32 values is the power of two two below that of max|w|, rounded to one bit of mantissa.
var mxfp4 = &store{
	format: "mxfp4-pack-quantized",
	parts: func(_ *Scheme, out, in int) []tensor.Info {
		return []tensor.Info{part("weight_packed", qtype.U8, out, in/2), part("weight_scale", qtype.U8, out, in/32)}
	},
	encode: func(s *Scheme, out, in int, rows Rows, _ *Shared) ([]tensor.Tensor, error) {
		g := grid{arith: s.DType}
		packed, scales := make([]byte, out*in/2), make([]byte, out*in/32)
		err := encodeFP4(out, in, 32, rows, packed, func(o, k int, w []float32) float32 {
			top := math.Float32bits(g.round(qtype.Magnitude(w)))
			e := max(int((top+1<<21)>>23)-2, 0)
			scales[o*(in/32)+k] = byte(e)
			return float32(math.Exp2(float64(e - 127)))
		}, g.round)
		return []tensor.Tensor{raw("weight_packed", qtype.U8, []int{out, in / 2}, packed), raw("weight_scale", qtype.U8, []int{out, in / 32}, scales)}, err
	},
}

// encodeFP4 packs the codes of w/scale, the first of two in the low nibble.
func encodeFP4(out, in, group int, rows Rows, packed []byte, scale func(o, k int, w []float32) float32, round func(float32) float32) error {
	x := make([]float32, in)
	for o := range out {
		if err := rows(x, o); err != nil {
			return err
		}
		for k := range in / group {
			w := x[k*group:][:group]
			s := scale(o, k, w)
			for j := 0; j < group; j += 2 {
				packed[(o*in+k*group+j)/2] = toE2M1(round(w[j])/s) | toE2M1(round(w[j+1])/s)<<4
			}
		}
	}
	return nil
}
