package packed

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"tune/internal/qtype"
	"tune/internal/tensor"
)

// kProj is the matrix of one format of the goldens.
func kProj(t testing.TB, format string) (*tensor.Map, *Config) {
	t.Helper()
	var gold map[string]struct{ Config json.RawMessage }
	readJSON(t, "testdata/k_proj.json", &gold)
	stored, m := open(t, "testdata/k_proj.safetensors"), &tensor.Map{}
	for _, name := range stored.Names() {
		if rest, ok := strings.CutPrefix(name, format+"."); ok {
			x := get(t, stored, name)
			x.Name, x.Shape, x.Data = rest, slices.Clone(x.Shape), slices.Clone(x.Data)
			m.Add(x)
		}
	}
	c, err := ParseConfig(gold[format].Config)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

// Each rule of a layout has its error, which names the tensor and what is wrong with it.
func TestBadParts(t *testing.T) {
	for _, c := range []struct {
		format, part string
		spoil        func(x *tensor.Tensor)
		want         string
	}{
		{"tiny.gptq_sym_g64", "qzeros", func(x *tensor.Tensor) { x.Shape = []int{8, 4} }, "qzeros: expected shape [4 -1], found [8 4]"},
		{"tiny.gptq_sym_g64", "qzeros", func(x *tensor.Tensor) { x.Name = "k_proj.other" }, "expected a tensor .qzeros, found none"},
		{"tiny.gptq_sym_g64", "scales", func(x *tensor.Tensor) { x.Data[1] = 0x7c }, "scales: expected finite numbers, found"},
		{"tiny.gptq_sym_g64", "scales", func(x *tensor.Tensor) { x.Type = qtype.I16 }, "scales: expected [F16 BF16 F32], found I16"},
		{"tiny.gptq_sym_g64_act", "g_idx", func(x *tensor.Tensor) { x.Data[0] = 9 }, "g_idx: expected groups below 4, found 9 at 0"},
		{"tiny.gptq_sym_g64_act", "g_idx", func(x *tensor.Tensor) { x.Data[3] = 0xff }, "g_idx: expected groups below 4"},
		{"tiny.awq_gemm_g64", "scales", func(x *tensor.Tensor) { x.Shape = []int{8, 32} }, "scales: expected shape [-1 64], found [8 32]"},
		{"ct.w4a16_g128", "weight_shape", func(x *tensor.Tensor) { clear(x.Data) }, "weight_shape: expected a matrix, found 0 x 0"},
		{"ct.w4a16_g128", "weight_shape", func(x *tensor.Tensor) { x.Data[7] = 0x7f }, "weight_shape"},
		{"ct.w4a16_g128", "weight_shape", func(x *tensor.Tensor) { x.Data[8] = 7 }, "weight_packed: expected rows of 263 codes"},
		{"ct.w4a16_asym_g128", "weight_zero_point", func(x *tensor.Tensor) { x.Shape = []int{4, 4} }, "weight_zero_point: expected shape [8 2]"},
		{"ct.w8a8_int8", "weight_scale", func(x *tensor.Tensor) { x.Shape = []int{32, 2} }, "weight_scale: expected shape [64 -1]"},
		{"ct.fp8_block", "weight_scale", func(x *tensor.Tensor) { x.Shape = []int{2, 1} }, "one for each block of 128 x 128, found shape [2 1]"},
		{"ct.nvfp4a16", "weight_global_scale", func(x *tensor.Tensor) { clear(x.Data) }, "weight_global_scale: expected a number that is not 0"},
		{"ct.nvfp4a16", "weight_scale", func(x *tensor.Tensor) { x.Shape = []int{32, 32} }, "weight_scale: expected shape [64 16]"},
		{"ct.mxfp4a16", "weight_scale", func(x *tensor.Tensor) { x.Shape = []int{32, 16} }, "weight_scale: expected shape [64 8]"},
	} {
		m, config := kProj(t, c.format)
		spoiled := &tensor.Map{}
		for _, name := range m.Names() {
			x := get(t, m, name)
			if name == "k_proj."+c.part {
				c.spoil(&x)
			}
			spoiled.Add(x)
		}
		s := NewSource(spoiled, config)
		for i := range 2 { // an error is told every time
			_, err := s.Info("k_proj.weight")
			if _, again := s.Tensor("k_proj.weight"); again == nil || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "k_proj.weight, stored as ") {
				t.Errorf("%s %s, try %d: %v, want %q", c.format, c.part, i, err, c.want)
			}
		}
	}
}

func TestBadConfigs(t *testing.T) {
	for text, want := range map[string]string{
		`{"quant_method":"aqlm"}`:                                       `quant_method "aqlm" cannot be read`,
		`{"quant_method":"gptq","bits":5}`:                              "expected 2, 3, 4 or 8 bits, found 5",
		`{"quant_method":"gptq","bits":4,"checkpoint_format":"marlin"}`: "expected checkpoint_format gptq or gptq_v2",
		`{"quant_method":"awq","bits":4,"version":"gemv"}`:              "expected AWQ of version gemm",
		`{"quant_method":"fp8","weight_block_size":[128]}`:              "two positive sizes of a block",
		`{"quant_method":"fp8","weight_block_size":[0,128]}`:            "two positive sizes of a block",
		`{"quant_method":7}`:                                            "quantization_config",
		`[]`:                                                            "quantization_config",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{`{"load_in_4bit":true}`: "bitsandbytes", `{"bits":4,"group_size":128}`: "gptq, 4 bits, groups of 128"} {
		if c, err := ParseConfig([]byte(text)); err != nil || c.About != want {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}

// DeepSeek's FP8: the scale of a block is called inverse and multiplied with; the last blocks stick out.
func TestInverseScale(t *testing.T) {
	const out, in = 130, 192
	w, m := make([]byte, out*in), &tensor.Map{}
	for i := range w {
		w[i] = byte(i%120) | byte(i%2<<7)
	}
	scale := []float32{0.5, 3, 0.0117, 2}
	m.Add(raw("m.weight", qtype.F8_E4M3, []int{out, in}, w))
	m.Add(floats("m.weight_scale_inv", qtype.F32, []int{2, 2}, scale))
	m.Add(floats("norm.weight", qtype.F32, []int{2}, []float32{1, 2}))
	c, err := ParseConfig([]byte(`{"quant_method":"fp8","fmt":"e4m3","weight_block_size":[128,128],"activation_scheme":"dynamic"}`))
	if err != nil {
		t.Fatal(err)
	}
	s := NewSource(m, c)
	if !slices.Equal(s.Names(), []string{"m.weight", "norm.weight"}) || s.Quantized("norm.weight") {
		t.Errorf("names %q", s.Names())
	}
	x, err := tensor.Floats(get(t, s, "m.weight"))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range x {
		o, c, b := i/in, i%in, w[i]
		e, f := int(b>>3&15), float64(b&7)/8
		want := (1 + f) * math.Exp2(float64(e-7))
		if e == 0 {
			want = f / 64
		}
		want = math.Copysign(want, float64(int8(b))) * float64(scale[o/128*2+c/128])
		if math.Abs(float64(v)-want) > 1e-6*math.Abs(want) {
			t.Fatalf("value [%d %d] is %g, want %g", o, c, v, want)
		}
	}
}

// AutoGPTQ's biases of zeros are forgotten where the model has none.
func TestDropBiases(t *testing.T) {
	m, c := kProj(t, "tiny.gptq_sym_g64")
	m.Add(floats("k_proj.bias", qtype.F16, []int{64}, make([]float32, 64)))
	m.Add(floats("other.bias", qtype.F16, []int{64}, make([]float32, 64)))
	for needed, want := range map[bool]int{false: 2, true: 3} {
		s := NewSource(m, c)
		if err := s.DropBiases(func(string) bool { return needed }); err != nil || len(s.Names()) != want {
			t.Errorf("needed %t: names %q, %v", needed, s.Names(), err)
		}
	}
}

// Parts of any shape and content are read or refused; nothing panics, nothing is allocated by a number of the file.
func FuzzParts(f *testing.F) {
	formats := []string{"tiny.gptq_sym_g64_act", "tiny.gptq_asym_g64", "tiny.awq_gemm_g64", "ct.w4a16_asym_g128", "ct.w8a8_int8", "ct.fp8_block", "ct.nvfp4a16", "ct.mxfp4a16"}
	for i := range formats {
		f.Add(uint8(i), uint8(0), uint16(2), uint16(3), uint32(7), byte(0xff))
		f.Add(uint8(i), uint8(1), uint16(64), uint16(4), uint32(0), byte(0x80))
	}
	f.Fuzz(func(t *testing.T, format, part uint8, rows, cols uint16, at uint32, b byte) {
		m, c := kProj(t, formats[int(format)%len(formats)])
		spoiled := &tensor.Map{}
		for i, name := range m.Names() {
			x := get(t, m, name)
			if i == int(part)%len(m.Names()) {
				if rows > 0 {
					x.Shape = []int{int(rows), int(cols)}
					n := x.Bytes()
					if n > 1<<20 {
						return // the shape alone is what would be tested, and by others
					}
					x.Data = slices.Concat(x.Data, make([]byte, n))[:n]
				}
				if len(x.Data) > 0 {
					x.Data[int(at)%len(x.Data)] = b
				}
			}
			spoiled.Add(x)
		}
		s := NewSource(spoiled, c)
		info, err := s.Info("k_proj.weight")
		x, again := s.Tensor("k_proj.weight")
		if (err == nil) != (again == nil) {
			t.Fatal(err, again)
		}
		if err == nil && fmt.Sprint(x.Info) != fmt.Sprint(info) {
			t.Fatal(x.Info, info)
		}
	})
}
