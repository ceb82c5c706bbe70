package kernels

import (
	"encoding/binary"
	"math"
	"testing"
)

// TestFloatCodecs decodes the float types from odd places, to float32 and to bf16.
func TestFloatCodecs(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 7, 33, 200} {
			x := normals(make([]float32, n), 1)
			for _, c := range []*Codec{F32, BF16, F16} {
				src, want := make([]byte, 2+n*c.Bytes), make([]float32, n)
				for i, v := range x {
					b := src[2+i*c.Bytes:]
					switch c {
					case F32:
						binary.LittleEndian.PutUint32(b, math.Float32bits(v))
						want[i] = v
					case BF16:
						binary.LittleEndian.PutUint16(b, roundBF16(v))
						want[i] = widenBF16(roundBF16(v))
					default:
						binary.LittleEndian.PutUint16(b, f16Bits(v))
						want[i] = f16Value(f16Bits(v))
					}
				}
				got, words := make([]float32, n), make([]uint16, n)
				c.F32(got, src[2:])
				c.BF16(words, src[2:])
				for i := range want {
					if got[i] != want[i] || words[i] != roundBF16(want[i]) {
						t.Fatalf("%s, %d values, value %d: got %v and %v, want %v", c.Name, n, i, got[i], widenBF16(words[i]), want[i])
					}
				}
			}
		}
	})
}

// TestFloatsView: a float32 slice as a Matrix is the slice.
func TestFloatsView(t *testing.T) {
	x := normals(make([]float32, 12), 1)
	m := Floats(x, 3, 4)
	m.check("test", 3, 4)
	got := expand(&m, false)
	for i := range x {
		if got[i] != x[i] {
			t.Fatalf("value %d: got %v, want %v", i, got[i], x[i])
		}
	}
	if m := Floats(nil, 0, 4); m.Data != nil {
		t.Fatal("an empty matrix has data")
	}
}
