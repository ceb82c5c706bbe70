package packed

// unpack cuts words into codes of some bits, the first in the low bits; a code may straddle two words (3 bits). As many
// codes as dst holds.
func unpack(dst []uint8, words []uint32, bits int) {
	if bits == 4 {
		for i := 0; i+8 <= len(dst); i += 8 {
			w, d := words[i/8], dst[i:i+8]
			for j := range d {
				d[j] = uint8(w >> (4 * j) & 15)
			}
		}
		for i := len(dst) &^ 7; i < len(dst); i++ {
			dst[i] = uint8(words[i/8] >> (4 * (i % 8)) & 15)
		}
		return
	}
	mask := uint64(1)<<bits - 1
	var acc uint64
	have, k := 0, 0
	for i := range dst {
		if have < bits {
			acc |= uint64(words[k]) << have
			k, have = k+1, have+32
		}
		dst[i] = uint8(acc & mask)
		acc, have = acc>>bits, have-bits
	}
}

// pack is the other direction; the last word is filled with zeros. dst holds wordsFor(len(codes), bits) words.
func pack(dst []uint32, codes []uint8, bits int) {
	var acc uint64
	have, k := 0, 0
	for _, c := range codes {
		acc |= uint64(c) << have
		if have += bits; have >= 32 {
			dst[k] = uint32(acc)
			acc, have, k = acc>>32, have-32, k+1
		}
	}
	if have > 0 {
		dst[k] = uint32(acc)
	}
}

// wordsFor is the number of 32-bit words of n codes.
func wordsFor(n, bits int) int { return (n*bits + 31) / 32 }

// Version 1 of GPTQ files is a subtraction of words, 1 in the place of each code: a zero of 0 borrows from its neighbour, and only
// the addition of whole words gives it back. A carry goes into the next word where a code straddles two.

// shiftZeros adds or subtracts (op is Add32 or Sub32 of math/bits) 1 in the place of each code.
func shiftZeros(w []uint32, bits int, op func(x, y, carry uint32) (sum, carryOut uint32)) {
	carry := uint32(0)
	for i, one := range ones(len(w), bits) {
		if i*32%bits == 0 {
			carry = 0
		}
		w[i], carry = op(w[i], one, carry)
	}
}

// ones is words with 1 in the place of each code.
func ones(n, bits int) []uint32 {
	codes, words := make([]uint8, (32*n+bits-1)/bits), make([]uint32, n+1)
	for i := range codes {
		codes[i] = 1
	}
	pack(words, codes, bits)
	return words[:n]
}

// tile is the number of columns or rows that are transposed at a time.
const tile = 16

// columns reads a matrix of words (rows, cols) column by column: give gets column c as rows words, which it must not keep.
func columns(words []uint32, rows, cols int, give func(c int, column []uint32)) {
	buf := make([]uint32, tile*rows)
	for c0 := 0; c0 < cols; c0 += tile {
		n := min(tile, cols-c0)
		for r := range rows {
			for j, w := range words[r*cols+c0:][:n] {
				buf[j*rows+r] = w
			}
		}
		for j := range n {
			give(c0+j, buf[j*rows:][:rows])
		}
	}
}

// putColumns is the other direction: take fills column c.
func putColumns(words []uint32, rows, cols int, take func(c int, column []uint32)) {
	buf := make([]uint32, tile*rows)
	for c0 := 0; c0 < cols; c0 += tile {
		n := min(tile, cols-c0)
		clear(buf)
		for j := range n {
			take(c0+j, buf[j*rows:][:rows])
		}
		for r := range rows {
			for j := range n {
				words[r*cols+c0+j] = buf[j*rows+r]
			}
		}
	}
}

// transpose turns a matrix (rows, cols) around.
func transpose[T any](x []T, rows, cols int) []T {
	out := make([]T, len(x))
	for r0 := 0; r0 < rows; r0 += tile {
		for c0 := 0; c0 < cols; c0 += tile {
			for r := r0; r < min(r0+tile, rows); r++ {
				for c := c0; c < min(c0+tile, cols); c++ {
					out[c*rows+r] = x[r*cols+c]
				}
			}
		}
	}
	return out
}
