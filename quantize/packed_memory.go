package quantize

import (
	"tune/internal/hint"
	"tune/quantize/solve"
)

// Memory is what the work on one module needs in bytes, the largest one: its codes, its parts twice while they are put together, and
// what its source takes; how many workers fit into a limit (0: none), at most n; and the bytes of all of them, with what the method needs
// to choose codes, for one module at a time, or before that to find AWQ's scales.
func (p *PackedPlan) Memory(limit int64, n int) (total int64, workers int, err error) {
	one, solving, folding := p.module(), p.solving(n), p.folding()
	if least := max(one+solving, folding); limit > 0 && least > limit {
		return least, 0, hint.Errorf("raise --memory", "memory: expected at least %d bytes for the largest module, found %d", least, limit)
	}
	if limit > 0 {
		n = int(min(int64(n), (limit-solving)/one))
	}
	return max(solving+int64(n)*one, folding), n, nil
}

// module is what a worker needs for the largest module.
func (p *PackedPlan) module() int64 {
	one := int64(chunkValues * perChunk)
	for i := range p.Modules {
		if m := &p.Modules[i]; !m.Kept {
			one = max(one, int64(m.Out)*int64(m.In)+3*p.ModuleBytes(i)+16*int64(m.In))
		}
	}
	handed := p.o.Resident
	if p.folds() { // a matrix is decoded, scaled, and handed out as float32
		handed = max(handed, 12*p.largestModule())
	}
	return one + handed
}

// solving is what a method needs for the largest module: the products of its input as they are read, as they are factored, after folding
// and for refinement; weights, codes and scales, and residuals of a chunk of rows; rows that threads correct.
func (p *PackedPlan) solving(threads int) (most int64) {
	if p.Method == RTN {
		return 0
	}
	for i := range p.Modules {
		m := &p.Modules[i]
		if out, in := int64(m.Out), int64(m.In); !m.Kept {
			rows := min(out, solve.RefineRows)
			most = max(most, in*in*(8+8+8+4)+out*in*(4+1)+rows*in*(4+4+4)+int64(threads)*in*solve.RowsBytes)
		}
	}
	return most
}

// folding is what finding and proving AWQ's scales needs: the layer after folding as float32 while it runs, or the matrices that share an
// input with its products as they are read and as they are multiplied, and errors of rows.
func (p *PackedPlan) folding() (most int64) {
	if !p.folds() {
		return 0
	}
	fused := map[string]int64{}
	for i := range p.Modules {
		m := &p.Modules[i]
		name := m.Fused
		if name == "" {
			name = m.Name
		}
		in := int64(m.In)
		fused[name] += 4 * int64(m.Out) * in
		most = max(most, fused[name]+in*in*(8+4)+awqRows*in*(4+4))
	}
	return max(most, p.largestLayer(4))
}

// largestLayer is the bytes of the largest layer's quantized weights, at so many a weight.
func (p *PackedPlan) largestLayer(each int64) (most int64) {
	sums := map[int]int64{}
	for _, m := range p.Modules {
		if !m.Kept {
			l := LayerOf(m.Name)
			sums[l] += each * int64(m.Out) * int64(m.In)
			most = max(most, sums[l])
		}
	}
	return most
}

func (p *PackedPlan) largestModule() (most int64) {
	for _, m := range p.Modules {
		if !m.Kept {
			most = max(most, int64(m.Out)*int64(m.In))
		}
	}
	return most
}
