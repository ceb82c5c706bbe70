package infer

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"tune/internal/rng"
)

// The choice of each setting on four tokens of probability 0.5, 0.25, 0.15, 0.1, drawn many times.
func TestSampling(t *testing.T) {
	p := []float64{0.15, 0.5, 0.1, 0.25}
	logits := make([]float32, len(p))
	for i, v := range p {
		logits[i] = float32(math.Log(v))
	}
	const draws = 20000
	const bound = 0.015 // four standard errors of a share of one half
	for name, c := range map[string]struct {
		s    Sampling
		want []float64
	}{
		"plain":       {Sampling{Temperature: 1}, p},
		"greedy":      {Sampling{}, []float64{0, 1, 0, 0}},
		"temperature": {Sampling{Temperature: 0.5}, []float64{0.0225 / 0.345, 0.25 / 0.345, 0.01 / 0.345, 0.0625 / 0.345}},
		"top-k":       {Sampling{Temperature: 1, TopK: 2}, []float64{0, 2. / 3, 0, 1. / 3}},
		"top-k 1":     {Sampling{Temperature: 1, TopK: 1}, []float64{0, 1, 0, 0}},
		"top-p":       {Sampling{Temperature: 1, TopP: 0.74}, []float64{0, 2. / 3, 0, 1. / 3}},
		"top-p more":  {Sampling{Temperature: 1, TopP: 0.76}, []float64{0.15 / 0.9, 0.5 / 0.9, 0, 0.25 / 0.9}},
		"min-p":       {Sampling{Temperature: 1, MinP: 0.25}, []float64{0.15 / 0.9, 0.5 / 0.9, 0, 0.25 / 0.9}},
	} {
		if err := c.s.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s, count := newSampler(c.s, len(p)), make([]float64, len(p))
		for n := range draws {
			count[s.next(logits, n)] += 1. / draws
		}
		for i := range p {
			if math.Abs(count[i]-c.want[i]) > bound {
				t.Errorf("%s: token %d was drawn in %.3f of the cases, want %.3f", name, i, count[i], c.want[i])
			}
		}
	}
}

func TestRepetitionPenalty(t *testing.T) {
	s := newSampler(Sampling{RepetitionPenalty: 2}, 3)
	if got := s.next([]float32{1, 1.5, -1}, 0); got != 1 {
		t.Errorf("nothing seen: %d", got)
	}
	s.seen[1] = true
	if got := s.next([]float32{1, 1.5, -1}, 0); got != 0 {
		t.Errorf("a positive logit is divided: %d", got)
	}
	s.seen[0] = true
	if got := s.next([]float32{-1, -3, -1.9}, 0); got != 2 {
		t.Errorf("a negative logit is multiplied: %d", got)
	}
}

// The same seed draws the same tokens whatever was asked before; ties go to the lower id; bad settings are named.
func TestSamplerDetails(t *testing.T) {
	draw := func(seed uint64) (ids []int32) {
		s := newSampler(Sampling{Temperature: 1, Seed: seed}, 8)
		for n := range 50 {
			ids = append(ids, s.next(make([]float32, 8), n))
		}
		return ids
	}
	if !slices.Equal(draw(1), draw(1)) || slices.Equal(draw(1), draw(2)) {
		t.Error("draws do not follow the seed")
	}
	if got := newSampler(Sampling{}, 3).next([]float32{1, 2, 2}, 0); got != 1 {
		t.Errorf("tie went to %d", got)
	}
	if err := (Sampling{Temperature: math.NaN(), TopK: -1, TopP: 2, MinP: -1, RepetitionPenalty: -1}).Check(); err == nil {
		t.Error("accepted")
	}
}

// likeliest against sorting everything, with ties, for every number wanted.
func TestLikeliest(t *testing.T) {
	random := rng.New(1, "test")
	for n := 1; n < 40; n++ {
		all := make([]candidate, n)
		for i := range all {
			all[i] = candidate{int32(i), float64(random.Intn(uint64(100*n+i), 12))}
		}
		sorted := slices.Clone(all)
		slices.SortFunc(sorted, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.x, a.x), cmp.Compare(a.id, b.id)) })
		for k := 1; k <= n; k++ {
			if got := likeliest(slices.Clone(all), func(taken int, _ float64) bool { return taken < k }); !slices.Equal(got, sorted[:k]) {
				t.Fatalf("%d of %d: got %v, want %v", k, n, got, sorted[:k])
			}
		}
	}
}
