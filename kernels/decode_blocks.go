package kernels

// A blockDecoder decodes n > 0 blocks of so many values and bytes to bf16. With bits > 0 they hold points of a codebook: 8 coordinates of
// 2 bits or 4 of 3 bits, of which grid has a byte each.
type blockDecoder struct {
	block, bytes, bits int
	decode             func(dst *uint16, src *byte, n int, grid *byte)
}

// BlockDecoder is what decodes whole blocks of the named type to bf16, each value the type's float32 formula (one rounding per operation)
// rounded to nearest even. points is its codebook, the first coordinate in the low bits. nil: the CPU has no conversion to bf16, and
// products decode to float32 instead.
func BlockDecoder(name string, points []uint16) func(dst []uint16, src []byte) {
	d := fastBlocks(name)
	if d.decode == nil {
		return nil
	}
	grid := []byte{0}
	if d.bits > 0 {
		grid = grid[:0]
		for _, p := range points {
			for i := range 16 / d.bits &^ 3 { // 8 or 4
				grid = append(grid, byte(p>>(i*d.bits)&(1<<d.bits-1)))
			}
		}
	}
	if d.block == d.bytes {
		return d.byteDecoder()
	}
	return func(dst []uint16, src []byte) {
		n := len(dst) / d.block
		if len(dst)%d.block != 0 || len(src) < n*d.bytes {
			panic("kernels: BlockDecoder: not whole blocks, or fewer bytes than values")
		}
		if n > 0 {
			d.decode(&dst[0], &src[0], n, &grid[0])
		}
	}
}

// byteDecoder is that of a type with a byte for every value, any number of them.
func (d blockDecoder) byteDecoder() func(dst []uint16, src []byte) {
	var codes [256]byte
	for i := range codes {
		codes[i] = byte(i)
	}
	var values [256]uint16
	d.decode(&values[0], &codes[0], len(codes)/d.block, nil)
	return func(dst []uint16, src []byte) {
		src = src[:len(dst)]
		n := len(dst) / d.block
		if n > 0 {
			d.decode(&dst[0], &src[0], n, nil)
		}
		for i := n * d.block; i < len(dst); i++ {
			dst[i] = values[src[i]]
		}
	}
}
