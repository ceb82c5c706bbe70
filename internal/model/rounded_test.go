package model

import (
	"math/rand/v2"
	"slices"
	"testing"

	"tune/internal/nn"
	"tune/internal/qtype"
)

// Rounding to 8 bits in blocks of 32 is storing as Q8_0 and reading again, whose bytes are ggml's.
func TestRound8x32(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	row := qtype.Q8_0.Row()
	for _, scale := range []float32{0, 1e-6, 1, 3e4} {
		x, want, found := make([]float32, 320), make([]float32, 320), make([]float32, 320)
		for i := range x {
			x[i] = scale * float32(r.NormFloat64())
		}
		bytes := make([]byte, len(x)/row.Block*row.Bytes)
		row.Encode(bytes, x)
		row.Decode(want, bytes)
		nn.Round8x32(found, x)
		if !slices.Equal(found, want) {
			t.Errorf("scale %g: found %v, expected %v", scale, found, want)
		}
		nn.Round8x32(x, x)
		if !slices.Equal(x, want) {
			t.Errorf("scale %g: in place: found %v, expected %v", scale, x, want)
		}
	}
}

// Rounding to 8 bits in blocks of 256 has 127 steps to the largest magnitude, which it keeps but for the rounding of the scale.
func TestRound8x256(t *testing.T) {
	const slack = 1e-6 // of the largest magnitude: two roundings to float32
	r := rand.New(rand.NewPCG(3, 4))
	for _, scale := range []float32{0, 1e-6, 1, 3e4} {
		x, y := make([]float32, 512), make([]float32, 512)
		for i := range x {
			x[i] = scale * float32(r.NormFloat64())
		}
		nn.Round8x256(y, x)
		for b := 0; b < len(x); b += 256 {
			most, at := float32(0), b
			for i := b; i < b+256; i++ {
				if a := max(x[i], -x[i]); a > most {
					most, at = a, i
				}
			}
			for i := b; i < b+256; i++ {
				step := most / 127 / 2
				if i == at {
					step = 0
				}
				if d := y[i] - x[i]; max(d, -d) > step+slack*most {
					t.Errorf("scale %g: value %d: %g became %g", scale, i, x[i], y[i])
				}
			}
		}
		again := slices.Clone(y)
		nn.Round8x256(again, again)
		for i, v := range again {
			if d := v - y[i]; max(d, -d) > slack*3*scale*4 {
				t.Errorf("scale %g: value %d moves from %g to %g when rounded again", scale, i, y[i], v)
			}
		}
	}
}
