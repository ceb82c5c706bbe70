package train

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Schedule says how the learning rate moves over a run.
type Schedule struct {
	Name   string  `yaml:"name" json:"name,omitempty" jsonschema:"enum=constant,enum=linear,enum=cosine,enum=wsd"`
	Warmup float64 `yaml:"warmup" json:"warmup,omitempty" jsonschema:"minimum=0,description=steps of linear warm-up; below 1 it is a share of all steps"`
	Floor  float64 `yaml:"floor" json:"floor,omitempty" jsonschema:"minimum=0,maximum=1,description=share of the highest rate that is kept to the end"`
	Decay  float64 `yaml:"decay" json:"decay,omitempty" jsonschema:"minimum=0,maximum=1,description=share of all steps in which wsd goes down"`
}

// schedules map progress x in [0, 1) after the warm-up to a factor in [0, 1]; tail is the decaying share of the run.
var schedules = map[string]func(x, tail float64) float64{
	"constant": func(_, _ float64) float64 { return 1 },
	"linear":   func(x, _ float64) float64 { return 1 - x },
	"cosine":   func(x, _ float64) float64 { return 0.5 * (1 + math.Cos(math.Pi*x)) },
	"wsd": func(x, tail float64) float64 { // warm-up, stable, decay (Hu et al. 2024, MiniCPM), linear decay
		if x < 1-tail {
			return 1
		}
		return (1 - x) / tail
	},
}

// warmup is the number of warm-up steps of a run.
func (s Schedule) warmup(total int) int {
	if s.Warmup < 1 {
		return int(math.Round(s.Warmup * float64(total)))
	}
	return int(s.Warmup)
}

// Rate is the learning rate of a step, counted from 0, of total. The warm-up counts from 0 too: step 0 has rate 0.
func (s Schedule) Rate(step, total int, peak float64) float64 {
	warm := s.warmup(total)
	if step < warm {
		return peak * float64(step) / float64(warm)
	}
	x, tail := 1.0, 0.0
	if total > warm {
		x = min(1, float64(step-warm)/float64(total-warm))
		tail = min(1, s.Decay*float64(total)/float64(total-warm))
	}
	return peak * (s.Floor + (1-s.Floor)*schedules[s.Name](x, tail))
}

func (s Schedule) check() []Problem {
	var ps []Problem
	if schedules[s.Name] == nil {
		ps = append(ps, Problem{"name", fmt.Sprintf("expected one of %s, found %q", names(schedules), s.Name)})
	}
	if !(s.Warmup >= 0) || s.Warmup >= 1 && s.Warmup != math.Trunc(s.Warmup) {
		ps = append(ps, Problem{"warmup", fmt.Sprintf("expected a whole number of steps or a share below 1, found %v", s.Warmup)})
	}
	if !(s.Floor >= 0 && s.Floor <= 1) {
		ps = append(ps, Problem{"floor", fmt.Sprintf("expected a share between 0 and 1, found %v", s.Floor)})
	}
	if !(s.Decay >= 0 && s.Decay <= 1) || s.Name == "wsd" && s.Decay == 0 {
		ps = append(ps, Problem{"decay", fmt.Sprintf("expected a share between 0 and 1, found %v", s.Decay)})
	}
	return ps
}

// names lists the keys of a table for an error message.
func names[T any](table map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(table)), ", ")
}
