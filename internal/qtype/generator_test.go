package qtype

import (
	"math"
	"sync"
	"testing"
)

// The generator of the golden matrices: splitmix64, 16 draws an element, every operation one float32 operation.
type generator struct{ seed uint64 }

func (g generator) r(i, k int) uint64 {
	z := g.seed + uint64(16*i+k+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func (g generator) t(i, k int) uint64 { return g.r(i, k) >> 40 }

func (g generator) G(i int) float32 {
	var sum int64
	for k := range 12 {
		sum += int64(g.t(i, k))
	}
	return float32(sum-100663290) * 0x1p-24
}

func (g generator) U(i int) float32 { return float32(g.t(i, 12)) * 0x1p-24 }
func (g generator) A(i int) uint64  { return g.t(i, 13) }
func (g generator) B(i int) uint64  { return g.t(i, 14) }
func (g generator) S(i int) bool    { return g.r(i, 15)>>63 == 1 }

// cases is in the order of the case numbers; i element, r row, c column, k256 and k32 first element of the group.
var cases = []struct {
	name string
	f    func(g generator, i, r, c, k256, k32 int) float32
}{
	{"gauss", func(g generator, i, r, c, k256, k32 int) float32 { return g.G(i) * 0x1p-6 }},
	{"bf16grid", func(g generator, i, r, c, k256, k32 int) float32 {
		b := math.Float32bits(g.G(i) * 0x1p-6)
		return math.Float32frombits((b + 0x7fff + b>>16&1) & 0xffff0000)
	}},
	{"heavy", func(g generator, i, r, c, k256, k32 int) float32 {
		x := g.G(i)
		return float32(float32(x*x)*x) * 0x1p-8
	}},
	{"zeros", func(g generator, i, r, c, k256, k32 int) float32 {
		if r%2 == 0 {
			return 0
		}
		return float32(math.Copysign(0, -1))
	}},
	{"const", func(g generator, i, r, c, k256, k32 int) float32 { return []float32{0.37, -0.37, 1, -0x1p-10}[r%4] }},
	{"ties", func(g generator, i, r, c, k256, k32 int) float32 {
		if c%32 == 0 {
			return -8
		}
		return float32(int(g.A(i)%31)-15) * 0.5
	}},
	{"alt", func(g generator, i, r, c, k256, k32 int) float32 {
		x := 0.5 + float32(g.U(i)*0.25)
		if c%2 == 0 {
			return x
		}
		return -x
	}},
	{"tiny", func(g generator, i, r, c, k256, k32 int) float32 { return g.G(i) * 0x1p-24 }},
	{"micro", func(g generator, i, r, c, k256, k32 int) float32 { return g.G(i) * 0x1p-100 }},
	{"denorm", func(g generator, i, r, c, k256, k32 int) float32 { return g.G(i) * 0x1p-140 }},
	{"large", func(g generator, i, r, c, k256, k32 int) float32 { return g.G(i) * 10000 }},
	{"overflow", func(g generator, i, r, c, k256, k32 int) float32 { return g.G(i) * 0x1p18 }},
	{"outlier", func(g generator, i, r, c, k256, k32 int) float32 {
		switch {
		case uint64(c%256) != g.A(k256)%256:
			return g.G(i) * 0x1p-6
		case g.S(k256):
			return -4
		}
		return 4
	}},
	{"blockscale", func(g generator, i, r, c, k256, k32 int) float32 {
		return g.G(i) * float32(math.Ldexp(1, int(g.A(k32)%12)-14))
	}},
	{"positive", func(g generator, i, r, c, k256, k32 int) float32 {
		return (float32(math.Abs(float64(g.G(i)))) + 0.5) * 0x1p-4
	}},
	{"negative", func(g generator, i, r, c, k256, k32 int) float32 {
		return -(float32(math.Abs(float64(g.G(i)))) + 0.5) * 0x1p-4
	}},
	{"pow2", func(g generator, i, r, c, k256, k32 int) float32 {
		b := uint32(118+g.A(i)%12)<<23 | []uint32{0, 1, 2, 0x7FFFFF, 0x7FFFFE, 0x400000}[g.B(i)%6]
		if g.S(i) {
			b |= 1 << 31
		}
		return math.Float32frombits(b)
	}},
	{"sparse", func(g generator, i, r, c, k256, k32 int) float32 {
		if g.A(i)%10 == 0 {
			return g.G(i)
		}
		return 0
	}},
	{"onehot", func(g generator, i, r, c, k256, k32 int) float32 {
		if uint64(c%256) == g.A(k256)%256 {
			return g.G(i)
		}
		return 0
	}},
	{"ternary", func(g generator, i, r, c, k256, k32 int) float32 {
		return float32(int(g.A(i)%3)-1) * (0.0625 * float32(r%4+1))
	}},
	{"ramp", func(g generator, i, r, c, k256, k32 int) float32 { return float32(c%256-128) * 0x1p-10 }},
}

// generate makes the matrix of a case, once.
func generate(t testing.TB, name string, rows, cols int) []float32 {
	t.Helper()
	key := [3]any{name, rows, cols}
	if x, ok := generated.Load(key); ok {
		return x.([]float32)
	}
	x := generateNew(t, name, rows, cols)
	generated.Store(key, x)
	return x
}

var generated sync.Map

func generateNew(t testing.TB, name string, rows, cols int) []float32 {
	t.Helper()
	for index, c := range cases {
		if c.name != name {
			continue
		}
		g := generator{1<<40 + uint64(index)<<32 + uint64(rows)<<20 + uint64(cols)}
		x := make([]float32, rows*cols)
		for i := range x {
			col := i % cols
			x[i] = c.f(g, i, i/cols, col, i-col%256, i-col%32)
		}
		return x
	}
	t.Fatalf("no case %q", name)
	return nil
}

// generateImportance makes the importance vector of a kind, A, B or Z; none is nil.
func generateImportance(t testing.TB, kind string, cols int) []float32 {
	t.Helper()
	if kind == "" || kind == "none" {
		return nil
	}
	g := generator{1<<40 + uint64(200+int(kind[0]))<<32 + uint64(cols)}
	w := make([]float32, cols)
	for i := range w {
		switch kind {
		case "A":
			w[i] = float32(g.A(i)+1) * 0x1p-24
		case "B":
			if g.B(i)%16 != 0 {
				u := g.U(i)
				w[i] = float32(float32(u*u)*u) * 100
			}
		case "Z":
		default:
			t.Fatalf("no importance %q", kind)
		}
	}
	return w
}
