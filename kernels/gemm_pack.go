package kernels

import "unsafe"

// floatRows decodes rows of n > 0 blocks to float32: stride bytes from row to row, ld values in dst.
type floatRows func(dst *float32, ld int, src *byte, stride, n, rows int)

// source packs columns [c0, c1) of an Out for one block into the worker's panels of B, each full units deep.
type source struct {
	e       *engine
	w       *panels
	rowwise bool
	c0, c1  int
	full    int
	floats  floatRows // decodes blocks of the matrix; nil: its codec does
}

// width is that of the panel that begins at column c: full, but for the last.
func (s *source) width(c int) int {
	return min(s.e.nr, (s.c1-c+s.e.unit-1)/s.e.unit*s.e.unit)
}

// pack packs values k0..k1 of the summed dimension of x, from unit at of the panels on.
func (s *source) pack(x *Matrix, k0, k1, at int) {
	s.floats = nil
	if f, block := fastFloats(x.Codec); block == x.Block {
		s.floats = f
	}
	switch {
	case k1 <= k0:
	case s.rowwise:
		s.packDepths(x, k0, k1, at)
	default:
		s.packColumns(x, k0, k1, at)
	}
}

// packColumns: a column of the product is a row of x.
func (s *source) packColumns(x *Matrix, k0, k1, at int) {
	e, w := s.e, s.w
	words := s.words(x)
	size := 4
	if words {
		size = 2
	}
	step := ((k1-k0+x.Block)*size + 191) / 64 * 64 // bytes of a decoded row: not a power of two, that would share a set of the cache
	for c := s.c0; c < s.c1; c += e.nr {
		width := s.width(c)
		dst := unsafe.Pointer(&w.b[(c-s.c0)*s.full+at*width])
		for lane := 0; lane < width; lane += e.unit {
			last := min(e.unit, s.c1-c-lane) - 1
			for i := range e.unit {
				if i > last {
					w.ptr[i] = w.ptr[last]
					continue
				}
				w.ptr[i] = s.row(x, words, unsafe.Add(unsafe.Pointer(&w.rows[0]), i*step), c+lane+i, k0, k1)
			}
			e.packB(unsafe.Add(dst, 4*lane), width, &w.ptr, k1-k0, words)
		}
	}
}

// packDepths: a row of x is a depth of the product.
func (s *source) packDepths(x *Matrix, k0, k1, at int) {
	e, w := s.e, s.w
	words, direct := s.words(x), x.Codec == F32 || x.Codec == BF16 && s.e.per == 2
	size := 4
	if words {
		size = 2
	}
	rows, stride := k1-k0, x.RowStride()
	fast, block := fastWords(x.Codec)
	if !words || direct || block != x.Block {
		fast = nil
	}
	if !direct {
		stride = ((s.c1-s.c0+2*x.Block)*size + 191) / 64 * 64
		rows = min(rows, 64, 4*len(w.rows)/stride&^1)
	}
	for k := k0; k < k1; k += rows {
		n := min(rows, k1-k)
		var src unsafe.Pointer
		if fast != nil {
			src = decodeRows(fast, unsafe.Pointer(&w.rows[0]), stride, x, k, n, s.c0, s.c1)
		} else {
			src = s.row(x, words, unsafe.Pointer(&w.rows[0]), k, s.c0, s.c1)
			for i := 1; i < n && !direct; i++ {
				s.row(x, words, unsafe.Add(unsafe.Pointer(&w.rows[0]), i*stride), k+i, s.c0, s.c1)
			}
		}
		for c := s.c0; c < s.c1; c += e.nr {
			width := s.width(c)
			dst := unsafe.Pointer(&w.b[(c-s.c0)*s.full+(at+e.units(k-k0))*width])
			e.packN(dst, width, unsafe.Add(src, (c-s.c0)*size), stride, min(width, s.c1-c), n, words)
		}
	}
}

// decodeRows decodes columns [c0, c1) of n rows from r on, stride bytes apart in buf, and gives the first: a few blocks of many rows cost
// more calls than work one by one.
func decodeRows(fast wordRows, buf unsafe.Pointer, stride int, x *Matrix, r, n, c0, c1 int) unsafe.Pointer {
	src, skip := x.span(r, c0, c1)
	fast((*uint16)(buf), stride/2, &src[0], x.RowStride(), len(src)/x.Bytes, n)
	return unsafe.Add(buf, 2*skip)
}

// words tells whether x comes to the packs as bf16; else as float32.
func (s *source) words(x *Matrix) bool { return s.e.per == 2 && x.Codec != F32 }

// row gives values [c0, c1) of row r: a view of the data, or decoded into buf.
func (s *source) row(x *Matrix, words bool, buf unsafe.Pointer, r, c0, c1 int) unsafe.Pointer {
	src, skip := x.span(r, c0, c1)
	if x.Codec == F32 || words && x.Codec == BF16 {
		return unsafe.Pointer(&src[0])
	}
	if r+1 < x.Rows { // decoding takes no longer than memory: the next row is asked for meanwhile
		askRows(unsafe.Add(unsafe.Pointer(&src[0]), x.RowStride()), 0, len(src), 1)
	}
	n := len(src) / x.Bytes * x.Block
	if !words {
		f := unsafe.Slice((*float32)(buf), n)
		if s.floats != nil {
			s.floats(&f[0], 0, &src[0], 0, n/x.Block, 1)
		} else {
			x.F32(f, src)
		}
		return unsafe.Pointer(&f[skip])
	}
	h := unsafe.Slice((*uint16)(buf), n)
	s.w.decodeWords(x.Codec, h, src)
	return unsafe.Pointer(&h[skip])
}

// decodeWords decodes to bf16, by way of float32 when the codec knows no shorter one.
func (w *panels) decodeWords(c *Codec, dst []uint16, src []byte) {
	if c.BF16 != nil {
		c.BF16(dst, src)
		return
	}
	step := max(len(w.tmp)/c.Block, 1) * c.Block
	for at := 0; at < len(dst); at += step {
		n := min(step, len(dst)-at)
		c.F32(w.tmp[:n], src[at/c.Block*c.Bytes:][:n/c.Block*c.Bytes])
		BF16FromF32(dst[at:at+n], w.tmp[:n])
	}
}
