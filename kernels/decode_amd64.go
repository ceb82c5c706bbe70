//go:build !purego

package kernels

var fastDecoders = [numStored]wordRows{
	typeQ4_0: decQ4_0, typeQ4_1: decQ4_1, typeQ5_0: decQ5_0, typeQ5_1: decQ5_1, typeQ8_0: decQ8_0,
	typeQ2_K: decQ2_K, typeQ3_K: decQ3_K, typeQ4_K: decQ4_K, typeQ5_K: decQ5_K, typeQ6_K: decQ6_K,
}

// fastDecoder is the assembly of a type, nil when the CPU does not convert to bf16.
func fastDecoder(t storedType) wordRows {
	if level < levelAVX512BF16 {
		return nil
	}
	return fastDecoders[t]
}

// fastWords is what decodes rows of blocks of so many values of a codec to bf16, bit for bit as the codec does; nil: the codec itself.
func fastWords(c *Codec) (f wordRows, block int) {
	if c == F16 && level >= levelAVX512BF16 {
		return decF16, 32
	}
	if t, ok := storedTypeOf(c); ok {
		return fastDecoder(t), c.Block
	}
	return nil, 0
}

// fastF16 decodes the first values of dst, as many as make whole groups, and tells how many.
func fastF16(dst []uint16, src []byte) int {
	n := len(dst) / 32
	if level < levelAVX512BF16 || n == 0 {
		return 0
	}
	decF16(&dst[0], 0, &src[:64*n][0], 0, n, 1)
	return 32 * n
}

// fastBlocks is the assembly of a type, none when the CPU does not convert to bf16.
func fastBlocks(name string) blockDecoder {
	d, ok := blockDecoders[name]
	switch {
	case !ok:
		panic("kernels: no decoder of " + name)
	case level < levelAVX512BF16:
		return blockDecoder{}
	}
	return d
}
