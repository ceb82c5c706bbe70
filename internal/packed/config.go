package packed

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tune/internal/hint"
)

// Config is what the reader uses of a quantization_config.
type Config struct {
	Method            string // quant_method
	Bits, Group       int    // of GPTQ and AWQ; Group -1: one group a row
	V2                bool   // GPTQ: zeros as they are
	BlockOut, BlockIn int    // of FP8 with block scales
	About             string // "gptq, 4 bits in groups of 128"
}

// ParseConfig reads the quantization_config of a config.json, or a quantize_config.json.
func ParseConfig(text []byte) (*Config, error) {
	var j struct {
		Method  string  `json:"quant_method"`
		Bits    float64 `json:"bits"`
		Group   int     `json:"group_size"`
		Format  string  `json:"checkpoint_format"`
		Format2 string  `json:"format"`
		Version string  `json:"version"`
		Block   []int   `json:"weight_block_size"`
		Four    bool    `json:"load_in_4bit"`
		Groups  map[string]struct {
			Weights struct {
				Block []int `json:"block_structure"`
			} `json:"weights"`
		} `json:"config_groups"`
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, fmt.Errorf("quantization_config: %w", err)
	}
	c := &Config{Method: j.Method, Bits: int(j.Bits), Group: j.Group, BlockOut: 128, BlockIn: 128}
	switch {
	case c.Method == "" && j.Four:
		c.Method = "bitsandbytes"
	case c.Method == "" && j.Bits > 0:
		c.Method = "gptq"
	}
	for _, name := range slices.Sorted(maps.Keys(j.Groups)) {
		if b := j.Groups[name].Weights.Block; b != nil {
			j.Block = b
		}
	}
	if j.Block != nil {
		if len(j.Block) != 2 || j.Block[0] < 1 || j.Block[1] < 1 {
			return nil, fmt.Errorf("quantization_config: expected two positive sizes of a block, found %v", j.Block)
		}
		c.BlockOut, c.BlockIn = j.Block[0], j.Block[1]
	}
	if _, ok := layouts[c.Method]; !ok {
		return nil, hint.Errorf("known methods: "+strings.Join(slices.Sorted(maps.Keys(layouts)), ", "), "quantization_config: quant_method %q cannot be read", j.Method)
	}
	c.About = c.Method
	switch c.Method {
	case "gptq":
		if j.Format == "" {
			j.Format = j.Format2
		}
		if c.V2 = j.Format == "gptq_v2"; !c.V2 && j.Format != "gptq" && j.Format != "" {
			return nil, fmt.Errorf("quantization_config: expected checkpoint_format gptq or gptq_v2, found %q", j.Format)
		}
		if !slices.Contains([]int{2, 3, 4, 8}, c.Bits) {
			return nil, fmt.Errorf("quantization_config: expected 2, 3, 4 or 8 bits, found %g", j.Bits)
		}
	case "awq":
		if v := strings.ToLower(j.Version); v != "" && v != "gemm" || c.Bits != 4 {
			return nil, fmt.Errorf("quantization_config: expected AWQ of version gemm with 4 bits, found %q with %g", j.Version, j.Bits)
		}
	default:
		return c, nil
	}
	c.About = fmt.Sprintf("%s, %d bits, groups of %d", c.Method, c.Bits, c.Group)
	return c, nil
}
