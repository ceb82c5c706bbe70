package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/gguf"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/quantize"
)

// Shape of what is quantized: rows of bf16 whose width is a multiple of every block.
const (
	quantRows = 64
	quantCols = 4096
)

// quantTypes are the types that a part of a run may be restricted to; those that both tune and llama-quantize write.
func (b *bencher) quantTypes() (list []qtype.Type) {
	for _, t := range qtype.All() {
		r := t.Row()
		if r.GGUF >= 0 && r.Block > 1 && (r.Encode != nil || r.EncodeWeighted != nil) && (len(b.Types) == 0 || slices.Contains(b.Types, t)) {
			list = append(list, t)
		}
	}
	return list
}

// quantize measures encoders on values in memory, and the writing of whole files beside llama-quantize where there is one.
func (b *bencher) quantize() error {
	src, err := weights(qtype.BF16, quantRows*quantCols)
	if err != nil {
		return err
	}
	importance := make([]float32, quantCols)
	for i, v := range normals(quantCols) {
		importance[i] = v * v
	}
	for _, t := range b.quantTypes() {
		if t.Row().Encode != nil {
			if err := b.encode(t, src, nil); err != nil {
				return err
			}
		}
		if t.Row().EncodeWeighted != nil {
			if err := b.encode(t, src, importance); err != nil {
				return err
			}
		}
	}
	if b.Tune == "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "tune-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return b.files(dir, importance)
}

// encode measures one type: a row of bf16 is decoded, then encoded, all workers together. Memory is read once and, less of it,
// written once.
func (b *bencher) encode(t qtype.Type, src []byte, importance []float32) error {
	b.raise(reading)
	size, err := t.RowBytes(quantCols)
	if err != nil {
		return err
	}
	dst := make([]byte, int(size)*quantRows)
	values := make([][]float32, b.Pool.Workers())
	for i := range values {
		values[i] = make([]float32, quantCols)
	}
	name := "quantize/" + strings.ToLower(t.String())
	if importance != nil {
		name += "+imatrix"
	}
	decode := qtype.BF16.Row().Decode
	took, err := b.repeat(func() error {
		b.Pool.Run(quantRows, func(worker, i int) {
			x, out := values[worker], dst[i*int(size):(i+1)*int(size)]
			decode(x, src[2*quantCols*i:2*quantCols*(i+1)])
			if importance != nil {
				t.Row().EncodeWeighted(out, x, importance)
			} else {
				t.Row().Encode(out, x)
			}
		})
		return nil
	})
	if err != nil {
		return err
	}
	n := float64(quantRows * quantCols)
	b.add(name, "Mvalues/s", took, n/1e6, float64(len(src)+len(dst)), reading, 0)
	return nil
}

// The models of the files: of the llama family, with matrices of quantCols columns; a small one, and a large one for types that are
// encoded so fast that the start of a program would count.
const (
	smallLayers, largeLayers = 1, 16
	fast                     = 50e6 // values a second in memory
	fileVocab                = 256
)

// swift says whether the row of a type, measured before, was fast.
func (b *bencher) swift(name string) bool {
	i := slices.IndexFunc(b.Rows, func(r Row) bool { return r.Name == "quantize/"+name })
	return i >= 0 && b.Rows[i].Best*1e6 > fast
}

// files times whole runs of tune and of llama-quantize from a bf16 file, in processor time, which other jobs of the machine do not
// change much.
func (b *bencher) files(dir string, importance []float32) error {
	var inputs, imatrices [2]string // small and large
	var sizes [2]float64
	for i, layers := range []int{smallLayers, largeLayers} {
		inputs[i], imatrices[i] = filepath.Join(dir, fmt.Sprintf("bf16-%d.gguf", layers)), filepath.Join(dir, fmt.Sprintf("imatrix-%d.gguf", layers))
		var err error
		if sizes[i], err = writeModel(inputs[i], imatrices[i], importance, layers); err != nil {
			return err
		}
	}
	for _, t := range b.quantTypes() {
		mix, ok := pureMix(t)
		if !ok {
			continue
		}
		for _, weighed := range []bool{false, true} {
			row := t.Row()
			if weighed && row.EncodeWeighted == nil || !weighed && (mix.NeedsImportance() || row.NeedsImportance) {
				continue
			}
			name, at := strings.ToLower(t.String()), 0
			if weighed {
				name += "+imatrix"
			}
			if b.swift(name) {
				at = 1
			}
			in, imatrix, values := inputs[at], imatrices[at], sizes[at]
			ours, theirs := []string{"quantize", "--pure", "--overwrite", "--resume=false", "--mix", mix.Name}, []string{"--pure"}
			if weighed {
				ours, theirs = append(ours, "--imatrix", imatrix), append(theirs, "--imatrix", imatrix)
			}
			out := filepath.Join(dir, "out.gguf")
			if err := b.process("file/"+name+"/tune", values, b.Tune, append(ours, in, out)...); err != nil {
				return err
			}
			if b.LlamaQuantize == "" {
				continue
			}
			threads := fmt.Sprint(b.Pool.Workers())
			if err := b.process("file/"+name+"/llama-quantize", values, b.LlamaQuantize, append(theirs, in, out, mix.Name, threads)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// pureMix is a mix whose default type is t, where there is one such that can be made without importance.
func pureMix(t qtype.Type) (best quantize.Mix, ok bool) {
	for _, m := range quantize.Mixes() {
		if m.Default != t || m.Name == "MXFP4_MOE" { // which is for experts alone
			continue
		}
		if !ok || best.NeedsImportance() && !m.NeedsImportance() {
			best, ok = m, true
		}
	}
	return best, ok
}

// process runs a program a few times, a slow one once, and makes a row of its processor time.
func (b *bencher) process(name string, values float64, program string, args ...string) error {
	const times, enough = 3, 2 // runs, and seconds after which there are no more
	var took []float64
	for sum := 0.0; len(took) < times && sum < enough; sum += took[len(took)-1] {
		cmd := exec.CommandContext(b.ctx, program, args...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return errors.Join(fmt.Errorf("%s: %w: %s", filepath.Base(program), err, tail(text)), b.ctx.Err())
		}
		took = append(took, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	}
	slices.Sort(took)
	b.add(name, "Mvalues/CPU s", took, values/1e6, 0, reading, 0)
	return nil
}

// tail is the end of what a program printed.
func tail(text []byte) string {
	const most = 300
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// writeModel writes a bf16 file and importance for its matrices; it returns the number of values.
func writeModel(path, imatrix string, importance []float32, layers int) (float64, error) {
	meta, src, imp, values := &gguf.Meta{}, &tensor.Map{}, &quantize.Importance{Chunks: 1, ChunkSize: 1}, 0.0
	meta.Set("general.architecture", "llama")
	for key, v := range map[string]uint32{"block_count": uint32(layers), "context_length": 512, "embedding_length": quantCols, "feed_forward_length": quantCols,
		"attention.head_count": quantCols / 64, "attention.head_count_kv": 4, "rope.dimension_count": 64, "vocab_size": fileVocab} {
		meta.Set("llama."+key, v)
	}
	meta.Set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	meta.Set("tokenizer.ggml.model", "no_vocab")
	add := func(name string, rows int) error {
		data, err := weights(qtype.BF16, rows*quantCols)
		if err != nil {
			return err
		}
		src.Add(tensor.Tensor{Info: tensor.Info{Name: name, Type: qtype.BF16, Shape: []int{rows, quantCols}}, Data: data})
		imp.Set(name, quantize.Sums{Squares: importance, Counts: []float32{1}})
		values += float64(rows * quantCols)
		return nil
	}
	ones := make([]float32, quantCols)
	for i := range ones {
		ones[i] = 1
	}
	err := add("token_embd.weight", fileVocab)
	src.Add(tensor.FromFloats("output_norm.weight", []int{quantCols}, ones))
	for l := range layers {
		at := fmt.Sprintf("blk.%d.", l)
		for _, m := range []struct {
			name string
			rows int
		}{{"attn_q", quantCols / 4}, {"attn_k", 256}, {"attn_v", 256}, {"attn_output", 256}, {"ffn_gate", 512}, {"ffn_up", 512}, {"ffn_down", 512}} {
			if err == nil {
				err = add(at+m.name+".weight", m.rows)
			}
		}
		src.Add(tensor.FromFloats(at+"attn_norm.weight", []int{quantCols}, ones))
		src.Add(tensor.FromFloats(at+"ffn_norm.weight", []int{quantCols}, ones))
	}
	if err == nil {
		err = gguf.Write(path, meta, src, gguf.WriteOptions{})
	}
	if err == nil {
		err = imp.Write(imatrix)
	}
	return values, err
}
