package qtype

import (
	"encoding/binary"
	"math"
	"testing"

	"tune/internal/rng"
	"tune/kernels"
)

// tolInteger: a 1 among zeros is a code of 127 with a scale of 1/127, and minima are added apart.
const tolInteger = 4e-6

// TestIntegerProducts: for every type that kernels multiply as integers, rows of the unit matrix times blocks are the values it decodes to.
func TestIntegerProducts(t *testing.T) {
	count := 0
	for _, ty := range All() {
		c := ty.Codec()
		if c == nil || !c.Integer() {
			continue
		}
		count++
		const n = 3
		k := 2 * c.Block
		size, err := ty.RowBytes(n * k)
		if err != nil {
			t.Fatal(err)
		}
		w := kernels.Matrix{Rows: n, Cols: k, Codec: c, Data: integerBlocks(ty, size, n*k), Int8: true}
		values := make([]float32, n*k)
		c.F32(values, w.Data)
		largest := 0.0
		for _, v := range values {
			largest = max(largest, math.Abs(float64(v)))
		}
		for _, rows := range []int{1, 12} {
			for first := 0; first < k; first += rows {
				a := make([]float32, rows*k)
				for r := range min(rows, k-first) {
					a[r*k+first+r] = 1
				}
				x := &kernels.Product{M: rows, K: k, A: a, Outs: []kernels.Out{{N: n, C: make([]float32, rows*n), B: w}}}
				(*kernels.Pool)(nil).MatMul(x, make([]float32, x.Scratch()))
				for r := range min(rows, k-first) {
					for j := range n {
						got, want := float64(x.Outs[0].C[r*n+j]), float64(values[j*k+first+r])
						if !(math.Abs(got-want) <= tolInteger*(math.Abs(want)+16*largest)) {
							t.Fatalf("%s, %d rows, value %d of row %d: got %g, want %g", ty, rows, first+r, j, got, want)
						}
					}
				}
			}
		}
	}
	if count != 13 {
		t.Errorf("%d types are multiplied as integers, want 13", count)
	}
}

// integerBlocks are encoded numbers, or for a type without encoder random codes.
func integerBlocks(ty Type, size int64, n int) []byte {
	s, x, b := rng.New(1, "integers"), make([]float32, n), make([]byte, size)
	for i := range x {
		x[i] = float32(s.Norm(uint64(i)))
	}
	if encode := ty.Row().Encode; encode != nil {
		encode(b, x)
		return b
	}
	for i := range b {
		b[i] = byte(s.Uint64(uint64(n + i)))
	}
	for at := 0; at < len(b); at += ty.Row().Bytes { // INT4
		head, _ := HeaderINT(0.5, byte(at%16))
		binary.LittleEndian.PutUint32(b[at:], head)
	}
	return b
}
