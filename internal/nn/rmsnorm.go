package nn

import (
	"fmt"
	"math"

	"tune/internal/graph"
	"tune/kernels"
)

// RMSNorm normalizes groups of width values of x (N, C): width C for a layer's norm, D for the heads of q and k
// (Zhang and Sennrich 2019). The by-product is r (N, C/width).
//
//	r = 1/√(mean x² + eps)                                y_i = x_i·r·w_i
//	dx_i = r·(dy_i·w_i - x_i·r²·mean(dy·w·x))             dw_i = Σ dy_i·x_i·r over all groups
func RMSNorm(x *graph.Node, w Vector, width int, eps float32) *graph.Node {
	s := x.Shape()
	if width <= 0 || s[1]%width != 0 {
		panic(fmt.Sprintf("nn: rmsnorm: %v does not divide into groups of %d", s, width))
	}
	in := ins{x}
	o := rmsnorm{s: s, width: width, eps: eps, w: in.vector(&w, width)}
	return x.Graph().Apply(&o, in...)[0]
}

type rmsnorm struct {
	s     graph.Shape
	width int
	eps   float32
	w     vector
}

// groups is how many groups there are.
func (o *rmsnorm) groups() int { return o.s.Size() / o.width }

func (o *rmsnorm) Info() graph.Info {
	return graph.Info{Name: "rmsnorm", Out: []graph.Shape{o.s, {o.s[0], o.s[1] / o.width}}, FLOPs: []int64{4 * int64(o.s.Size()), 0},
		InPlace: [][2]int{{0, 0}}, Cheap: true}
}

func (o *rmsnorm) Host(a *graph.Args) func() {
	x, y, r, w, d := a.In[0], a.Out[0], a.Out[1], o.w.of(a), o.width
	return rowsOf(a.Pool, o.groups(), d, func(lo, hi int) {
		for g := lo; g < hi; g++ {
			v := x[g*d : (g+1)*d]
			if y == nil { // only r is wanted
				r[g] = float32(1 / math.Sqrt(kernels.SumSquares(v)/float64(d)+float64(o.eps)))
				continue
			}
			rstd := kernels.RMSNorm(y[g*d:(g+1)*d], v, w, o.eps)
			if r != nil {
				r[g] = rstd
			}
		}
	})
}

func (o *rmsnorm) Grad(in, out, dout []*graph.Node) []*graph.Node {
	b := &rmsnormGrad{f: *o}
	args := ins{in[0], out[1], dout[0]}
	if o.w.at >= 0 {
		b.f.w.at = args.add(in[o.w.at])
	}
	return in[0].Graph().Apply(b, args...)
}

// rmsnormGrad: inputs x, r, dy and w if it is trained; outputs dx and dw.
type rmsnormGrad struct {
	graph.NoGrad
	f rmsnorm
}

// normChunks is into how many parts the rows are cut whose share of dw is summed separately: a fixed number, so that the sum
// has one tree whatever the workers.
const normChunks = 16

func (o *rmsnormGrad) Info() graph.Info {
	s := o.f.s
	i := graph.Info{Name: "rmsnorm'", Out: []graph.Shape{s}, FLOPs: []int64{8 * int64(s.Size())}, Adds: []bool{true}, Scratch: normChunks * sized(o.f.width),
		InPlace: [][2]int{{0, 0}, {0, 2}}}
	if o.f.w.at >= 0 {
		i.Out, i.FLOPs, i.Adds = append(i.Out, graph.Shape{1, o.f.width}), append(i.FLOPs, 3*int64(s.Size())), append(i.Adds, true)
		i.Scratch *= 2
	}
	return i
}

func (o *rmsnormGrad) Host(a *graph.Args) func() {
	x, r, dy, w, d := a.In[0], a.In[1], a.In[2], o.f.w.of(a), o.f.width
	dx, addX := a.Out[0], a.Add[0]
	var dw []float32
	if len(a.Out) > 1 {
		dw = a.Out[1]
	}
	tmp := scratch(a.Tmp)
	var row, part [normChunks][]float32
	for t := range normChunks {
		row[t] = tmp.take(sized(d))[:d]
	}
	if dw != nil {
		for t := range normChunks {
			part[t] = tmp.take(sized(d))[:d]
		}
	}
	groups := o.f.groups()
	per := (groups + normChunks - 1) / normChunks
	task := func(_, t int) {
		clear(part[t])
		for g := t * per; g < min(groups, (t+1)*per); g++ {
			lo, hi := g*d, (g+1)*d
			switch {
			case dx == nil:
				kernels.RMSNormBackward(nil, part[t], dy[lo:hi], x[lo:hi], w, r[g])
			case addX:
				kernels.RMSNormBackward(row[t], part[t], dy[lo:hi], x[lo:hi], w, r[g])
				kernels.Add(dx[lo:hi], dx[lo:hi], row[t])
			default:
				kernels.RMSNormBackward(dx[lo:hi], part[t], dy[lo:hi], x[lo:hi], w, r[g])
			}
		}
	}
	return func() {
		a.Pool.Run(normChunks, task)
		if dw == nil {
			return
		}
		if !a.Add[1] {
			clear(dw)
		}
		for t := range normChunks {
			kernels.Add(dw, dw, part[t])
		}
	}
}
