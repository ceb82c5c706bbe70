package lora

import (
	"testing"

	"tune/internal/model"
)

// Whatever stands in adapter_config.json, reading it ends with a configuration or an error.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"],"rank_pattern":{"a":1,"b.*":2},"layers_to_transform":[0]}`))
	f.Add([]byte(`{"peft_type":"LORA","target_modules":"all-linear","init_lora_weights":"pissa_niter_4","layers_to_transform":3,"modules_to_save":["lm_head"]}`))
	f.Add([]byte(`{"peft_type":"LORA","target_modules":"(","alpha_pattern":{"[":1e300}}`))
	s := model.Spec{V: 8, C: 8, F: 8, L: 2, H: 2, K: 2, D: 4}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig(text)
		if err == nil && c.err() == nil {
			_, _ = c.targets(s.Modules())
		}
	})
}
