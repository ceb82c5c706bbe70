package quantize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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

// A calibration file is a safetensors file: of each input of linears the products of its columns, summed over all tokens (the
// upper half, row by row) and their mean magnitudes. The products are all that GPTQ needs, both are what AWQ needs, and the
// products' diagonal is an imatrix.
const (
	gramEnding         = ".products"
	meanEnding         = ".magnitudes"
	calibrationVersion = "1"
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
	Memory   int64 // bytes that the hidden states of all tokens may take before they go to disk; 0: no bound
	Pool     *kernels.Pool
	Progress func(done, total int) // layers
}

// Calibrate runs a text through a model, a layer at a time, and writes the statistics of every input of linears. weights are the
// model's, for its hash.
func Calibrate(ctx context.Context, path string, m *model.Model, weights tensor.Source, o CalibrateOptions) error {
	w, err := newWalk(m, o.Text, o.Memory, o.Pool)
	if err != nil {
		return err
	}
	defer w.close()
	c := &collecting{ctx: ctx, walk: w, progress: o.Progress}
	for l := range m.L {
		c.inputs = append(c.inputs, inputsOf(m, l))
	}
	list, err := json.Marshal(c.inputs)
	if err != nil {
		return err
	}
	hash, err := hashTensors(weights)
	if err != nil {
		return err
	}
	return safetensors.WriteFile(path, c, safetensors.WriteOptions{Metadata: map[string]string{
		"format": "tune calibration", "version": calibrationVersion, "model_sha256": hash, "data_sha256": o.Text.Hash(),
		"tokens": fmt.Sprint(o.Text.Pieces() * o.Text.Length), "inputs": string(list)}})
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

// collecting is the content of a calibration file as a Source: a layer is run when its first tensor is asked for. Tensors must be
// asked for in the order of Names, which is how files are written.
type collecting struct {
	ctx      context.Context
	walk     *walk
	inputs   [][]Input
	done     int // layers
	now      map[string]tensor.Tensor
	progress func(done, total int)
}

func statisticsInfo(in Input) [2]tensor.Info {
	return [2]tensor.Info{
		{Name: in.Modules[0] + gramEnding, Type: qtype.F32, Shape: []int{in.Width * (in.Width + 1) / 2}},
		{Name: in.Modules[0] + meanEnding, Type: qtype.F32, Shape: []int{in.Width}},
	}
}

// Names lists the tensors of all layers.
func (c *collecting) Names() (names []string) {
	for _, layer := range c.inputs {
		for _, in := range layer {
			for _, i := range statisticsInfo(in) {
				names = append(names, i.Name)
			}
		}
	}
	return names
}

// Info describes a tensor.
func (c *collecting) Info(name string) (tensor.Info, error) {
	for _, layer := range c.inputs {
		for _, in := range layer {
			for _, i := range statisticsInfo(in) {
				if i.Name == name {
					return i, nil
				}
			}
		}
	}
	return tensor.Info{}, tensor.Missing(name)
}

// Tensor returns statistics of the layer that is being run, or of the next one.
func (c *collecting) Tensor(name string) (tensor.Tensor, error) {
	if t, ok := c.now[name]; ok {
		return t, nil
	}
	if c.done == len(c.inputs) {
		return tensor.Tensor{}, tensor.Missing(name)
	}
	all, err := c.walk.measure(c.ctx, c.done, nil, c.done+1 < len(c.inputs))
	if err != nil {
		return tensor.Tensor{}, err
	}
	c.now = map[string]tensor.Tensor{}
	for _, s := range all {
		info := statisticsInfo(s.Input)
		c.now[info[0].Name] = tensor.FromFloats(info[0].Name, info[0].Shape, upper(s.Gram))
		mean := make([]float32, s.Width)
		for i, v := range s.Mean {
			mean[i] = float32(v)
		}
		c.now[info[1].Name] = tensor.FromFloats(info[1].Name, info[1].Shape, mean)
	}
	c.done++
	if c.progress != nil {
		c.progress(c.done, len(c.inputs))
	}
	t, ok := c.now[name]
	if !ok {
		return t, tensor.Missing(name)
	}
	return t, nil
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
	c, err := ParseCalibration(path, data)
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

// layer returns the statistics of layer l.
func (c *Calibration) layer(l int) (all []Statistics, err error) {
	for _, in := range c.inputs[l] {
		s := Statistics{Input: in, Gram: solve.NewGram(in.Width), Mean: make([]float64, in.Width)}
		s.Gram.Tokens = c.Tokens
		var x [2][]float32
		for i, info := range statisticsInfo(in) {
			t, err := c.file.Tensor(info.Name)
			if err != nil {
				return nil, err
			}
			if x[i], err = tensor.Floats(t); err != nil {
				return nil, err
			}
			t.Release(t.Data)
		}
		for i := range in.Width {
			row := s.Gram.Sum[i*in.Width+i : (i+1)*in.Width]
			for j, v := range x[0][:len(row)] {
				row[j] = float64(v)
			}
			x[0] = x[0][len(row):]
			s.Mean[i] = float64(x[1][i])
		}
		if err := s.Gram.Check(); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrCalibration, in.Modules[0], err)
		}
		all = append(all, s)
	}
	return all, nil
}

// Importance is the calibration as an imatrix.
func (c *Calibration) Importance() (*Importance, error) {
	out := &Importance{Chunks: 1, ChunkSize: c.Tokens, Datasets: []string{c.Data}}
	for _, layer := range c.inputs {
		for _, in := range layer {
			t, err := c.file.Tensor(in.Modules[0] + gramEnding)
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
					out.Set(strings.Clone(name), Sums{squares, []float32{float32(c.Tokens)}})
				}
			}
		}
	}
	return out, nil
}
