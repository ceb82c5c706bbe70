package graph

// recompute makes the backward of some layers read copies of forward values, computed again before their first reader, so
// that the originals need not be kept. Stage s recomputes the cheap operations of the first s layers, and from stage layers
// on also everything else of the first s-layers layers (Chen et al. 2016). Values that another layer's forward or an output
// reads, the layers' inputs above all, are kept. Sweep then drops copies that nobody reads.
func (p *plan) recompute(stage, layers int) {
	if stage <= 0 {
		return
	}
	again := p.chosen(min(stage, layers), max(0, stage-layers))
	maker := p.madeAgain(again)
	forward := make([][]int, layers) // instructions to copy
	for i := range p.insts {
		if again[i] {
			forward[p.insts[i].layer] = append(forward[p.insts[i].layer], i)
		}
	}
	copies := make([]map[int]int, layers) // value -> its copy
	out := make([]inst, 0, 2*len(p.insts))
	for i := range p.insts {
		ins := p.insts[i]
		if ins.layer == backward {
			for k, v := range ins.in {
				if v >= len(maker) || maker[v] < 0 {
					continue
				}
				l := p.insts[maker[v]].layer
				if copies[l] == nil {
					copies[l] = map[int]int{}
					for _, f := range forward[l] {
						if f > i { // differentiated before the layer's end
							break
						}
						out = append(out, p.copyOf(f, copies[l], maker, ins.phase))
					}
				}
				if c, ok := copies[l][v]; ok {
					ins.in[k] = c
				}
			}
		}
		out = append(out, ins)
	}
	p.insts = out
}

// chosen says of each instruction whether it is recomputed: every one of the first full layers; of the first cheap layers
// the cheap ones whose inputs are there anyway, because a backward or another layer reads them or they are recomputed too.
// (A rotation whose input would be kept for it alone saves nothing.)
func (p *plan) chosen(cheap, full int) []bool {
	there := make([]bool, len(p.values))
	for v := range there {
		there[v] = true
	}
	for i := range p.insts {
		for _, v := range p.insts[i].out {
			if v >= 0 && p.insts[i].layer >= 0 {
				there[v] = false
			}
		}
	}
	maker := make([]int, len(p.values))
	for i := range p.insts {
		ins := &p.insts[i]
		for _, v := range ins.in {
			there[v] = there[v] || p.insts[maker[v]].layer != ins.layer
		}
		for _, v := range ins.out {
			if v >= 0 {
				maker[v] = i
			}
		}
	}
	again := make([]bool, len(p.insts))
	for i := range p.insts {
		ins := &p.insts[i]
		if again[i] = ins.layer >= 0 && (ins.layer < full || ins.layer < cheap && ins.info.Cheap); !again[i] || ins.layer < full {
			continue
		}
		for _, v := range ins.in {
			again[i] = again[i] && there[v]
		}
		for _, v := range ins.out {
			if v >= 0 && again[i] {
				there[v] = true
			}
		}
	}
	return again
}

// madeAgain gives for each value the instruction that makes it if the backward is to read a copy, else -1.
func (p *plan) madeAgain(again []bool) []int {
	maker := make([]int, len(p.values))
	for v := range maker {
		maker[v] = -1
	}
	for i := range p.insts {
		ins := &p.insts[i]
		if ins.layer != backward {
			for _, v := range ins.in { // read by another layer's forward: kept
				if j := maker[v]; j >= 0 && p.insts[j].layer != ins.layer {
					maker[v] = -1
				}
			}
		}
		if again[i] {
			for _, v := range ins.out {
				if v >= 0 {
					maker[v] = i
				}
			}
		}
	}
	for _, v := range p.outputs {
		maker[v] = -1
	}
	return maker
}

// copyOf is instruction f again, on copies of what it reads and makes.
func (p *plan) copyOf(f int, to map[int]int, maker []int, phase int) inst {
	c := p.insts[f]
	c.again, c.phase = true, phase
	in, out := make([]int, len(c.in)), make([]int, len(c.out))
	for k, v := range c.in {
		if in[k] = v; maker[v] >= 0 {
			if w, ok := to[v]; ok {
				in[k] = w
			}
		}
	}
	for k, v := range c.out {
		if out[k] = v; v >= 0 {
			out[k] = p.add(value{size: p.values[v].size})
			to[v] = out[k]
		}
	}
	if c.in, c.out = in, out; c.tmp >= 0 {
		c.tmp = p.add(value{size: p.values[c.tmp].size, tmp: true})
	}
	return c
}
