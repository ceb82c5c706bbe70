package packed

import (
	"encoding/json"
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
