package tensor

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"tune/internal/qtype"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		i    Info
		part string // "": valid
	}{
		{Info{Type: qtype.F32}, ""},
		{Info{Type: qtype.F32, Shape: []int{0, 3}}, ""},
		{Info{Type: qtype.Q8_0, Shape: []int{3, 64}}, ""},
		{Info{Type: qtype.F32, Shape: []int{-1}}, "negative"},
		{Info{Type: qtype.F32, Shape: []int{-1, -1}}, "negative"},
		{Info{Type: qtype.F32, Shape: []int{math.MaxInt, 2}}, "too many values"},
		{Info{Type: qtype.F32, Shape: []int{1 << 32, 1 << 32}}, "too many values"},
		{Info{Type: qtype.F32, Shape: []int{0, 1 << 32, 1 << 32}}, "too many values"},
		{Info{Type: qtype.F32, Shape: []int{1 << 61, 1}}, "too many bytes"},
		{Info{Type: qtype.F32, Shape: []int{1 << 62}}, "too large"},
		{Info{Type: qtype.Q8_0, Shape: []int{64, 33}}, "multiple of 32"},
		{Info{Type: qtype.Q8_0}, "multiple of 32"},
	} {
		err := c.i.Check()
		if (err == nil) != (c.part == "") || err != nil && !strings.Contains(err.Error(), c.part) {
			t.Errorf("%v: %v, want %q", c.i, err, c.part)
		}
	}
}

func TestFloatsMatrixConvert(t *testing.T) {
	n := convertChunk + 64 // more than one chunk
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%64) - 31
	}
	a := FromFloats("w", []int{n / 32, 32}, x)
	for _, ty := range []qtype.Type{qtype.F32, qtype.BF16, qtype.F16, qtype.Q8_0} {
		b, err := Convert(a, ty)
		if err != nil || b.Type != ty || int64(len(b.Data)) != b.Bytes() || b.Name != "w" {
			t.Fatalf("%s: %v, %v", ty, b.Info, err)
		}
		y, err := Floats(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range y {
			if math.Abs(float64(y[i]-x[i])) > 0.13 { // half a Q8_0 step of 31/127
				t.Fatalf("%s: value %d is %v, want %v", ty, i, y[i], x[i])
			}
		}
		m, err := Matrix(b)
		if err != nil || m.Rows != n/32 || m.Cols != 32 || m.Codec != ty.Codec() || m.Stride*m.Rows != len(m.Data) {
			t.Errorf("%s: %+v, %v", ty, m, err)
		}
	}
	if b, err := Convert(a, qtype.F32); err != nil || &b.Data[0] != &a.Data[0] {
		t.Errorf("the same type was copied (%v)", err)
	}
	if _, err := Convert(a, qtype.IQ2_S); err == nil {
		t.Error("converted to a type without an encoder")
	}
	if _, err := Floats(Tensor{Info: Info{Name: "i", Type: qtype.I64, Shape: []int{1}}, Data: make([]byte, 8)}); err == nil {
		t.Error("decoded integers")
	}
	if _, err := Floats(Tensor{Info: a.Info, Data: a.Data[1:]}); err == nil {
		t.Error("decoded a tensor that lacks a byte")
	}
}

// A file may put floats at odd addresses; kernels never see them there.
func TestMatrixAligned(t *testing.T) {
	for off := range 4 {
		data := make([]byte, 12)[off : off+8 : off+8]
		copy(data, []byte{0, 0, 128, 63, 0, 0, 0, 64})
		m, err := Matrix(Tensor{Info: Info{Type: qtype.F32, Shape: []int{1, 2}}, Data: data})
		if err != nil || !bytes.Equal(m.Data, data) {
			t.Errorf("offset %d: %v, %v", off, m, err)
		}
		if copied := &m.Data[0] != &data[0]; copied != (off != 0) {
			t.Errorf("offset %d: copied: %v", off, copied)
		}
	}
	if m, err := Matrix(Tensor{Info: Info{Type: qtype.F32, Shape: []int{0, 0}}}); err != nil || m.Rows != 0 {
		t.Errorf("empty: %v, %v", m, err)
	}
}

func TestSources(t *testing.T) {
	m := NewMap(FromFloats("b", []int{2}, []float32{1, 2}), FromFloats("a", []int{1, 2}, []float32{3, 4}))
	m.Add(FromFloats("b", []int{1}, []float32{5}))
	if !slices.Equal(m.Names(), []string{"b", "a"}) {
		t.Errorf("names %v", m.Names())
	}
	c := Converted{m, func(i Info) qtype.Type {
		if len(i.Shape) == 2 {
			return qtype.BF16
		}
		return i.Type
	}}
	for name, want := range map[string]qtype.Type{"a": qtype.BF16, "b": qtype.F32} {
		i, err := c.Info(name)
		if err != nil || i.Type != want {
			t.Errorf("%s: %v, %v", name, i, err)
		}
		if x, err := c.Tensor(name); err != nil || x.Type != want || int64(len(x.Data)) != i.Bytes() {
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
	for _, s := range []Source{m, c, &Map{}} {
		if _, err := s.Info("c"); err == nil {
			t.Error("info of nothing")
		}
		if _, err := s.Tensor("c"); err == nil {
			t.Error("tensor of nothing")
		}
	}
}
