package quantize

import (
	"fmt"
	"slices"
)

// A Policy says what stands in for the statistics of an expert that has seen few tokens.
type Policy string

const (
	PolicyShrink Policy = "shrink" // its own and, for each token that is missing, an average one of all experts of the layer
	PolicyShared Policy = "shared" // those of all experts of the layer together
	PolicyRTN    Policy = "rtn"    // none: its weights are rounded to the nearest codes
)

// Policies lists them.
func Policies() []Policy { return []Policy{PolicyShrink, PolicyShared, PolicyRTN} }

// Few says when an expert has seen few tokens, and what is done then.
type Few struct {
	Policy Policy // "": PolicyShrink
	Tokens int    // that are enough; 0: as many as the input has columns, fewer cannot tell them all apart
}

func (f Few) enough(in Input) int {
	if f.Tokens > 0 {
		return f.Tokens
	}
	return in.Width
}

// layerStatistics are those of a layer's inputs, read when they are asked for.
type layerStatistics struct {
	inputs []Input
	read   func(i int) (*Statistics, error)
	few    Few
	shared map[string]*Statistics // by Input.Experts
}

// of returns the statistics of an input, the tokens it has seen, and the policy that was applied to them, "" for none.
func (l *layerStatistics) of(i int) (s *Statistics, tokens int, p Policy, err error) {
	if s, err = l.read(i); err != nil {
		return nil, 0, "", err
	}
	n, enough := s.Gram.Tokens, l.few.enough(s.Input)
	if s.Experts == "" || n >= enough {
		return s, n, "", nil
	}
	if p = l.few.Policy; p == "" {
		p = PolicyShrink
	}
	if p == PolicyRTN {
		return s, n, p, nil
	}
	all, err := l.together(s.Experts)
	if err != nil {
		return nil, 0, "", err
	}
	if all.Gram.Tokens == 0 {
		return s, n, PolicyRTN, nil
	}
	tokens = n
	if p == PolicyShared {
		s.Gram.Reset()
		n, enough = 0, all.Gram.Tokens
	}
	share := float64(enough-n) / float64(all.Gram.Tokens)
	s.Gram.AddScaled(all.Gram, share)
	for j := range s.Mean {
		s.Mean[j] = (float64(n)*s.Mean[j] + float64(enough-n)*all.Mean[j]) / float64(enough)
	}
	s.Gram.Tokens = enough
	return s, tokens, p, nil
}

// together sums the statistics of all experts that share a name.
func (l *layerStatistics) together(name string) (*Statistics, error) {
	if all := l.shared[name]; all != nil {
		return all, nil
	}
	first := slices.IndexFunc(l.inputs, func(in Input) bool { return in.Experts == name })
	all := newStatistics(l.inputs[first])
	for i, in := range l.inputs {
		if in.Experts != name {
			continue
		}
		s, err := l.read(i)
		if err != nil {
			return nil, err
		}
		all.Gram.AddScaled(s.Gram, 1)
		for j, v := range s.Mean {
			all.Mean[j] += float64(s.Gram.Tokens) * v
		}
		all.Gram.Tokens += s.Gram.Tokens
	}
	for j := range all.Mean {
		all.Mean[j] /= float64(max(all.Gram.Tokens, 1))
	}
	if l.shared == nil {
		l.shared = map[string]*Statistics{}
	}
	l.shared[name] = all
	return all, nil
}

// find is the number of the input that a module reads, -1 when nothing is known of it.
func (l *layerStatistics) find(module string) int {
	return slices.IndexFunc(l.inputs, func(in Input) bool { return slices.Contains(in.Modules, module) })
}

// layer are the statistics of layer l.
func (c *Calibration) layer(l int, few Few) *layerStatistics {
	inputs := c.inputs[l]
	return &layerStatistics{inputs: inputs, few: few, read: func(i int) (*Statistics, error) { return c.read(inputs[i]) }}
}

// ExpertCoverage is how many tokens the experts of a layer have seen in a calibration.
type ExpertCoverage struct {
	Experts string `json:"experts"` // the name that they share
	Tokens  []int  `json:"tokens"`  // by expert
}

// Coverage of the mixtures of a model, in the order of the forward.
func (c *Calibration) Coverage() (list []ExpertCoverage, err error) {
	at := map[string]int{}
	for _, layer := range c.inputs {
		for _, in := range layer {
			if in.Experts == "" {
				continue
			}
			i, ok := at[in.Experts]
			if !ok {
				i = len(list)
				at[in.Experts] = i
				list = append(list, ExpertCoverage{Experts: in.Experts})
			}
			n, err := c.rows(in)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", in.Experts, err)
			}
			list[i].Tokens = append(list[i].Tokens, n)
		}
	}
	return list, nil
}
