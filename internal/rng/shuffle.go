package rng

import "math/bits"

// Shuffle is a permutation of 0..n-1 of which any element can be asked for without the others: a Feistel network over the
// next even number of bits, walked on until it lands below n (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
// CT-RSA 2002). It takes no memory, so the order of any number of rows is known at any place.
type Shuffle struct {
	n    uint64
	half uint // bits of one side
	keys [shuffleRounds]uint64
}

// shuffleRounds: four make a strong pseudorandom permutation of good round functions (Luby and Rackoff 1988); the rest is
// for small n, where sides have few bits.
const shuffleRounds = 8

// Shuffle is the stream's permutation of 0..n-1.
func (s Stream) Shuffle(n int) Shuffle {
	p := Shuffle{n: uint64(n), half: max(1, uint(bits.Len64(uint64(max(n, 1)-1))+1)/2)}
	for i := range p.keys {
		p.keys[i] = s.Uint64(uint64(i))
	}
	return p
}

// At is the number at place i.
func (p Shuffle) At(i int) int {
	x := uint64(i)
	mask := uint64(1)<<p.half - 1
	for {
		l, r := x>>p.half, x&mask
		for _, k := range p.keys {
			l, r = r, l^mix(r^k)&mask
		}
		if x = l<<p.half | r; x < p.n {
			return int(x)
		}
	}
}
