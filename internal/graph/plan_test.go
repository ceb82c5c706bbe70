package graph

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// blend is an operation for tests: every output is another combination of all inputs, in whole numbers below 251, so that
// float32 holds sums of them exactly and any order of additions gives the same.
type blend struct {
	NoGrad
	id   int
	out  []Shape
	ins  int
	adds bool
	same bool // may work in place
	tmp  int
}

func (o *blend) Info() Info {
	i := Info{Name: fmt.Sprint("blend", o.id), Out: o.out, FLOPs: make([]int64, len(o.out)), Adds: make([]bool, len(o.out)), Scratch: o.tmp, Cheap: o.id%3 == 0}
	for k := range o.out {
		i.FLOPs[k], i.Adds[k] = 1, o.adds
		for j := range o.ins {
			if o.same {
				i.InPlace = append(i.InPlace, [2]int{k, j})
			}
		}
	}
	return i
}

func (o *blend) Host(a *Args) func() {
	return func() {
		for i := range a.Tmp {
			a.Tmp[i] = float32(math.NaN())
		}
		longest := 0
		for _, y := range a.Out {
			longest = max(longest, len(y))
		}
		for i := range longest {
			var v [4]int // all outputs of a place before any is written: inputs may be overwritten
			for k := range a.Out {
				v[k] = o.id + 7*k
				for j, x := range a.In {
					v[k] += (k + j + o.id%5 + 1) * int(x[i%len(x)])
				}
			}
			for k, y := range a.Out {
				if i >= len(y) {
					continue
				}
				if f := float32(v[k] % 251); a.Add[k] {
					y[i] += f
				} else {
					y[i] = f
				}
			}
		}
	}
}

// tape draws a graph from bytes: forward steps of layers -1 to 3, then backward ones with sums and accumulations.
func tape(data []byte) (g *Graph, outputs []*Node) {
	next := func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}
	g = New()
	nodes := []*Node{g.Input("x", Shape{4, 8}), g.Param("p", Shape{2, 8}), g.Input("y", Shape{4, 8})}
	shapes := []Shape{{4, 8}, {2, 8}, {3, 5}, {8, 8}}
	for id := 0; len(data) > 0 && id < 60; id++ {
		if g.layer != backward {
			if next(4) == 0 {
				if g.layer++; g.layer > 3 {
					g.layer = backward
				}
			}
			if next(30) == 0 && g.phase == 0 {
				g.Split()
			}
		}
		pick := func() *Node { // often a recent one
			if next(2) == 0 {
				return nodes[len(nodes)-1-next(min(4, len(nodes)))]
			}
			return nodes[next(len(nodes))]
		}
		a, b := pick(), pick()
		if what := next(8); g.layer == backward && what < 4 {
			switch {
			case what == 0:
				g.Accumulate(fmt.Sprint("g", a.shape), a)
				continue
			case a.shape == b.shape:
				nodes = append(nodes, Add(a, b))
				continue
			}
		}
		o := &blend{id: id, ins: 2, adds: next(2) == 0, same: next(2) == 0, tmp: next(3) * 20}
		for range 1 + next(3) {
			o.out = append(o.out, shapes[next(len(shapes))])
		}
		if o.same { // in place only element by element
			for k := range o.out {
				o.out[k] = shapes[0]
			}
		}
		nodes = append(nodes, g.Apply(o, a, b)...)
	}
	return g, []*Node{nodes[len(nodes)-1], nodes[len(nodes)/2]}
}

// evaluate runs a tape step by step, every value in memory of its own.
func evaluate(g *Graph, named map[string][]float32) (map[*Node][]float32, map[string][]float32) {
	at, grads := map[*Node][]float32{}, map[string][]float32{}
	for _, n := range g.names {
		at[n] = named[n.name]
	}
	for _, s := range g.steps {
		a := &Args{Tmp: make([]float32, s.op.Info().Scratch), Add: make([]bool, len(s.out))}
		for _, n := range s.in {
			a.In = append(a.In, at[n])
		}
		for _, n := range s.out {
			at[n] = make([]float32, n.shape.Size())
			a.Out = append(a.Out, at[n])
		}
		s.op.Host(a)()
	}
	for _, s := range g.sums {
		if grads[s.name] == nil {
			grads[s.name] = make([]float32, s.from.shape.Size())
		}
		for i, v := range at[s.from] {
			grads[s.name][i] += v
		}
	}
	return at, grads
}

// overlap reports two buffers of the arena that are alive at once and share memory.
func (p *plan) overlap() error {
	b := p.buffers()
	for n, i := range b {
		for _, j := range b[:n] {
			v, w := &p.values[i], &p.values[j]
			if v.def <= w.last && w.def <= v.last && v.off < w.off+w.size && w.off < v.off+v.size {
				return fmt.Errorf("values %d and %d are alive at once and overlap: %+v %+v", j, i, *w, *v)
			}
		}
	}
	return nil
}

// checkTape compiles a tape in every stage of recomputation and compares what it computes with evaluate.
func checkTape(t *testing.T, g *Graph, outputs []*Node) {
	named := map[string][]float32{}
	for _, n := range g.names {
		x := make([]float32, n.shape.Size())
		for i := range x {
			x[i] = float32((i*7 + len(n.name)) % 13)
		}
		named[n.name] = x
	}
	want, grads := evaluate(g, named)
	base, err := g.trace(outputs)
	if err != nil {
		t.Fatal(err)
	}
	base.sweep()
	base.fold()
	for stage := 0; stage <= 2*base.layers(); stage++ { // one more than Compile uses
		p := base.clone()
		p.recompute(stage, base.layers())
		p.sweep()
		p.live()
		p.place()
		if err := p.overlap(); err != nil {
			t.Fatalf("stage %d: %v", stage, err)
		}
		if a, b := p.arena(), p.peak(); a < b {
			t.Fatalf("stage %d: an arena of %d bytes holds %d", stage, a, b)
		}
		prog := g.finish(p, stage, base.layers())
		s, err := prog.Bind(NewHost(nil))
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.blocks[Arena].([]float32) {
			s.blocks[Arena].([]float32)[i] = float32(math.NaN())
		}
		for name, x := range named {
			copy(s.Floats(name), x)
			copy(s.Param(name), x)
		}
		if err := s.RunAll(); err != nil {
			t.Fatal(err)
		}
		for i, n := range outputs {
			if !slices.Equal(s.Output(i), want[n]) {
				t.Fatalf("stage %d: output %d: got %v, want %v", stage, i, s.Output(i), want[n])
			}
		}
		for name, x := range grads {
			if !slices.Equal(s.Grad(name), x) {
				t.Fatalf("stage %d: %s: got %v, want %v", stage, name, s.Grad(name), x)
			}
		}
	}
}

// FuzzPlan: whatever the tape, no two live buffers overlap, and sums done in place, shared buffers and recomputation change no
// value.
func FuzzPlan(f *testing.F) {
	seed := uint64(1)
	for n := range 60 {
		b := make([]byte, 30+12*n)
		for i := range b {
			seed = seed*6364136223846793005 + 1442695040888963407
			b[i] = byte(seed >> 56)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, outputs := tape(data)
		checkTape(t, g, outputs)
	})
}
