package qtype

// Codes says where in a block the code of each value lies, for types whose scales and codes are apart: with the scales fixed, a
// value's code alone decides what it decodes to. Solvers that choose codes themselves write them here.
type Codes struct {
	Bits int // of a code
	at   func(i int) (low, high bits)
}

// bits are a part of a code: n bits of a byte, from a shift on.
type bits struct{ at, shift, n int }

// CodesOf returns the places of a type's codes, nil when its values share codes (codebooks) or it has none.
func CodesOf(t Type) *Codes {
	if c, ok := codePlaces[t]; ok {
		return &c
	}
	return nil
}

// Set writes the code of value i of a block.
func (c *Codes) Set(block []byte, i, code int) {
	low, high := c.at(i)
	low.set(block, code)
	high.set(block, code>>low.n)
}

// Code reads the code of value i of a block.
func (c *Codes) Code(block []byte, i int) int {
	low, high := c.at(i)
	return low.get(block) | high.get(block)<<low.n
}

func (b bits) set(block []byte, code int) {
	if b.n > 0 {
		mask := byte(1<<b.n-1) << b.shift
		block[b.at] = block[b.at]&^mask | byte(code<<b.shift)&mask
	}
}

func (b bits) get(block []byte) int {
	if b.n == 0 {
		return 0
	}
	return int(block[b.at]>>b.shift) & (1<<b.n - 1)
}

// halves are 4-bit codes of 32 values: the first 16 in the low nibbles.
func halves(offset, i int) bits { return bits{offset + i%16, i / 16 * 4, 4} }

// codePlaces by type; layouts as in ggml-common.h.
var codePlaces = map[Type]Codes{
	Q4_0:   {4, func(i int) (l, h bits) { return halves(2, i), h }},
	Q4_1:   {4, func(i int) (l, h bits) { return halves(4, i), h }},
	Q5_0:   {5, func(i int) (l, h bits) { return halves(6, i), bits{2 + i/8, i % 8, 1} }},
	Q5_1:   {5, func(i int) (l, h bits) { return halves(8, i), bits{4 + i/8, i % 8, 1} }},
	IQ4_NL: {4, func(i int) (l, h bits) { return halves(2, i), h }},
	IQ4_XS: {4, func(i int) (l, h bits) { return halves(8+i/32*16, i%32), h }},
	Q2_K:   {2, func(i int) (l, h bits) { return bits{16 + i/128*32 + i%32, i % 128 / 32 * 2, 2}, h }},
	Q3_K: {3, func(i int) (l, h bits) {
		return bits{32 + i/128*32 + i%32, i % 128 / 32 * 2, 2}, bits{i % 32, i / 32, 1}
	}},
	Q4_K: {4, func(i int) (l, h bits) { return bits{16 + i/64*32 + i%32, i % 64 / 32 * 4, 4}, h }},
	Q5_K: {5, func(i int) (l, h bits) {
		return bits{48 + i/64*32 + i%32, i % 64 / 32 * 4, 4}, bits{16 + i%32, i / 32, 1}
	}},
	Q6_K: {6, func(i int) (l, h bits) {
		return bits{i/128*64 + i%64, i % 128 / 64 * 4, 4}, bits{128 + i/128*32 + i%32, i % 128 / 32 * 2, 2}
	}},
}
