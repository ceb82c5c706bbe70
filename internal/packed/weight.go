package packed

import (
	"encoding/binary"
	"runtime"
	"sync"

	"tune/internal/grouped"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/kernels"
)

// A weight is a matrix (out, in) on its way into memory.
type weight struct {
	out, in int
	typ     qtype.Type
	// row puts row o together in blocks of typ; the last one may stick out of the row. Rows may be made at the same time.
	row func(dst []byte, o int)
	// sorted is a weight of act-order that fits blocks when its columns stand group by group; else nil.
	sorted *grouped.Linear
}

// info is what the tensor will be: rows that do not consist of whole blocks become floats.
func (w *weight) info(name string) tensor.Info {
	i := tensor.Info{Name: name, Type: w.typ, Shape: []int{w.out, w.in}}
	if w.in%w.typ.Row().Block != 0 {
		i.Type = qtype.F32
	}
	return i
}

// rowsAtOnce is the number of rows that one worker makes before it takes the next.
const rowsAtOnce = 64

func (w *weight) tensor(name string) (tensor.Tensor, error) {
	t := tensor.Tensor{Info: w.info(name)}
	if err := t.Check(); err != nil {
		return t, err
	}
	t.Data = make([]byte, t.Bytes())
	stride, r := len(t.Data)/w.out, w.typ.Row()
	blocks := (w.in + r.Block - 1) / r.Block
	each(w.out, func(first, n int) {
		var codes []byte
		var values []float32
		if t.Type != w.typ {
			codes, values = make([]byte, blocks*r.Bytes), make([]float32, blocks*r.Block)
		}
		for o := first; o < first+n; o++ {
			dst := t.Data[o*stride:][:stride]
			if t.Type == w.typ {
				w.row(dst, o)
				continue
			}
			w.row(codes, o)
			r.Decode(values, codes)
			t.Type.Row().Encode(dst, values[:w.in])
		}
	})
	return t, nil
}

// each calls f for all rows in pieces, at the same time.
func each(rows int, f func(first, n int)) {
	next := make(chan int)
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (rows+rowsAtOnce-1)/rowsAtOnce) {
		group.Go(func() {
			for first := range next {
				f(first, min(rowsAtOnce, rows-first))
			}
		})
	}
	for first := 0; first < rows; first += rowsAtOnce {
		next <- first
	}
	close(next)
	group.Wait()
}

// blocks is the width of the blocks of all integer types.
const blockWidth = 32

// ofLinear chooses the type that holds integers exactly. When groups do not consist of whole blocks, or act-order has given each
// column its own, that is F32.
func ofLinear(l *grouped.Linear) *weight {
	w := &weight{out: l.Out, in: l.In, typ: qtype.F32}
	whole := l.GroupOf == nil && (l.Group%blockWidth == 0 || l.Group >= l.In)
	switch {
	case whole && l.Zero == nil && l.Bits == 4 && halves(l.Scale):
		w.typ, w.row = qtype.Q4_0, blockRow(l, 2, func(dst []byte, scale float32, _ uint8) { putHalf(dst, scale) }, nibbles)
	case whole && l.Zero == nil && l.Bits == 8 && halves(l.Scale):
		w.typ, w.row = qtype.Q8_0, blockRow(l, 2, func(dst []byte, scale float32, _ uint8) { putHalf(dst, scale) }, signed)
	case whole && short(l.Scale):
		types := map[int]qtype.Type{2: qtype.INT2, 3: qtype.INT3, 4: qtype.INT4, 8: qtype.INT8}
		put := map[int]func([]byte, *[blockWidth]uint8){2: crumbs, 3: octals, 4: nibbles, 8: func(dst []byte, c *[blockWidth]uint8) { copy(dst, c[:]) }}
		w.typ = types[l.Bits]
		w.row = blockRow(l, 4, func(dst []byte, scale float32, zero uint8) {
			h, _ := qtype.HeaderINT(scale, zero)
			binary.LittleEndian.PutUint32(dst, h)
		}, put[l.Bits])
	default:
		if l.GroupOf != nil && l.Group%blockWidth == 0 && l.FullGroups() {
			w.sorted = l
		}
		w.row = func(dst []byte, o int) {
			x := make([]float32, l.In)
			l.Decode(x, o)
			qtype.F32.Row().Encode(dst, x)
		}
	}
	return w
}

// blockRow puts blocks together: a header of so many bytes, then codes.
func blockRow(l *grouped.Linear, header int, head func(dst []byte, scale float32, zero uint8), put func(dst []byte, codes *[blockWidth]uint8)) func([]byte, int) {
	groups := l.Groups()
	return func(dst []byte, o int) {
		size := len(dst) / ((l.In + blockWidth - 1) / blockWidth)
		for c := 0; c < l.In; c += blockWidth {
			var codes [blockWidth]uint8
			copy(codes[:], l.Codes[o*l.In+c:(o+1)*l.In])
			g := o*groups + min(c/l.Group, groups-1)
			head(dst, l.Scale[g], zeroAt(l, g))
			put(dst[header:], &codes)
			dst = dst[size:]
		}
	}
}

// halves tells whether all numbers are halves; short, whether they fit the header of INT2 to INT8.
func halves(x []float32) bool {
	var h [1]uint16
	var back [1]float32
	for i := range x {
		kernels.F16FromF32(h[:], x[i:i+1])
		if kernels.F32FromF16(back[:], h[:]); back[0] != x[i] {
			return false
		}
	}
	return true
}

func short(x []float32) bool {
	for _, v := range x {
		if _, exact := qtype.HeaderINT(v, 0); !exact {
			return false
		}
	}
	return true
}

func putHalf(dst []byte, x float32) { qtype.F16.Row().Encode(dst, []float32{x}) }

func nibbles(dst []byte, c *[blockWidth]uint8) {
	for j := range 16 {
		dst[j] = c[j] | c[j+16]<<4
	}
}

func crumbs(dst []byte, c *[blockWidth]uint8) {
	for j := range 8 {
		dst[j] = c[j] | c[j+8]<<2 | c[j+16]<<4 | c[j+24]<<6
	}
}

func octals(dst []byte, c *[blockWidth]uint8) {
	for g := range 4 {
		var w uint32
		for j := range 8 {
			w |= uint32(c[8*g+j]) << (3 * j)
		}
		dst[3*g], dst[3*g+1], dst[3*g+2] = byte(w), byte(w>>8), byte(w>>16)
	}
}

func signed(dst []byte, c *[blockWidth]uint8) {
	for j, v := range c {
		dst[j] = v ^ 0x80
	}
}

// putScale writes the float32 that blocks of NF4, FP4, FP8 and E2M1 begin with.
func putScale(dst []byte, x float32) { qtype.F32.Row().Encode(dst, []float32{x}) }
