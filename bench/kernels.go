package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"tune/internal/qtype"
	"tune/internal/rng"
	"tune/kernels"
)

// normals are reproducible numbers of standard deviation 0.02.
func normals(n int) []float32 {
	s, x := rng.New(1, "bench"), make([]float32, n)
	for i := range x {
		x[i] = float32(0.02 * s.Norm(uint64(i)))
	}
	return x
}

// pattern is how many values are made; larger tensors repeat them.
const pattern = 1 << 16

// weights are n values stored as t; for a type without encoder any.
func weights(t qtype.Type, n int) ([]byte, error) {
	size, err := t.RowBytes(n)
	if err != nil {
		return nil, err
	}
	once, err := t.RowBytes(pattern)
	if err != nil {
		return nil, err
	}
	b := make([]byte, max(size, once))
	switch r := t.Row(); {
	case r.Encode != nil:
		r.Encode(b[:once], normals(pattern))
	case r.EncodeWeighted != nil:
		r.EncodeWeighted(b[:once], normals(pattern), slices.Repeat([]float32{1}, pattern))
	default: // any codes; blocks begin with a float32, 0.01, in which some types have a zero of 8
		for i := range b[:once] {
			b[i] = byte(i * 7919 >> 3)
		}
		for at := int64(0); at < once && r.Block > 1; at += int64(r.Bytes) {
			binary.LittleEndian.PutUint32(b[at:], math.Float32bits(0.01)&^0xff|8)
		}
	}
	for at := once; at < size; at *= 2 {
		copy(b[at:], b[:at])
	}
	return b[:size], nil
}

func matrix(t qtype.Type, rows, cols int) (kernels.Matrix, error) {
	b, err := weights(t, rows*cols)
	return kernels.Matrix{Rows: rows, Cols: cols, Data: b, Codec: t.Codec()}, err
}

// kernels measures products of the sizes of SmolLM2-135M, of every stored type, of integers, of one row, and what is made of products.
func (b *bencher) kernels() error {
	for _, s := range [][3]int{{512, 576, 1536}, {2048, 576, 1536}, {2048, 1536, 576}, {512, 576, 49152}} {
		if err := b.gemm(qtype.BF16, "bf16", s, arithmetic); err != nil {
			return err
		}
	}
	for _, t := range qtype.All() {
		r, name := t.Row(), strings.ToLower(t.String())
		if r.Decode == nil || r.Block == 1 && r.Bytes > 2 {
			continue
		}
		if r.GGUF < 0 && r.SafeTensors == "" {
			name = "packed/" + name
		}
		if err := b.gemm(t, name, [3]int{512, 2048, 2048}, arithmetic); err != nil {
			return err
		}
	}
	for _, t := range []qtype.Type{qtype.Q8_0, qtype.Q4_0, qtype.Q4_1, qtype.Q4_K, qtype.Q6_K} {
		for _, m := range []int{16, 512} {
			if err := b.gemm(t, "int8/"+strings.ToLower(t.String()), [3]int{m, 2048, 2048}, integers); err != nil {
				return err
			}
		}
	}
	if err := b.gemm(qtype.F32, "f32", [3]int{2048, 576, 1536}, exact); err != nil {
		return err
	}
	for _, t := range []qtype.Type{qtype.BF16, qtype.Q8_0, qtype.Q4_0, qtype.Q4_1, qtype.Q5_0, qtype.Q4_K, qtype.Q5_K, qtype.Q6_K} {
		name := strings.ToLower(t.String())
		if err := b.gemm(t, name, [3]int{1, 2048, 49152}, reading); err != nil {
			return err
		}
		if !t.Codec().Integer() {
			continue
		}
		if err := b.gemm(t, "int8/"+name, [3]int{1, 2048, 49152}, reading); err != nil {
			return err
		}
	}
	return b.fused()
}

// gemm measures one product; that of one row is bound by reading. With a name of int8/ it multiplies integers.
func (b *bencher) gemm(t qtype.Type, name string, s [3]int, of ceiling) error {
	m, k, n := s[0], s[1], s[2]
	b.raise(of)
	w, err := matrix(t, n, k)
	if err != nil {
		return err
	}
	w.Int8 = strings.HasPrefix(name, "int8/")
	x := &kernels.Product{M: m, K: k, A: normals(m * k), Exact: of == exact, Outs: []kernels.Out{{N: n, C: make([]float32, m*n), B: w}}}
	scratch := make([]float32, x.Scratch())
	took, err := b.repeat(func() error { b.Pool.MatMul(x, scratch); return nil })
	if err != nil {
		return err
	}
	name = fmt.Sprintf("gemm/%s/%dx%dx%d", name, m, k, n)
	if of == reading {
		bytes := float64(len(w.Data))
		b.Peak.Bytes = max(b.Peak.Bytes, bytes/took[0]) // whoever reads faster is the better reader
		b.add(name, "GB/s", took, bytes/1e9, bytes, of, 0)
		return nil
	}
	ops := 2 * float64(m) * float64(k) * float64(n)
	unit := "GFLOP/s"
	if w.Int8 {
		unit = "GOP/s"
	}
	b.add(name, unit, took, ops/1e9, ops, of, 0)
	return nil
}
