package quantize

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/packed"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
)

// PackedOptions of PlanPacked.
type PackedOptions struct {
	Scheme   packed.Options // DType 0 (F32) is replaced by the model's own
	Loader   string         // whose rules are checked: packed.Loaders
	Method   string         // of MethodOf
	Ignore   []*regexp.Regexp
	Untied   bool // weights have a head of their own although the checkpoint's is the embedding
	Stamp    string
	Resident int64  // memory in bytes that asking for one tensor takes beside mapped files
	Version  string // of the program, "tune 1.2"
	Facts    packed.Facts
	Shard    int64 // most bytes of tensors in one file; 0: 5 GB
}

// packedShard is the usual size of one file of a sharded checkpoint.
const packedShard = 5e9

// A PackedPlan is all that is decided before a byte of a GPTQ, AWQ, compressed-tensors or NF4 folder is written.
type PackedPlan struct {
	Scheme  *packed.Scheme
	Method  string          // how codes are chosen
	Modules []packed.Module // in the order of the forward, kept ones among them
	Kept    []KeptTensor
	Again   int // weights that were quantized before
	Notes   []string
	Parts   []safetensors.Part
	Files   map[string][]byte // beside the tensors
	weights tensor.Source
	where   map[string]location // of each tensor of the file
	shared  map[string][]int    // modules of one name of Fused
	units   []unit
	o       PackedOptions
	stamp   string
}

// KeptTensor is copied through; To differs from its type where files cannot hold that.
type KeptTensor struct {
	tensor.Info
	To qtype.Type
}

// location is where a tensor of the output lies.
type location struct {
	part   int
	offset int64
	bytes  int64
}

// unit is what one worker does at a time: a module, or rows of a kept tensor.
type unit struct {
	module, kept int // -1: the other
	first, rows  int
}

// PlanPacked chooses what is quantized, holds it against the rules of the loader, and lays the files out. Weights (nil: those of
// the checkpoint) have Hugging Face names.
func PlanPacked(c *model.Checkpoint, weights tensor.Source, o PackedOptions) (*PackedPlan, error) {
	if weights == nil {
		weights = c.Weights
	}
	if o.Scheme.DType == qtype.F32 {
		o.Scheme.DType = dtypeOf(c)
	}
	s, err := packed.ParseScheme(o.Scheme)
	if err != nil {
		return nil, err
	}
	method, err := MethodOf(o.Method, s)
	if err != nil {
		return nil, err
	}
	p := &PackedPlan{Scheme: s, Method: method, weights: weights, o: o, where: map[string]location{}, shared: map[string][]int{}}
	if err := p.choose(c); err != nil {
		return nil, err
	}
	if err := s.CheckLoader(o.Loader, p.Modules); err != nil {
		return nil, err
	}
	if err := p.layout(); err != nil {
		return nil, err
	}
	if err := p.sideFiles(c); err != nil {
		return nil, err
	}
	p.stamp = p.identity()
	return p, nil
}

// dtypeOf is the float type that a model computes in: that of its configuration, else bf16.
func dtypeOf(c *model.Checkpoint) qtype.Type {
	var keys struct {
		DType string `json:"dtype"`
		Torch string `json:"torch_dtype"`
	}
	if json.Unmarshal(c.Config, &keys) == nil {
		for _, name := range []string{keys.DType, keys.Torch} {
			if t, ok := packed.DTypeOf(name); ok {
				return t
			}
		}
	}
	return qtype.BF16
}

// choose lists modules and what is copied through; a router chooses among experts and is never rounded.
func (p *PackedPlan) choose(c *model.Checkpoint) error {
	quantized := map[string]bool{}
	for _, m := range c.Spec.Modules() {
		if m.Kind == model.Embedding || m.Kind == model.Head {
			continue
		}
		x := packed.Module{Name: m.Name, Out: m.Out, In: m.In, Fused: fusedName(m.Name)}
		info, err := p.weights.Info(m.Name + ".weight")
		if err != nil {
			return err
		}
		x.Kept = m.Kind == model.Router || slices.ContainsFunc(p.o.Ignore, func(re *regexp.Regexp) bool { return re.MatchString(m.Name) })
		if !x.Kept {
			if err := p.Scheme.Check(m.Out, m.In); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			quantized[m.Name+".weight"] = true
			if info.Type.Row().Block > 1 {
				p.Again++
			}
		}
		if x.Fused == "" {
			x.Fused = m.Name
		}
		p.shared[x.Fused] = append(p.shared[x.Fused], len(p.Modules))
		p.Modules = append(p.Modules, x)
	}
	if len(quantized) == 0 {
		return hint.Errorf("loosen --ignore", "expected modules to quantize, found none")
	}
	if p.Again > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%d weights are quantized already: quantizing them again loses more than quantizing the original once", p.Again))
	}
	for _, name := range p.weights.Names() {
		if quantized[name] {
			continue
		}
		info, err := p.weights.Info(name)
		if err != nil {
			return err
		}
		k := KeptTensor{info, info.Type}
		if info.Type.Row().SafeTensors == "" {
			k.To = p.Scheme.DType
		}
		p.Kept = append(p.Kept, k)
	}
	return nil
}

// fusedName tells which modules loaders put into one matrix, "" for a module alone.
func fusedName(module string) string {
	fused := map[string]string{"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up",
		"w1": "w13", "w3": "w13"} // of Mixtral's experts
	at := strings.LastIndexByte(module, '.')
	if name := fused[module[at+1:]]; name != "" {
		return module[:at+1] + name
	}
	return ""
}

// layout places all tensors: modules in the order of the forward, then what is kept, cut into units of work.
func (p *PackedPlan) layout() error {
	var infos []tensor.Info
	for i := range p.Modules {
		if m := &p.Modules[i]; !m.Kept {
			infos = append(infos, p.Scheme.Parts(m.Name, m.Out, m.In)...)
			p.units = append(p.units, unit{module: i, kept: -1})
		}
	}
	for i := range p.Kept {
		k := &p.Kept[i]
		infos = append(infos, tensor.Info{Name: k.Name, Type: k.To, Shape: k.Shape})
		cols := max(k.Cols(), 1)
		rows, step := k.Elems()/cols, max(chunkValues/cols, 1)
		for r := 0; r < rows; r += step {
			p.units = append(p.units, unit{-1, i, r, min(step, rows-r)})
		}
	}
	shard := p.o.Shard
	if shard == 0 {
		shard = packedShard
	}
	parts, index, err := safetensors.Plan(infos, shard, map[string]string{"format": "pt", "tune.quantizer": p.o.Version})
	if err != nil {
		return err
	}
	p.Parts, p.Files = parts, map[string][]byte{}
	if index != nil {
		p.Files[safetensors.IndexName] = index
	}
	for i, part := range parts {
		for k, info := range part.Infos {
			p.where[info.Name] = location{i, part.Offsets[k], info.Bytes()}
		}
	}
	return nil
}

// sideFiles are the configuration and what else a loader wants.
func (p *PackedPlan) sideFiles(c *model.Checkpoint) error {
	f := p.o.Facts
	f.Quantizer = p.o.Version
	for _, m := range p.Modules {
		if m.Kept {
			f.Kept = append(f.Kept, m.Name)
		}
	}
	f.Kept = append(f.Kept, model.HeadModule)
	q := p.Scheme.QuantizationConfig(f)
	set := map[string]any{"quantization_config": q}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(c.Config, &keys); err == nil && keys["dtype"] == nil {
		set["torch_dtype"] = packed.DTypeName(p.Scheme.DType)
	}
	files, err := c.SideFiles(set, p.o.Untied)
	if err != nil {
		return err
	}
	maps.Copy(p.Files, files)
	if p.Scheme.Format == "gptq" {
		text, err := json.MarshalIndent(q, "", "  ")
		if err != nil {
			return err
		}
		p.Files["quantize_config.json"] = append(text, '\n')
	}
	return nil
}

// identity changes when anything does that decides the bytes.
func (p *PackedPlan) identity() string {
	h := sha256.New()
	fmt.Fprintf(h, "packed %d %d\n%s\n", encoding, chunkValues, p.o.Stamp)
	for _, part := range p.Parts {
		h.Write(part.Head)
	}
	h.Write(p.Files["config.json"])
	return hex.EncodeToString(h.Sum(nil))
}

// Size is the bytes of all files.
func (p *PackedPlan) Size() (n int64) {
	for _, part := range p.Parts {
		n += part.Size
	}
	for _, data := range p.Files {
		n += int64(len(data))
	}
	return n
}

// ModuleBytes is what a module takes in the file.
func (p *PackedPlan) ModuleBytes(i int) (n int64) {
	m := &p.Modules[i]
	for _, info := range p.Scheme.Parts(m.Name, m.Out, m.In) {
		n += info.Bytes()
	}
	return n
}
