package qtype

import (
	"encoding/binary"
	"math"
	"testing"

	"tune/kernels"
)

// blockTypes are the types that hold several values in a block.
func blockTypes() (list []Type) {
	for _, ty := range All() {
		if ty.Row().Block > 1 {
			list = append(list, ty)
		}
	}
	return list
}

// Encoders work on foreign numbers: whatever they hold, the result is bytes that can be decoded, not a panic.
func TestEncodeNotFinite(t *testing.T) {
	special := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32}
	for _, ty := range blockTypes() {
		for _, v := range special {
			for _, every := range []int{1, 7, 100} {
				x, w := make([]float32, 256), make([]float32, 256)
				for i := range x {
					x[i], w[i] = float32(i%13)-6, 1
					if i%every == 0 {
						x[i] = v
					}
				}
				for _, importance := range [][]float32{nil, w, x} {
					if b, ok := encode(t, ty, x, importance, 256); ok {
						decode(t, ty, b)
					}
				}
			}
		}
	}
}

// A weighted encoder sees each row with the same importance: rows together give the bytes of the rows alone.
func TestEncodeRows(t *testing.T) {
	const cols = 512
	x, w := generate(t, "gauss", 4, cols), generateImportance(t, "A", cols)
	for _, ty := range blockTypes() {
		together, _ := encode(t, ty, x, w, cols)
		var alone []byte
		for r := range 4 {
			b, _ := encode(t, ty, x[r*cols:][:cols], w, cols)
			alone = append(alone, b...)
		}
		if hash(together) != hash(alone) {
			t.Errorf("%s: rows together differ from rows alone", ty)
		}
	}
}

// Relative root mean square error of normally distributed values: a bound that a wrong layout would miss by far, and
// importance must not cost much more than it gains.
func TestError(t *testing.T) {
	bits := map[Type]float64{Q4_0: 4, Q4_1: 4, Q5_0: 5, Q5_1: 5, Q8_0: 8, Q2_K: 2, Q3_K: 3, Q4_K: 4, Q5_K: 5, Q6_K: 6, IQ1_S: 1.5, IQ1_M: 1.5,
		IQ2_XXS: 2, IQ2_XS: 2, IQ2_S: 2, IQ3_XXS: 3, IQ3_S: 3, IQ4_NL: 4, IQ4_XS: 4, MXFP4: 3.5, NVFP4: 3.5}
	x := generate(t, "gauss", 7, 1024)
	ones := make([]float32, 1024)
	for i := range ones {
		ones[i] = 1
	}
	for ty, b := range bits {
		data, _ := encode(t, ty, x, ones, 1024)
		var sum, all float64
		for i, v := range decode(t, ty, data) {
			d := float64(v - x[i])
			sum += d * d
			all += float64(x[i]) * float64(x[i])
		}
		if e, limit := math.Sqrt(sum/all), 1.6*math.Pow(2, -b); e > limit {
			t.Errorf("%s: error %.4f, want at most %.4f", ty, e, limit)
		}
	}
}

// BenchmarkEncode reports bytes of float32 input a second.
func BenchmarkEncode(b *testing.B) {
	const cols = 1024
	x, w := generate(b, "gauss", 7, cols), generateImportance(b, "A", cols)
	for _, ty := range All() {
		row := ty.Row()
		n, err := ty.RowBytes(cols)
		if err != nil {
			b.Fatal(err)
		}
		dst := make([]byte, 7*n)
		if row.Encode != nil && row.Block > 1 {
			b.Run(ty.String(), func(b *testing.B) {
				b.SetBytes(int64(4 * len(x)))
				row.Encode(dst, x) // makes the codebook
				for b.Loop() {
					row.Encode(dst, x)
				}
			})
		}
		if row.EncodeWeighted != nil {
			b.Run(ty.String()+"/importance", func(b *testing.B) {
				b.SetBytes(int64(4 * len(x)))
				row.EncodeWeighted(dst, x, w)
				for b.Loop() {
					row.EncodeWeighted(dst, x, w)
				}
			})
		}
	}
}

// BenchmarkDecode reports bytes of float32 output a second.
func BenchmarkDecode(b *testing.B) {
	x, w := generate(b, "gauss", 7, 1024), generateImportance(b, "A", 1024)
	y := make([]float32, len(x))
	for _, ty := range blockTypes() {
		data, _ := encode(b, ty, x, w, 1024)
		b.Run(ty.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(y)))
			for b.Loop() {
				ty.Row().Decode(y, data)
			}
		})
	}
}

// putF16 is the conversion of kernels, for every exponent and around every rounding boundary.
func TestPutF16(t *testing.T) {
	for e := range uint32(256) {
		for _, m := range []uint32{0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x3001, 0x3fffff, 0x400000, 0x400001, 0x7fe000, 0x7fefff, 0x7ff000, 0x7fffff} {
			for _, sign := range []uint32{0, 1 << 31} {
				x := math.Float32frombits(sign | e<<23 | m)
				var got [2]byte
				putF16(got[:], x)
				var want [1]uint16
				kernels.F16FromF32(want[:], []float32{x})
				if h := binary.LittleEndian.Uint16(got[:]); h != want[0] {
					t.Errorf("%g: half %#04x, want %#04x", x, h, want[0])
				}
			}
		}
	}
}
