package quantize

import (
	"fmt"
	"regexp"
	"slices"

	"tune/internal/hint"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// Target is the wanted size of a file: exactly one is set.
type Target struct {
	Bytes int64   // of the whole file
	Bits  float64 // for each value of the tensors; the header comes on top
}

// Targeted is a plan for a wanted size.
type Targeted struct {
	*Plan
	Wanted   int64   // bytes
	Loss     float64 // what the sensitivity expects of the mean KL
	Nearest  *Plan   // of the standard mix of nearest size
	Expected float64 // the same of the nearest mix; negative when it uses types that were not measured
}

// PlanTarget chooses the types that keep the file within the wanted size at the least loss. What the options fix stays
// fixed. The file type in the metadata is that of the standard mix whose size is nearest.
func PlanTarget(src *Source, s *Sensitivity, want Target, o PlanOptions) (*Targeted, error) {
	if o.Pure {
		return nil, fmt.Errorf("pure: a wanted size is reached with several types")
	}
	// any mix that every width suits tells the order of the file and what is not of matrices
	top, err := NewPlan(src, mixes[slices.IndexFunc(mixes, func(m Mix) bool { return m.Name == "Q6_K" })], o)
	if err != nil {
		return nil, err
	}
	r := &Targeted{Wanted: want.Bytes}
	if want.Bits > 0 {
		values := 0.0
		for i := range top.Choices {
			values += float64(top.Choices[i].Elems())
		}
		r.Wanted = int64(len(top.Layout.Head)) + int64(want.Bits*values/8)
	}
	if r.Nearest, err = nearest(src, r.Wanted, o); err != nil {
		return nil, err
	}
	names, lists, options, err := choices(top, s, o)
	if err != nil {
		return nil, err
	}
	rest := r.Wanted - top.Layout.Size
	least := top.Layout.Size
	for i := range top.Choices {
		if c := &top.Choices[i]; allowed(c.Shape) {
			rest += padded(top, c.Bytes())
			least -= padded(top, c.Bytes())
		}
	}
	pick := allocate(options, rest)
	if pick == nil {
		for _, list := range options {
			least += slices.MinFunc(list, func(a, b option) int { return int(a.bytes - b.bytes) }).bytes
		}
		return nil, hint.Errorf("choose a larger size, or types of fewer bits with --candidates", "size: expected at least %d bytes, found %d", least, r.Wanted)
	}
	final := o
	final.Overrides = nil
	for i, name := range names {
		final.Overrides = append(final.Overrides, Override{regexp.MustCompile("^" + regexp.QuoteMeta(name) + "$"), lists[i][pick[i]]})
		r.Loss += options[i][pick[i]].loss
	}
	if r.Plan, err = NewPlan(src, r.Nearest.Mix, final); err != nil {
		return nil, err
	}
	if r.Layout.Size > r.Wanted {
		return nil, fmt.Errorf("size: expected at most %d bytes, found %d", r.Wanted, r.Layout.Size)
	}
	r.Expected = s.expected(r.Nearest)
	return r, nil
}

// expected sums the losses of a plan's types.
func (s *Sensitivity) expected(p *Plan) (sum float64) {
	for i := range s.Tensors {
		t := &s.Tensors[i]
		k := slices.IndexFunc(p.Choices, func(c Choice) bool { return c.Name == t.Name })
		if k < 0 {
			return -1
		}
		l, ok := t.loss(p.Choices[k].To)
		if !ok {
			return -1
		}
		sum += l
	}
	return sum
}

// choices lists the matrices that get a type and what each may become.
func choices(top *Plan, s *Sensitivity, o PlanOptions) (names []string, lists [][]qtype.Type, options [][]option, err error) {
	tied := !slices.ContainsFunc(top.Choices, func(c Choice) bool { return c.Name == outputName })
	for i := range top.Choices {
		c := &top.Choices[i]
		if !allowed(c.Shape) {
			continue
		}
		k := slices.IndexFunc(s.Tensors, func(t TensorSensitivity) bool { return t.Name == c.Name })
		if k < 0 {
			return nil, nil, nil, fmt.Errorf("tensor %s: %w: it has no entry", c.Name, ErrSensitivity)
		}
		fixed := (&selector{Options: o.Options}).override(c.Name)
		embedding := c.Name == embedName || c.Name == layerEmbedName
		switch {
		case o.Embedding != nil && embedding:
			fixed = o.Embedding
		case o.Output != nil && (c.Name == outputName || tied && c.Name == embedName && fixed == nil):
			fixed = o.Output
		}
		var list []qtype.Type
		if fixed != nil {
			to, err := fallback(*fixed, c.cols())
			if err != nil {
				return nil, nil, nil, fmt.Errorf("tensor %s: %w", c.Name, err)
			}
			list = []qtype.Type{to}
		} else {
			list = suited(c.Shape, s.types)
		}
		var opts []option
		for _, q := range list {
			loss, _ := s.Tensors[k].loss(q)
			opts = append(opts, option{padded(top, tensor.Info{Type: q, Shape: c.Dims}.Bytes()), loss})
		}
		names, lists, options = append(names, c.Name), append(lists, list), append(options, opts)
	}
	return names, lists, options, nil
}

// padded is what a tensor takes in the file.
func padded(p *Plan, n int64) int64 {
	const usual = 32
	align := int64(usual)
	if a, err := p.src.Meta.Uint("general.alignment"); err == nil && a > 0 {
		align = int64(a)
	}
	return (n + align - 1) / align * align
}

// special mixes are made for certain models only.
const special = "MXFP4_MOE Q2_0 TQ2_0 TQ1_0 Q1_0"

// nearest is the plan of the standard mix whose file is nearest in size to the wanted one.
func nearest(src *Source, want int64, o PlanOptions) (best *Plan, err error) {
	far := int64(0)
	for _, m := range mixes {
		if m.Default.Row().Block == 1 || listed(special, m.Name) {
			continue
		}
		p, e := NewPlan(src, m, o)
		if e != nil { // needs importance that is not there, or another width
			err = e
			continue
		}
		d := max(p.Layout.Size-want, want-p.Layout.Size)
		if best == nil || d < far {
			best, far = p, d
		}
	}
	if best == nil {
		return nil, err
	}
	return best, nil
}
