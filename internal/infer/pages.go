package infer

import (
	"tune/internal/graph"
	"tune/kernels"
)

// pages is memory for keys and values of all layers, a page of kernels.PageRows tokens at a time. Sequences that begin alike share
// pages. Page 0 stands for the rows of the pass under way.
type pages struct {
	width  int                // K·D
	halves bool               // they are kept as bf16
	k, v   [][]kernels.Source // (layer)(page)(PageRows, K·D)
	users  []int32            // sequences that hold the page
	free   []int32
}

func newPages(layers, width int, halves bool) *pages {
	p := &pages{width: width, halves: halves, k: make([][]kernels.Source, layers), v: make([][]kernels.Source, layers), users: []int32{1}}
	for l := range layers {
		p.k[l], p.v[l] = make([]kernels.Source, 1), make([]kernels.Source, 1)
	}
	return p
}

// bytes is the memory of a page.
func (p *pages) bytes() int {
	size := 4
	if p.halves {
		size = 2
	}
	return 2 * size * kernels.PageRows * p.width * len(p.k)
}

// source makes the memory of a page of one layer.
func (p *pages) source() kernels.Source {
	size := kernels.PageRows * p.width
	if p.halves {
		return kernels.Source{Halves: make([]uint16, size)}
	}
	return kernels.Source{Floats: make([]float32, size)}
}

// take returns a page that nobody uses.
func (p *pages) take() int32 {
	if n := len(p.free); n > 0 {
		id := p.free[n-1]
		p.free = p.free[:n-1]
		p.users[id] = 1
		return id
	}
	for l := range p.k {
		p.k[l], p.v[l] = append(p.k[l], p.source()), append(p.v[l], p.source())
	}
	p.users = append(p.users, 1)
	return int32(len(p.users) - 1)
}

// drop ends one use of each page.
func (p *pages) drop(ids []int32) {
	for _, id := range ids {
		if p.users[id]--; p.users[id] == 0 {
			p.free = append(p.free, id)
		}
	}
}

// share returns the pages of the first n tokens of a sequence for another one: whole pages are used by both, of the last one the
// rows are copied.
func (p *pages) share(of []int32, n int) (ids []int32) {
	whole := n / kernels.PageRows
	for _, id := range of[:whole] {
		p.users[id]++
		ids = append(ids, id)
	}
	if rest := n % kernels.PageRows * p.width; rest > 0 {
		id := p.take()
		for l := range p.k {
			p.k[l][id].Copy(p.k[l][of[whole]], rest)
			p.v[l][id].Copy(p.v[l][of[whole]], rest)
		}
		ids = append(ids, id)
	}
	return ids
}

// kept is rows of a pass whose keys and values stay: n rows from row on, to row at of a page.
type kept struct {
	row, n int
	page   int32
	at     int
}

// keep adds rows of a pass that are tokens first ... first+n-1 of a sequence with these pages.
func keep(list []kept, row, n, first int, ids []int32) []kept {
	for n > 0 {
		at := first % kernels.PageRows
		m := min(n, kernels.PageRows-at)
		list = append(list, kept{row, m, ids[first/kernels.PageRows], at})
		row, n, first = row+m, n-m, first+m
	}
	return list
}

// store copies what is kept of a layer's keys and values (N, K·D).
func (p *pages) store(list []kept, layer int, k, v []float32) {
	w := p.width
	for _, x := range list {
		p.k[layer][x.page].Set(x.at*w, k[x.row*w:(x.row+x.n)*w])
		p.v[layer][x.page].Set(x.at*w, v[x.row*w:(x.row+x.n)*w])
	}
}

// pass is what the attention of all layers needs to know of the tokens that are read together.
type pass struct {
	n     int // rows in use
	paged kernels.Paged
	kept  []kept
}

// attendPaged is attention of the tokens that are read together over pages and, where they are a pass, its own rows.
type attendPaged struct {
	graph.NoGrad
	a     kernels.Attention
	p     *pages
	pass  *pass
	layer int
	n     int
	pages int // most pages of a pass; 0: one token of each of several sequences
}

// Info describes the op.
func (o *attendPaged) Info() graph.Info {
	i := graph.Info{Name: "paged attention", Out: []graph.Shape{{o.n, o.a.H * o.a.D}}}
	if o.pages > 0 {
		i.Scratch = o.a.PagedScratch(o.pages)
	}
	return i
}

// Host runs the op. The token of a sequence sees itself in its page; a pass sees its own rows as page 0.
func (o *attendPaged) Host(a *graph.Args) func() {
	return func() {
		x := &o.pass.paged
		x.O, x.Q, x.K, x.V, x.Scratch = a.Out[0], a.In[0], o.p.k[o.layer], o.p.v[o.layer], a.Tmp
		clear(x.O[o.pass.n*o.a.H*o.a.D:])
		if o.pages == 0 {
			o.p.store(o.pass.kept, o.layer, a.In[1], a.In[2])
			o.a.PagedSteps(a.Pool, x)
			return
		}
		x.K[0], x.V[0] = kernels.Source{Floats: a.In[1]}, kernels.Source{Floats: a.In[2]}
		o.a.ForwardPaged(a.Pool, x)
		o.p.store(o.pass.kept, o.layer, a.In[1], a.In[2])
	}
}
