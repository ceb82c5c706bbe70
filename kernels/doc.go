// Package kernels holds the arithmetic that takes the time: matrix products, attention and row kernels, in Go assembly where
// the CPU has the instructions and in plain Go everywhere else.
//
// One public function per operation; its doc comment is the loop it replaces. Every operation has a reference in plain Go
// without a build tag, which the tests compare with and which other CPUs run. README.md explains how the fast paths work.
//
// # Letters
//
// M rows, N columns and K summed length of a product, R rank of a low-rank term. N tokens, H heads, D head width in attention.
//
// # Rounding
//
// Sums are float32, in an order fixed by the shape of the operation alone: the number of workers never changes a bit, the level
// of the CPU (AVX2, AVX-512, plain) may change the last ones. Products of MatMul round their operands to bf16, nearest even,
// where the CPU multiplies bf16 and Exact is not asked for; such a CPU reads and writes subnormal numbers as zero. AVX2 rounds a single
// row times codes of stored types to 16 bits, 32 values to a scale, unless Exact.
// NaN and infinity spread as IEEE 754 says, but the payload and sign of a NaN are not kept.
//
// The package promises no compatibility to other modules.
package kernels
