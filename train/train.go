// Package train is the training loop: one loop for every objective, optimizer and kind of trainable.
//
// A step takes one global batch of packed sequences, cuts it into micro-batches that fit the memory budget, runs the
// model's program on each, adds the gradients up, clips them and moves the parameters. The objective is a gorgonia
// expression in float64 over per-token log-probabilities (objective_*.go); everything before it is the model's tape.
//
// A run depends on its configuration, data, weights and seed. It does not depend on the number of threads nor on being
// interrupted: a checkpoint holds parameters, optimizer state, data position and counters, and every random number is
// drawn from a counter-based generator keyed by (seed, purpose, index), so there is no generator state to save.
//
// Units: seconds, bytes, tokens, nats. Letters: N tokens, V vocabulary.
package train
