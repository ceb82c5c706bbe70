package graph

import (
	"fmt"
	"math"
	"slices"
)

// value is one buffer of a program.
type value struct {
	name  string // of inputs, parameters and gradients
	space Space
	size  int
	ints  bool
	tmp   bool // working memory of one instruction
	alias int  // the value whose buffer it shares, or itself
	def   int  // first and last instruction that needs the buffer
	last  int
	off   int
}

// inst is an instruction on values; -1 is none.
type inst struct {
	op      Op
	info    *Info
	in, out []int
	onto    []int // by output: the value it is added onto
	tmp     int
	layer   int
	phase   int
	again   bool
}

// plan is a program under construction.
type plan struct {
	values  []value
	insts   []inst
	outputs []int
}

// Options bound a program.
type Options struct {
	// Budget is the number of bytes the program's spaces may take together; 0: no bound. Cheap operations are recomputed
	// first, then whole layers, as few as fit; an error names the bytes that are missing.
	Budget int64
	// Recompute asks for at least that many stages of recomputation: stage 1 to L recompute the cheap operations of so many
	// layers, stage L+1 to 2L-1 the whole of stage-L layers. (The last layer is never recomputed whole: its backward comes
	// first, so nothing would be saved.) A stage beyond the last is the last.
	Recompute int
}

// Named is a buffer that is known by name.
type Named struct {
	Name  string
	Shape Shape
	Ref   Ref
}

// Program is a list of instructions over blocks of memory whose sizes are known. It has no memory of its own.
type Program struct {
	Instrs  []Instr
	Outputs []Ref
	Bytes   [Spaces]int64 // exact
	Report  Report
	Split   int // first instruction of phase 1

	Inputs, Params, Grads []Named // in order of declaration
}

// Total is the bytes of all spaces.
func (p *Program) Total() (n int64) {
	for _, b := range p.Bytes {
		n += b
	}
	return n
}

// Instr is one step: buffers, not nodes.
type Instr struct {
	Op      Op
	In, Out []Ref // Len 0: nobody reads this output
	Add     []bool
	Tmp     Ref
	Layer   int
	Again   bool  // a recomputation
	FLOPs   int64 // of the outputs that are read
}

// Report says where bytes and work of a program go.
type Report struct {
	Params, Grads, Inputs, Arena int64 // bytes
	// What the arena holds when it is fullest: forward values kept for the backward, other values, working memory of one
	// instruction. Their sum falls short of Arena by what the offsets waste.
	Saved, Work, Scratch int64
	Kept                 int64 // bytes of all values, were each kept to the end
	Cheap, Full          int   // layers whose cheap operations, and whose whole forward, are recomputed
	Layers               int
	FLOPs, Again         int64 // all; those of recomputations
}

// Compile plans what outputs and accumulations need. Outputs stay valid until the next run.
func (g *Graph) Compile(o Options, outputs ...*Node) (*Program, error) {
	base, err := g.trace(outputs)
	if err != nil {
		return nil, err
	}
	base.sweep()
	base.fold()
	layers := base.layers()
	at := func(stage int) *plan {
		p := base.clone()
		p.recompute(stage, layers)
		p.sweep()
		p.live()
		return p
	}
	last := max(0, 2*layers-1)
	stage := min(max(o.Recompute, 0), last)
	p := at(stage)
	fixed := p.place()
	if o.Budget > 0 && fixed+p.arena() > o.Budget {
		if p, stage, err = fit(at, stage, last, o.Budget-fixed); err != nil {
			return nil, err
		}
	}
	return g.finish(p, stage, layers), nil
}

// fit finds the least stage from lo to last whose arena takes no more than some bytes.
func fit(at func(stage int) *plan, lo, last int, bytes int64) (*plan, int, error) {
	for hi := last; lo < hi; { // more recomputation, less memory: bisect for lives that fit
		if mid := (lo + hi) / 2; at(mid).peak() <= bytes {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for ; lo <= last; lo++ { // offsets may waste a little
		p := at(lo)
		if p.place(); p.arena() <= bytes {
			return p, lo, nil
		}
	}
	missing := int64(math.MaxInt64)
	for stage := range last + 1 {
		p := at(stage)
		p.place()
		missing = min(missing, p.arena()-bytes)
	}
	return nil, 0, fmt.Errorf("memory plan: %d bytes are missing even when layers are recomputed", missing)
}

// trace lists every step. An accumulation follows the step that makes its value.
func (g *Graph) trace(outputs []*Node) (*plan, error) {
	p, at := &plan{}, make(map[*Node]int, 2*len(g.steps))
	for _, n := range g.names {
		at[n] = p.add(value{name: n.name, space: n.space, size: n.shape.Size(), ints: n.ints})
	}
	sums := map[int][]accumulation{} // by producing step
	grads := map[string]int{}
	for _, a := range g.sums {
		n := a.from.shape.Size()
		v, ok := grads[a.name]
		if !ok {
			v = p.add(value{name: a.name, space: Grads, size: n})
			grads[a.name] = v
		}
		if p.values[v].size != n {
			return nil, fmt.Errorf("accumulate %q: expected %d values, found shape %v", a.name, p.values[v].size, a.from.shape)
		}
		sums[a.from.step] = append(sums[a.from.step], a)
	}
	flush := func(step, phase int) {
		for _, a := range sums[step] {
			op, to := accumulateOp{s: a.from.shape}, grads[a.name]
			info, layer := op.Info(), outside
			if step >= 0 {
				layer = min(layer, g.steps[step].layer) // backward, if that is where the value comes from
			}
			p.insts = append(p.insts, inst{op: op, info: &info, in: []int{at[a.from]}, out: []int{to}, onto: []int{to},
				tmp: -1, layer: layer, phase: phase})
		}
	}
	flush(-1, 0)
	for i := range g.steps {
		s := &g.steps[i]
		info := s.op.Info()
		ins := inst{op: s.op, info: &info, tmp: -1, layer: s.layer, phase: s.phase}
		for _, n := range s.in {
			ins.in = append(ins.in, at[n])
		}
		for _, n := range s.out {
			at[n] = p.add(value{size: n.shape.Size()})
			ins.out, ins.onto = append(ins.out, at[n]), append(ins.onto, -1)
		}
		if info.Scratch > 0 {
			ins.tmp = p.add(value{size: info.Scratch, tmp: true})
		}
		p.insts = append(p.insts, ins)
		flush(i, s.phase)
	}
	for _, n := range outputs {
		if n == nil || n.g != g {
			return nil, fmt.Errorf("compile: an output is nil or of another graph")
		}
		p.outputs = append(p.outputs, at[n])
	}
	return p, nil
}

func (p *plan) add(v value) int {
	v.alias = len(p.values)
	p.values = append(p.values, v)
	return v.alias
}

func (p *plan) clone() *plan {
	c := &plan{values: slices.Clone(p.values), insts: slices.Clone(p.insts), outputs: p.outputs}
	for i := range c.insts {
		ins := &c.insts[i]
		ins.in, ins.out = slices.Clone(ins.in), slices.Clone(ins.out)
	}
	return c
}

// layers is one more than the greatest layer.
func (p *plan) layers() int {
	n := 0
	for i := range p.insts {
		n = max(n, p.insts[i].layer+1)
	}
	return n
}

// sweep drops instructions and outputs that nothing reads, from the end. Gradients are always wanted.
func (p *plan) sweep() {
	read := make([]bool, len(p.values))
	for _, v := range p.outputs {
		read[v] = true
	}
	kept := make([]inst, 0, len(p.insts))
	for i := len(p.insts) - 1; i >= 0; i-- {
		ins, used := p.insts[i], false
		for k, v := range ins.out {
			if v >= 0 && (read[v] || p.values[v].space == Grads) {
				used = true
				if o := ins.onto[k]; o >= 0 {
					read[o] = true
				}
			} else {
				ins.out[k] = -1
			}
		}
		if used {
			for _, v := range ins.in {
				read[v] = true
			}
			kept = append(kept, ins)
		}
	}
	slices.Reverse(kept)
	p.insts = kept
}

// finish turns values into buffers.
func (g *Graph) finish(p *plan, stage, layers int) *Program {
	r := &Program{Split: len(p.insts)}
	ref := func(v int) Ref {
		if v < 0 {
			return Ref{}
		}
		x := &p.values[p.root(v)]
		return Ref{x.space, x.off, p.values[v].size}
	}
	for i := range p.insts {
		ins := &p.insts[i]
		c := Instr{Op: ins.op, Tmp: ref(ins.tmp), Layer: max(ins.layer, outside), Again: ins.again}
		for _, v := range ins.in {
			c.In = append(c.In, ref(v))
		}
		for k, v := range ins.out {
			c.Out, c.Add = append(c.Out, ref(v)), append(c.Add, v >= 0 && ins.onto[k] >= 0)
			if v >= 0 && k < len(ins.info.FLOPs) {
				c.FLOPs += ins.info.FLOPs[k]
			}
		}
		r.Report.FLOPs += c.FLOPs
		if c.Again {
			r.Report.Again += c.FLOPs
		}
		if ins.phase > 0 {
			r.Split = min(r.Split, i)
		}
		r.Instrs = append(r.Instrs, c)
	}
	for _, v := range p.outputs {
		r.Outputs = append(r.Outputs, ref(v))
	}
	shapes := map[string]Shape{}
	for _, a := range g.sums {
		shapes[a.name] = a.from.shape
	}
	for i := range p.values {
		v := &p.values[i]
		switch v.space {
		case Inputs:
			r.Inputs = append(r.Inputs, Named{v.name, g.named[v.name].shape, ref(i)})
		case Params:
			r.Params = append(r.Params, Named{v.name, g.named[v.name].shape, ref(i)})
		case Grads:
			r.Grads = append(r.Grads, Named{v.name, shapes[v.name], ref(i)})
		}
	}
	p.report(r)
	r.Report.Layers, r.Report.Full = layers, max(0, stage-layers)
	r.Report.Cheap = min(stage, layers) - r.Report.Full
	return r
}
