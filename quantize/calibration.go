package quantize

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/kernels"
	"tune/quantize/solve"
)

// ErrCalibration is wrapped by errors about files of calibration.
var ErrCalibration = errors.New("not a usable calibration")

// A calibration file is a safetensors file: of each input of linears the products of its columns, summed over all tokens that it saw
// (the upper half, row by row), their mean magnitudes, and the number of these tokens. The products are all that GPTQ needs, both are
// what AWQ needs, and the products' diagonal is an imatrix.
const (
	gramEnding         = ".products"
	meanEnding         = ".magnitudes"
	rowsEnding         = ".tokens"
	calibrationVersion = "2"
)

// Calibration is an opened file.
type Calibration struct {
	Model  string // hash of the model's tensors
	Data   string // hash of the tokens and how they were cut
	Tokens int
	inputs [][]Input // of each layer
	file   *safetensors.File
	close  func() error
}

// CalibrateOptions of Calibrate.
type CalibrateOptions struct {
	Text     Text
	Memory   int64 // bytes that everything may take beside mapped files; 0: no bound
	Copied   bool  // matrices are no views of mapped files
	Pool     *kernels.Pool
	Progress func(CalibrationProgress)
}

// Calibrated is what a calibration took.
type Calibrated struct {
	Memory int64 // bytes at most, mapped files aside
	Phases CalibrationPhases
}

// Calibrate runs a text through a model, a layer at a time, and writes the statistics of every input of linears. weights are the
// model's, for its hash.
func Calibrate(ctx context.Context, path string, m *model.Model, weights tensor.Source, o CalibrateOptions) (r Calibrated, err error) {
	begun := time.Now()
	c, err := planCalibration(m, weights, o)
	if err != nil {
		return r, err
	}
	size := int64(0)
	for _, info := range c.infos {
		size += info.Bytes()
	}
	if err := room(filepath.Dir(path), path, size); err != nil {
		return r, err
	}
	b := c.budget
	w, err := newWalk(m, o.Text, b, o.Pool)
	if err != nil {
		return r, err
	}
	defer tidy(b.bounded)
	defer w.close()
	c.walk, c.ctx = w, ctx
	if o.Progress != nil {
		w.progress = c.ran
	}
	list, err := json.Marshal(c.inputs)
	if err != nil {
		return r, err
	}
	hash, err := hashTensors(weights)
	if err != nil {
		return r, err
	}
	err = safetensors.WriteFile(path, c, safetensors.WriteOptions{Metadata: map[string]string{
		"format": "tune calibration", "version": calibrationVersion, "model_sha256": hash, "data_sha256": o.Text.Hash(),
		"tokens": fmt.Sprint(o.Text.Pieces() * o.Text.Length), "inputs": string(list)}})
	r = Calibrated{b.total, w.spent}
	r.Phases.File = time.Since(begun).Seconds() - w.spent.Total()
	return r, err
}

// CalibrationMemory is what Calibrate would take at most, in bytes beside mapped files.
func CalibrationMemory(m *model.Model, weights tensor.Source, o CalibrateOptions) (int64, error) {
	c, err := planCalibration(m, weights, o)
	if err != nil {
		return 0, err
	}
	return c.budget.total, nil
}

// planCalibration lists what will be measured and divides the memory.
func planCalibration(m *model.Model, weights tensor.Source, o CalibrateOptions) (*collecting, error) {
	c := &collecting{progress: o.Progress, infos: map[string]tensor.Info{}}
	if err := c.list(m); err != nil {
		return nil, err
	}
	layer := int64(0)
	if o.Copied {
		var err error
		if layer, err = layerWeights(m, weights); err != nil {
			return nil, err
		}
	}
	var err error
	c.budget, err = planWalk(m, o.Text, c.inputs, layer, o.Memory)
	return c, err
}

// layerWeights is the bytes of the matrices of the largest layer.
func layerWeights(m *model.Model, weights tensor.Source) (most int64, err error) {
	layers := make([]int64, m.L)
	for _, t := range m.Tensors() {
		if l := LayerOf(t.Name); l >= 0 && len(t.Shape) > 1 {
			info, err := weights.Info(t.Name)
			if err != nil {
				return 0, err
			}
			layers[l] += info.Bytes()
		}
	}
	return slices.Max(layers), nil
}

// Hash of the tokens and how they are cut.
func (t Text) Hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %v\n", t.Length, t.IDs[:t.Pieces()*t.Length])
	return hex.EncodeToString(h.Sum(nil))
}

// hashTensors is over names, types, shapes and bytes.
func hashTensors(src tensor.Source) (string, error) {
	h := sha256.New()
	for _, name := range src.Names() {
		t, err := src.Tensor(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %s %v %d\n", name, t.Type, t.Shape, len(t.Data))
		h.Write(t.Data)
		t.Release(t.Data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// collecting is the content of a calibration file as a Source: inputs are measured when the first tensor of theirs is asked for. Tensors
// must be asked for in the order of Names, which is how files are written.
type collecting struct {
	ctx      context.Context
	walk     *walk
	budget   budget
	inputs   [][]Input
	names    []string
	infos    map[string]tensor.Info
	layer    int // of what follows
	ends     []int
	from     int
	now      []*Statistics
	passes   int // of the layer
	seen     int64
	progress func(CalibrationProgress)
}

func statisticsInfo(in Input) [3]tensor.Info {
	name := in.Modules[0]
	return [3]tensor.Info{
		{Name: name + gramEnding, Type: qtype.F32, Shape: []int{in.Width * (in.Width + 1) / 2}},
		{Name: name + meanEnding, Type: qtype.F32, Shape: []int{in.Width}},
		{Name: name + rowsEnding, Type: qtype.I32, Shape: []int{1}},
	}
}

// list finds the inputs of all layers.
func (c *collecting) list(m *model.Model) error {
	for l := range m.L {
		inputs, err := inputsOf(m, l)
		if err != nil {
			return err
		}
		c.inputs = append(c.inputs, inputs)
		for _, in := range inputs {
			for _, i := range statisticsInfo(in) {
				c.names, c.infos[i.Name] = append(c.names, i.Name), i
			}
		}
	}
	return nil
}

// Names lists the tensors of all layers.
func (c *collecting) Names() []string { return c.names }

// Info describes a tensor.
func (c *collecting) Info(name string) (tensor.Info, error) {
	i, ok := c.infos[name]
	if !ok {
		return i, tensor.Missing(name)
	}
	return i, nil
}

// Tensor returns statistics of the inputs that were measured last, or measures the next ones.
func (c *collecting) Tensor(name string) (tensor.Tensor, error) {
	if t, ok := c.measured(name); ok {
		return t, nil
	}
	if c.now = nil; c.layer == len(c.inputs) {
		return tensor.Tensor{}, tensor.Missing(name)
	}
	inputs := c.inputs[c.layer]
	if c.from == 0 {
		c.ends = c.budget.passes(inputs)
		c.passes, c.seen = len(c.ends), 0
	}
	to, last := c.ends[0], len(c.ends) == 1
	var err error
	if c.now, err = c.walk.measure(c.ctx, c.layer, inputs, c.from, to, last && c.layer+1 < len(c.inputs)); err != nil {
		return tensor.Tensor{}, err
	}
	if c.from, c.ends = to, c.ends[1:]; last {
		c.from = 0
		c.layer++
	}
	t, ok := c.measured(name)
	if !ok {
		return t, tensor.Missing(name)
	}
	return t, nil
}

// ran tells how far the calibration is when so many more tokens have run through the layer.
func (c *collecting) ran(tokens int) {
	all := int64(c.walk.text.Pieces() * c.walk.text.Length)
	c.seen += int64(tokens)
	c.progress(CalibrationProgress{c.layer + 1, len(c.inputs), int64(c.layer)*all + c.seen/int64(c.passes), int64(len(c.inputs)) * all})
}

// measured is a tensor of the inputs at hand.
func (c *collecting) measured(name string) (tensor.Tensor, bool) {
	for _, s := range c.now {
		info := statisticsInfo(s.Input)
		switch name {
		case info[0].Name:
			return tensor.FromFloats(name, info[0].Shape, upper(s.Gram)), true
		case info[1].Name:
			mean := make([]float32, s.Width)
			for i, v := range s.Mean {
				mean[i] = float32(v)
			}
			return tensor.FromFloats(name, info[1].Shape, mean), true
		case info[2].Name:
			return tensor.Tensor{Info: info[2], Data: binary.LittleEndian.AppendUint32(nil, uint32(s.Gram.Tokens))}, true
		}
	}
	return tensor.Tensor{}, false
}

// upper is a Gram matrix's upper half, row by row.
func upper(g *solve.Gram) []float32 {
	x := make([]float32, 0, g.N*(g.N+1)/2)
	for i := range g.N {
		for _, v := range g.Sum[i*g.N+i : (i+1)*g.N] {
			x = append(x, float32(v))
		}
	}
	return x
}

// OpenCalibration maps a file.
func OpenCalibration(path string) (*Calibration, error) {
	data, closeFile, err := tensor.MapFile(path)
	if err != nil {
		return nil, err
	}
	f, err := safetensors.ParseMapped(path, data)
	if err != nil {
		closeFile()
		return nil, err
	}
	c, err := calibrationOf(path, f)
	if err != nil {
		closeFile()
		return nil, err
	}
	c.close = closeFile
	return c, nil
}

// ParseCalibration reads a file in memory, which must outlive the calibration.
func ParseCalibration(path string, data []byte) (*Calibration, error) {
	f, err := safetensors.Parse(path, data)
	if err != nil {
		return nil, err
	}
	return calibrationOf(path, f)
}

func calibrationOf(path string, f *safetensors.File) (*Calibration, error) {
	meta := f.Metadata()
	c := &Calibration{Model: meta["model_sha256"], Data: meta["data_sha256"], file: f}
	switch {
	case meta["format"] != "tune calibration":
		return nil, hint.Errorf("tune calibrate makes one", "%s: %w: it is another safetensors file", path, ErrCalibration)
	case meta["version"] != calibrationVersion:
		return nil, fmt.Errorf("%s: %w: version: expected %s, found %q", path, ErrCalibration, calibrationVersion, meta["version"])
	}
	if _, err := fmt.Sscan(meta["tokens"], &c.Tokens); err != nil || c.Tokens < 1 {
		return nil, fmt.Errorf("%s: %w: tokens: expected a number, found %q", path, ErrCalibration, meta["tokens"])
	}
	if err := json.Unmarshal([]byte(meta["inputs"]), &c.inputs); err != nil {
		return nil, fmt.Errorf("%s: %w: inputs: %w", path, ErrCalibration, err)
	}
	for _, layer := range c.inputs {
		for _, in := range layer {
			if len(in.Modules) == 0 || in.Width < 1 || in.Width > maxInputWidth {
				return nil, fmt.Errorf("%s: %w: an input without modules or of width %d", path, ErrCalibration, in.Width)
			}
			for _, want := range statisticsInfo(in) {
				i, err := f.Info(want.Name)
				if err != nil || i.Type != want.Type || i.Elems() != want.Elems() {
					return nil, fmt.Errorf("%s: %w: tensor %s: expected %d values of F32", path, ErrCalibration, want.Name, want.Elems())
				}
			}
		}
	}
	return c, nil
}

// maxInputWidth keeps squares of widths in an int; no model is near.
const maxInputWidth = 1 << 24

// Close unmaps the file; it does nothing the second time.
func (c *Calibration) Close() error {
	f := c.close
	if c.close = nil; f == nil {
		return nil
	}
	return f()
}

// Inputs is the number of inputs it has statistics of.
func (c *Calibration) Inputs() (n int) {
	for _, layer := range c.inputs {
		n += len(layer)
	}
	return n
}

// Check holds the calibration against a model.
func (c *Calibration) Check(m *model.Model, weights tensor.Source) error {
	hash, err := hashTensors(weights)
	if err != nil {
		return err
	}
	if hash != c.Model || len(c.inputs) != m.L {
		return hint.Errorf("calibrate this model, or leave --calibration out", "%w: it was made with another model", ErrCalibration)
	}
	return nil
}

// read returns the statistics of an input as they were measured.
func (c *Calibration) read(in Input) (*Statistics, error) {
	s := newStatistics(in)
	info := statisticsInfo(in)
	if err := c.add(s.Gram, info[0].Name); err != nil {
		return nil, err
	}
	var err error
	if s.Gram.Tokens, err = c.rows(in); err != nil {
		return nil, err
	}
	mean, err := c.floats(info[1].Name)
	if err != nil {
		return nil, err
	}
	for i, v := range mean {
		s.Mean[i] = float64(v)
	}
	if err := s.Gram.Check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCalibration, in.Modules[0], err)
	}
	return s, nil
}

// rows is the number of tokens that an input saw.
func (c *Calibration) rows(in Input) (int, error) {
	t, err := c.file.Tensor(statisticsInfo(in)[2].Name)
	if err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(t.Data)
	if int64(n) > int64(c.Tokens) {
		return 0, fmt.Errorf("%w: %s: %d of %d tokens", ErrCalibration, t.Name, n, c.Tokens)
	}
	return int(n), nil
}

func (c *Calibration) floats(name string) ([]float32, error) {
	t, err := c.file.Tensor(name)
	if err != nil {
		return nil, err
	}
	x, err := tensor.Floats(t)
	t.Release(t.Data)
	return x, err
}

// add adds stored products to a matrix.
func (c *Calibration) add(g *solve.Gram, name string) error {
	t, err := c.file.Tensor(name)
	if err != nil {
		return err
	}
	defer t.Release(t.Data)
	x := make([]float32, g.N)
	for i, at := 0, 0; i < g.N; i++ {
		row := g.Sum[i*g.N+i : (i+1)*g.N]
		t.Type.Row().Decode(x[:len(row)], t.Data[4*at:])
		for j, v := range x[:len(row)] {
			row[j] += float64(v)
		}
		at += len(row)
	}
	return nil
}

// Importance is the calibration as an imatrix.
func (c *Calibration) Importance() (*Importance, error) {
	out := &Importance{Chunks: 1, ChunkSize: c.Tokens, Datasets: []string{c.Data}}
	all := map[string]Sums{} // the experts of a layer are one tensor
	for _, layer := range c.inputs {
		for _, in := range layer {
			t, err := c.file.Tensor(in.Modules[0] + gramEnding)
			if err != nil {
				return nil, err
			}
			rows, err := c.rows(in)
			if err != nil {
				return nil, err
			}
			squares, at := make([]float32, in.Width), 0
			for i := range squares {
				t.Type.Row().Decode(squares[i:i+1], t.Data[4*at:4*at+4])
				at += in.Width - i
			}
			for _, m := range in.Modules {
				if name, ok := model.GGUFName(m + ".weight"); ok {
					name = strings.Clone(name)
					s := all[name]
					all[name] = Sums{append(s.Squares, squares...), append(s.Counts, float32(rows))}
					out.Set(name, all[name])
				}
			}
		}
	}
	return out, nil
}
