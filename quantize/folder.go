package quantize

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"tune/internal/gguf"
	"tune/internal/safetensors"
)

// OpenFolder takes a Hugging Face folder of an architecture that the decoder does not know: tensors keep their names and layout,
// so that matrices can be quantized all the same, and what config.json says stands under the architecture's prefix. The notes say
// what such a file lacks.
func OpenFolder(path string) (*Source, error) {
	text, err := os.ReadFile(filepath.Join(path, "config.json"))
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%s: config.json: %w", path, err)
	}
	arch, _ := config["model_type"].(string)
	if arch == "" {
		return nil, fmt.Errorf("%s: config.json: model_type: expected a name, found none", path)
	}
	meta := &gguf.Meta{}
	meta.Set("general.architecture", arch)
	meta.Set("general.type", "model")
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	meta.Set("general.name", filepath.Base(absolute))
	left := 0
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if v := scalar(config[key]); v == nil {
			left++
		} else if key != "model_type" {
			meta.Set(arch+"."+key, v)
		}
	}
	d, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Source{Meta: meta, Tensors: d, close: d.Close}
	for _, name := range d.Names() {
		i, err := d.Info(name)
		if err != nil {
			d.Close()
			return nil, err
		}
		s.Resident = max(s.Resident, i.Bytes())
	}
	if s.Stamp, err = Stamp(path); err != nil {
		d.Close()
		return nil, err
	}
	s.Notes = []string{fmt.Sprintf("model_type %s is not known: tensors keep their names and the order of their rows, no rule for single matrices applies, and there is no tokenizer; a reader of GGUF files needs to know this form", arch)}
	if left > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d keys of config.json that hold lists, objects or null are left out", left))
	}
	return s, nil
}

// scalar is a value of config.json as metadata, nil when it is no single value.
func scalar(v any) any {
	switch v := v.(type) {
	case bool, string:
		return v
	case float64:
		if v == math.Trunc(v) && v >= 0 && v <= math.MaxUint32 {
			return uint32(v)
		}
		return float32(v)
	}
	return nil
}
