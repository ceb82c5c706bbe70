// Package quantize turns a model into a GGUF file of a chosen mix: which type each tensor gets (Select), importance of
// columns (Importance), the writing itself in bounded memory and with resuming (Plan, Write), and proof (Verify).
//
// Two words are kept apart: a type is how one tensor is stored (Q4_K), a mix is the rule for a whole file (Q4_K_M). Mixes,
// metadata and tensor order are those of llama.cpp's llama-quantize, so that the files have the same bytes.
package quantize

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"tune/internal/hint"
	"tune/internal/qtype"
)

// A Mix is a rule for a whole file.
type Mix struct {
	Name    string
	Number  uint32     // general.file_type
	Default qtype.Type // what most tensors get
}

// mixes are llama.cpp's file types, from the best to the smallest.
var mixes = []Mix{
	{"F32", 0, qtype.F32}, {"F16", 1, qtype.F16}, {"BF16", 32, qtype.BF16},
	{"Q8_0", 7, qtype.Q8_0}, {"Q6_K", 18, qtype.Q6_K},
	{"Q5_0", 8, qtype.Q5_0}, {"Q5_1", 9, qtype.Q5_1}, {"Q5_K_S", 16, qtype.Q5_K}, {"Q5_K_M", 17, qtype.Q5_K},
	{"Q4_0", 2, qtype.Q4_0}, {"Q4_1", 3, qtype.Q4_1}, {"Q4_K_S", 14, qtype.Q4_K}, {"Q4_K_M", 15, qtype.Q4_K},
	{"IQ4_NL", 25, qtype.IQ4_NL}, {"IQ4_XS", 30, qtype.IQ4_XS}, {"MXFP4_MOE", 38, qtype.MXFP4},
	{"Q3_K_S", 11, qtype.Q3_K}, {"Q3_K_M", 12, qtype.Q3_K}, {"Q3_K_L", 13, qtype.Q3_K},
	{"IQ3_XXS", 23, qtype.IQ3_XXS}, {"IQ3_XS", 22, qtype.IQ3_S}, {"IQ3_S", 26, qtype.IQ3_S}, {"IQ3_M", 27, qtype.IQ3_S},
	{"Q2_0", 41, qtype.Q2_0}, {"Q2_K_S", 21, qtype.Q2_K}, {"Q2_K", 10, qtype.Q2_K},
	{"IQ2_XXS", 19, qtype.IQ2_XXS}, {"IQ2_XS", 20, qtype.IQ2_XS}, {"IQ2_S", 28, qtype.IQ2_XS}, {"IQ2_M", 29, qtype.IQ2_S},
	{"TQ2_0", 37, qtype.TQ2_0}, {"TQ1_0", 36, qtype.TQ1_0}, {"IQ1_M", 31, qtype.IQ1_M}, {"IQ1_S", 24, qtype.IQ1_S}, {"Q1_0", 40, qtype.Q1_0},
}

// aliases are names that llama-quantize takes too.
var aliases = map[string]string{"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

// NeedsImportance says that the mix cannot be made without knowing the importance of columns.
func (m Mix) NeedsImportance() bool { return listed(tiny+" IQ3_XXS Q2_K_S", m.Name) }

// Mixes lists llama.cpp's mixes, from the best to the smallest.
func Mixes() []Mix { return slices.Clone(mixes) }

// Presets lists the mixes of our own, from the best to the smallest.
func Presets() []Mix { return slices.Clone(presets) }

// copyMix keeps every tensor as it is and gives the file the usual order.
const copyMix = "COPY"

// ParseMix finds a mix by name, in any case.
func ParseMix(name string) (Mix, error) {
	upper := strings.ToUpper(name)
	if upper == copyMix {
		return Mix{Name: copyMix}, nil
	}
	if full, ok := aliases[upper]; ok {
		upper = full
	}
	var names []string
	for _, m := range slices.Concat(mixes, presets) {
		if m.Name == upper {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Mix{}, hint.Errorf("one of "+strings.Join(names, " ")+" "+copyMix, "mix: %q is not known", name)
}

// Facts are the numbers of a model that the rules of a mix depend on.
type Facts struct {
	Arch    string // general.architecture
	Layers  int
	Heads   int
	KVHeads int // of the first layer; 0 where it has no attention
	Experts int
}

// is70B recognises the models of Llama 2's largest shape, whose value matrices are shared by many heads.
func (f Facts) is70B() bool {
	switch f.Arch {
	case "llama":
		return f.Layers == 80 && f.Heads != f.KVHeads
	case "qwen2", "olmo", "deci":
		return f.Layers == 80
	case "jais2":
		return f.Layers == 68
	}
	return false
}

// gqa is the number of query heads that share one key head.
func (f Facts) gqa() int {
	if f.KVHeads == 0 {
		return 0
	}
	return f.Heads / f.KVHeads
}

// A Shape is a tensor to choose a type for, under its GGUF name.
type Shape struct {
	Name string
	Type qtype.Type // as it is now
	Dims []int      // outermost first
}

func (s Shape) cols() int { return s.Dims[len(s.Dims)-1] }

// matrices is the number of matrices in a tensor, that of experts.
func (s Shape) matrices() int {
	n := 1
	for _, d := range s.Dims[:max(len(s.Dims)-2, 0)] {
		n *= d
	}
	return n
}

// Override gives the tensors that a pattern matches a type, whatever the mix says.
type Override struct {
	Pattern *regexp.Regexp
	Type    qtype.Type
}

// ParseOverride reads "REGEX=TYPE". As in llama-quantize the pattern is lower-cased and matches anywhere in the name.
func ParseOverride(s string) (Override, error) {
	i := strings.LastIndexByte(s, '=')
	if i <= 0 {
		return Override{}, fmt.Errorf("tensor type %q: expected REGEX=TYPE", s)
	}
	t, err := qtype.ParseType(s[i+1:])
	if err != nil {
		return Override{}, fmt.Errorf("tensor type %q: %w", s, err)
	}
	p, err := regexp.Compile(strings.ToLower(s[:i]))
	if err != nil {
		return Override{}, fmt.Errorf("tensor type %q: %w", s, err)
	}
	return Override{p, t}, nil
}

// Options of Select. Types are nil where the mix decides.
type Options struct {
	Pure       bool        // every tensor gets the mix's default
	Output     *qtype.Type // of output.weight, or of token_embd.weight when the model has no other head
	Embedding  *qtype.Type // of token_embd.weight
	Overrides  []Override  // the first that matches decides
	Importance bool        // column importance will be used: some rules ask for it
	InOrder    bool        // tensors are visited and written in the order given, as llama-quantize --keep-split does
}

// A Choice is the type of one tensor.
type Choice struct {
	Shape
	To       qtype.Type
	Wanted   qtype.Type // what the mix or the user said before the width was looked at
	Fallback bool       // the width does not suit Wanted
}

// Select chooses a type for every tensor: a pure function of its arguments, equal to llama-quantize. The result is in the
// order of the file that llama-quantize writes: by layer, then by name, tensors outside of layers first, or as given.
func Select(f Facts, tensors []Shape, mix Mix, o Options) ([]Choice, error) {
	s := &selector{Facts: f, mix: mix, Options: o}
	out := make([]Choice, len(tensors))
	if !o.InOrder {
		tensors = sorted(tensors)
	}
	for i, t := range tensors {
		out[i] = Choice{Shape: t, To: t.Type, Wanted: t.Type}
		s.tied = s.tied || t.Name == embedName
		if allowed(t) && category(t.Name) == catV {
			s.count[catV].n++
		}
	}
	for _, t := range tensors {
		if t.Name == outputName {
			s.tied = false
		}
	}
	s.firstEnd = firstLayers(f, tensors)
	for _, c := range []cat{catDown, catGate, catUp} {
		s.count[c].n = f.Layers
	}
	for i := range out {
		if !allowed(out[i].Shape) || mix.Name == copyMix {
			continue
		}
		if err := s.choose(&out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sorted orders tensors as llama-quantize visits and writes them.
func sorted(tensors []Shape) []Shape {
	out := slices.Clone(tensors)
	slices.SortStableFunc(out, func(a, b Shape) int {
		if la, lb := layerOf(a.Name), layerOf(b.Name); la != lb {
			return la - lb
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// layerOf is the number in "blk.N.", -1 without one.
func layerOf(name string) int {
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return -1
	}
	n := 0
	for i := 0; i < len(rest) && i < 8; i++ {
		switch c := rest[i]; {
		case c == '.' && i > 0:
			return n
		case c < '0' || c > '9':
			return -1
		default:
			n = 10*n + int(c-'0')
		}
	}
	return -1
}

// selector walks over the tensors of a file. Counters of value and feed-forward matrices run while it does.
type selector struct {
	Facts
	Options
	mix      Mix
	tied     bool // the embedding is the head
	firstEnd int  // see firstLayers
	count    [numCats]struct{ i, n int }
}

// choose decides for one tensor that may be quantized.
func (s *selector) choose(c *Choice) error {
	block := s.mix.Default.Row().Block > 1
	c.Wanted = s.mix.Default
	embedding, output := c.Name == embedName || c.Name == layerEmbedName, c.Name == outputName
	switch override := s.override(c.Name); {
	case s.Embedding != nil && embedding:
		c.Wanted = *s.Embedding
	case s.Output != nil && output:
		c.Wanted = *s.Output
	case block && override != nil:
		c.Wanted = *override
	case s.Pure:
	case presetTypes[s.mix.Name] != parts{}:
		c.Wanted = s.part(presetTypes[s.mix.Name], c.Shape)
	case block:
		c.Wanted = s.rule(c.Shape)
	}
	to, err := fallback(c.Wanted, c.cols())
	if err != nil {
		return fmt.Errorf("tensor %s: %w", c.Name, err)
	}
	c.To, c.Fallback = to, to != c.Wanted
	return nil
}

func (s *selector) override(name string) *qtype.Type {
	for i := range s.Overrides {
		if s.Overrides[i].Pattern.MatchString(name) {
			return &s.Overrides[i].Type
		}
	}
	return nil
}

// fallbacks are the types for rows that do not consist of whole blocks of 256 (Q2_0: 64).
var fallbacks = map[qtype.Type]qtype.Type{
	qtype.IQ1_S: qtype.IQ4_NL, qtype.IQ1_M: qtype.IQ4_NL, qtype.IQ2_XXS: qtype.IQ4_NL, qtype.IQ2_XS: qtype.IQ4_NL, qtype.IQ2_S: qtype.IQ4_NL,
	qtype.IQ3_XXS: qtype.IQ4_NL, qtype.IQ3_S: qtype.IQ4_NL, qtype.IQ4_XS: qtype.IQ4_NL,
	qtype.Q2_0: qtype.Q4_0, qtype.Q2_K: qtype.Q4_0, qtype.Q3_K: qtype.Q4_0, qtype.TQ1_0: qtype.Q4_0, qtype.TQ2_0: qtype.Q4_0,
	qtype.Q4_K: qtype.Q5_0, qtype.Q5_K: qtype.Q5_1, qtype.Q6_K: qtype.Q8_0,
}

// fallback is the type that rows of cols values get when they should have t.
func fallback(t qtype.Type, cols int) (qtype.Type, error) {
	if cols%t.Row().Block == 0 {
		return t, nil
	}
	to, ok := fallbacks[t]
	switch {
	case !ok:
		return t, hint.Errorf("choose another mix, or another type for this tensor", "rows of %d values do not consist of blocks of %d as %s needs, and no other type stands in for it",
			cols, t.Row().Block, t)
	case cols%to.Row().Block != 0:
		return qtype.F16, nil
	}
	return to, nil
}

// NeedsImportance says that a tensor cannot be stored as llama.cpp does it without knowing the importance of its columns.
func (c *Choice) NeedsImportance(mix Mix) bool {
	if c.Name == outputName || c.Name == embedName || c.Name == layerEmbedName || c.To == c.Type {
		return false
	}
	switch c.To {
	case qtype.IQ3_XXS, qtype.IQ2_XXS, qtype.IQ2_XS, qtype.IQ2_S, qtype.IQ1_M, qtype.IQ1_S:
		return true
	case qtype.Q2_K:
		return mix.Name == "Q2_K_S"
	}
	return false
}
