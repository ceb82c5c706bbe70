package packed

import (
	"fmt"

	"tune/internal/grouped"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// AWQ, version GEMM: qweight I32 (in, out/8) and qzeros I32 (groups, out/8), both along the outputs, eight 4-bit codes a word;
// scales (groups, out). Code j of eight lies in nibble awqOrder[j].

var awqOrder = [8]int{0, 4, 1, 5, 2, 6, 3, 7}

func unpackAWQWord(dst []uint8, w uint32) {
	for j, n := range awqOrder {
		dst[j] = uint8(w >> (4 * n) & 15)
	}
}

func packAWQWord(codes []uint8) (w uint32) {
	for j, n := range awqOrder {
		w |= uint32(codes[j]) << (4 * n)
	}
	return w
}

func unpackAWQ(p parts, codes bool) (*grouped.Linear, error) {
	if err := p.expect("qweight", []int{-1, -1}, qtype.I32, qtype.U32); err != nil {
		return nil, err
	}
	in, per := p["qweight"].Shape[0], p["qweight"].Shape[1]
	if err := checkSides(8*min(per, maxSide), in); err != nil {
		return nil, err
	}
	out := 8 * per
	if err := p.expect("scales", []int{-1, out}, floatTypes...); err != nil {
		return nil, err
	}
	groups := p["scales"].Shape[0]
	if err := p.expect("qzeros", []int{groups, per}, qtype.I32, qtype.U32); err != nil {
		return nil, err
	}
	if groups < 1 || in%groups != 0 {
		return nil, fmt.Errorf("scales: expected groups of equal width of %d inputs, found %d groups", in, groups)
	}
	l := &grouped.Linear{Out: out, In: in, Bits: 4, Group: in / groups, Zero: make([]uint8, out*groups)}
	s, err := p.scales("scales")
	if err != nil {
		return nil, err
	}
	l.Scale = transpose(s, groups, out)
	put := func(dst []uint8, rows int, w []uint32) {
		var eight [8]uint8
		for c0 := 0; c0 < per; c0 += tile {
			for r := range rows {
				for c, word := range w[r*per+c0 : r*per+min(c0+tile, per)] {
					unpackAWQWord(eight[:], word)
					for j, v := range eight {
						dst[(8*(c0+c)+j)*rows+r] = v
					}
				}
			}
		}
	}
	put(l.Zero, groups, words(p["qzeros"]))
	if codes {
		l.Codes = make([]uint8, out*in)
		put(l.Codes, in, words(p["qweight"]))
	}
	dropPlainZero(l)
	return l, nil
}

func packAWQ(l *grouped.Linear) ([]tensor.Tensor, error) {
	if l.Bits != 4 || l.Out%8 != 0 || l.GroupOf != nil || l.In%l.Group != 0 {
		return nil, fmt.Errorf("AWQ files hold 4 bits, outputs in eights and whole groups in their order, found %d bits, %d outputs, %d inputs in groups of %d", l.Bits, l.Out, l.In, l.Group)
	}
	per, groups := l.Out/8, l.Groups()
	along := func(rows int, at func(o, r int) uint8) []uint32 {
		w := make([]uint32, rows*per)
		var eight [8]uint8
		for c0 := 0; c0 < per; c0 += tile {
			for r := range rows {
				for c := c0; c < min(c0+tile, per); c++ {
					for j := range eight {
						eight[j] = at(8*c+j, r)
					}
					w[r*per+c] = packAWQWord(eight[:])
				}
			}
		}
		return w
	}
	return []tensor.Tensor{
		ints("qweight", []int{l.In, per}, along(l.In, func(o, i int) uint8 { return l.Codes[o*l.In+i] })),
		ints("qzeros", []int{groups, per}, along(groups, func(o, g int) uint8 { return zeroAt(l, o*groups+g) })),
		floats("scales", qtype.F16, []int{groups, l.Out}, transpose(l.Scale, l.Out, groups)),
	}, nil
}
