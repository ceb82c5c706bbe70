package packed

import (
	"encoding/json"
	"regexp"
	"strings"

	"tune/internal/qtype"
)

// Facts of a run that the configuration names.
type Facts struct {
	Quantizer string         // "tune 1.2"
	Kept      []string       // linear modules that are stored as they are, lm_head among them if the model has one
	ActOrder  string         // compressed-tensors: order of the columns while they were solved; "": none
	Meta      map[string]any // of the solver: damping and so on, GPTQ's meta
}

// QuantizationConfig is the quantization_config of config.json, with the keys that the format's library writes and transformers
// and vLLM read.
func (s *Scheme) QuantizationConfig(f Facts) map[string]any {
	switch s.Format {
	case "gptq":
		return s.gptqConfig(f)
	case "awq":
		return map[string]any{"quant_method": "awq", "version": "gemm", "bits": s.Bits, "group_size": s.groupNumber(), "zero_point": !s.Sym,
			"modules_to_not_convert": listOrNil(f.Kept)}
	case "nf4":
		return map[string]any{"quant_method": "bitsandbytes", "load_in_4bit": true, "_load_in_4bit": true, "load_in_8bit": false, "_load_in_8bit": false,
			"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true, "bnb_4bit_compute_dtype": dtypeNames[s.DType], "bnb_4bit_quant_storage": "uint8",
			"llm_int8_skip_modules": listOrNil(f.Kept), "llm_int8_threshold": json.Number("6.0"), "llm_int8_enable_fp32_cpu_offload": false, "llm_int8_has_fp16_weight": false}
	}
	return s.compressedConfig(f)
}

// groupNumber is the group as configurations say it, -1 for a row.
func (s *Scheme) groupNumber() int {
	if s.Group == 0 {
		return -1
	}
	return s.Group
}

func listOrNil(names []string) any {
	if len(names) == 0 {
		return nil
	}
	return names
}

func (s *Scheme) gptqConfig(f Facts) map[string]any {
	format := "gptq"
	if s.V2 {
		format = "gptq_v2"
	}
	meta := map[string]any{"quantizer": []string{strings.Replace(f.Quantizer, " ", ":", 1)}}
	for k, v := range f.Meta {
		meta[k] = v
	}
	c := map[string]any{"quant_method": "gptq", "method": "gptq", "checkpoint_format": format, "format": format, "bits": s.Bits,
		"group_size": s.groupNumber(), "sym": s.Sym, "desc_act": s.DescAct, "lm_head": false, "pack_dtype": "int32", "meta": meta}
	dynamic := map[string]any{}
	for _, name := range f.Kept {
		if name != "lm_head" {
			dynamic["-:^"+regexp.QuoteMeta(name)+"$"] = map[string]any{}
		}
	}
	if len(dynamic) > 0 {
		c["dynamic"] = dynamic
	}
	return c
}

// compressedArgs are the keys of one quantized thing; what a scheme does not say is null.
func compressedArgs(set map[string]any) map[string]any {
	a := map[string]any{"actorder": nil, "block_structure": nil, "dynamic": false, "group_size": nil, "num_bits": 8, "observer": nil, "observer_kwargs": map[string]any{},
		"scale_dtype": nil, "strategy": nil, "symmetric": true, "type": "int", "zp_dtype": nil}
	for k, v := range set {
		a[k] = v
	}
	return a
}

func (s *Scheme) compressedConfig(f Facts) map[string]any {
	w := map[string]any{"num_bits": s.Bits, "symmetric": s.Sym, "observer": "memoryless_minmax", "strategy": "channel"}
	if s.Group > 0 {
		w["strategy"], w["group_size"] = "group", s.Group
	}
	var in any // activations, for the schemes that round them
	switch s.store {
	case packQuantized:
		if f.ActOrder != "" {
			w["actorder"] = f.ActOrder
		}
		if !s.Sym {
			w["zp_dtype"] = "torch.int8"
		}
	case intQuantized:
		in = compressedArgs(map[string]any{"dynamic": true, "strategy": "token"})
	case floatQuantized:
		w["type"] = "float"
		a := map[string]any{"dynamic": true, "strategy": "token", "type": "float"}
		if s.Group > 0 {
			w["strategy"], w["group_size"], w["block_structure"] = "block", nil, []int{fp8Block, fp8Block}
			a["strategy"], a["group_size"] = "group", fp8Block
		}
		in = compressedArgs(a)
	case nvfp4:
		w["type"], w["strategy"], w["scale_dtype"] = "float", "tensor_group", "torch.float8_e4m3fn"
	case mxfp4:
		w["type"], w["scale_dtype"] = "float", "torch.uint8"
	}
	group := map[string]any{"format": s.store.format, "input_activations": in, "output_activations": nil, "targets": []string{"Linear"}, "weights": compressedArgs(w)}
	kept := f.Kept
	if kept == nil {
		kept = []string{}
	}
	return map[string]any{"quant_method": "compressed-tensors", "quantization_status": "compressed", "format": s.store.format, "version": "0.19.0",
		"config_groups": map[string]any{"group_0": group}, "ignore": kept, "kv_cache_scheme": nil, "global_compression_ratio": nil,
		"sparsity_config": map[string]any{}, "transform_config": map[string]any{}}
}

// DTypeName is what config.json calls a float type, "" for others.
func DTypeName(t qtype.Type) string { return dtypeNames[t] }

// DTypeOf is the float type that config.json calls by a name such as bfloat16; false for others.
func DTypeOf(name string) (qtype.Type, bool) {
	for t, n := range dtypeNames {
		if n == strings.TrimPrefix(name, "torch.") {
			return t, true
		}
	}
	return 0, false
}
