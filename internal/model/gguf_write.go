package model

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
)

// GGUFOptions of Checkpoint.GGUF.
type GGUFOptions struct {
	Type qtype.Type // of the matrices
	Keep bool       // matrices stay as they are stored; Type is ignored
	Name string     // general.name; "": from the checkpoint
	Pre  string     // tokenizer.ggml.pre; "": found from the structure of tokenizer.json
	// Metadata is put at the end, sorted; keys that begin with "tune." are shown as provenance.
	Metadata map[string]string
}

// A GGUFExport is what gguf.Write needs, and what the reader of the file should know.
type GGUFExport struct {
	Meta  *gguf.Meta
	Src   tensor.Source
	Notes []string // facts of the model that the file cannot hold
}

// GGUF prepares weights (nil: those of the checkpoint) with Hugging Face names for a GGUF file as llama.cpp's converter
// writes it: names, order, row order of q and k, types, metadata, tokenizer. Tensors are converted when they are asked for.
func (c *Checkpoint) GGUF(weights tensor.Source, o GGUFOptions) (*GGUFExport, error) {
	if weights == nil {
		weights = c.Weights
	}
	x := &GGUFExport{Notes: c.Spec.ggufNotes()}
	out, err := newExported(&c.Spec, weights, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	x.Notes = append(x.Notes, out.notes...)
	name := o.Name
	if name == "" {
		name = c.title()
	}
	x.Src, x.Meta = out, &gguf.Meta{}
	c.Spec.ggufMeta(x.Meta, name, out.label(&c.Spec), c.fileType(out, o))
	if err := c.ggufTokenizer(x.Meta, o.Pre); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	for _, key := range slices.Sorted(maps.Keys(o.Metadata)) {
		x.Meta.Set(key, o.Metadata[key])
	}
	return x, nil
}

// ggufNotes lists what a GGUF file of this architecture does not say.
func (s *Spec) ggufNotes() (notes []string) {
	windows, rotates := 0, false
	for l, layer := range s.Layers {
		if layer.Window > 0 {
			windows++
		}
		rotates = rotates || layer.NoRope != (s.Arch == "smollm3" && (l+1)%smollm3Interval == 0)
	}
	if windows > 0 {
		notes = append(notes, fmt.Sprintf("GGUF files of %s have no sliding windows: %d layers will see all tokens", s.Arch, windows))
	}
	if rotates {
		notes = append(notes, fmt.Sprintf("GGUF readers leave every %d-th layer of smollm3 without rotation; this model has another pattern", smollm3Interval))
	}
	return notes
}

// ggufMeta writes the keys before the tokenizer, in the converter's order.
func (s *Spec) ggufMeta(m *gguf.Meta, name, size string, fileType uint32) {
	arch := s.ggufArch()
	put := func(key string, v int) { m.Set(arch+"."+key, uint32(v)) }
	float := func(key string, v float64) { m.Set(arch+"."+key, float32(v)) }
	m.Set("general.architecture", arch)
	m.Set("general.type", "model")
	m.Set("general.name", name)
	m.Set("general.size_label", size)
	put("block_count", s.L)
	put("context_length", s.Positions)
	put("embedding_length", s.C)
	put("feed_forward_length", s.F)
	put("attention.head_count", s.H)
	put("attention.head_count_kv", s.K)
	switch r := &s.Rope; r.Scaling {
	case "linear":
		m.Set(arch+".rope.scaling.type", "linear")
		float("rope.scaling.factor", r.Factor)
	case "yarn":
		m.Set(arch+".rope.scaling.type", "yarn")
		float("rope.scaling.factor", r.Factor)
		put("rope.scaling.original_context_length", int(r.Original))
		if f := r.yarnFactor() / yarnDefault(r.Factor); math.Abs(f-1) > 1e-6 {
			float("rope.scaling.attn_factor", f)
		}
		if r.BetaFast != 32 || r.BetaSlow != 1 {
			float("rope.scaling.yarn_beta_fast", r.BetaFast)
			float("rope.scaling.yarn_beta_slow", r.BetaSlow)
		}
	}
	float("rope.freq_base", s.Rope.Theta)
	float("attention.layer_norm_rms_epsilon", float64(s.Eps))
	if s.Experts.N > 0 {
		put("expert_count", s.Experts.N)
		put("expert_used_count", s.Experts.Used)
	}
	if arch == "llama" && s.Experts.N == 0 || arch == "qwen3" || arch == "qwen3moe" || s.D*s.H != s.C { // these configurations always say head_dim
		put("attention.key_length", s.D)
		put("attention.value_length", s.D)
	}
	m.Set("general.file_type", fileType)
	if arch == "qwen3moe" {
		put("expert_feed_forward_length", s.Experts.F)
	}
	if arch == "llama" || arch == "smollm3" {
		put("vocab_size", s.V)
		put("rope.dimension_count", s.D)
	}
	m.Set("general.quantization_version", uint32(2))
}

// yarnDefault is what the rotation is multiplied with when nothing is said; GGUF's attn_factor multiplies it.
func yarnDefault(factor float64) float64 { return 0.1*math.Log(factor) + 1 }

// sizeLabel rounds the number of weights to a letter, with two digits at least.
func sizeLabel(values int64) string {
	scaled, letter := float64(values)*1e-3, "K"
	switch {
	case values > 1e12:
		scaled, letter = float64(values)*1e-12, "T"
	case values > 1e9:
		scaled, letter = float64(values)*1e-9, "B"
	case values > 1e6:
		scaled, letter = float64(values)*1e-6, "M"
	}
	digits := len(strings.TrimLeft(fmt.Sprintf("%.0f", scaled), "0"))
	return fmt.Sprintf("%.*f%s", max(2-digits, 0), scaled, letter)
}

// title is the name of the checkpoint: the one its GGUF file has, or the folder's with its words capitalised.
func (c *Checkpoint) title() string {
	if c.meta != nil {
		if name, err := c.meta.String("general.name"); err == nil {
			return name
		}
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		path = c.Path
	}
	name := strings.TrimSuffix(filepath.Base(path), ".gguf")
	name = name[strings.LastIndexByte(name, ':')+1:] // "builtin:lex-5m"
	words := strings.Fields(strings.ReplaceAll(name, "-", " "))
	for i, w := range words {
		if w == strings.ToLower(w) && !startsAsNumber(w) {
			words[i] = titleCase(w)
		}
	}
	return strings.Join(words, " ")
}

// startsAsNumber recognises sizes and versions ("7b", "v0.2"), which keep their case.
func startsAsNumber(w string) bool {
	rest := strings.TrimPrefix(w, "v")
	if rest != w {
		return rest != "" && strings.Trim(rest, "0123456789.") == ""
	}
	return w[0] >= '0' && w[0] <= '9'
}

// titleCase capitalises the first letter after anything that is not a letter.
func titleCase(w string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		was := inWord
		if inWord = unicode.IsLetter(r); inWord && !was {
			return unicode.ToTitle(r)
		}
		return r
	}, w)
}

// fileTypes are the values of general.file_type for files whose matrices have mostly one type.
var fileTypes = map[qtype.Type]uint32{qtype.F32: 0, qtype.F16: 1, qtype.Q4_0: 2, qtype.Q4_1: 3, qtype.Q8_0: 7, qtype.Q5_0: 8, qtype.Q5_1: 9, qtype.BF16: 32}

// guessedFileType says that the number was not known to the writer.
const guessedFileType = 1024

func (c *Checkpoint) fileType(x *exported, o GGUFOptions) uint32 {
	if !o.Keep {
		if n, ok := fileTypes[o.Type]; ok {
			return n
		}
		return guessedFileType
	}
	if c.meta != nil {
		if n, err := c.meta.Uint("general.file_type"); err == nil && n <= math.MaxUint32 {
			return uint32(n)
		}
	}
	for _, name := range x.names {
		if i := x.infos[name].info; len(i.Shape) > 1 {
			if n, ok := fileTypes[i.Type]; ok {
				return n
			}
			break
		}
	}
	return guessedFileType
}

// exported is a Source with GGUF names over one with Hugging Face names.
type exported struct {
	src   tensor.Source
	names []string
	infos map[string]exportedTensor
	freqs *tensor.Tensor
	notes []string
}

type exportedTensor struct {
	info  tensor.Info // as it will be written
	from  string
	heads int      // > 0: rows are moved
	stack []string // of a tensor of all experts: where each comes from
}

// newExported lists the tensors of src in the order of the converter. A tensor without a GGUF name is an error.
func newExported(s *Spec, src tensor.Source, o GGUFOptions) (*exported, error) {
	x := &exported{src: src, infos: map[string]exportedTensor{}}
	if err := x.addFreqs(s); err != nil {
		return nil, err
	}
	var unknown []string
	for _, hf := range converterOrder(src) {
		if s.Tied && hf == HeadModule+".weight" {
			x.notes = append(x.notes, "lm_head.weight is left out: the head is the embedding")
			continue
		}
		name, ok := GGUFName(hf)
		if !ok {
			unknown = append(unknown, hf)
			continue
		}
		info, err := src.Info(hf)
		if err != nil {
			return nil, err
		}
		if _, _, expert := ExpertOf(hf); expert {
			e := x.infos[name]
			if e.stack = append(e.stack, hf); len(e.stack) == s.Experts.N { // where the last of them stands
				e.info = s.stackOf(name, info, o)
				x.names = append(x.names, name)
			}
			x.infos[name] = e
			continue
		}
		info.Name = name
		info.Type = exportType(info, o)
		if err := info.Check(); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", hf, err)
		}
		x.names = append(x.names, name)
		x.infos[name] = exportedTensor{info: info, from: hf, heads: movedHeads(hf, s)}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("GGUF files of %s have no tensors for %s", s.ggufArch(), strings.Join(unknown, ", "))
	}
	return x, nil
}

// converterOrder is each file's names sorted, one file after the other; without files all names sorted.
func converterOrder(src tensor.Source) []string {
	if r, ok := src.(*Renamed); ok {
		return r.names
	}
	d, ok := src.(*safetensors.Dir)
	if !ok {
		return slices.Sorted(slices.Values(src.Names()))
	}
	var names []string
	for _, f := range d.Files() {
		names = append(names, slices.Sorted(slices.Values(f.Names()))...)
	}
	return names
}

// exportType is the converter's rule: vectors, norms and what is no weight are F32; a matrix whose width the type's block
// does not divide becomes F16.
func exportType(i tensor.Info, o GGUFOptions) qtype.Type {
	switch {
	case len(i.Shape) <= 1 || strings.HasSuffix(i.Name, "_norm.weight") || strings.HasSuffix(i.Name, ".ffn_gate_inp.weight") || !strings.HasSuffix(i.Name, ".weight"):
		return qtype.F32
	case o.Keep:
		return i.Type
	case i.Cols()%o.Type.Row().Block != 0:
		return qtype.F16
	}
	return o.Type
}

// addFreqs makes rope_freqs.weight, the way these files state a scaled rotation of llama 3.
func (x *exported) addFreqs(s *Spec) error {
	d := s.Rope.Divisors
	if s.Rope.Scaling == "llama3" {
		d = s.Rope.llama3Divisors(s.D)
	}
	if d == nil {
		return nil
	}
	if s.ggufArch() != "llama" && s.ggufArch() != "smollm3" {
		return hint.Errorf("use yarn or linear scaling", "rope scaling llama3: GGUF files of %s cannot hold it", s.ggufArch())
	}
	t := tensor.FromFloats(ropeFreqs, []int{len(d)}, d)
	x.freqs, x.names = &t, []string{ropeFreqs}
	x.infos[ropeFreqs] = exportedTensor{info: t.Info}
	return nil
}

// llama3Divisors are what the frequencies of a head of width d are divided by, each operation in float32 as the converter
// does it.
func (r *Rope) llama3Divisors(d int) []float32 {
	divisors := make([]float32, d/2)
	original, low, high, factor := float32(r.Original), float32(r.Low), float32(r.High), float32(r.Factor)
	for i := range divisors {
		power := float32(math.Pow(r.Theta, float64(float32(2*i)/float32(d))))
		wavelength := float32(2*math.Pi) / (1 / power)
		switch {
		case wavelength < original/high:
			divisors[i] = 1
		case wavelength > original/low:
			divisors[i] = factor
		default:
			smooth := (original/wavelength - low) / (high - low)
			divisors[i] = 1 / (float32((1-smooth)/factor) + smooth)
		}
	}
	return divisors
}

// label is the number of weights, of a mixture that of its parts with one expert, behind the number of experts.
func (x *exported) label(s *Spec) string {
	n := int64(0)
	for _, t := range x.infos {
		k := int64(t.info.Elems())
		if t.stack != nil {
			k /= int64(s.Experts.N)
		}
		n += k
	}
	if s.Experts.N > 0 {
		return fmt.Sprintf("%dx%s", s.Experts.N, sizeLabel(n))
	}
	return sizeLabel(n)
}

// Names lists the tensors in the order of the file to be.
func (x *exported) Names() []string { return x.names }

// Info describes a tensor as it will be written.
func (x *exported) Info(name string) (tensor.Info, error) {
	t, ok := x.infos[name]
	if !ok {
		return tensor.Info{}, tensor.Missing(name)
	}
	return t.info, nil
}

// Tensor converts a tensor.
func (x *exported) Tensor(name string) (tensor.Tensor, error) {
	e, ok := x.infos[name]
	if !ok {
		return tensor.Tensor{}, tensor.Missing(name)
	}
	switch {
	case e.stack != nil:
		return x.stacked(e)
	case e.from == "":
		return *x.freqs, nil
	}
	t, err := x.src.Tensor(e.from)
	if err != nil {
		return t, err
	}
	if t, err = tensor.Convert(t, e.info.Type); err != nil {
		return t, err
	}
	if e.heads > 0 {
		t, err = moveRows(t, e.heads, true)
	}
	t.Name = name
	return t, err
}
