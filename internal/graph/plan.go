package graph

import (
	"cmp"
	"slices"
)

// align is what buffers are rounded up to, in values: a cache line, and a vector register of AVX-512.
const align = 16

func (p *plan) root(v int) int {
	for p.values[v].alias != v {
		v = p.values[v].alias
	}
	return v
}

// live finds each buffer's life, and lets operations that may work in place take over the buffer of a dying input.
func (p *plan) live() {
	for i := range p.values {
		p.values[i].def, p.values[i].last = -1, -1
	}
	touch := func(v, i int) {
		if v < 0 {
			return
		}
		x := &p.values[p.root(v)]
		if x.def < 0 {
			x.def = i
		}
		x.last = i
	}
	for i := range p.insts {
		ins := &p.insts[i]
		touch(ins.tmp, i)
		for _, v := range ins.in {
			touch(v, i)
		}
		for _, v := range ins.out {
			touch(v, i)
		}
	}
	for _, v := range p.outputs {
		p.values[p.root(v)].last = len(p.insts)
	}
	for i := range p.insts {
		ins := &p.insts[i]
		for _, pair := range ins.info.InPlace {
			p.takeOver(i, ins, pair[0], pair[1])
		}
	}
}

// takeOver gives output k the buffer of input j, if that dies at instruction i and nothing else stands in the way.
func (p *plan) takeOver(i int, ins *inst, k, j int) {
	o := ins.out[k]
	if o < 0 || ins.onto[k] >= 0 || p.values[o].alias != o {
		return
	}
	a := p.root(ins.in[j])
	x := &p.values[a]
	if x.space != Arena || x.last != i || x.size != p.values[o].size {
		return
	}
	for other, v := range ins.in { // read under another name too: only where that may be in place as well
		if p.root(v) == a && !slices.Contains(ins.info.InPlace, [2]int{k, other}) {
			return
		}
	}
	for _, v := range ins.onto {
		if v >= 0 && p.root(v) == a {
			return
		}
	}
	p.values[o].alias, x.last = a, p.values[o].last
}

// buffers are the roots that take memory of the arena.
func (p *plan) buffers() (b []int) {
	for i := range p.values {
		if v := &p.values[i]; v.alias == i && v.space == Arena && v.def >= 0 {
			b = append(b, i)
		}
	}
	return b
}

// place gives every buffer of the arena the lowest offset that is free during its life, largest first, and every named buffer
// the next offset of its space. It returns the bytes of the spaces other than the arena.
func (p *plan) place() (fixed int64) {
	var next [Spaces]int
	for i := range p.values {
		if v := &p.values[i]; v.space != Arena {
			v.off = next[v.space]
			next[v.space] += round(v.size)
		}
	}
	b := p.buffers()
	slices.SortStableFunc(b, func(x, y int) int { return cmp.Compare(p.values[y].size, p.values[x].size) })
	type taken struct{ off, end, def, last int }
	put := make([]taken, 0, len(b)) // in order of offset
	for _, i := range b {
		v, at, where := &p.values[i], 0, 0
		size := round(v.size)
		for k := range put {
			w := &put[k]
			if w.def > v.last || w.last < v.def {
				continue
			}
			if w.off-at >= size {
				break
			}
			at, where = max(at, w.end), k+1
		}
		v.off = at
		for where < len(put) && put[where].off < at {
			where++
		}
		put = slices.Insert(put, where, taken{at, at + size, v.def, v.last})
	}
	return 4 * int64(next[Inputs]+next[Params]+next[Grads])
}

func round(n int) int { return (n + align - 1) / align * align }

// bytes of each space.
func (p *plan) bytes() (b [Spaces]int64) {
	for i := range p.values {
		v := &p.values[i]
		if v.alias == i && (v.space != Arena || v.def >= 0) {
			b[v.space] = max(b[v.space], 4*int64(v.off+round(v.size)))
		}
	}
	return b
}

func (p *plan) arena() int64 { return p.bytes()[Arena] }

// load calls f at each instruction with the bytes live there, by kind of buffer.
func (p *plan) load(f func(i int, saved, work, scratch int64)) {
	n := len(p.insts)
	type kinds [3]int64
	change := make([]kinds, n+2)
	for _, b := range p.buffers() {
		v := &p.values[b]
		kind := 1
		if v.tmp {
			kind = 2
		} else if v.def < n && v.last < n && p.insts[v.def].layer != backward && p.insts[v.last].layer == backward {
			kind = 0
		}
		bytes := 4 * int64(round(v.size))
		change[v.def][kind] += bytes
		change[min(v.last, n)+1][kind] -= bytes
	}
	var now kinds
	for i := range n + 1 {
		for k := range now {
			now[k] += change[i][k]
		}
		f(i, now[0], now[1], now[2])
	}
}

// peak is the greatest number of bytes live at once: no offsets make a smaller arena.
func (p *plan) peak() (peak int64) {
	p.load(func(_ int, a, b, c int64) { peak = max(peak, a+b+c) })
	return peak
}

func (p *plan) report(r *Program) {
	r.Bytes = p.bytes()
	x := &r.Report
	x.Params, x.Grads, x.Inputs, x.Arena = r.Bytes[Params], r.Bytes[Grads], r.Bytes[Inputs], r.Bytes[Arena]
	p.load(func(_ int, a, b, c int64) {
		if a+b+c > x.Saved+x.Work+x.Scratch {
			x.Saved, x.Work, x.Scratch = a, b, c
		}
	})
	for i := range p.insts {
		for _, v := range p.insts[i].out {
			if v >= 0 && p.values[v].space == Arena {
				x.Kept += 4 * int64(round(p.values[v].size))
			}
		}
	}
}
