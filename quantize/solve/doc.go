// Package solve chooses the codes of quantized matrices so that the outputs of a layer change least: GPTQ, AWQ and plain
// rounding, over any grid of values.
//
// A linear layer is Y = X·Wᵀ with X (N, n) and W (rows, n). Everything a solver needs to know of X is its Gram matrix
// G = XᵀX (n, n): the squared error of the outputs of a row w that is stored as q is (w-q)·G·(w-q)ᵀ.
//
// GPTQ rounds column by column and corrects the columns that follow (Factor.Solve), on a Grid: integers with scales (Ints), whose
// codes and scales can be refined afterwards, or the blocks of a stored type (Stored). AWQ looks for scales of the inputs after
// which plain rounding costs least (SearchScale).
//
// Sums over tokens, factors and corrected weights are float64: G is often nearly singular. Work is cut by shape alone, so
// results do not depend on the number of threads.
package solve
