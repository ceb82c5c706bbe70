package kernels

import (
	"math"
	"testing"

	"tune/internal/rng"
)

// Helpers of the parity tests: a kernel against its plain reference at every level, for all short lengths, inside guard words.

// guard is what surrounds a slice under test; guardWords how many on each side.
const (
	guard      = float32(-1.2345678e33)
	guardWords = 16
)

// guarded is a slice of n values with guard words on both sides; odd moves it off any vector alignment.
type guarded struct {
	whole, x []float32
}

func newGuarded(n, odd int) guarded {
	whole := make([]float32, n+2*guardWords+odd)
	for i := range whole {
		whole[i] = guard
	}
	at := guardWords + odd
	return guarded{whole, whole[at : at+n : at+n]}
}

// check fails when a word outside x has changed.
func (g guarded) check(t *testing.T, what string) {
	t.Helper()
	at := len(g.whole) - guardWords - len(g.x)
	for i, v := range g.whole {
		if (i < at || i >= at+len(g.x)) && v != guard {
			t.Fatalf("%s: wrote %d words from the slice of %d", what, i-at, len(g.x))
		}
	}
}

// normals fills x with reproducible values of mean 0 and variance 1, nearly normal.
func normals(x []float32, key uint64) []float32 {
	s := rng.FromKey(key)
	for i := range x {
		x[i] = normal(s, i)
	}
	return x
}

// normal is value i of a stream: the sum of four uniform ones.
func normal(s rng.Stream, i int) float32 {
	u := s.Uint64(uint64(i))
	sum := u&0xffff + u>>16&0xffff + u>>32&0xffff + u>>48
	return float32(int(sum)-2*0xffff) * 2.643e-5 // sqrt(3)/65535
}

// vectorCase is one kernel of the form f(slices of n values): the first outs of them are written (and may be read).
type vectorCase struct {
	name     string
	in, outs int // how many slices, how many of them written
	f, plain func(v [][]float32)
	abs, rel float64  // tolerance; 0, 0: the same bits
	alias    [][2]int // pairs (out, in) that may be the same slice
}

// testVectors compares f with plain for lengths 0..200, with guard words, odd starts and every permitted aliasing, at each level.
func testVectors(t *testing.T, cases []vectorCase) {
	t.Helper()
	eachLevel(t, func(t *testing.T) {
		for _, c := range cases {
			for n := range 201 {
				c.run(t, n, nil)
				for _, a := range c.alias {
					c.run(t, n, &a)
				}
			}
		}
	})
}

// run compares once. alias: slice alias[0] is the same memory as slice alias[1].
func (c *vectorCase) run(t *testing.T, n int, alias *[2]int) {
	t.Helper()
	guards := make([]guarded, c.in)
	got, want := make([][]float32, c.in), make([][]float32, c.in)
	for i := range c.in {
		guards[i] = newGuarded(n, (n+i)%3)
		got[i] = normals(guards[i].x, uint64(100*n+i))
		want[i] = append([]float32(nil), got[i]...)
	}
	if alias != nil { // the reference runs on slices apart
		copy(got[alias[0]], got[alias[1]])
		got[alias[1]] = got[alias[0]]
		copy(want[alias[0]], want[alias[1]])
	}
	c.f(got)
	c.plain(want)
	for i := range c.in {
		guards[i].check(t, c.name)
		if alias != nil && i == alias[1] {
			continue
		}
		for j := range n {
			if !within(got[i][j], want[i][j], c.abs, c.rel) {
				t.Fatalf("%s: n %d, slice %d, element %d: got %v, want %v", c.name, n, i, j, got[i][j], want[i][j])
			}
		}
	}
}

// within compares with an absolute plus a relative bound; NaN equals NaN.
func within(got, want float32, abs, rel float64) bool {
	if got == want || got != got && want != want {
		return true
	}
	return math.Abs(float64(got)-float64(want)) <= abs+rel*math.Abs(float64(want))
}
