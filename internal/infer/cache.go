package infer

import (
	"tune/internal/graph"
	"tune/kernels"
)

// cache holds the keys and values of the tokens read so far.
type cache struct {
	ids   []int32
	k, v  [][]float32 // by layer (capacity, K*D)
	zeros []int32     // no token hides the first ones from a later one
}

// room makes space for n more tokens.
func (c *cache) room(n, width int) {
	need := len(c.ids) + n
	for l := range c.k {
		if have := len(c.k[l]) / width; have < need {
			size := max(need, 2*have, 64) * width
			c.k[l] = append(make([]float32, 0, size), c.k[l]...)[:size]
			c.v[l] = append(make([]float32, 0, size), c.v[l]...)[:size]
		}
	}
}

// attend is attention of n new tokens over the cache and themselves. It appends their keys and values.
type attend struct {
	graph.NoGrad
	a     kernels.Attention
	c     *cache
	layer int
	n     int
	limit int // longest sequence
}

// Info describes the op.
func (o *attend) Info() graph.Info {
	return graph.Info{Name: "cached attention", Out: []graph.Shape{{o.n, o.a.H * o.a.D}}, Scratch: o.a.Scratch(o.n, o.limit)}
}

// Host runs the op; the cache's length is that before this step until all layers are done.
func (o *attend) Host(a *graph.Args) func() {
	q, k, v := a.In[0], a.In[1], a.In[2]
	return func() {
		first, width := len(o.c.ids), o.a.K*o.a.D
		keys, values := o.c.k[o.layer], o.c.v[o.layer]
		copy(keys[first*width:], k[:o.n*width])
		copy(values[first*width:], v[:o.n*width])
		end := (first + o.n) * width
		o.a.Forward(a.Pool, a.Out[0], nil, q, keys[:end], values[:end], o.c.zeros[:o.n], first, a.Tmp)
	}
}
