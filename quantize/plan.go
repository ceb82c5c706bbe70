package quantize

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// A Source is a model as its GGUF file states it: metadata, and tensors with GGUF names and layouts.
type Source struct {
	Meta    *gguf.Meta
	Tensors tensor.Source
	Notes   []string // what the file cannot say
	Stamp   string   // changes when the source does: Stamp of its files
	// Resident is the most memory in bytes that asking for one tensor takes beside the mapped files.
	Resident int64
	Shard    func(name string) int // the number of the file that holds a tensor; nil: the source is no GGUF file
	close    func() error
}

// Close unmaps what OpenGGUF mapped.
func (s *Source) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// OpenGGUF takes a GGUF file, or all parts of a split one, as it is, whatever its architecture.
func OpenGGUF(path string) (*Source, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	stamp, err := Stamp(path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Source{Meta: f.Meta(), Tensors: f, Stamp: stamp, Shard: f.Shard, close: f.Close}, nil
}

// FromCheckpoint takes a checkpoint of a known architecture with its own weights or, merged on the fly, others. The caller
// sets Stamp and closes the checkpoint.
func FromCheckpoint(c *model.Checkpoint, weights tensor.Source) (*Source, error) {
	x, err := c.GGUF(weights, model.GGUFOptions{Keep: true})
	if err != nil {
		return nil, err
	}
	s := &Source{Meta: x.Meta, Tensors: x.Src, Notes: x.Notes}
	for _, name := range x.Src.Names() {
		i, err := x.Src.Info(name)
		if err != nil {
			return nil, err
		}
		n := i.Bytes() // a copy with rows in another order
		if weights != nil {
			n += 8 * int64(i.Elems()) // decoded and added to, and the copy that is handed out
		}
		s.Resident = max(s.Resident, n)
	}
	return s, nil
}

// Stamp tells whether files, or the files of folders, have changed: their names, sizes and times. A part of a split GGUF file
// stands for all parts.
func Stamp(paths ...string) (string, error) {
	var b strings.Builder
	add := func(path string) error {
		st, err := os.Stat(path)
		if err == nil && !st.IsDir() {
			fmt.Fprintf(&b, "%s %d %d\n", path, st.Size(), st.ModTime().UnixNano())
		}
		return err
	}
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			if err := add(path); err != nil {
				return "", err
			}
			for _, part := range gguf.ShardPaths(path) {
				if part == path {
					continue
				}
				if err := add(part); err != nil && !errors.Is(err, fs.ErrNotExist) { // a name alone does not make a part
					return "", err
				}
			}
			continue
		}
		for _, e := range entries {
			if err := add(filepath.Join(path, e.Name())); err != nil {
				return "", err
			}
		}
	}
	return b.String(), nil
}

// facts reads what the rules of mixes need.
func facts(meta *gguf.Meta) (f Facts, err error) {
	if f.Arch, err = meta.String("general.architecture"); err != nil {
		return f, err
	}
	for key, to := range map[string]*int{"block_count": &f.Layers, "attention.head_count": &f.Heads, "attention.head_count_kv": &f.KVHeads, "expert_count": &f.Experts} {
		if *to, err = firstInt(meta, f.Arch+"."+key); err != nil && !errors.Is(err, gguf.ErrNoKey) {
			return f, err
		}
		if err != nil && key == "attention.head_count_kv" {
			f.KVHeads = -1
		}
	}
	if f.KVHeads < 0 {
		f.KVHeads = f.Heads
	}
	return f, nil
}

// firstInt reads a number, or the first layer's of an array of numbers.
func firstInt(meta *gguf.Meta, key string) (int, error) {
	v, _ := meta.Get(key)
	switch v := v.(type) {
	case []int32:
		if len(v) > 0 {
			return int(max(v[0], 0)), nil
		}
	case []uint32:
		if len(v) > 0 {
			return int(v[0]), nil
		}
	}
	return meta.Int(key)
}

// A Plan is all that is decided before a byte is written.
type Plan struct {
	Mix     Mix
	Choices []Choice // in the order of the file
	Notes   []string
	Layout  *gguf.Layout // of all in one file
	Parts   []gguf.Part  // the files to write, mostly the one of Layout
	src     *Source
	imp     *Importance
	zero    bool      // values that are not finite become 0
	errors  *Feedback // nil: codes are the encoders' own
	stamp   string    // of everything that decides the bytes
}

// PlanOptions of NewPlan.
type PlanOptions struct {
	Options
	Importance *Importance
	Feedback   *Feedback // carries errors of rounding on to the columns that follow
	File       string    // where the importance was read from, for the metadata
	ShardBytes int64     // most bytes of tensors in one file, 0: all; a model that needs no more than one file is not split
	// ZeroNonfinite stores 0 where a value is no finite number, which is an error otherwise.
	ZeroNonfinite bool
	KeepSplit     bool // files that hold the tensors that the source's hold, in their order
}

// NewPlan chooses types, checks that they can be written, and lays out the file.
func NewPlan(src *Source, mix Mix, o PlanOptions) (*Plan, error) {
	p := &Plan{Mix: mix, src: src, imp: o.Importance, errors: o.Feedback, zero: o.ZeroNonfinite, Notes: slices.Clone(src.Notes)}
	f, err := facts(src.Meta)
	if err != nil {
		return nil, err
	}
	var shapes []Shape
	for _, name := range src.Tensors.Names() {
		i, err := src.Tensors.Info(name)
		if err != nil {
			return nil, err
		}
		shapes = append(shapes, Shape{name, i.Type, i.Shape})
	}
	o.Options.Importance, o.Options.InOrder = o.Importance != nil, o.KeepSplit
	if p.Choices, err = Select(f, shapes, mix, o.Options); err != nil {
		return nil, err
	}
	if o.Importance != nil {
		if err := o.Importance.check(p.Choices); err != nil {
			return nil, err
		}
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	meta := src.Meta.Clone()
	gguf.DropSplit(meta)
	number := mix.Number
	if mix.Name == copyMix {
		n, err := meta.Uint("general.file_type")
		if err != nil {
			n = guessed
		}
		number = uint32(n)
	}
	meta.Set("general.quantization_version", uint32(2))
	meta.Set("general.file_type", number)
	if o.Importance != nil {
		o.Importance.facts(meta, o.File)
	}
	infos := make([]tensor.Info, len(p.Choices))
	for i, c := range p.Choices {
		infos[i] = tensor.Info{Name: c.Name, Type: c.To, Shape: c.Dims}
	}
	if p.Layout, err = gguf.Plan(meta, infos); err != nil {
		return nil, err
	}
	if err := p.cut(meta, infos, o); err != nil {
		return nil, err
	}
	p.stamp = p.identity()
	return p, nil
}

// guessed is the file type that says that the writer did not know.
const guessed = 1024

// check fails when a tensor cannot be read or written, and notes what is lost.
func (p *Plan) check() error {
	again, unseen := 0, 0
	for i := range p.Choices {
		c := &p.Choices[i]
		if c.To == c.Type {
			continue
		}
		from, to := c.Type.Row(), c.To.Row()
		known := p.weights(c) != nil
		switch {
		case from.Decode == nil:
			return fmt.Errorf("tensor %s: type %s cannot be decoded", c.Name, c.Type)
		case !known && (c.NeedsImportance(p.Mix) || to.NeedsImportance):
			return hint.Errorf("make one with `tune imatrix` and give it with --imatrix", "tensor %s: type %s needs the importance of its columns", c.Name, c.To)
		case to.Encode == nil && (!known || to.EncodeWeighted == nil):
			return fmt.Errorf("tensor %s: type %s cannot be written", c.Name, c.To)
		}
		if from.Block > 1 {
			again++
		}
		if p.imp != nil && !known && c.To.Row().EncodeWeighted != nil {
			unseen++
		}
	}
	if again > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%d tensors are quantized already: quantizing them again loses more than quantizing the original once", again))
	}
	if unseen > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%d tensors have no entry in the importance matrix and are quantized without", unseen))
	}
	return nil
}

// weights of the columns of a tensor (matrices, columns), nil: none.
func (p *Plan) weights(c *Choice) []float32 {
	if c.To.Row().EncodeWeighted == nil {
		return nil
	}
	w := p.imp.Weights(c.Name)
	if len(w) != c.cols()*c.matrices() {
		return nil // an embedding; check refused all others
	}
	return w
}

// encoding is to be raised when an encoder or the cutting into chunks changes, so that no file is continued that was begun otherwise.
const encoding = 1

func (p *Plan) identity() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d\n%s\n", encoding, chunkValues, p.src.Stamp)
	for _, part := range p.Parts {
		h.Write(part.Head)
	}
	if p.zero {
		fmt.Fprintln(h, "zero")
	}
	if p.errors != nil {
		fmt.Fprintf(h, "feedback %s %s %g\n", p.errors.c.Model, p.errors.c.Data, p.errors.damp)
	}
	if p.imp != nil {
		for _, n := range p.imp.Names() {
			fmt.Fprintf(h, "%s %x\n", n, p.imp.Weights(n))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Fallbacks counts the tensors whose width did not suit the type they should have.
func (p *Plan) Fallbacks() (n int) {
	for _, c := range p.Choices {
		if c.Fallback {
			n++
		}
	}
	return n
}

// Bytes of a choice in the file.
func (c *Choice) Bytes() int64 { return tensor.Info{Type: c.To, Shape: c.Dims}.Bytes() }

// Elems is the number of values.
func (c *Choice) Elems() int { return tensor.Info{Shape: c.Dims}.Elems() }

// Total is what one type takes in a file.
type Total struct {
	Type    qtype.Type
	Tensors int
	Values  int64
	Bytes   int64
}

// Totals by type, in the order of the table of types.
func (p *Plan) Totals() []Total {
	by := map[qtype.Type]*Total{}
	for i := range p.Choices {
		c := &p.Choices[i]
		t := by[c.To]
		if t == nil {
			t = &Total{Type: c.To}
			by[c.To] = t
		}
		t.Tensors++
		t.Values += int64(c.Elems())
		t.Bytes += c.Bytes()
	}
	var out []Total
	for _, t := range qtype.All() {
		if by[t] != nil {
			out = append(out, *by[t])
		}
	}
	return out
}
