package model

import (
	"maps"
	"slices"
)

// archs has one line for each model_type of config.json.
var archs = map[string]func(*config) Spec{
	"llama":     llama,
	"mistral":   mistral,
	"mixtral":   mixtral,
	"olmoe":     olmoe,
	"qwen2":     qwen2,
	"qwen3":     qwen3,
	"qwen3_moe": qwen3MoE,
	"smollm3":   smollm3,
}

// Archs lists the families that can be read.
func Archs() []string { return slices.Sorted(maps.Keys(archs)) }
