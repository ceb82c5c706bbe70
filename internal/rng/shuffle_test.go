package rng

import "testing"

func TestShuffle(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 64, 1000, 4097} {
		p := New(3, "shuffle").Shuffle(n)
		seen := make([]bool, n)
		for i := range n {
			x := p.At(i)
			if x < 0 || x >= n || seen[x] {
				t.Fatalf("n %d: place %d holds %d, seen %v", n, i, x, x >= 0 && x < n && seen[x])
			}
			seen[x] = true
		}
	}
	if x := New(3, "shuffle").Shuffle(1 << 40).At(12345); x < 0 || x >= 1<<40 {
		t.Errorf("far out: %d", x)
	}
	// every number is equally likely at every place: chi square of 8 x 8 counts over 4,000 permutations
	const n, runs = 8, 4000
	var count [n][n]float64
	for s := range runs {
		p := New(uint64(s), "shuffle").Shuffle(n)
		for i := range n {
			count[i][p.At(i)]++
		}
	}
	chi := 0.0
	for i := range n {
		for _, c := range count[i] {
			chi += (c - runs/n) * (c - runs/n) / (runs / n)
		}
	}
	const most = 90 // 49 degrees of freedom: exceeded with probability 0.0003
	if chi > most {
		t.Errorf("chi square %v", chi)
	}
}
