package rng

import (
	"math"
	"slices"
	"testing"
)

// The vectors are those of the Random123 distribution's known-answer file for philox4x32-10 (counter, key -> words).
func TestPhiloxKnownAnswers(t *testing.T) {
	a, b, c, d := Stream{}.Four(0)
	if got, want := [4]uint32{a, b, c, d}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}; got != want {
		t.Errorf("philox of zeros: got %08x, want %08x", got, want)
	}
}

func TestStreamsDiffer(t *testing.T) {
	s := New(1, "a")
	for _, o := range []Stream{New(2, "a"), New(1, "b"), s.Sub(0), s.Sub(1)} {
		if o.Uint64(0) == s.Uint64(0) {
			t.Errorf("stream %v begins like %v", o, s)
		}
	}
	if FromKey(s.Key()) != s {
		t.Error("FromKey(Key()) is another stream")
	}
}

func TestMoments(t *testing.T) {
	const n = 200_000
	const bound = 0.01 // five standard errors of a mean of n draws are 0.011 for Norm, 0.003 for Float64
	var u, m, v float64
	for i := range uint64(n) {
		u += New(7, "u").Float64(i)
		x := New(7, "n").Norm(i)
		m, v = m+x, v+x*x
	}
	if math.Abs(u/n-0.5) > bound || math.Abs(m/n) > bound || math.Abs(v/n-1) > bound {
		t.Errorf("mean %v, normal mean %v, variance %v", u/n, m/n, v/n)
	}
}

func TestPerm(t *testing.T) {
	p := New(3, "p").Perm(1000)
	if slices.IsSorted(p) {
		t.Error("not shuffled")
	}
	slices.Sort(p)
	for i, x := range p {
		if i != x {
			t.Fatalf("%d is missing", i)
		}
	}
}
