package graph

// fold lets operations add their gradients where the sum is wanted, instead of writing them somewhere and adding
// afterwards. Two instructions vanish that way when the operation can add (Info.Adds) and nobody else reads its output:
// an accumulation into the Grads space, and the sum of the gradients of a value that is used twice.
func (p *plan) fold() {
	def, last, reads, inner := p.uses()
	gone := make([]bool, len(p.insts))
	for i := range p.insts {
		ins := &p.insts[i]
		switch ins.op.(type) {
		case accumulateOp:
			d := ins.in[0]
			if k, ok := p.adder(def[d], d, reads); ok {
				maker := &p.insts[def[d]]
				maker.out[k], maker.onto[k] = ins.out[0], ins.out[0]
				gone[i] = true
			}
		case addOp:
			if ins.layer != backward { // only sums of gradients
				continue
			}
			for side := range 2 {
				d, prev := ins.in[side], ins.in[1-side]
				j := def[d]
				k, ok := p.adder(j, d, reads)
				if !ok || inner[prev] || !p.mayGrow(prev, j, i, def, last) {
					continue
				}
				// d's buffer becomes prev's, and the sum is what d's maker leaves there
				sum := ins.out[0]
				maker := &p.insts[j]
				maker.out[k], maker.onto[k] = sum, prev
				p.values[sum].alias = prev
				def[sum] = j
				last[prev] = j
				gone[i] = true
				break
			}
		}
	}
	kept := p.insts[:0]
	for i := range p.insts {
		if !gone[i] {
			kept = append(kept, p.insts[i])
		}
	}
	p.insts = kept
}

// uses finds for each value the instruction that makes it (-1: none), the last one that reads it, how many read it, and whether
// the forward of a layer does, which may run again later.
func (p *plan) uses() (def, last, reads []int, inner []bool) {
	def, last, reads, inner = make([]int, len(p.values)), make([]int, len(p.values)), make([]int, len(p.values)), make([]bool, len(p.values))
	for v := range def {
		def[v], last[v] = -1, -1
	}
	for i := range p.insts {
		ins := &p.insts[i]
		for _, v := range ins.in {
			last[v] = i
			reads[v]++
			inner[v] = inner[v] || ins.layer >= 0
		}
		for _, v := range ins.out {
			if v >= 0 && p.values[v].space == Arena {
				def[v] = i
			}
		}
	}
	for _, v := range p.outputs {
		last[v] = len(p.insts)
		reads[v]++
	}
	return def, last, reads, inner
}

// adder reports which output of instruction j is d, if d is read once and j can add it onto something.
func (p *plan) adder(j, d int, reads []int) (k int, ok bool) {
	if j < 0 || reads[d] != 1 || p.insts[j].layer >= 0 { // a layer's forward may run twice
		return 0, false
	}
	for k, v := range p.insts[j].out {
		if v == d {
			adds := p.insts[j].info.Adds
			return k, k < len(adds) && adds[k] && p.insts[j].onto[k] < 0
		}
	}
	return 0, false
}

// mayGrow reports whether instruction j may add onto prev, which instruction i reads: prev is no layer's value, made before j,
// and nobody but i reads it at j or later.
func (p *plan) mayGrow(prev, j, i int, def, last []int) bool {
	m := def[prev]
	return m >= 0 && m < j && p.insts[m].layer < 0 && last[prev] == i && !p.readBetween(prev, j, i)
}

// readBetween reports whether an instruction from j up to but not including i reads v.
func (p *plan) readBetween(v, j, i int) bool {
	for ; j < i; j++ {
		for _, x := range p.insts[j].in {
			if x == v {
				return true
			}
		}
	}
	return false
}
