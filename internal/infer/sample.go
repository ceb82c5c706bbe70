package infer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"tune/internal/rng"
	"tune/kernels"
)

// Sampling says how the next token is chosen. The zero value takes the likeliest. Steps follow in the order of the fields.
type Sampling struct {
	RepetitionPenalty float64 // logits of tokens seen before are divided by it, or multiplied when negative (Keskar et al. 2019); 0 or 1: none
	Temperature       float64 // logits are divided by it; 0: the likeliest token
	TopK              int     // only the k likeliest; 0: all
	TopP              float64 // only the likeliest that together have this probability (Holtzman et al. 2019); 0 or 1: all
	MinP              float64 // only those at least this times as likely as the likeliest (Nguyen et al. 2024); 0: all
	Seed              uint64
}

// Check lists what is wrong with the settings.
func (s Sampling) Check() error {
	var errs []error
	say := func(ok bool, name, expected string, v any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: expected %s, found %v", name, expected, v))
		}
	}
	say(s.RepetitionPenalty >= 0 && s.RepetitionPenalty < math.Inf(1), "repetition-penalty", "a number not below 0", s.RepetitionPenalty)
	say(s.Temperature >= 0 && s.Temperature < math.Inf(1), "temperature", "a number not below 0", s.Temperature)
	say(s.TopK >= 0, "top-k", "a number not below 0", s.TopK)
	say(s.TopP >= 0 && s.TopP <= 1, "top-p", "0 to 1", s.TopP)
	say(s.MinP >= 0 && s.MinP <= 1, "min-p", "0 to 1", s.MinP)
	return errors.Join(errs...)
}

// candidate is a token that may be chosen.
type candidate struct {
	id int32
	x  float64 // logit, later the probability relative to the likeliest
}

// sampler keeps the work space of Sampling.
type sampler struct {
	Sampling
	random rng.Stream
	seen   []bool // (V) tokens that occurred
	list   []candidate
}

func newSampler(s Sampling, vocabulary int) *sampler {
	return &sampler{Sampling: s, random: rng.New(s.Seed, "sample"), seen: make([]bool, vocabulary)}
}

// next chooses a token; n is the number of the choice, which alone decides the random number used.
func (s *sampler) next(logits []float32, n int) int32 {
	if s.Temperature == 0 && (s.RepetitionPenalty == 0 || s.RepetitionPenalty == 1) {
		return int32(kernels.ArgMax(logits))
	}
	s.list = s.list[:0]
	top := candidate{x: math.Inf(-1)}
	for id, v := range logits {
		c := candidate{int32(id), s.penalized(id, float64(v))}
		if c.x > top.x {
			top = c
		}
		if s.Temperature > 0 {
			s.list = append(s.list, c)
		}
	}
	if s.Temperature == 0 {
		return top.id
	}
	for i := range s.list {
		s.list[i].x = math.Exp((s.list[i].x - top.x) / s.Temperature)
	}
	s.cut()
	u := s.random.Float64(uint64(n)) * sum(s.list)
	for _, c := range s.list {
		if u -= c.x; u < 0 {
			return c.id
		}
	}
	return top.id // rounding left a crumb
}

func (s *sampler) penalized(id int, x float64) float64 {
	switch p := s.RepetitionPenalty; {
	case p <= 0 || !s.seen[id]:
		return x
	case x > 0:
		return x / p
	default:
		return x * p
	}
}

func sum(list []candidate) (all float64) {
	for _, c := range list {
		all += c.x
	}
	return all
}

// cut keeps of the candidates, whose x are relative probabilities, those the settings allow, at least one. Only as many are put in
// order as the settings look at: a vocabulary has a hundred thousand.
func (s *sampler) cut() {
	if s.TopK > 0 && s.TopK < len(s.list) {
		s.list = likeliest(s.list, func(taken int, _ float64) bool { return taken < s.TopK })
	}
	if s.TopP > 0 && s.TopP < 1 {
		enough := s.TopP * sum(s.list)
		s.list = likeliest(s.list, func(_ int, before float64) bool { return before < enough })
	}
	if s.MinP > 0 {
		s.list = slices.DeleteFunc(s.list, func(c candidate) bool { return c.x < s.MinP })
	}
}

// likeliest takes candidates in descending order as long as more wants another, given how many there are and the sum of theirs,
// at least one. A heap sort that stops early, in place.
func likeliest(list []candidate, more func(taken int, sum float64) bool) []candidate {
	for i := len(list)/2 - 1; i >= 0; i-- {
		sink(list, i)
	}
	n, all := len(list), 0.0
	for n > 0 && (n == len(list) || more(len(list)-n, all)) {
		n--
		all += list[0].x
		list[0], list[n] = list[n], list[0]
		sink(list[:n], 0)
	}
	slices.Reverse(list[n:])
	return list[n:]
}

// sink restores the heap below i: no parent comes after its children.
func sink(heap []candidate, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && before(heap[child+1], heap[child]) {
			child++
		}
		if !before(heap[child], heap[i]) {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// before is the order of candidates: the likeliest first, ties by id.
func before(a, b candidate) bool { return a.x > b.x || a.x == b.x && a.id < b.id }
