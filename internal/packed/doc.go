// Package packed reads and writes checkpoints whose weights are spread over several tensors of small codes, scales and zeros:
// GPTQ (v1 and v2), AWQ (GEMM), compressed-tensors, FP8 with block scales, and NF4 and FP4 of bitsandbytes.
//
// Reading: Source shows such a checkpoint under the names of its weights. A weight is put together when it is asked for, in a
// storage type of package qtype that holds its numbers exactly in about as many bytes as the file, so that a model runs and
// trains on it like on any other. Q4_0 and Q8_0 where the scales are halves and the grid is symmetric, else the types that no file
// has (INT4, NF4, FP8 ...).
//
// Writing: a Scheme says as which tensors a weight is stored (Parts), rounds weights to its grid (Round) and packs integers that
// a solver made (Pack).
//
// Layouts: GPTQModel, AutoAWQ, compressed-tensors and bitsandbytes as of 2026; each layout's file draws it.
package packed
