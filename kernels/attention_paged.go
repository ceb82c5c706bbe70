package kernels

import "unsafe"

// Paged attention: many sequences, whose keys and values lie in pages that sequences may share. A page holds the keys and values of
// up to PageRows consecutive tokens of a sequence and begins at a multiple of PageRows of its positions. What a query gets depends
// on its own sequence alone, to the last bit: not on what else is computed along, nor on what is shared.

// PageRows is the number of tokens of a full page.
const PageRows = blockKeys

// Rows are N consecutive rows, from row At on, of the keys and values of one source.
type Rows struct{ Source, At, N int32 }

// Page is where the rows of a page lie, in the order of the sequence.
type Page []Rows

// Span is query rows of one sequence at consecutive positions.
type Span struct {
	Row, N int     // query rows Row ... Row+N-1
	First  int     // position of the first of them
	Pages  []int32 // pages of positions 0 ... First+N-1
}

// A Source is keys or values, float32 or (Halves) bf16.
type Source struct {
	Floats []float32
	Halves []uint16
}

// KeepsHalves tells whether keys and values lose nothing that matters when they are kept as bf16: queries of a pass round them to it.
func (a Attention) KeepsHalves() bool { return !a.Exact && useHalf() }

// Set keeps x as values from value n on; Copy takes the first n values of another source of the kind.
func (s Source) Set(n int, x []float32) {
	if s.Halves != nil {
		BF16FromF32(s.Halves[n:n+len(x)], x)
		return
	}
	copy(s.Floats[n:n+len(x)], x)
}

func (s Source) Copy(of Source, n int) {
	if s.Halves != nil {
		copy(s.Halves[:n], of.Halves)
		return
	}
	copy(s.Floats[:n], of.Floats)
}

// from is s without its first n values; at the address of value n; size the bytes of one.
func (s Source) from(n int) Source {
	if s.Halves != nil {
		return Source{Halves: s.Halves[n:]}
	}
	return Source{Floats: s.Floats[n:]}
}

func (s Source) at(n int) unsafe.Pointer {
	if s.Halves != nil {
		return unsafe.Pointer(&s.Halves[n])
	}
	return unsafe.Pointer(&s.Floats[n])
}

func (s Source) size() int {
	if s.Halves != nil {
		return 2
	}
	return 4
}

// row is len(buf) values from value n on, in place or in buf.
func (s Source) row(buf []float32, n int) []float32 {
	if s.Halves != nil {
		F32FromBF16(buf, s.Halves[n:])
		return buf
	}
	return s.Floats[n:][:len(buf)]
}

// Paged is the operands of paged attention.
type Paged struct {
	O, Q    []float32 // (N, H, D); rows of no span are left alone
	K, V    []Source  // (rows, K, D) each
	Pages   []Page
	Spans   []Span
	Scratch []float32 // PagedScratch values; PagedSteps needs none
}

// PagedScratch is the number of float32 values of scratch ForwardPaged needs for so many pages.
func (a Attention) PagedScratch(pages int) int {
	b := a.blocks(nil, 0, 0)
	b.keyBlocks = pages
	return b.forwardScratch()
}

// ForwardPaged is Forward for the spans of x: a query at position i sees positions max(0, i-Window+1) ... i of its sequence.
func (a Attention) ForwardPaged(p *Pool, x *Paged) {
	w := a.beginPaged(p, x)
	defer w.endPaged()
	w.keyBlocks = len(x.Pages)
	kn := w.K * w.keyBlocks
	scratch := x.Scratch
	w.kc, w.vp = cut(&scratch, kn*w.cols), cut(&scratch, kn*w.kpairs)
	w.parts = w.parts[:0]
	for s := range x.Spans {
		for at := 0; at < x.Spans[s].N; at += blockRows {
			w.parts = append(w.parts, [2]int32{int32(s), int32(at / blockRows)})
		}
		for len(w.start) < x.Spans[s].N {
			w.start = append(w.start, 0)
		}
	}
	w.pool.run(kn, w.packPageTask)
	w.pool.run(w.H*len(w.parts), w.partTask)
}

// PagedSteps is ForwardPaged for spans of one query each, whose pages are one Rows each (generation): keys are read where they lie.
// Its bits are not those of ForwardPaged.
func (a Attention) PagedSteps(p *Pool, x *Paged) {
	w := a.beginPaged(p, x)
	defer w.endPaged()
	w.pool.deal(len(x.Spans)*w.K, w.stepTask)
}

func (a Attention) beginPaged(p *Pool, x *Paged) *attend {
	w := a.begin(p, nil, 0)
	w.start = w.zeros
	w.paged = x
	return w
}

func (x *attend) endPaged() {
	x.zeros, x.paged = x.start, nil
	x.end()
}

// runPackPage packs one page for one key head.
func (x *attend) runPackPage(worker, t int) {
	kv, page := t/x.keyBlocks, x.paged.Pages[t%x.keyBlocks]
	tmp := x.pool.workspace(worker, blockKeys*x.D)
	packColumns(x.half, block(x.kc, x.cols, t), tmp, x.D, x.gather(tmp, page, x.paged.K, kv), x.D)
	packPairs(x.half, block(x.vp, x.kpairs, t), x.width, blockKeys, tmp, x.D, x.gather(tmp, page, x.paged.V, kv), x.D, 1)
}

// gather copies the rows of a page for one key head and returns how many there are.
func (x *attend) gather(dst []float32, page Page, sources []Source, kv int) (n int) {
	for _, r := range page {
		src := sources[r.Source]
		for j := int(r.At); j < int(r.At+r.N); j++ {
			to := dst[n*x.D : (n+1)*x.D]
			copy(to, src.row(to, x.keyRow(j, kv)))
			n++
		}
	}
	return n
}

// runPart computes one query block of a span for one head; those of a key head follow each other.
func (x *attend) runPart(worker, t int) {
	group := x.H / x.K
	kv, t := t/(group*len(x.parts)), t%(group*len(x.parts))
	part, h := x.parts[t/group], kv*group+t%group
	s := &x.paged.Spans[part[0]]
	b := x.blocks
	b.n, b.first, b.keys = s.N, s.First, s.First+s.N
	q, o := x.paged.Q[s.Row*x.H*x.D:], x.paged.O[s.Row*x.H*x.D:]
	at := kv * x.keyBlocks
	work := x.pool.workspace(worker, x.blockWork())
	x.forwardBlock(&b, blockOperands{x.kc[at*x.cols:], x.vp[at*x.kpairs:], q, o, nil, s.Pages}, work, int(part[1]), h)
}

// runStep computes the outputs of one query for the heads of one key head. It asks for the memory of a page while it works on the one before.
func (x *attend) runStep(worker, t int) {
	s, kv := &x.paged.Spans[t/x.K], t%x.K
	group, out := x.H/x.K, x.D+2
	work := x.pool.workspace(worker, tileRows*(scoreKeys+x.width)+vecHeads*out)
	parts := cut(&work, vecHeads*out)
	first, last := x.pagesOf(s)
	for h := kv * group; h < (kv+1)*group; h += vecHeads {
		heads := min(vecHeads, (kv+1)*group-h)
		at := (s.Row*x.H + h) * x.D
		f := newFold(x.Attention, work)
		for page := first; page <= last; page++ {
			if page < last {
				x.askPage(t, page+1)
			} else {
				x.askPage(t+1, -1)
			}
			k, v, n := x.pageRows(t, page)
			f.add(x.paged.Q[at:], k, v, heads, n)
		}
		f.finish(parts, heads)
		for i := range heads {
			part := parts[i*out:]
			Scale(x.paged.O[at+i*x.D:][:x.D], 1/part[x.D+1], part)
		}
	}
}

// pagesOf is the first and the last page that a span's query sees.
func (x *attend) pagesOf(s *Span) (first, last int) {
	return x.Attention.low(0, s.First) / PageRows, s.First / PageRows
}

// pageRows is what task t sees of a page: the first key, the first value and how many there are.
func (x *attend) pageRows(t, page int) (k, v Source, n int) {
	s, low := &x.paged.Spans[t/x.K], 0
	r := x.paged.Pages[s.Pages[page]][0]
	low = max(0, x.Attention.low(0, s.First)-page*PageRows)
	row := x.keyRow(int(r.At)+low, t%x.K)
	return x.paged.K[r.Source].from(row), x.paged.V[r.Source].from(row), min(PageRows, s.First+1-page*PageRows) - low
}

// askPage asks for what task t, if there is one, will see of a page; -1: of its first one.
func (x *attend) askPage(t, page int) {
	if t >= len(x.paged.Spans)*x.K {
		return
	}
	if page < 0 {
		page, _ = x.pagesOf(&x.paged.Spans[t/x.K])
	}
	k, v, n := x.pageRows(t, page)
	for _, s := range [2]Source{k, v} {
		askRows(s.at(0), s.size()*x.K*x.D, s.size()*x.D, n)
	}
}
