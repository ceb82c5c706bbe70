package lora

import (
	"fmt"
	"strings"

	"tune/internal/model"
)

// checkExperts refuses what adapters on experts cannot have: the rows of all experts of a layer are one operation, which wants the
// adapters of a projection on all of them or none, of one rank, without magnitudes and dropout.
func checkExperts(ms []model.Module, targets []target, c Config) error {
	ranks := map[string][]int{} // by projection of a layer
	for _, t := range targets {
		if t.Kind != model.Expert {
			continue
		}
		if c.DoRA || c.Dropout > 0 || c.Init == "pissa" {
			return fmt.Errorf("lora: target_modules: %s: expected no dora, dropout or pissa with adapters on experts", t.Name)
		}
		p := projection(t.Name)
		ranks[p] = append(ranks[p], t.rank)
		if t.rank != ranks[p][0] {
			return fmt.Errorf("lora: rank_pattern: %s: expected the rank of the layer's other experts, %d, found %d", t.Name, ranks[p][0], t.rank)
		}
	}
	experts := map[string]int{}
	for _, m := range ms {
		if m.Kind == model.Expert {
			experts[projection(m.Name)]++
		}
	}
	for p, list := range ranks {
		if len(list) != experts[p] {
			return fmt.Errorf("lora: target_modules: %s: expected all of the layer's %d experts or none, found %d", p, experts[p], len(list))
		}
	}
	return nil
}

// projection is the name of an expert's module without the number of the expert.
func projection(module string) string {
	block, rest, _ := strings.Cut(module, ".experts.")
	_, proj, _ := strings.Cut(rest, ".")
	return block + ".experts." + proj
}
