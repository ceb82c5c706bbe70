package task

import (
	"slices"
	"testing"
)

// The wants come from CPython 3.11.
func TestRandom(t *testing.T) {
	r := NewRandom(1234)
	for i, want := range []uint32{4150886329, 3342196574, 1892932127, 501869158} {
		if got := r.uint32(); got != want {
			t.Errorf("getrandbits(32) %d = %d, want %d", i, got, want)
		}
	}
	r = NewRandom(1234)
	for i, want := range []float64{0.9664535356921388, 0.4407325991753527, 0.007491470058587191} {
		if got := r.Float64(); got != want {
			t.Errorf("random() %d = %v, want %v", i, got, want)
		}
	}
	r = NewRandom(1234)
	for _, c := range []struct {
		n, k int
		want []int
	}{
		{7473, 5, []int{6374, 3610, 957, 61, 742}},
		{7473, 5, []int{7462, 6610, 4769, 286, 5501}},
		{7473, 5, []int{5677, 687, 806, 6279, 2905}},
	} {
		if got := r.Sample(c.n, c.k); !slices.Equal(got, c.want) {
			t.Errorf("sample(range(%d), %d) = %v, want %v", c.n, c.k, got, c.want)
		}
	}
	for _, c := range []struct {
		n, k int
		want []int
	}{
		{39905, 11, []int{28883, 7657, 490, 5940, 38156, 2288, 5500, 6450, 23241, 15519, 1142}},
		{16, 5, []int{14, 1, 0, 15, 9}},
	} {
		if got := NewRandom(1234).Sample(c.n, c.k); !slices.Equal(got, c.want) {
			t.Errorf("sample(range(%d), %d) = %v, want %v", c.n, c.k, got, c.want)
		}
	}
	r = NewRandom(0)
	for i, want := range []int{8, 7, 4, 2, 5, 4, 7, 3, 4, 5} {
		if got := r.Choice(10); got != want {
			t.Errorf("choices %d = %d, want %d", i, got, want)
		}
	}
}
