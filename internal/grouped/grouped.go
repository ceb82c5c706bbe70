// Package grouped holds matrices of small integers with a scale (and a zero) for each group of columns: what the solvers of
// GPTQ and AWQ produce, and what the files of GPTQ, AWQ and compressed-tensors pack.
package grouped

// Linear is a quantized matrix (Out, In):
//
//	W[o][i] = Scale[o][g]·(Codes[o][i] - Zero[o][g]),  g = GroupOf[i]
type Linear struct {
	Out, In int
	Bits    int       // 2, 3, 4 or 8
	Group   int       // columns of a group; In: one group a row
	Codes   []uint8   // (Out, In) in the original order of the columns, 0 to 2^Bits-1
	Scale   []float32 // (Out, Groups)
	Zero    []uint8   // (Out, Groups); nil: 2^(Bits-1) everywhere, a symmetric grid
	GroupOf []int32   // (In); nil: i/Group. Else act-order's g_idx: groups are runs of the sorted columns
}

// Groups is the number of groups of a row.
func (l *Linear) Groups() int { return (l.In + l.Group - 1) / l.Group }

// FullGroups tells whether GroupOf gives each group as many columns as Group says, the last one the rest.
func (l *Linear) FullGroups() bool {
	columns := make([]int, l.Groups())
	for _, g := range l.GroupOf {
		columns[g]++
	}
	for g, n := range columns {
		if n != min(l.Group, l.In-g*l.Group) {
			return false
		}
	}
	return true
}

// Sort lets the columns of full groups stand group by group, in their order inside, and forgets GroupOf; order[j] is the column that now
// stands at j.
func (l *Linear) Sort() (order []int32) {
	next := make([]int, l.Groups())
	for g := range next {
		next[g] = g * l.Group
	}
	order = make([]int32, l.In)
	for i, g := range l.GroupOf {
		order[next[g]] = int32(i)
		next[g]++
	}
	row := make([]uint8, l.In)
	for o := range l.Out {
		codes := l.Codes[o*l.In : (o+1)*l.In]
		for j, i := range order {
			row[j] = codes[i]
		}
		copy(codes, row)
	}
	l.GroupOf = nil
	return order
}

// Decode writes row o, (In), as float32: one subtraction of integers, one product.
func (l *Linear) Decode(dst []float32, o int) {
	g := l.Groups()
	scale, codes := l.Scale[o*g:(o+1)*g], l.Codes[o*l.In:(o+1)*l.In]
	for i, c := range codes {
		k := i / l.Group
		if l.GroupOf != nil {
			k = int(l.GroupOf[i])
		}
		zero := int32(1) << (l.Bits - 1)
		if l.Zero != nil {
			zero = int32(l.Zero[o*g+k])
		}
		dst[i] = scale[k] * float32(int32(c)-zero)
	}
}
