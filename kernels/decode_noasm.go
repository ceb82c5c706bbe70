//go:build !amd64 || purego

package kernels

func fastDecoder(storedType) wordRows { return nil }

func fastWords(*Codec) (f wordRows, block int) { return nil, 0 }

func fastF16([]uint16, []byte) int { return 0 }

func fastFloats(*Codec) (floatRows, int) { return nil, 0 }

func fastBlocks(string) blockDecoder { return blockDecoder{} }
