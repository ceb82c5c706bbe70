package packed

import (
	"encoding/binary"
	"fmt"
	"math"

	"tune/internal/grouped"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// compressed-tensors, integers. pack-quantized: weight_packed I32 (out, in·bits/32) along the inputs, code = value + 2^(bits-1);
// weight_scale (out, groups); weight_shape I64 (2) = out, in; weight_zero_point I32 (out·bits/32, groups) along the outputs;
// weight_g_idx I32 (in). int-quantized: weight I8 (out, in), weight_scale (out, groups) or (1), weight_zero_point I8 (out, groups).

func unpackCompressed(p parts, codes bool) (*grouped.Linear, error) {
	if err := p.expect("weight_shape", []int{2}, qtype.I64, qtype.I32); err != nil {
		return nil, err
	}
	sides := shapeOf(p["weight_shape"])
	if err := checkSides(sides[0], sides[1]); err != nil {
		return nil, fmt.Errorf("weight_shape: %w", err)
	}
	l := &grouped.Linear{Out: sides[0], In: sides[1]}
	if err := p.expect("weight_packed", []int{l.Out, -1}, qtype.I32, qtype.U32); err != nil {
		return nil, err
	}
	per := p["weight_packed"].Shape[1]
	for _, bits := range []int{2, 4, 8} {
		if wordsFor(l.In, bits) == per {
			l.Bits = bits
		}
	}
	if l.Bits == 0 {
		return nil, fmt.Errorf("weight_packed: expected rows of %d codes of 2, 4 or 8 bits, found shape %v", l.In, p["weight_packed"].Shape)
	}
	groups, err := compressedScales(p, l)
	if err != nil {
		return nil, err
	}
	if _, ok := p["weight_g_idx"]; ok {
		if l.GroupOf, err = groupIndex(parts{"g_idx": p["weight_g_idx"]}, l, groups); err != nil {
			return nil, err
		}
	}
	if _, ok := p["weight_zero_point"]; ok {
		rows := wordsFor(l.Out, l.Bits)
		if err := p.expect("weight_zero_point", []int{rows, groups}, qtype.I32, qtype.U32); err != nil {
			return nil, err
		}
		l.Zero = make([]uint8, l.Out*groups)
		column := make([]uint8, l.Out)
		columns(words(p["weight_zero_point"]), rows, groups, func(g int, w []uint32) {
			unpack(column, w, l.Bits)
			for o, z := range column {
				l.Zero[o*groups+g] = z
			}
		})
		dropPlainZero(l)
	}
	if codes {
		l.Codes = make([]uint8, l.Out*l.In)
		w := words(p["weight_packed"])
		for o := range l.Out {
			unpack(l.Codes[o*l.In:][:l.In], w[o*per:][:per], l.Bits)
		}
	}
	return l, nil
}

// shapeOf reads weight_shape.
func shapeOf(t tensor.Tensor) (sides [2]int) {
	for i := range sides {
		if t.Type == qtype.I32 {
			sides[i] = int(int32(binary.LittleEndian.Uint32(t.Data[4*i:])))
			continue
		}
		if v := int64(binary.LittleEndian.Uint64(t.Data[8*i:])); v > 0 && v <= math.MaxInt32 {
			sides[i] = int(v)
		}
	}
	return sides
}

// compressedScales reads weight_scale, one a group, a row or a matrix, and sets Group.
func compressedScales(p parts, l *grouped.Linear) (groups int, err error) {
	t := p["weight_scale"]
	switch {
	case t.Elems() == 1:
		groups = 1
	case len(t.Shape) == 1 && t.Shape[0] == l.Out:
		groups = 1
	default:
		if err := p.expect("weight_scale", []int{l.Out, -1}, floatTypes...); err != nil {
			return 0, err
		}
		groups = t.Shape[1]
	}
	if groups < 1 || groups > l.In {
		return 0, fmt.Errorf("weight_scale: expected 1 to %d groups, found %d", l.In, groups)
	}
	l.Group = (l.In + groups - 1) / groups
	s, err := p.scales("weight_scale")
	if err != nil {
		return 0, err
	}
	if l.Scale = s; len(s) == 1 && l.Out > 1 {
		l.Scale = make([]float32, l.Out)
		for o := range l.Scale {
			l.Scale[o] = s[0]
		}
	}
	return groups, nil
}

func unpackInt8(p parts, codes bool) (*grouped.Linear, error) {
	if err := p.expect("weight", []int{-1, -1}, qtype.I8); err != nil {
		return nil, err
	}
	w := p["weight"]
	l := &grouped.Linear{Out: w.Shape[0], In: w.Shape[1], Bits: 8}
	if err := checkSides(l.Out, l.In); err != nil {
		return nil, err
	}
	groups, err := compressedScales(p, l)
	if err != nil {
		return nil, err
	}
	if z, ok := p["weight_zero_point"]; ok {
		if z.Type != qtype.I8 || z.Elems() != l.Out*groups {
			return nil, fmt.Errorf("weight_zero_point: expected I8 [%d %d], found %s %v", l.Out, groups, z.Type, z.Shape)
		}
		l.Zero = flipped(z.Data)
		dropPlainZero(l)
	}
	if codes {
		l.Codes = flipped(w.Data)
	}
	return l, nil
}

// flipped turns signed bytes into codes with zero 128, and back.
func flipped(x []byte) []byte {
	out := make([]byte, len(x))
	for i, v := range x {
		out[i] = v ^ 0x80
	}
	return out
}

// packCompressed writes integers of 4 or 8 bits with scales of a float type.
func packCompressed(l *grouped.Linear, scale qtype.Type) ([]tensor.Tensor, error) {
	groups, per := l.Groups(), wordsFor(l.In, l.Bits)
	w := make([]uint32, l.Out*per)
	for o := range l.Out {
		pack(w[o*per:][:per], l.Codes[o*l.In:][:l.In], l.Bits)
	}
	shape := tensor.Tensor{Info: tensor.Info{Name: "weight_shape", Type: qtype.I64, Shape: []int{2}}, Data: make([]byte, 16)}
	binary.LittleEndian.PutUint64(shape.Data, uint64(l.Out))
	binary.LittleEndian.PutUint64(shape.Data[8:], uint64(l.In))
	out := []tensor.Tensor{
		ints("weight_packed", []int{l.Out, per}, w),
		floats("weight_scale", scale, []int{l.Out, groups}, l.Scale),
		shape,
	}
	if l.Zero != nil {
		rows, column := wordsFor(l.Out, l.Bits), make([]uint8, l.Out)
		z := make([]uint32, rows*groups)
		putColumns(z, rows, groups, func(g int, words []uint32) {
			for o := range column {
				column[o] = l.Zero[o*groups+g]
			}
			pack(words, column, l.Bits)
		})
		out = append(out, ints("weight_zero_point", []int{rows, groups}, z))
	}
	return out, nil
}

// packInt8 writes integers of 8 bits as they are.
func packInt8(l *grouped.Linear, scale qtype.Type) ([]tensor.Tensor, error) {
	return []tensor.Tensor{
		raw("weight", qtype.I8, []int{l.Out, l.In}, flipped(l.Codes)),
		floats("weight_scale", scale, []int{l.Out, l.Groups()}, l.Scale),
	}, nil
}
