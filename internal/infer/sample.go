package infer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"tune/internal/rng"
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
	s.list = s.list[:0]
	for id, v := range logits {
		x := float64(v)
		if p := s.RepetitionPenalty; p > 0 && s.seen[id] {
			if x > 0 {
				x /= p
			} else {
				x *= p
			}
		}
		s.list = append(s.list, candidate{int32(id), x})
	}
	order := func(a, b candidate) int { return cmp.Or(cmp.Compare(b.x, a.x), cmp.Compare(a.id, b.id)) }
	if s.Temperature == 0 {
		return slices.MinFunc(s.list, order).id
	}
	slices.SortFunc(s.list, order)
	s.cut()
	var sum float64
	for _, c := range s.list {
		sum += c.x
	}
	u := s.random.Float64(uint64(n)) * sum
	for _, c := range s.list {
		if u -= c.x; u < 0 {
			return c.id
		}
	}
	return s.list[0].id // rounding left a crumb
}

// cut turns the sorted logits into relative probabilities and keeps those the settings allow, at least one.
func (s *sampler) cut() {
	if s.TopK > 0 {
		s.list = s.list[:min(s.TopK, len(s.list))]
	}
	var sum float64
	top := s.list[0].x
	for i := range s.list {
		s.list[i].x = math.Exp((s.list[i].x - top) / s.Temperature)
		sum += s.list[i].x
	}
	if s.TopP > 0 && s.TopP < 1 {
		var before float64
		for i := range s.list {
			if before >= s.TopP*sum {
				s.list = s.list[:i]
				break
			}
			before += s.list[i].x
		}
	}
	for i := range s.list {
		if s.list[i].x < s.MinP {
			s.list = s.list[:i]
			break
		}
	}
}
