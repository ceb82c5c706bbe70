package nn

import (
	"fmt"
	"math"

	"tune/internal/graph"
	"tune/kernels"
)

// RopeTable describes a rotary position embedding (Su et al. 2021).
type RopeTable struct {
	D      int       // width of a head
	Inv    []float32 // inverse frequencies; 2·len(Inv) <= D values of a head are rotated
	Factor float32   // of cosines and sines (YaRN); 0 means 1
}

// Rope rotates the pairs (i, i+h) of every head of x (N, heads·D), h = len(Inv), by the angles pos_n·Inv_i, computed in float32
// as transformers does:
//
//	y_i = x_i·cos - x_{i+h}·sin        y_{i+h} = x_{i+h}·cos + x_i·sin
//
// Backward: the opposite rotation. The angles are computed once for all uses of the same positions and table.
func Rope(x, pos *graph.Node, r RopeTable) *graph.Node {
	s := x.Shape()
	if r.D <= 0 || s[1]%r.D != 0 || 2*len(r.Inv) > r.D || len(r.Inv) == 0 || pos.Shape()[0] != s[0] {
		panic(fmt.Sprintf("nn: rope: %v does not fit heads of %d with %d frequencies", s, r.D, len(r.Inv)))
	}
	type key struct {
		pos    *graph.Node
		inv    *float32
		n      int
		factor float32
	}
	t := x.Graph().Once(key{pos, &r.Inv[0], len(r.Inv), r.Factor}, func() []*graph.Node {
		return x.Graph().Apply(&angles{n: s[0], r: r}, pos)
	})
	return x.Graph().Apply(rope{s, r.D, len(r.Inv), false}, x, t[0], t[1])[0]
}

// angles: input pos; outputs cos and sin (N, len(Inv)).
type angles struct {
	graph.NoGrad
	n int
	r RopeTable
}

func (o *angles) Info() graph.Info {
	s := graph.Shape{o.n, len(o.r.Inv)}
	return graph.Info{Name: "angles", Out: []graph.Shape{s, s}, FLOPs: []int64{20 * int64(s.Size()), 20 * int64(s.Size())}}
}

func (o *angles) Host(a *graph.Args) func() {
	cos, sin, pos := a.Out[0], a.Out[1], a.Int[0]
	h, f := len(o.r.Inv), float64(o.r.Factor)
	if f == 0 {
		f = 1
	}
	return rowsOf(a.Pool, o.n, 16*h, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for j, v := range o.r.Inv {
				s, c := math.Sincos(float64(float32(pos[i]) * v))
				cos[i*h+j], sin[i*h+j] = float32(c*f), float32(s*f)
			}
		}
	})
}

// rope: inputs x, cos, sin; output y.
type rope struct {
	s    graph.Shape
	d, h int
	back bool
}

func (o rope) Info() graph.Info {
	name := "rope"
	if o.back {
		name += "'"
	}
	return graph.Info{Name: name, Out: []graph.Shape{o.s}, FLOPs: []int64{3 * int64(o.s.Size())}, InPlace: [][2]int{{0, 0}}, Cheap: true}
}

func (o rope) Host(a *graph.Args) func() {
	x, cos, sin, y := a.In[0], a.In[1], a.In[2], a.Out[0]
	w := o.s[1]
	return rowsOf(a.Pool, o.s[0], w, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			c, s := cos[i*o.h:(i+1)*o.h], sin[i*o.h:(i+1)*o.h]
			for at := i * w; at < (i+1)*w; at += o.d {
				kernels.Rope(y[at:at+o.d], x[at:at+o.d], c, s, o.back)
			}
		}
	})
}

func (o rope) Grad(in, _, dout []*graph.Node) []*graph.Node {
	o.back = !o.back
	return []*graph.Node{in[0].Graph().Apply(o, dout[0], in[1], in[2])[0], nil, nil}
}
