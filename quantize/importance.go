package quantize

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"tune/internal/atomicfile"
	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/tensor"
)

// Importance says how much the columns of a model's matrices matter: sums of the squares of what each column was multiplied
// with on some text. It is what llama.cpp calls an imatrix.
type Importance struct {
	Datasets  []string
	Chunks    int // pieces of text that were run
	ChunkSize int // tokens of a piece; 0: not known
	entries   map[string]*Sums
	plain     bool // from a file that holds means, not sums
}

// Sums of one tensor.
type Sums struct {
	Squares []float32 // (matrices, columns)
	Counts  []float32 // (matrices): how many inputs were summed
}

// Names lists the tensors, sorted.
func (m *Importance) Names() []string {
	names := make([]string, 0, len(m.entries))
	for n := range m.entries {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Entry returns the sums of a tensor, nil when there are none.
func (m *Importance) Entry(name string) *Sums { return m.entries[name] }

// Set adds the sums of a tensor.
func (m *Importance) Set(name string, s Sums) {
	if m.entries == nil {
		m.entries = map[string]*Sums{}
	}
	m.entries[name] = &s
}

// Weights are the mean squares (matrices, columns) that weigh the errors of a tensor. A matrix that has seen nothing weighs
// all its columns alike. nil: nothing is known of the tensor.
func (m *Importance) Weights(name string) []float32 {
	if m == nil || m.entries[name] == nil {
		return nil
	}
	e := m.entries[name]
	w := make([]float32, len(e.Squares))
	cols := len(e.Squares) / len(e.Counts)
	for i, c := range e.Counts {
		for j := i * cols; j < (i+1)*cols; j++ {
			if w[j] = 1; c > 0 {
				w[j] = e.Squares[j] / c
			}
		}
	}
	return w
}

// Coverage is how well the text reached a tensor.
type Coverage struct {
	Name   string    `json:"tensor"`
	Counts []float32 `json:"tokens"`         // by matrix: one, or one for each expert
	Unseen int       `json:"unseen_experts"` // matrices that no token reached
	Dead   int       `json:"unused_columns"` // of those that were reached: columns whose inputs were always zero
}

// Coverage of all tensors, sorted by name.
func (m *Importance) Coverage() (list []Coverage) {
	for _, n := range m.Names() {
		e := m.entries[n]
		c := Coverage{Name: n, Counts: e.Counts}
		cols := len(e.Squares) / len(e.Counts)
		for i, count := range e.Counts {
			if count == 0 {
				c.Unseen++
				continue
			}
			for _, v := range e.Squares[i*cols : (i+1)*cols] {
				if v == 0 {
					c.Dead++
				}
			}
		}
		list = append(list, c)
	}
	return list
}

// ErrImportance is wrapped by errors about files of importance.
var ErrImportance = errors.New("not a usable importance matrix")

const (
	imatrixType = "imatrix"
	sumsEnding  = ".in_sum2"
	countEnding = ".counts"
)

// ReadImportance reads a file of llama-imatrix, GGUF or of the older form, or one of Calibrate.
func ReadImportance(path string) (*Importance, error) {
	data, closeFile, err := tensor.MapFile(path)
	if err != nil {
		return nil, err
	}
	defer closeFile()
	return ParseImportance(path, data)
}

// ParseImportance reads a file in memory; name is for errors. Nothing of data is kept.
func ParseImportance(name string, data []byte) (*Importance, error) {
	m, err := &Importance{}, error(nil)
	switch {
	case bytes.HasPrefix(data, []byte("GGUF")):
		err = m.parseGGUF(name, data)
	case len(data) > 8 && data[8] == '{': // safetensors
		var c *Calibration
		if c, err = ParseCalibration(name, data); err == nil {
			m, err = c.Importance()
		}
	default:
		err = m.parseOld(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrImportance, err)
	}
	for _, n := range m.Names() {
		for _, x := range [][]float32{m.entries[n].Squares, m.entries[n].Counts} {
			if i := slices.IndexFunc(x, func(v float32) bool { return !(v >= 0) || math.IsInf(float64(v), 0) }); i >= 0 {
				return nil, fmt.Errorf("%s: %w: %s: value %d: expected a finite number of at least 0, found %v", name, ErrImportance, n, i, x[i])
			}
		}
	}
	return m, nil
}

func (m *Importance) parseGGUF(name string, data []byte) error {
	f, err := gguf.Parse(name, data)
	if err != nil {
		return err
	}
	meta := f.Meta()
	if kind, _ := meta.String("general.type"); kind != imatrixType {
		return fmt.Errorf("general.type: expected %q, found %q", imatrixType, kind)
	}
	m.Datasets, _ = meta.Strings("imatrix.datasets")
	for key, to := range map[string]*int{"imatrix.chunk_count": &m.Chunks, "imatrix.chunk_size": &m.ChunkSize} {
		if *to, err = meta.Int(key); err != nil {
			return err
		}
	}
	for _, n := range f.Names() {
		base, ok := strings.CutSuffix(n, sumsEnding)
		if !ok {
			if base, ok = strings.CutSuffix(n, countEnding); ok {
				_, err = f.Info(base + sumsEnding)
			}
			if !ok || err != nil {
				return fmt.Errorf("tensor %s: expected pairs of %s and %s", n, sumsEnding, countEnding)
			}
			continue
		}
		var x [2][]float32
		for i, ending := range []string{sumsEnding, countEnding} {
			t, err := f.Tensor(base + ending)
			if err != nil {
				return err
			}
			if x[i], err = tensor.Floats(t); err != nil {
				return err
			}
		}
		if len(x[1]) == 0 || len(x[0]) == 0 || len(x[0])%len(x[1]) != 0 {
			return fmt.Errorf("tensor %s: expected sums for each of the counts, found %d and %d", base, len(x[0]), len(x[1]))
		}
		m.Set(base, Sums{x[0], x[1]})
	}
	if len(m.entries) == 0 {
		return errors.New("there are no sums in it")
	}
	return nil
}

// parseOld reads the form before GGUF: a count of entries, each with its name, how often it was called, and means times
// that number; then, in later files, the number of chunks and the name of the text.
func (m *Importance) parseOld(data []byte) error {
	r := &oldReader{data: data}
	n := r.int()
	if r.bad || n < 1 {
		return errors.New("it is neither a GGUF file nor one of the older form")
	}
	for i := 0; i < n && !r.bad; i++ { // each entry takes bytes: a wrong count ends at the end of the file
		name := string(r.take(r.int()))
		calls, values := r.int(), r.int()
		if r.bad || values < 1 || values > len(r.data)/4 {
			r.bad = true
			break
		}
		x := make([]float32, values)
		for j := range x {
			x[j] = math.Float32frombits(binary.LittleEndian.Uint32(r.take(4)))
			if calls > 0 {
				x[j] /= float32(calls)
			}
		}
		m.Set(name, Sums{x, []float32{1}})
	}
	if r.bad {
		return errors.New("the file ends too early")
	}
	m.plain = true
	if len(r.data) > 0 {
		if m.Chunks = r.int(); len(r.data) > 0 {
			m.Datasets = []string{string(r.take(r.int()))}
		}
		if r.bad || m.Chunks < 0 {
			return errors.New("its end cannot be read")
		}
	}
	return nil
}

type oldReader struct {
	data []byte
	bad  bool
}

func (r *oldReader) take(n int) []byte {
	if n < 0 || n > len(r.data) {
		r.bad, r.data = true, nil
		return make([]byte, 4)
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *oldReader) int() int { return int(int32(binary.LittleEndian.Uint32(r.take(4)))) }

// Write writes a GGUF file as llama-imatrix does or, with a name that ends in .dat, one of the older form.
func (m *Importance) Write(path string) error {
	if strings.HasSuffix(path, ".dat") {
		return m.writeOld(path)
	}
	if m.plain {
		return hint.Errorf("write it to a name that ends in .dat", "%s: %w: the older form holds means, GGUF files need sums", path, ErrImportance)
	}
	meta, src := &gguf.Meta{}, &tensor.Map{}
	meta.Set("general.type", imatrixType)
	meta.Set("imatrix.datasets", append([]string{}, m.Datasets...))
	meta.Set("imatrix.chunk_count", uint32(m.Chunks))
	meta.Set("imatrix.chunk_size", uint32(m.ChunkSize))
	for _, n := range m.Names() {
		e := m.entries[n]
		sums, counts := []int{len(e.Squares)}, []int{1}
		if k := len(e.Counts); k > 1 {
			sums, counts = []int{k, len(e.Squares) / k}, []int{k, 1}
		}
		src.Add(tensor.FromFloats(n+sumsEnding, sums, e.Squares))
		src.Add(tensor.FromFloats(n+countEnding, counts, e.Counts))
	}
	return gguf.Write(path, meta, src, gguf.WriteOptions{})
}

func (m *Importance) writeOld(path string) error {
	le := binary.LittleEndian
	var b []byte
	put := func(n int) { b = le.AppendUint32(b, uint32(int32(n))) }
	put(len(m.entries))
	for _, n := range m.Names() {
		calls := max(m.Chunks, 1)
		w := m.Weights(n)
		put(len(n))
		b = append(b, n...)
		put(calls)
		put(len(w))
		for _, v := range w {
			b = le.AppendUint32(b, math.Float32bits(v*float32(calls)))
		}
	}
	put(m.Chunks)
	text := ""
	if len(m.Datasets) > 0 {
		text = m.Datasets[0]
	}
	put(len(text))
	return atomicfile.Write(path, append(b, text...))
}

// check holds the importance against the tensors of a model: entries of another size belong to another model.
func (m *Importance) check(choices []Choice) error {
	found := 0
	for i := range choices {
		c := &choices[i]
		e := m.entries[c.Name]
		if e == nil {
			continue
		}
		found++
		if want := c.cols() * c.matrices(); len(e.Squares) != want && c.Name != embedName {
			return hint.Errorf("it was made for another model", "tensor %s: %w: expected %d columns, found %d", c.Name, ErrImportance, want, len(e.Squares))
		}
	}
	if found == 0 {
		return hint.Errorf("it was made for another model", "%w: no entry has the name of one of the model's tensors", ErrImportance)
	}
	return nil
}

// fileOf is the path as the metadata of a written file states it, cut as llama.cpp's fields are.
func fileOf(path string) string {
	const limit = 127
	return path[:min(len(path), limit)]
}

// facts are the keys about the importance in a written file.
func (m *Importance) facts(meta *gguf.Meta, path string) {
	meta.Set("quantize.imatrix.file", fileOf(path))
	if len(m.Datasets) > 0 {
		meta.Set("quantize.imatrix.dataset", fileOf(m.Datasets[0]))
	}
	meta.Set("quantize.imatrix.entries_count", uint32(len(m.entries)))
	if m.Chunks > 0 {
		meta.Set("quantize.imatrix.chunks_count", uint32(m.Chunks))
	}
}
