package solve

import (
	"cmp"
	"slices"
)

// ByActivation orders columns by falling sums of squares (GPTQ's act-order); ties stay as they are. diag (N).
func ByActivation(diag []float64) []int32 {
	o := natural(len(diag))
	slices.SortStableFunc(o, func(a, b int32) int { return cmp.Compare(diag[b], diag[a]) })
	return o
}

// ByGroup orders columns inside their groups, and the groups by their largest column: groups stay together, so that their
// scales can follow the corrected weights, and files need no index (gptqmodel's group-aware order).
func ByGroup(diag []float64, group int) []int32 {
	sorted := ByActivation(diag)
	var groups [][]int32
	at := map[int]int{}
	for _, c := range sorted {
		g := int(c) / group
		if _, ok := at[g]; !ok {
			at[g] = len(groups)
			groups = append(groups, nil)
		}
		groups[at[g]] = append(groups[at[g]], c)
	}
	return slices.Concat(groups...)
}
