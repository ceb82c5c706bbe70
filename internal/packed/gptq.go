package packed

import (
	"fmt"
	mathbits "math/bits"
	"slices"

	"tune/internal/grouped"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// GPTQ: qweight I32 (in·bits/32, out), codes along the inputs; qzeros I32 (groups, out·bits/32), along the outputs, minus one in
// version 1; scales (groups, out); g_idx I32 (in), the group of each input, missing in some old files.

// unpackGPTQ reads a weight. Without codes, Codes stays nil.
func (c *Config) unpackGPTQ(p parts, codes bool) (*grouped.Linear, error) {
	if err := p.expect("qweight", []int{-1, -1}, qtype.I32, qtype.U32); err != nil {
		return nil, err
	}
	if err := p.expect("scales", []int{-1, -1}, floatTypes...); err != nil {
		return nil, err
	}
	rows, out, groups := p["qweight"].Shape[0], p["qweight"].Shape[1], p["scales"].Shape[0]
	if err := p.expect("scales", []int{groups, out}, floatTypes...); err != nil {
		return nil, err
	}
	if err := p.expect("qzeros", []int{groups, -1}, qtype.I32, qtype.U32); err != nil {
		return nil, err
	}
	l := &grouped.Linear{Out: out, Bits: c.Bits}
	for _, bits := range []int{2, 3, 4, 8} { // dynamic rules may give a module other bits: the shapes decide
		if out > 0 && wordsFor(out, bits) == p["qzeros"].Shape[1] && (bits == c.Bits || wordsFor(out, c.Bits) != p["qzeros"].Shape[1]) {
			l.Bits = bits
		}
	}
	if wordsFor(out, l.Bits) != p["qzeros"].Shape[1] {
		return nil, fmt.Errorf("qzeros: expected %d columns of %d bits, found shape %v", out, l.Bits, p["qzeros"].Shape)
	}
	l.In = rows * 32 / l.Bits
	if err := checkSides(out, l.In); err != nil {
		return nil, err
	}
	if groups < 1 || groups > l.In {
		return nil, fmt.Errorf("scales: expected 1 to %d groups, found %d", l.In, groups)
	}
	l.Group = (l.In + groups - 1) / groups
	if g := c.Group; g > 0 && (l.In+g-1)/g == groups {
		l.Group = g
	}
	var err error
	if l.GroupOf, err = groupIndex(p, l, groups); err != nil {
		return nil, err
	}
	s, err := p.scales("scales")
	if err != nil {
		return nil, err
	}
	l.Scale = transpose(s, groups, out)
	zeros, perRow, row := words(p["qzeros"]), wordsFor(out, l.Bits), make([]uint8, out)
	l.Zero = make([]uint8, out*groups)
	for g := range groups {
		w := zeros[g*perRow:][:perRow]
		if !c.V2 {
			shiftZeros(w, l.Bits, mathbits.Add32)
		}
		unpack(row, w, l.Bits)
		for o, z := range row {
			l.Zero[o*groups+g] = z
		}
	}
	if codes {
		l.Codes = make([]uint8, out*l.In)
		columns(words(p["qweight"]), rows, out, func(o int, column []uint32) { unpack(l.Codes[o*l.In:][:l.In], column, l.Bits) })
	}
	dropPlainZero(l)
	return l, nil
}

// groupIndex reads g_idx; nil when it says i/Group.
func groupIndex(p parts, l *grouped.Linear, groups int) ([]int32, error) {
	if _, ok := p["g_idx"]; !ok {
		return nil, nil
	}
	if err := p.expect("g_idx", []int{l.In}, qtype.I32, qtype.U32); err != nil {
		return nil, err
	}
	plain, idx := true, make([]int32, l.In)
	for i, g := range words(p["g_idx"]) {
		if g >= uint32(groups) {
			return nil, fmt.Errorf("g_idx: expected groups below %d, found %d at %d", groups, g, i)
		}
		idx[i] = int32(g)
		plain = plain && int(g) == i/l.Group
	}
	if plain {
		return nil, nil
	}
	return idx, nil
}

// dropPlainZero leaves Zero out when it is that of a symmetric grid everywhere.
func dropPlainZero(l *grouped.Linear) {
	if !slices.ContainsFunc(l.Zero, func(z uint8) bool { return int(z) != 1<<(l.Bits-1) }) {
		l.Zero = nil
	}
}

// zeroAt is the zero of row o, group g.
func zeroAt(l *grouped.Linear, i int) uint8 {
	if l.Zero == nil {
		return 1 << (l.Bits - 1)
	}
	return l.Zero[i]
}

// packGPTQ writes a weight.
func packGPTQ(l *grouped.Linear, v2 bool) ([]tensor.Tensor, error) {
	groups, rows := l.Groups(), wordsFor(l.In, l.Bits)
	qweight := make([]uint32, rows*l.Out)
	putColumns(qweight, rows, l.Out, func(o int, column []uint32) { pack(column, l.Codes[o*l.In:][:l.In], l.Bits) })
	perRow, row := wordsFor(l.Out, l.Bits), make([]uint8, l.Out)
	qzeros := make([]uint32, groups*perRow)
	for g := range groups {
		for o := range row {
			if row[o] = zeroAt(l, o*groups+g); row[o] == 0 && !v2 {
				return nil, fmt.Errorf("row %d, group %d: a zero of 0 cannot be told in version 1 of the format", o, g)
			}
		}
		w := qzeros[g*perRow:][:perRow]
		pack(w, row, l.Bits)
		if !v2 {
			shiftZeros(w, l.Bits, mathbits.Sub32)
		}
	}
	idx := make([]uint32, l.In)
	for i := range idx {
		idx[i] = uint32(i / l.Group)
		if l.GroupOf != nil {
			idx[i] = uint32(l.GroupOf[i])
		}
	}
	return []tensor.Tensor{
		ints("g_idx", []int{l.In}, idx),
		ints("qweight", []int{rows, l.Out}, qweight),
		ints("qzeros", []int{groups, perRow}, qzeros),
		floats("scales", qtype.F16, []int{groups, l.Out}, transpose(l.Scale, l.Out, groups)),
	}, nil
}
