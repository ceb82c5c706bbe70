package kernels

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"tune/internal/rng"
)

// randomBlocks fills bytes at random, with halves at the scale offsets that are normal numbers or, now and then, subnormal or zero.
func randomBlocks(t storedType, n int, key uint64) []byte {
	s, row := rng.FromKey(key), &storedRows[t]
	b := make([]byte, n*row.bytes)
	randomBytes(b, s)
	offsets := map[storedType][]int{typeQ4_1: {0, 2}, typeQ5_1: {0, 2}, typeQ2_K: {80, 82}, typeQ3_K: {108}, typeQ4_K: {0, 2}, typeQ5_K: {0, 2},
		typeQ6_K: {208}}[t]
	if offsets == nil {
		offsets = []int{0}
	}
	for i := range n {
		if t == typeINT4 {
			binary.LittleEndian.PutUint32(b[i*row.bytes:], math.Float32bits(0.01*normal(s, i))&^0xff|uint32(i%17))
			continue
		}
		if t == typeMXFP4 {
			b[i*row.bytes] = []byte{0, 1, 2, 120, 125, 127}[i%6]
			continue
		}
		for _, at := range offsets {
			h := uint16(s.Uint64(uint64(1<<40 + i*8 + at)))
			switch i % 4 {
			case 0:
				h &= 0x83ff // subnormal
			case 1:
				h = h&0x83ff | 0x2000
			default:
				h &= 0xbbff // below 1
			}
			binary.LittleEndian.PutUint16(b[i*row.bytes+at:], h)
		}
	}
	return b
}

// TestDecodeStored: every decoder gives the bits of the rounded float32 formula, at every level, and nothing beyond its values.
func TestDecodeStored(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for ty := range numStored {
			row := &storedRows[ty]
			for _, n := range []int{0, 1, 2, 3, 17} {
				src := randomBlocks(ty, n, uint64(n))
				got, want := make([]uint16, n*row.block+32), make([]uint16, n*row.block)
				for i := range got {
					got[i] = 0xabcd
				}
				decodeStored(ty, got[:n*row.block], src)
				decodePlain(row, want, src)
				for i, v := range got {
					w := uint16(0xabcd)
					if i < len(want) {
						w = want[i]
					}
					if v != w {
						t.Fatalf("%s, %d blocks, value %d: got %#04x, want %#04x", row.name, n, i, v, w)
					}
				}
			}
		}
	})
}

// TestDecodeFloats: what products decode to float32 on the way to their panels equals the formula, whatever lies between the rows, and
// nothing else is written.
func TestDecodeFloats(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		codecs := []*Codec{BF16, F16}
		for ty := range numStored {
			codecs = append(codecs, storedCodec(ty))
		}
		for _, c := range codecs {
			fast, block := fastFloats(c)
			if fast == nil {
				continue
			}
			for _, n := range []int{1, 2, 3, 17} {
				const rows = 3
				size := block / c.Block * c.Bytes
				stride, ld := n*size+2*c.Bytes, n*block+5
				src := make([]byte, rows*stride)
				for r := range rows {
					if ty, ok := storedTypeOf(c); ok {
						copy(src[r*stride:], randomBlocks(ty, n, uint64(n+r)))
					} else {
						copy(src[r*stride:], randomMatrix(c, 1, n*block, uint64(n+r)).Data[:n*size])
					}
				}
				got, want := newGuarded(rows*ld, n), make([]float32, rows*ld)
				for i := range want {
					got.x[i], want[i] = 7, 7
				}
				for r := range rows {
					c.F32(want[r*ld:][:n*block], src[r*stride:][:n*size])
				}
				fast(&got.x[0], ld, &src[0], stride, n, rows)
				got.check(t, c.Name)
				if !slices.Equal(got.x, want) {
					t.Fatalf("%s, %d blocks: other values than the formula's", c.Name, n)
				}
			}
		}
	})
	for _, c := range []*Codec{F32, {Name: "Q4_1", Block: 32, Bytes: 21}} {
		if f, _ := fastFloats(c); f != nil {
			t.Error("a codec without kernels has one")
		}
	}
}

// TestDecodeF16 goes through all halves.
func TestDecodeF16(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		src, got := make([]byte, 2*(1<<16+7)), make([]uint16, 1<<16+7)
		for i := range got {
			binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
		}
		DecodeF16(got, src)
		for i, v := range got {
			if want := roundBF16(f16Value(uint16(i))); v != want {
				t.Fatalf("half %#04x: got %#04x, want %#04x", uint16(i), v, want)
			}
		}
	})
}
