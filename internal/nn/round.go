package nn

import (
	"math"

	"tune/internal/graph"
	"tune/kernels"
)

// Rounding gives the values of a row that a coarser type holds; dst may be x.
type Rounding func(dst, x []float32)

// RoundBF16 and RoundF16 round each value, to nearest even.
func RoundBF16(dst, x []float32) { halves(dst, x, kernels.BF16FromF32, kernels.F32FromBF16) }

// RoundF16 is RoundBF16 for half precision.
func RoundF16(dst, x []float32) { halves(dst, x, kernels.F16FromF32, kernels.F32FromF16) }

func halves(dst, x []float32, narrow func([]uint16, []float32), widen func([]float32, []uint16)) {
	var short [512]uint16
	for len(x) > 0 {
		s := short[:min(len(short), len(x))]
		narrow(s, x[:len(s)])
		widen(dst[:len(s)], s)
		dst, x = dst[len(s):], x[len(s):]
	}
}

// Round8x32 rounds blocks of 32 values to 8 bits with a scale in half precision (ggml's Q8_0, for inputs of Q4_0 and its like);
// the codes are made with the scale before it is rounded. len(x) is a multiple of 32.
func Round8x32(dst, x []float32) {
	for i := 0; i < len(x); i += 32 {
		b := x[i : i+32]
		most := float32(0)
		for _, v := range b {
			most = max(most, abs(v))
		}
		scale := most / 127
		inverse := float32(0)
		if most > 0 {
			inverse = 1 / scale
		}
		stored := [1]float32{scale}
		RoundF16(stored[:], stored[:])
		for k, v := range b {
			dst[i+k] = float32(math.RoundToEven(float64(v*inverse))) * stored[0]
		}
	}
}

// Round8x256 rounds blocks of 256 values to 8 bits with a scale in float32 that gives the value of the largest magnitude the code
// -127 (ggml's Q8_K, for inputs of Q4_K and its like). len(x) is a multiple of 256.
func Round8x256(dst, x []float32) {
	for i := 0; i < len(x); i += 256 {
		b := x[i : i+256]
		most := float32(0)
		for _, v := range b {
			if abs(v) > abs(most) {
				most = v
			}
		}
		if most == 0 {
			clear(dst[i : i+256])
			continue
		}
		inverse := -127 / most
		scale := 1 / inverse
		for k, v := range b {
			dst[i+k] = min(float32(math.RoundToEven(float64(v*inverse))), 127) * scale
		}
	}
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// Round is x (N, C) with every row rounded. It has no gradient: models that round are not trained.
func Round(x *graph.Node, how Rounding) *graph.Node {
	return x.Graph().Apply(&round{s: x.Shape(), how: how}, x)[0]
}

type round struct {
	graph.NoGrad
	s   graph.Shape
	how Rounding
}

func (o *round) Info() graph.Info {
	return graph.Info{Name: "round", Out: []graph.Shape{o.s}, FLOPs: []int64{int64(o.s.Size())}, InPlace: [][2]int{{0, 0}}, Cheap: true}
}

func (o *round) Host(a *graph.Args) func() {
	x, y, c := a.In[0], a.Out[0], o.s[1]
	return rowsOf(a.Pool, o.s[0], c, func(lo, hi int) {
		o.how(y[lo*c:hi*c], x[lo*c:hi*c])
	})
}
