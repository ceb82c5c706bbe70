package qtype

import (
	"encoding/binary"
	"testing"

	"tune/internal/rng"
)

// scaleAt is where the scale of a block lies, if not at its beginning.
var scaleAt = map[Type]int{Q2_K: 80, Q3_K: 108, Q6_K: 208, TQ1_0: 52, TQ2_0: 64, IQ1_M: 48}

// extremes are upper halves of float32 and whole halves that are zero, subnormal, infinite, no numbers, or the largest.
var extremes = []uint16{0, 1, 0x40, 0x7f, 0x80, 0x3ff, 0x8001, 0x807f, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7f7f, 0x7f80, 0x7fa0, 0x7fc0, 0xfc00, 0xff80}

// wildBlocks are n blocks of random bytes, half of them with a scale that is extreme.
func wildBlocks(ty Type, n int) []byte {
	s, row := rng.New(uint64(n), "wild "+ty.String()), ty.Row()
	b := make([]byte, n*row.Bytes)
	for i := range b {
		b[i] = byte(s.Uint64(uint64(i)))
	}
	if row.Block == 1 {
		for i := range b { // every code comes
			b[i] = byte(i + n)
		}
		return b
	}
	for i := range n {
		v := s.Uint64(uint64(len(b) + i))
		scale := b[i*row.Bytes+scaleAt[ty]:]
		for half := 0; half < 2 && v&1 == 0 && len(scale) >= 2*half+2; half++ {
			binary.LittleEndian.PutUint16(scale[2*half:], extremes[v>>(8+8*half)%uint64(len(extremes))])
		}
	}
	return b
}

// TestDecodeBF16: every decoder to bf16 gives the rounded float32 of any blocks, as many as one to forty, and leaves what lies behind alone.
func TestDecodeBF16(t *testing.T) {
	for _, ty := range All() {
		row := ty.Row()
		if row.DecodeBF16 == nil {
			continue
		}
		for n := range 41 {
			if row.Block == 1 {
				n *= 9
			}
			b := wildBlocks(ty, n)
			checkBF16(t, ty, b)
			guarded := make([]uint16, n*row.Block+33)
			for i := range guarded {
				guarded[i] = 0xabcd
			}
			row.DecodeBF16(guarded[:n*row.Block], b)
			for i, v := range guarded[n*row.Block:] {
				if v != 0xabcd {
					t.Errorf("%s, %d blocks: wrote value %d behind them", ty, n, i)
				}
			}
		}
	}
}

// BenchmarkDecodeBF16 reports G values a second, 4,096 values at a time.
func BenchmarkDecodeBF16(b *testing.B) {
	for _, ty := range All() {
		row := ty.Row()
		if row.DecodeBF16 == nil {
			continue
		}
		b.Run(ty.String(), func(b *testing.B) {
			src, dst := wildBlocks(ty, 4096/row.Block), make([]uint16, 4096)
			for b.Loop() {
				row.DecodeBF16(dst, src)
			}
			b.ReportMetric(4096e-9/b.Elapsed().Seconds()*float64(b.N), "Gvalues/s")
		})
	}
}
