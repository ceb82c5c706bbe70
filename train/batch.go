package train

import (
	"tune/data"
)

// MicroBatch is what one program run computes: packs one after another along the token axis, filled up to the program's
// token count with documents of one token and no label. All arrays are (N).
type MicroBatch struct {
	IDs, Pos, Start, Labels []int32
	Packs                   []*data.Pack
	Tokens                  int // without the filling
	Supervised              int
}

// granule is what token counts are rounded up to, so that few programs serve all batches. It is also the row count of
// a matrix-multiply tile, below which nothing is saved.
const granule = 64

// roundUp returns the token count of the program for n tokens: whole granules, and coarser ones for long batches (an
// eighth of the next power of two), because each count compiles its own program.
func roundUp(n int) int {
	step := granule
	for step*8 < n {
		step *= 2
	}
	return (n + step - 1) / step * step
}

// join puts packs one after another and fills up to n tokens.
func join(packs []*data.Pack, n int) *MicroBatch {
	b := &MicroBatch{Packs: packs}
	for _, p := range packs {
		at := int32(len(b.IDs))
		b.IDs = append(b.IDs, p.IDs...)
		b.Pos = append(b.Pos, p.Pos...)
		b.Labels = append(b.Labels, p.Labels...)
		for _, s := range p.Start {
			b.Start = append(b.Start, at+s)
		}
		b.Supervised += p.Supervised
	}
	b.Tokens = len(b.IDs)
	for i := len(b.IDs); i < n; i++ {
		b.IDs = append(b.IDs, 0)
		b.Pos = append(b.Pos, 0)
		b.Start = append(b.Start, int32(i))
		b.Labels = append(b.Labels, -1)
	}
	return b
}

// cut divides packs into groups of at most limit tokens, in order; a pack is never divided. limit 0 makes one group.
func cut(packs []*data.Pack, limit int) [][]*data.Pack {
	var groups [][]*data.Pack
	begin, tokens := 0, 0
	for i, p := range packs {
		if limit > 0 && i > begin && tokens+len(p.IDs) > limit {
			groups = append(groups, packs[begin:i])
			begin, tokens = i, 0
		}
		tokens += len(p.IDs)
	}
	return append(groups, packs[begin:])
}

// key names the document that token i of the batch belongs to.
func (b *MicroBatch) key(i int) string {
	for _, p := range b.Packs {
		if i < len(p.IDs) {
			if i < len(p.Doc) && int(p.Doc[i]) < len(p.Keys) {
				return p.Keys[p.Doc[i]]
			}
			return ""
		}
		i -= len(p.IDs)
	}
	return ""
}
