// Package rng gives random numbers that depend on nothing but a key and a position: a counter-based generator.
//
// The same (seed, purpose, index) gives the same number on every machine, in any order, from any number of threads, so
// a run that is cut and resumed, or spread over more workers, draws what an uninterrupted one would have drawn.
// The function is Philox-4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
package rng

import (
	"hash/fnv"
	"math"
	"math/bits"
)

// Stream is an endless random sequence that can be read at any place.
type Stream struct{ k0, k1 uint32 }

// New returns the stream of a purpose ("dropout", "shuffle", ...) under a seed.
func New(seed uint64, purpose string) Stream {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return fromKey(mix(seed ^ mix(h.Sum64())))
}

// Sub returns an independent stream, one for each n: an epoch, a layer, a module.
func (s Stream) Sub(n uint64) Stream {
	return fromKey(mix(uint64(s.k1)<<32 | uint64(s.k0) ^ mix(n+0x9E3779B97F4A7C15)))
}

// Key is the stream's 64-bit key, for kernels that draw by themselves.
func (s Stream) Key() uint64 { return uint64(s.k1)<<32 | uint64(s.k0) }

// FromKey is the stream whose Key is k.
func FromKey(k uint64) Stream { return fromKey(k) }

func fromKey(k uint64) Stream { return Stream{uint32(k), uint32(k >> 32)} }

// mix is the finalizer of splitmix64: every bit of the result depends on every bit of z.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// Four returns the four 32-bit words at index i.
func (s Stream) Four(i uint64) (uint32, uint32, uint32, uint32) {
	c0, c1, c2, c3 := uint32(i), uint32(i>>32), uint32(0), uint32(0)
	k0, k1 := s.k0, s.k1
	for range 10 {
		h0, l0 := bits.Mul32(0xD2511F53, c0)
		h1, l1 := bits.Mul32(0xCD9E8D57, c2)
		c0, c1, c2, c3 = h1^c1^k0, l1, h0^c3^k1, l0
		k0, k1 = k0+0x9E3779B9, k1+0xBB67AE85
	}
	return c0, c1, c2, c3
}

// Uint64 is the i-th 64-bit number.
func (s Stream) Uint64(i uint64) uint64 {
	a, b, _, _ := s.Four(i)
	return uint64(b)<<32 | uint64(a)
}

// Float64 is the i-th number in [0, 1).
func (s Stream) Float64(i uint64) float64 { return float64(s.Uint64(i)>>11) * 0x1p-53 }

// Intn is the i-th number in [0, n); the bias of the multiplication is below n/2^64.
func (s Stream) Intn(i uint64, n int) int {
	hi, _ := bits.Mul64(s.Uint64(i), uint64(n))
	return int(hi)
}

// Norm is the i-th standard normal number (Box and Muller).
func (s Stream) Norm(i uint64) float64 {
	a, b, c, d := s.Four(i)
	u := (float64(uint64(b)<<32|uint64(a)) + 0.5) * 0x1p-64
	v := float64(uint64(d)<<32|uint64(c)) * 0x1p-64
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*v)
}

// Perm is a permutation of 0..n-1 (Fisher and Yates).
func (s Stream) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := s.Intn(uint64(i), i+1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}
