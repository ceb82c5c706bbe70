package nn

import (
	"fmt"

	"tune/internal/graph"
	"tune/kernels"
)

// Round gives the values of x (any shape) that bf16 or f16 hold, nearest even. It has no gradient: models that round are not trained.
func Round(x *graph.Node, to *kernels.Codec) *graph.Node {
	o := &round{s: x.Shape()}
	switch to {
	case kernels.BF16:
		o.narrow, o.widen = kernels.BF16FromF32, kernels.F32FromBF16
	case kernels.F16:
		o.narrow, o.widen = kernels.F16FromF32, kernels.F32FromF16
	default:
		panic(fmt.Sprintf("nn: round: expected bf16 or f16, found %s", to.Name))
	}
	return x.Graph().Apply(o, x)[0]
}

type round struct {
	graph.NoGrad
	s      graph.Shape
	narrow func(dst []uint16, src []float32)
	widen  func(dst []float32, src []uint16)
}

func (o *round) Info() graph.Info {
	return graph.Info{Name: "round", Out: []graph.Shape{o.s}, FLOPs: []int64{int64(o.s.Size())}, InPlace: [][2]int{{0, 0}}, Cheap: true}
}

func (o *round) Host(a *graph.Args) func() {
	x, y := a.In[0], a.Out[0]
	return rowsOf(a.Pool, len(y), 1, func(lo, hi int) {
		var short [512]uint16
		for ; lo < hi; lo += len(short) {
			s := short[:min(len(short), hi-lo)]
			o.narrow(s, x[lo:lo+len(s)])
			o.widen(y[lo:lo+len(s)], s)
		}
	})
}
