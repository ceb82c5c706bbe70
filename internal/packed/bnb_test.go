package packed

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tune/internal/qtype"
	"tune/internal/tensor"
)

// bnbCase is a matrix (64, 192) as bitsandbytes quantized it.
type bnbCase struct {
	BlockSize   int       `json:"blocksize"`
	Code        []float32 `json:"code"`
	Dequantized string    `json:"dequantized_sha256_f32"`
	DType       string    `json:"dequantized_dtype"`
	NestedSize  int       `json:"state2_blocksize"`
	Offset      float32   `json:"offset"`
}

func bnbCases(t testing.TB) map[string]bnbCase {
	var gold struct{ Cases map[string]json.RawMessage }
	readJSON(t, "testdata/bnb.json", &gold)
	out := map[string]bnbCase{}
	for name, text := range gold.Cases {
		var c bnbCase
		if strings.HasPrefix(name, "int8") {
			continue
		}
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		out[name] = c
	}
	return out
}

var bnbTypes = map[string]qtype.Type{"torch.float32": qtype.F32, "torch.float16": qtype.F16, "torch.bfloat16": qtype.BF16}

// Packed blocks of bitsandbytes decode to its numbers, with and without double quantization.
func TestReadBnB(t *testing.T) {
	stored := open(t, "testdata/bnb.safetensors")
	for name, c := range bnbCases(t) {
		kind := name[:3]
		state := quantState{QuantType: kind, BlockSize: c.BlockSize, Shape: []int{64, 192}, NestedBlockSize: c.NestedSize, NestedOffset: c.Offset}
		text, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		m := &tensor.Map{}
		put := func(part string, x tensor.Tensor) {
			x.Name = "m." + part
			m.Add(x)
		}
		put("weight", get(t, stored, name+".packed"))
		put("weight.absmax", get(t, stored, name+".absmax"))
		put("weight.quant_map", floats("", qtype.F32, []int{16}, c.Code))
		put("weight.quant_state.bitsandbytes__"+kind, raw("", qtype.U8, []int{len(text)}, text))
		if c.NestedSize > 0 {
			put("weight.nested_absmax", get(t, stored, name+".state2.absmax"))
			put("weight.nested_quant_map", get(t, stored, name+".state2.code"))
		}
		config, err := ParseConfig([]byte(`{"load_in_4bit":true,"quant_method":"bitsandbytes"}`))
		if err != nil {
			t.Fatal(err)
		}
		x := get(t, NewSource(m, config), "m.weight")
		if want := map[string]qtype.Type{"nf4": qtype.NF4, "fp4": qtype.FP4}[kind]; x.Type != want {
			t.Errorf("%s: type %s", name, x.Type)
		}
		rounded, err := tensor.Convert(x, bnbTypes[c.DType]) // the library returns the type it was given
		if err != nil {
			t.Fatal(err)
		}
		if decoded(t, rounded) != c.Dequantized {
			t.Errorf("%s: values differ from the library's", name)
		}
	}
}

// bnbMatrix is the matrix of the goldens: four consecutive numbers of the generator summed, column 11 large, one block zero.
func bnbMatrix() []float32 {
	seed, k := uint64(0xB17B), uint64(0)
	u := func() float64 {
		k++
		z := seed + k*0x9E3779B97F4A7C15
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		return float64(z>>44)/(1<<20) - 0.5
	}
	w := make([]float32, 64*192)
	for i := range w {
		v := (u() + u() + u() + u()) / 16
		if i%192 == 11 {
			v *= 6
		}
		if i/192 != 3 || i%192 >= 64 {
			w[i] = float32(v)
		}
	}
	return w
}

// The whole packed state of a matrix as bitsandbytes stores it in checkpoints, bit for bit but for spaces behind the JSON.
func TestWriteBnB(t *testing.T) {
	stored := open(t, "testdata/bnb.safetensors")
	w := bnbMatrix()
	for _, c := range []struct {
		dtype qtype.Type
		name  string
	}{{qtype.F32, "nf4_b64_float32_double"}, {qtype.F16, "nf4_b64_float16_double"}, {qtype.BF16, "nf4_b64_bfloat16_double"}} {
		s, err := ParseScheme(Options{Format: "nf4", DType: c.dtype})
		if err != nil {
			t.Fatal(err)
		}
		parts, err := s.Encode(64, 192, func(dst []float32, o int) error { copy(dst, w[o*192:]); return nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, info := range s.Parts("m", 64, 192) {
			if x := parts[i]; "m."+x.Name != info.Name || x.Type != info.Type || !slices.Equal(x.Shape, info.Shape) || int64(len(x.Data)) != info.Bytes() {
				t.Errorf("%s: announced as %v", x.Name, info)
			}
		}
		for i, name := range []string{c.name + ".packed", c.name + ".absmax", c.name + ".state2.absmax", c.name + ".state2.code"} {
			if want := get(t, stored, name); !bytes.Equal(parts[i].Data, want.Data) {
				n := 0
				for j := range want.Data {
					if parts[i].Data[j] != want.Data[j] {
						n++
					}
				}
				t.Errorf("%s: %d of %d bytes differ", name, n, len(want.Data))
			}
		}
		if c.dtype == qtype.BF16 {
			if got, want := parts[5].Data, get(t, stored, "as_dict.quant_state.bitsandbytes__nf4").Data; !bytes.Equal(bytes.TrimRight(got, " "), want) {
				t.Errorf("state %s, want %s", got, want)
			}
			if !bytes.Equal(parts[4].Data, get(t, stored, "as_dict.quant_map").Data) {
				t.Error("quant_map differs")
			}
		}
	}
}
