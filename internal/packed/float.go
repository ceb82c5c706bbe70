package packed

import (
	"fmt"

	"tune/internal/qtype"
)

// Weights of small floats.
//
// FP8: weight F8_E4M3 (out, in) and a scale for the matrix (1), for each row (out, 1) or for blocks (out/128, in/128); it is called
// weight_scale, or weight_scale_inv by DeepSeek, and is multiplied with either way.
//
// NVFP4: weight_packed U8 (out, in/2), the first value in the low nibble; weight_scale F8_E4M3 (out, in/16); weight_global_scale F32 (1);
// value·weight_scale/weight_global_scale. MXFP4: weight_scale U8 (out, in/32), value·2^(weight_scale-127).

// openFP8 reads FP8 with scales called name.
func openFP8(c *Config, p parts, name string) (*weight, error) {
	if err := p.expect("weight", []int{-1, -1}, qtype.F8_E4M3); err != nil {
		return nil, err
	}
	w := p["weight"]
	out, in := w.Shape[0], w.Shape[1]
	if err := checkSides(out, in); err != nil {
		return nil, err
	}
	scale, err := p.scales(name)
	if err != nil {
		return nil, err
	}
	shape := p[name].Shape
	rows, cols, perRow := out, in, 1 // values that share a scale; scales of a row of blocks
	switch {
	case len(scale) == 1:
	case len(scale) == out && (len(shape) == 1 || shape[1] == 1) && (len(shape) == 1 || shape[0] == out):
		rows = 1
	case len(shape) == 2 && shape[0] == ceil(out, c.BlockOut) && shape[1] == ceil(in, c.BlockIn):
		rows, cols, perRow = c.BlockOut, c.BlockIn, shape[1]
	default:
		return nil, fmt.Errorf("%s: expected one scale, one for each of %d rows, or one for each block of %d x %d, found shape %v", name, out, c.BlockOut, c.BlockIn, shape)
	}
	if cols < in && cols%blockWidth != 0 {
		return nil, fmt.Errorf("%s: expected blocks whose width is a multiple of %d, found %d", name, blockWidth, cols)
	}
	return &weight{out: out, in: in, typ: qtype.FP8, row: func(dst []byte, o int) {
		for i := 0; i < in; i += blockWidth {
			putScale(dst, scale[o/rows*perRow+i/cols])
			n := copy(dst[4:4+blockWidth], w.Data[o*in+i:(o+1)*in])
			clear(dst[4+n : 4+blockWidth])
			dst = dst[4+blockWidth:]
		}
	}}, nil
}

func ceil(a, b int) int { return (a + b - 1) / b }

// openFP4 reads NVFP4 and MXFP4, which the type of weight_scale tells apart.
func openFP4(p parts) (*weight, error) {
	if err := p.expect("weight_packed", []int{-1, -1}, qtype.U8); err != nil {
		return nil, err
	}
	w := p["weight_packed"]
	out, half := w.Shape[0], w.Shape[1]
	if err := checkSides(out, 2*min(half, maxSide)); err != nil {
		return nil, err
	}
	in := 2 * half
	code := func(o, i int) byte { return w.Data[o*half+i/2] >> (4 * (i % 2)) & 15 }
	if _, ok := p["weight_global_scale"]; !ok {
		if err := p.expect("weight_scale", []int{out, ceil(in, 32)}, qtype.U8); err != nil {
			return nil, err
		}
		s := p["weight_scale"]
		groups := s.Shape[1]
		return &weight{out: out, in: in, typ: qtype.MXFP4, row: func(dst []byte, o int) {
			var codes [blockWidth]uint8
			for g := range groups {
				dst[0] = s.Data[o*groups+g]
				for j := range codes {
					if codes[j] = 0; 32*g+j < in {
						codes[j] = code(o, 32*g+j)
					}
				}
				nibbles(dst[1:17], &codes)
				dst = dst[17:]
			}
		}}, nil
	}
	if err := p.expect("weight_scale", []int{out, ceil(in, 16)}, qtype.F8_E4M3); err != nil {
		return nil, err
	}
	if p["weight_global_scale"].Elems() != 1 {
		return nil, fmt.Errorf("weight_global_scale: expected one number, found shape %v", p["weight_global_scale"].Shape)
	}
	scale, err := p.scales("weight_scale")
	if err != nil {
		return nil, err
	}
	global, err := p.scales("weight_global_scale")
	if err != nil {
		return nil, err
	}
	if global[0] == 0 {
		return nil, fmt.Errorf("weight_global_scale: expected a number that is not 0")
	}
	groups := ceil(in, 16)
	return &weight{out: out, in: in, typ: qtype.E2M1, row: func(dst []byte, o int) {
		for g := range groups {
			putScale(dst, scale[o*groups+g]/global[0])
			for j := range 8 {
				var b byte
				for k, at := range [2]int{16*g + j, 16*g + j + 8} {
					if at < in {
						b |= code(o, at) << (4 * k)
					}
				}
				dst[4+j] = b
			}
			dst = dst[12:]
		}
	}}, nil
}
