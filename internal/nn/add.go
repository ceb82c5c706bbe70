package nn

import "tune/internal/graph"

// Add is a + b, both (N, C). Backward: da = db = dy.
func Add(a, b *graph.Node) *graph.Node { return graph.Add(a, b) }
