package data

import (
	"cmp"
	"slices"
)

// bestFit puts documents of the given lengths into packs of seq tokens: longest first, each into the fullest pack it
// still fits in (best-fit decreasing, Johnson 1973); equal lengths in order. Documents of a pack are in order, and packs
// are in the order of their first document.
func bestFit(lengths []int, seq int) [][]int {
	order := identity(len(lengths))
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lengths[b], lengths[a]) })
	var packs [][]int
	open := newRooms(seq)
	for _, d := range order {
		n := lengths[d]
		p, room, ok := open.take(n)
		if !ok {
			p, room = len(packs), seq
			packs = append(packs, nil)
		}
		packs[p] = append(packs[p], d)
		open.put(p, room-n)
	}
	for _, p := range packs {
		slices.Sort(p)
	}
	slices.SortFunc(packs, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	return packs
}

// rooms keeps packs by the room that is left in them.
type rooms struct {
	packs [][]int // by room: packs, the one put last is taken first
	tree  []bool  // segment tree: whether any room of a range has packs
	n     int
}

func newRooms(seq int) *rooms {
	n := 1
	for n <= seq {
		n *= 2
	}
	return &rooms{make([][]int, seq+1), make([]bool, 2*n), n}
}

func (r *rooms) put(pack, room int) {
	if room == 0 {
		return
	}
	r.packs[room] = append(r.packs[room], pack)
	for i := r.n + room; i > 0 && !r.tree[i]; i /= 2 {
		r.tree[i] = true
	}
}

// take removes a pack with the least room of at least need.
func (r *rooms) take(need int) (pack, room int, ok bool) {
	i := r.n + need
	for !r.tree[i] { // the next subtree to the right that has packs
		for i&1 == 1 {
			i /= 2
		}
		if i == 0 {
			return 0, 0, false
		}
		i++
	}
	for i < r.n {
		i *= 2
		if !r.tree[i] {
			i++
		}
	}
	room = i - r.n
	list := r.packs[room]
	pack = list[len(list)-1]
	r.packs[room] = list[:len(list)-1]
	if len(list) == 1 {
		for ; i > 0; i /= 2 {
			r.tree[i] = i < r.n && (r.tree[2*i] || r.tree[2*i+1])
		}
	}
	return pack, room, true
}

// buildPack lays documents one after another. Each sees itself alone, counts its positions from zero, and predicts nothing
// with its last token.
func buildPack(rows []*Example) *Pack {
	var docs []*Example
	for _, r := range rows {
		docs = append(docs, r)
		if r.Rejected != nil {
			docs = append(docs, r.Rejected)
		}
	}
	n := 0
	for _, d := range docs {
		n += len(d.IDs)
	}
	p := &Pack{
		IDs: make([]int32, 0, n), Pos: make([]int32, 0, n), Start: make([]int32, 0, n), Labels: make([]int32, 0, n), Doc: make([]int32, 0, n),
		Docs: len(docs),
	}
	for k, d := range docs {
		start := int32(len(p.IDs))
		p.IDs = append(p.IDs, d.IDs...)
		p.Keys, p.Roles = append(p.Keys, d.Key), append(p.Roles, d.Role)
		for i := range d.IDs {
			label := int32(-1)
			if i+1 < len(d.Labels) && d.Labels[i+1] != ignored {
				label = d.Labels[i+1]
				p.Supervised++
			}
			p.Pos, p.Start, p.Labels, p.Doc = append(p.Pos, int32(i)), append(p.Start, start), append(p.Labels, label), append(p.Doc, int32(k))
		}
	}
	return p
}
