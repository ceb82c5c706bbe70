package quantize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
)

// Sensitivity says what it costs to store each matrix of a model as each type: the mean KL divergence of the model's
// predictions, in nats for a token, that the type causes alone,
//
//	loss(t, q) = KL(t, p) · E(t, q) / E(t, p),   E(t, q) = sum over rows r and columns c of m_c (W_rc - Q_q(W)_rc)²
//
// where m_c is the mean square of what column c is multiplied with (an imatrix; 1 where there is none), so that E is the
// expected squared error of a token's outputs if inputs are uncorrelated, and KL(t, p) is measured: only tensor t is stored as
// its probe p, a coarse type, and the model runs. KL is at its minimum, 0, without errors, therefore to first order linear in
// squared errors, and errors of several tensors add up (the "linearity theorem" of Malinovskii et al., "Pushing the Limits of
// Large Language Model Quantization via the Linearity Theorem", 2024, with the factor measured for each tensor).
type Sensitivity struct {
	Version int                 `json:"version"`
	Model   string              `json:"model_sha256"` // of the tensors
	Data    string              `json:"data_sha256"`  // of the tokens, how they were run, and the importance
	Tensors []TensorSensitivity `json:"tensors"`
	types   []qtype.Type        // to choose from; a file may hold more
}

// TensorSensitivity is that of one matrix.
type TensorSensitivity struct {
	Name   string             `json:"name"`
	Probe  string             `json:"probe"`
	KL     float64            `json:"kl"` // with this matrix as the probe
	Errors map[string]float64 `json:"errors"`
}

// loss of a type, in nats; false when it was not measured.
func (t *TensorSensitivity) loss(q qtype.Type) (float64, bool) {
	e, ok := t.Errors[q.String()]
	p := t.Errors[t.Probe]
	if e == 0 || p == 0 {
		return 0, ok
	}
	return t.KL * e / p, ok
}

// ErrSensitivity is wrapped by errors about files of sensitivity.
var ErrSensitivity = errors.New("not a usable sensitivity file")

const sensitivityVersion = 1

// Candidates are the types that a target size is reached with: those that llama.cpp runs fast everywhere, from the smallest.
func Candidates() []qtype.Type {
	return []qtype.Type{qtype.Q2_K, qtype.Q3_K, qtype.IQ4_XS, qtype.Q4_K, qtype.Q4_0, qtype.IQ4_NL, qtype.Q4_1, qtype.Q5_0, qtype.Q5_K, qtype.Q5_1, qtype.Q6_K, qtype.Q8_0}
}

// SensitivityOptions of MeasureSensitivity.
type SensitivityOptions struct {
	IDs        []int32
	ChunkSize  int // tokens of a piece
	BOS        int32
	HasBOS     bool
	Types      []qtype.Type // to measure; nil: Candidates
	Importance *Importance  // of the columns; also weighs the encoders
	Pool       *kernels.Pool
	Progress   func(done, total int)
}

func (o *SensitivityOptions) types() []qtype.Type {
	if o.Types == nil {
		return Candidates()
	}
	return o.Types
}

// suited are the types for a matrix, in order, and the 16-bit type that stands above them: all that rows of this width allow.
func suited(s Shape, types []qtype.Type) (list []qtype.Type) {
	for _, t := range types {
		if s.cols()%t.Row().Block == 0 && t.Row().Encode != nil {
			list = append(list, t)
		}
	}
	plain := qtype.F16
	if s.Type == qtype.BF16 {
		plain = qtype.BF16
	}
	if !slices.Contains(list, plain) {
		list = append(list, plain)
	}
	return list
}

// probeOf is the coarsest type of at least 3 bits: its effect stands out of the noise of bf16 arithmetic, and is yet small.
func probeOf(list []qtype.Type) qtype.Type {
	best, bits := list[len(list)-1], math.Inf(1)
	for _, t := range list {
		if b := 8 * float64(t.Row().Bytes) / float64(t.Row().Block); b >= 3 && b < bits {
			best, bits = t, b
		}
	}
	return best
}

// identity are the hashes that a saved sensitivity of the source must have.
func (o *SensitivityOptions) identity(src *Source) (modelHash, data string, err error) {
	if modelHash, err = hashTensors(src.Tensors); err != nil {
		return "", "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %v %v\n", o.ChunkSize, o.BOS, o.HasBOS, o.IDs)
	if o.Importance != nil {
		for _, n := range o.Importance.Names() {
			fmt.Fprintf(h, "%s %x\n", n, o.Importance.Weights(n))
		}
	}
	return modelHash, hex.EncodeToString(h.Sum(nil)), nil
}

// MeasureSensitivity measures each matrix that a mix may quantize. The checkpoint is the same model as src, with names of
// Hugging Face. Results do not depend on the number of threads.
func MeasureSensitivity(ctx context.Context, src *Source, c *model.Checkpoint, o SensitivityOptions) (*Sensitivity, error) {
	s := &Sensitivity{Version: sensitivityVersion, types: o.types()}
	var err error
	if s.Model, s.Data, err = o.identity(src); err != nil {
		return nil, err
	}
	shapes, err := src.shapes()
	if err != nil {
		return nil, err
	}
	shapes = slices.DeleteFunc(sorted(shapes), func(x Shape) bool { return !allowed(x) })
	p, err := newProber(ctx, c, &o)
	if err != nil {
		return nil, err
	}
	defer p.ref.close()
	var unknown []int
	for i, x := range shapes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list := suited(x, o.types())
		t := TensorSensitivity{Name: x.Name, Probe: probeOf(list).String()}
		if t.Errors, err = outputErrors(src, x, list, &o); err != nil {
			return nil, err
		}
		known, err := p.probe(&t, x, probeOf(list))
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", x.Name, err)
		}
		if !known {
			unknown = append(unknown, i)
		}
		s.Tensors = append(s.Tensors, t)
		if o.Progress != nil {
			o.Progress(i+1, len(shapes))
		}
	}
	s.guess(unknown)
	return s, nil
}

// guess gives tensors that the model does not name on their own the median factor of the others.
func (s *Sensitivity) guess(unknown []int) {
	var factors []float64
	for i, t := range s.Tensors {
		if e := t.Errors[t.Probe]; e > 0 && !slices.Contains(unknown, i) {
			factors = append(factors, t.KL/e)
		}
	}
	median := 1.0
	if len(factors) > 0 {
		slices.Sort(factors)
		median = factors[len(factors)/2]
	}
	for _, i := range unknown {
		s.Tensors[i].KL = median * s.Tensors[i].Errors[s.Tensors[i].Probe]
	}
}

func (s *Source) shapes() (list []Shape, err error) {
	for _, name := range s.Tensors.Names() {
		i, err := s.Tensors.Info(name)
		if err != nil {
			return nil, err
		}
		list = append(list, Shape{name, i.Type, i.Shape})
	}
	return list, nil
}

// columnWeights of a tensor (matrices, columns), nil: none.
func (o *SensitivityOptions) columnWeights(x Shape) ([]float32, error) {
	w := o.Importance.Weights(x.Name)
	if w == nil || len(w) == x.cols()*x.matrices() {
		return w, nil
	}
	if x.Name == embedName {
		return nil, nil
	}
	return nil, hint.Errorf("it was made for another model", "tensor %s: %w: expected %d columns, found %d", x.Name, ErrImportance, x.cols()*x.matrices(), len(w))
}

// encodeRows writes whole rows with the importance of their columns where the type takes it.
func encodeRows(q qtype.Type, dst []byte, src, weights []float32) {
	if r := q.Row(); weights != nil && r.EncodeWeighted != nil {
		r.EncodeWeighted(dst, src, weights)
	} else {
		r.Encode(dst, src)
	}
}

// eachChunk decodes a tensor in pieces that lie in one matrix each.
func eachChunk(t tensor.Tensor, x Shape, weights []float32, pool *kernels.Pool, f func(task, row int, values, weights []float32)) (tasks int) {
	c := Choice{Shape: x}
	rows, cols, per := c.matrix()
	step := max(chunkValues/max(cols, 1), 1)
	perMatrix := (per + step - 1) / max(step, 1)
	tasks = perMatrix * (rows / max(per, 1))
	bytes, _ := t.Type.RowBytes(cols)
	pool.Run(tasks, func(_, k int) {
		m, r := k/perMatrix, k%perMatrix*step
		n := min(step, per-r)
		row := m*per + r
		values := make([]float32, n*cols)
		t.Type.Row().Decode(values, t.Data[int64(row)*bytes:int64(row+n)*bytes])
		var w []float32
		if weights != nil {
			w = weights[m*cols : (m+1)*cols]
		}
		f(k, row, values, w)
	})
	return tasks
}

// outputErrors are the expected squared errors of a token's outputs for each type.
func outputErrors(src *Source, x Shape, list []qtype.Type, o *SensitivityOptions) (map[string]float64, error) {
	weights, err := o.columnWeights(x)
	if err != nil {
		return nil, err
	}
	t, err := src.Tensors.Tensor(x.Name)
	if err != nil {
		return nil, err
	}
	if t.Type.Row().Decode == nil {
		return nil, fmt.Errorf("tensor %s: type %s cannot be decoded", x.Name, t.Type)
	}
	cols := x.cols()
	sums := make([][]float64, (x.rows()*cols)/cols) // at most one task for each row
	tasks := eachChunk(t, x, weights, o.Pool, func(task, _ int, values, w []float32) {
		got := make([]float64, len(list))
		back := make([]float32, len(values))
		var bytes []byte
		for i, q := range list {
			n, _ := q.RowBytes(cols)
			bytes = slices.Grow(bytes[:0], int(n)*len(values)/cols)[:int(n)*len(values)/cols]
			encodeRows(q, bytes, values, w)
			q.Row().Decode(back, bytes)
			got[i] = weightedError(values, back, w, cols)
		}
		sums[task] = got
	})
	t.Release(t.Data)
	out := map[string]float64{}
	for i, q := range list {
		sum := 0.0
		for _, s := range sums[:tasks] {
			sum += s[i]
		}
		if math.IsNaN(sum) || math.IsInf(sum, 0) {
			return nil, hint.Errorf("the checkpoint is damaged, its training diverged, or a type cannot hold its values", "tensor %s: expected finite values as %s", x.Name, q)
		}
		out[q.String()] = sum
	}
	return out, nil
}

func (s Shape) rows() int { return tensor.Info{Shape: s.Dims}.Elems() / max(s.cols(), 1) }

func weightedError(a, b, w []float32, cols int) (sum float64) {
	for i := 0; i < len(a); i += cols {
		for c, v := range a[i : i+cols] {
			d := float64(v) - float64(b[i+c])
			if w != nil {
				d *= d * float64(w[c])
			} else {
				d *= d
			}
			sum += d
		}
	}
	return sum
}

// prober runs the model with one tensor replaced.
type prober struct {
	ctx    context.Context
	c      *model.Checkpoint
	o      *SensitivityOptions
	ref    *forward
	pieces [][]int32
	hidden [][]float32 // of the reference
}

// context tokens of a piece whose predictions are not compared: a share of it.
const contextShare = 8

func newProber(ctx context.Context, c *model.Checkpoint, o *SensitivityOptions) (*prober, error) {
	n := len(o.IDs) / max(o.ChunkSize, 1)
	if o.ChunkSize < 2*contextShare || n < 1 {
		return nil, hint.Errorf("give more text", "text: expected at least one piece of %d tokens, found %d tokens", max(o.ChunkSize, 2*contextShare), len(o.IDs))
	}
	p := &prober{ctx: ctx, c: c, o: o}
	for k := range n {
		piece := slices.Clone(o.IDs[k*o.ChunkSize : (k+1)*o.ChunkSize])
		if o.HasBOS {
			piece[0] = o.BOS
		}
		p.pieces = append(p.pieces, piece)
	}
	m, err := model.New(c, model.Options{})
	if err != nil {
		return nil, err
	}
	if p.ref, err = newForward(m, nil, o.ChunkSize, o.Pool, nil); err != nil {
		return nil, err
	}
	for _, piece := range p.pieces {
		x, err := p.run(p.ref, piece)
		if err != nil {
			p.ref.close()
			return nil, err
		}
		p.hidden = append(p.hidden, x)
	}
	return p, nil
}

// run returns the hidden states of the tokens that are compared.
func (p *prober) run(f *forward, piece []int32) ([]float32, error) {
	if err := p.ctx.Err(); err != nil {
		return nil, err
	}
	if err := f.run(piece); err != nil {
		return nil, err
	}
	first := len(piece) / contextShare
	return slices.Clone(f.body.Output(0)[first*f.m.C : (len(piece)-1)*f.m.C]), nil
}

// replaced is a source with another tensor in the place of one.
type replaced struct {
	tensor.Source
	t tensor.Tensor
}

// Info describes a tensor.
func (r replaced) Info(name string) (tensor.Info, error) {
	if name == r.t.Name {
		return r.t.Info, nil
	}
	return r.Source.Info(name)
}

// Tensor returns a tensor.
func (r replaced) Tensor(name string) (tensor.Tensor, error) {
	if name == r.t.Name {
		return r.t, nil
	}
	return r.Source.Tensor(name)
}

// probe measures the mean KL with a tensor stored as q; false when the model has no tensor of its own for it.
func (p *prober) probe(t *TensorSensitivity, x Shape, q qtype.Type) (bool, error) {
	name, ok := model.HFName(x.Name)
	if !ok {
		return false, nil
	}
	old, err := p.c.Weights.Tensor(name)
	if err != nil || old.Cols() != x.cols() || old.Elems() != x.rows()*x.cols() {
		return false, nil
	}
	if t.Errors[t.Probe] == 0 {
		return true, nil
	}
	weights, err := p.o.columnWeights(x)
	if err != nil {
		return false, err
	}
	row, err := q.RowBytes(x.cols())
	if err != nil {
		return false, err
	}
	// rows of queries and keys may lie in another order than in the file; each is encoded on its own
	data := make([]byte, row*int64(x.rows()))
	eachChunk(old, Shape{name, old.Type, old.Shape}, weights, p.o.Pool, func(_, first int, values, w []float32) {
		encodeRows(q, data[int64(first)*row:int64(first+len(values)/x.cols())*row], values, w)
	})
	whole := *p.c
	whole.Weights = replaced{p.c.Weights, tensor.Tensor{Info: tensor.Info{Name: name, Type: q, Shape: old.Shape}, Data: data}}
	m, err := model.New(&whole, model.Options{})
	if err != nil {
		return false, err
	}
	f, err := newForward(m, nil, p.o.ChunkSize, p.o.Pool, nil)
	if err != nil {
		return false, err
	}
	defer f.close()
	sum, n := 0.0, 0
	for k, piece := range p.pieces {
		h, err := p.run(f, piece)
		if err != nil {
			return false, err
		}
		got, err := predict([]*forward{p.ref, f}, [][]float32{p.hidden[k], h}, piece[len(piece)/contextShare+1:], p.o.Pool)
		if err != nil {
			return false, err
		}
		for _, g := range got[0] {
			sum += g.kl
		}
		n += len(got[0])
	}
	t.KL = sum / float64(n)
	return true, nil
}

// Write saves the sensitivity as JSON.
func (s *Sensitivity) Write(path string) error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(b, '\n'))
}

// ReadSensitivity reads a saved sensitivity that must be of this source, text and importance and know the types.
func ReadSensitivity(path string, src *Source, o SensitivityOptions) (*Sensitivity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 256 << 20 // bytes; a thousand times a large model's
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, err
	}
	s := &Sensitivity{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrSensitivity, err)
	}
	modelHash, data, err := o.identity(src)
	switch {
	case err != nil:
		return nil, err
	case s.Version != sensitivityVersion:
		return nil, fmt.Errorf("%s: %w: version: expected %d, found %d", path, ErrSensitivity, sensitivityVersion, s.Version)
	case s.Model != modelHash:
		return nil, hint.Errorf("name another file, or none, to measure again", "%s: %w: it was measured on another model", path, ErrSensitivity)
	case s.Data != data:
		return nil, hint.Errorf("name another file, or none, to measure again", "%s: %w: it was measured on another text or with another importance", path, ErrSensitivity)
	}
	s.types = o.types()
	return s, s.check(path, src)
}

// check looks at the figures, and for the types to choose from.
func (s *Sensitivity) check(path string, src *Source) error {
	by := map[string]*TensorSensitivity{}
	for i := range s.Tensors {
		t := &s.Tensors[i]
		_, ok := t.Errors[t.Probe]
		for _, e := range t.Errors {
			ok = ok && e >= 0
		}
		if !ok || !(t.KL >= 0) {
			return fmt.Errorf("%s: %w: tensor %s: expected figures of at least 0, and one of its probe", path, ErrSensitivity, t.Name)
		}
		by[t.Name] = t
	}
	shapes, err := src.shapes()
	if err != nil {
		return err
	}
	for _, x := range shapes {
		if !allowed(x) {
			continue
		}
		for _, q := range suited(x, s.types) {
			if by[x.Name] == nil {
				return fmt.Errorf("%s: %w: tensor %s: it has no entry", path, ErrSensitivity, x.Name)
			}
			if _, ok := by[x.Name].Errors[q.String()]; !ok {
				return hint.Errorf("name another file, or none, to measure again", "%s: %w: tensor %s was not measured as %s", path, ErrSensitivity, x.Name, q)
			}
		}
	}
	return nil
}
